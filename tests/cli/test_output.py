"""What reaches the terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressed_lens.cli.output import show_json, show_table
from compressed_lens.terminal import clean


@given(st.text())
def test_no_control_character_survives_and_nothing_else_is_lost(text: str) -> None:
    cleaned = clean(text)
    assert not [c for c in cleaned if unicodedata.category(c) == "Cc" and c not in "\n\t"]
    bidi = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    kept = [c for c in text if not (unicodedata.category(c) == "Cc" and c not in "\n\t")]
    assert cleaned == "".join(c for c in kept if unicodedata.bidirectional(c) not in bidi)


def test_a_hostile_answer_cannot_colour_or_move() -> None:
    assert clean("\x1b[2J\x1b]0;title\x07yes\u202e\r") == "[2J]0;titleyes"


def test_a_piped_table_is_tab_separated_and_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["a", "b"], [["x\ty", "p\nq\x1b[0m"], [1, None]])
    assert capsys.readouterr().out == "a\tb\nx y\tp q[0m\n1\tNone\n"


def test_json_round_trips(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"é": ["\x1b", 1.5, None]}
    show_json(value)
    out = capsys.readouterr().out
    assert json.loads(out) == value
    assert "\x1b" not in out
