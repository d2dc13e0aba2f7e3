"""Hand-worked cases of "starts with an accepted answer"."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressed_lens.knowledge.matching import first_token_right, recalled


@pytest.mark.parametrize(
    ("continuation", "answers", "loose", "strict"),
    [
        (" Paris, the capital", ("Paris",), True, True),
        ("\n  PARIS", ("Paris",), True, True),
        (" Parisian life", ("Paris",), True, False),
        (" paris2", ("Paris",), True, False),
        (" Paris's mayor", ("Paris",), True, True),
        (" the city of Paris", ("Paris",), False, False),
        (" 1924.", ("1924",), True, True),
        (" 19245", ("1924",), True, False),
        (" Bras\u00edlia", ("Bras\u00edlia",), True, True),
        (" Brasi\u0301lia", ("Bras\u00edlia",), True, True),
        (" Brasilia", ("Bras\u00edlia",), False, False),
        (" Stra\u00dfe", ("STRASSE",), True, True),
        (" the US", ("United States", "the US"), True, True),
        (" Holland", ("Netherlands", "Holl", "Holland"), True, True),
        ('"Paris"', ("Paris",), False, False),
        ("", ("Paris",), False, False),
        (" Par", ("Paris",), False, False),
        (" anything", ("", " "), False, False),
    ],
)
def test_recalled(continuation: str, answers: tuple[str, ...], loose: bool, strict: bool) -> None:
    assert recalled(continuation, answers) is loose
    assert recalled(continuation, answers, match="word") is strict


@given(answer=st.text(min_size=1, max_size=12), rest=st.text(max_size=12))
def test_an_answer_recalls_itself_and_the_boundary_only_takes_away(answer: str, rest: str) -> None:
    if answer.strip():
        assert recalled(f" {answer}", (answer,), match="word")
    if recalled(rest, (answer,), match="word"):
        assert recalled(rest, (answer,))


@pytest.mark.parametrize(
    ("token", "right"),
    [(" Par", True), ("Paris", True), (" P", True), (" pARis", True), (" Parisian", False), (" the", False),
     ("\n", False), ("", False), (" ", None)],
)  # fmt: skip
def test_first_token(token: str, right: bool | None) -> None:
    assert first_token_right(token, ("Paris",)) is right
    assert first_token_right(" Ro", ("Paris", "Rome")) is True
