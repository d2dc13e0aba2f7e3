"""Several values after one flag."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from compressed_lens.cli.options import ManyValues, spread

FLAGS = {"--variants", "--tasks", "-v"}

CASES = [
    ("", ""),
    ("study.yaml", "study.yaml"),
    ("--variants a b c", "--variants a --variants b --variants c"),
    ("--variants a --variants b", "--variants a --variants b"),
    ("--variants a b --tasks x y", "--variants a --variants b --tasks x --tasks y"),
    ("--limit 3 4 --variants a b", "--limit 3 4 --variants a --variants b"),
    ("--variants a b --limit 3", "--variants a --variants b --limit 3"),
    ("-v a b", "-v a -v b"),
    ("--variants a b -- c", "--variants a --variants b -- c"),
    ("--variants=a b", "--variants=a b"),
    ("--variants --tasks x", "--variants --tasks x"),
]


@pytest.mark.parametrize(("given_line", "expected"), CASES)
def test_values_are_spread_over_their_flag(given_line: str, expected: str) -> None:
    assert spread(given_line.split(), FLAGS) == expected.split()


@given(st.lists(st.sampled_from(["a", "b", "--variants", "--tasks", "--limit", "--"])))
def test_spreading_twice_changes_nothing_and_loses_nothing(words: list[str]) -> None:
    once = spread(words, FLAGS)
    assert spread(once, FLAGS) == once
    assert [w for w in once if w not in FLAGS] == [w for w in words if w not in FLAGS]


def test_a_command_receives_every_value() -> None:
    app = typer.Typer()
    seen: dict[str, object] = {}

    @app.command(cls=ManyValues)
    def command(
        path: str,
        variants: Annotated[list[str] | None, typer.Option()] = None,
        limit: Annotated[int, typer.Option()] = 0,
    ) -> None:
        seen.update(path=path, variants=variants, limit=limit)

    words = ["p", "--variants", "a", "b", "--limit", "3", "--variants", "c"]
    with get_command(app).make_context("x", words) as context:
        context.command.invoke(context)
    assert seen == {"path": "p", "variants": ["a", "b", "c"], "limit": 3}
