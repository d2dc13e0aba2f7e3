"""Distances in words, by hand and against a definition that is slow and plain."""

from __future__ import annotations

import random
from functools import cache

import pytest

from compressed_lens.explanations.edits import (
    distance,
    edit_distance,
    length_ratio,
    relative_to_longer,
    relative_to_original,
    tokens,
    unmatched_share,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \n ", []),
        ("A dog runs.", ["A", "dog", "runs", "."]),
        ("I don't", ["I", "don't"]),
        ("I don\u2019t", ["I", "don't"]),
        ("well-known!", ["well", "-", "known", "!"]),
        ("so... what?!", ["so", "...", "what", "?", "!"]),
        ("a<br />b", ["a", "<", "br", "/", ">", "b"]),
        ("cafe\u0301", ["caf\u00e9"]),
        ("'quoted'", ["'", "quoted", "'"]),
        ("3.5 x_1", ["3", ".", "5", "x_1"]),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("original", "edited", "count", "to_original", "to_longer", "unmatched"),
    [
        ("A dog runs.", "A dog runs.", 0, 0.0, 0.0, 0.0),
        ("A dog  runs .", "A dog runs.", 0, 0.0, 0.0, 0.0),
        ("A dog runs.", "A cat runs.", 1, 0.25, 0.25, 0.25),
        ("A dog runs.", "a dog runs.", 1, 0.25, 0.25, 0.25),
        ("A dog runs.", "A big dog runs.", 1, 0.25, 0.2, 1 / 9),
        ("A dog runs.", "A dog", 2, 0.5, 0.5, 1 / 3),
        ("good", "It was not good at all", 5, 5.0, 5 / 6, 5 / 7),
        ("a b", "b a", 2, 1.0, 1.0, 0.5),
        ("good", "", 1, 1.0, 1.0, 1.0),
        ("", "two words", 2, 2.0, 1.0, 1.0),
        ("", "", 0, 0.0, 0.0, 0.0),
    ],
)
def test_hand_worked(  # noqa: PLR0917
    original: str, edited: str, count: int, to_original: float, to_longer: float, unmatched: float
) -> None:
    assert edit_distance(original, edited) == count
    assert relative_to_original(original, edited) == pytest.approx(to_original)
    assert relative_to_longer(original, edited) == pytest.approx(to_longer)
    assert unmatched_share(original, edited) == pytest.approx(unmatched)


def test_length_ratio() -> None:
    assert length_ratio("A dog runs.", "A dog runs. It is big.") == 2.0
    assert length_ratio("", "two words") == 2.0


def slowly(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """Levenshtein distance by its definition, over every last step."""

    @cache
    def to(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(to(i - 1, j) + 1, to(i, j - 1) + 1, to(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return to(len(a), len(b))


def test_distance_equals_its_definition() -> None:
    rng = random.Random(0)
    for _ in range(400):
        a, b = (tuple(rng.choice("xyz") for _ in range(rng.randrange(9))) for _ in range(2))
        assert distance(a, b) == slowly(a, b) == distance(b, a)
        c = tuple(rng.choice("xyz") for _ in range(rng.randrange(9)))
        assert distance(a, c) <= distance(a, b) + distance(b, c)
        assert abs(len(a) - len(b)) <= distance(a, b) <= max(len(a), len(b))
