"""Pieces of an item's texts, and what a model is shown when some are masked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressed_lens.explanations import prompting
from compressed_lens.faithfulness.masking import pieces_of
from compressed_lens.tasks.base import Item, Task

PAIR = Item(
    id="1",
    fields={"premise": "A dog, brown and old, runs. It barks!", "hypothesis": "An animal  moves."},
    answers=("entailment",),
    choices=("a dog", "a cat"),
    extra={"evidence": ["dog"]},
)


def item(text: str) -> Item:
    return Item(id="1", fields={"text": text}, answers=("a",))


def test_pieces_are_words_with_their_punctuation() -> None:
    found = pieces_of(PAIR)
    assert [p.text for p in found.pieces] == "A dog, brown and old, runs. It barks! An animal moves.".split()
    assert [p.field for p in found.pieces] == ["premise"] * 8 + ["hypothesis"] * 3
    assert all(PAIR.fields[p.field][p.start : p.stop] == p.text for p in found.pieces)


def test_the_tree_joins_words_then_clauses_then_sentences_then_fields() -> None:
    premise, hypothesis = pieces_of(PAIR).tree.children
    assert (premise.pieces, hypothesis.pieces) == (tuple(range(8)), (8, 9, 10))
    first, second = premise.children
    assert (first.pieces, second.pieces) == (tuple(range(6)), (6, 7))
    # "A dog," | "brown and old," | "runs."; of two pairs of clauses the shorter is joined first.
    assert {child.pieces for child in first.children} == {(0, 1), (2, 3, 4, 5)}


@pytest.mark.parametrize(
    ("mask", "shown"),
    [
        (0b1111, "The lamp  was\nstale."),
        (0b0000, "..."),
        (0b0001, "The ..."),
        (0b1000, "...\nstale."),
        (0b1001, "The ...\nstale."),
        (0b0110, "... lamp  was\n..."),
        (0b0101, "The ...  was\n..."),
    ],
)
def test_a_masked_run_becomes_one_ellipsis(mask: int, shown: str) -> None:
    assert pieces_of(item("The lamp  was\nstale.")).show(mask).fields["text"] == shown


def test_blanks_around_the_text_stay() -> None:
    assert pieces_of(item("  one two ")).show(0b10).fields["text"] == "  ... two "


def test_characters_are_pieces_where_words_are_not_separated() -> None:
    found = pieces_of(item("很好。真的, ok"))
    assert [p.text for p in found.pieces] == ["很", "好。", "真", "的,", "ok"]
    assert found.show(0b10001).fields["text"] == "很... ok"
    assert [child.pieces for child in found.tree.children] == [(0, 1), (2, 3, 4)]


def test_nothing_but_the_fields_is_touched() -> None:
    found = pieces_of(PAIR)
    assert found.show(found.tree.bits) == PAIR
    hidden = found.show(0)
    assert dict(hidden.fields) == {"premise": "...", "hypothesis": "..."}
    assert (hidden.choices, hidden.answers, hidden.extra) == (PAIR.choices, PAIR.answers, PAIR.extra)
    task = Task(name="t", kind="classification", items=(PAIR,), instruction="A dog, or not?")
    asked = prompting.classify(task, hidden).messages[0].content
    assert asked == prompting.classify(task, PAIR).messages[0].content.replace(
        "Premise: A dog, brown and old, runs. It barks!", "Premise: ..."
    ).replace("Hypothesis: An animal  moves.", "Hypothesis: ...")
    assert "A dog, or not?" in asked and "a dog or a cat" in asked


def test_an_item_without_words_has_no_pieces() -> None:
    assert pieces_of(item(" \n ")).pieces == ()


@given(text=st.text(alphabet="ab.,! \n你好é", max_size=30), mask=st.integers(0, 2**30 - 1))
def test_any_text_can_be_masked(text: str, mask: int) -> None:
    found = pieces_of(item(text))
    assert "".join(p.text for p in found.pieces) == "".join(text.split())
    if found.pieces:
        assert found.tree.pieces == tuple(range(len(found.pieces)))
        assert found.show(found.tree.bits).fields["text"] == text
    shown = found.show(mask).fields["text"]
    kept = [p.text for j, p in enumerate(found.pieces) if mask >> j & 1]
    assert all(p in shown for p in kept)
