"""Hand-worked cases of when a continuation is right, and of what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressed_lens.knowledge.matching import (
    consistency,
    first_place,
    first_token_right,
    normalized,
    prediction,
    recalled,
)


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


@pytest.mark.parametrize(
    ("continuation", "answers", "right"),
    [
        (" the city of Paris.", ("Paris",), True),
        (" the Parisian way", ("Paris",), False),
        (" PARIS", ("Paris",), True),
        (" plan B", ("B",), False),
        (" New York City", ("York",), True),
        (" C++ it is", ("C++",), True),
        (" nothing", ("", "no"), False),
    ],
)
def test_anywhere(continuation: str, answers: tuple[str, ...], right: bool) -> None:
    assert recalled(continuation, answers, match="anywhere") is right


@given(text=st.text(max_size=20), answer=st.text(min_size=1, max_size=6))
def test_what_starts_as_a_word_is_somewhere(text: str, answer: str) -> None:
    if recalled(text, (answer,), match="word") and len(answer.strip().casefold()) > 1 and answer.strip().isalnum():
        assert recalled(text, (answer,), match="anywhere") or not answer.strip().isascii()


@pytest.mark.parametrize(
    ("continuation", "said"),
    [
        (" Paris, of course", "Paris"),
        (" Paris Hilton", "Paris Hilton"),
        ("\nparis.", "Paris"),
        (" Lyon, of course", "lyon"),
        (" Lyon. It is", "lyon"),
        (" the city\nof light", "the city"),
        ("", ""),
    ],
)
def test_what_a_continuation_says(continuation: str, said: str) -> None:
    assert prediction(continuation, ("Rome", "Paris", "Paris Hilton")) == said


@pytest.mark.parametrize(
    ("predictions", "share"),
    [(["a", "a", "a"], 1.0), (["a", "a", "b"], 1 / 3), (["a", "b", "c"], 0.0), (["a", "a", "b", "b"], 2 / 6),
     (["a"], None), ([], None)],
)  # fmt: skip
def test_consistency_is_the_share_of_equal_pairs(predictions: list[str], share: float | None) -> None:
    assert consistency(predictions) == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  The  Beatles! ", "beatles"),
        ("Beyonc\u00e9 Knowles", "beyonce knowles"),
        ("J. R. R. Tolkien", "j r r tolkien"),
        ("J.R.R. Tolkien", "j r r tolkien"),
        ("Ken'ichiro", "ken ichiro"),
        ("an A-level in a theme", "a level in theme"),
        ("a", "a"),
        ("...", ""),
    ],
)
def test_normalized(text: str, expected: str) -> None:
    assert normalized(text) == expected


def test_the_first_place_is_that_of_a_whole_word() -> None:
    assert first_place("romance in rome", ["rome"]) == 11
    assert first_place("rome and oslo", ["oslo", "rome"]) == 0
    assert first_place("romance", ["rome", ""]) is None
