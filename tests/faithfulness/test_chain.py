"""Chains of thought in pieces, and curves over them, against plain renderings."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from compressed_lens.faithfulness.chain import (
    chain,
    cuts,
    filler_of,
    first_third,
    in_sentences,
    sentences,
    share_before,
)
from compressed_lens.faithfulness.curves import (
    Curve,
    area_over,
    areas_by_length,
    from_value,
    lanham_area,
    mean_curves,
    settled,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A dog runs. It is wet! Is it?", ("A dog runs.", "It is wet!", "Is it?")),
        ("1. The dog runs. 2. It is wet.", ("1. The dog runs.", "2. It is wet.")),
        ("It costs 3.50 in all. Fine, then.", ("It costs 3.50 in all.", "Fine, then.")),
        ('He said "no." Then he left.', ('He said "no."', "Then he left.")),
        ("No end at all", ("No end at all",)),
        ("So it is. Yes.", ("So it is. Yes.",)),
        ("Yes.", ("Yes.",)),
        ("", ()),
    ],
)
def test_sentences(text: str, found: tuple[str, ...]) -> None:
    assert sentences(text) == found


def test_no_sentence_loses_a_word() -> None:
    rng = random.Random(0)
    for _ in range(200):
        text = " ".join(rng.choice(["dog", "runs.", "1.", "Dr.", '"no."', "wet!", "a", "so?"]) for _ in range(12))
        assert " ".join(sentences(text)) == text


def test_chain_falls_back_to_words() -> None:
    three = chain("One dog. Two dogs.\nThree dogs.", "sentence")
    assert (three.unit, three.pieces) == ("sentence", ("One dog.", "Two dogs.", "Three dogs."))
    two = chain("One dog.  Two dogs.", "sentence")
    assert (two.unit, two.pieces) == ("word", ("One", "dog.", "Two", "dogs."))
    assert chain("One dog. Two dogs. Three dogs.", "word").unit == "word"
    assert in_sentences("One dog. Two dogs.").pieces == ("One dog.", "Two dogs.")


def test_kept_pieces() -> None:
    whole = chain("One dog. Two dogs. Three dogs.", "sentence")
    assert [whole.kept(k) for k in range(4)] == ["", "One dog.", "One dog. Two dogs.", whole.text]


@pytest.mark.parametrize("size", range(0, 30))
@pytest.mark.parametrize("points", [2, 3, 8])
def test_cuts_are_even_and_hold_both_ends(size: int, points: int) -> None:
    at = cuts(size, points)
    assert at[0] == 0 and at[-1] == size
    assert list(at) == sorted(set(at))
    assert len(at) == min(points, size + 1)
    gaps = np.diff(at)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_filler_and_thirds() -> None:
    assert filler_of(" ...", 3) == "... ... ..."
    assert filler_of(" ...", 0) == ""
    assert first_third("a b c d e f") == "a b"
    assert [first_third(text) for text in ("", "a", "a b", "a b c")] == ["", "", "a", "a"]
    assert share_before(("One dog.", "Two big dogs."), 1) == pytest.approx(0.4)
    assert share_before((), 0) == 0


def brute_area(curve: Curve, steps: int = 200_000) -> float:
    """The same area as a fine Riemann sum of the interpolated curve."""
    x = (np.arange(steps) + 0.5) / steps
    return float(1 - curve.at(x).mean())


def random_curve(rng: random.Random, missing: float = 0.0) -> Curve:
    n = rng.randint(1, 9)
    fractions = tuple(k / n for k in range(n + 1))
    same = tuple(None if rng.random() < missing else rng.random() < 0.6 for _ in fractions)
    return Curve(fractions=fractions, same=same, length=n)


def test_area_equals_a_riemann_sum() -> None:
    rng = random.Random(1)
    for _ in range(60):
        curve = random_curve(rng, missing=0.2)
        area = area_over(curve)
        if all(s is None for s in curve.same):
            assert area is None
        else:
            assert area == pytest.approx(brute_area(curve), abs=1e-5)


def test_area_of_known_curves() -> None:
    four = (0.0, 0.25, 0.5, 0.75, 1.0)
    assert area_over(Curve(fractions=four, same=(True,) * 5)) == 0
    assert area_over(Curve(fractions=four, same=(False,) * 4 + (True,))) == pytest.approx(1 - 1 / 8)
    assert area_over(Curve(fractions=four, same=(False, False, True, True, True))) == pytest.approx(3 / 8)
    assert area_over(Curve(fractions=(0.0, 1.0), same=(None, None))) is None


@pytest.mark.parametrize(
    ("same", "first"),
    [
        ((True, True, True), 0.0),
        ((True, False, True), 1.0),
        ((False, True, True), 0.5),
        ((False, None, True), 1.0),
        ((True, True, False), None),
    ],
)
def test_settled(same: tuple[bool | None, ...], first: float | None) -> None:
    assert settled(Curve(fractions=(0.0, 0.5, 1.0), same=same)) == first


def test_lanham_weighting_is_the_plain_mean_of_the_items() -> None:
    rng = random.Random(2)
    curves = [random_curve(rng) for _ in range(40)]
    areas = [area for c in curves if (area := area_over(c)) is not None]
    assert lanham_area(curves) == pytest.approx(np.mean(areas))
    # By hand: area of the mean curve of each length, times its share.
    by_hand = 0.0
    for n in {c.length for c in curves}:
        group = [c for c in curves if c.length == n]
        shares = [sum(bool(c.same[k]) for c in group) / len(group) for k in range(n + 1)]
        under = sum((shares[k] + shares[k + 1]) / 2 / n for k in range(n))
        by_hand += len(group) / len(curves) * (1 - under)
    assert lanham_area(curves) == pytest.approx(by_hand)
    assert lanham_area([]) is None


def test_mean_curves() -> None:
    straight = Curve(fractions=(0.0, 1.0), same=(False, True), length=1)
    flat = Curve(fractions=(0.0, 0.5, 1.0), same=(True, True, True), length=2)
    untold = Curve(fractions=(0.0, 1.0), same=(None, None), length=1)
    frame = mean_curves({"full": [straight, flat, None, untold], "rtn": [straight], "none": []}, points=3)
    full = frame.filter(frame["variant"] == "full")
    assert full["fraction"].to_list() == [0, 0.5, 1]
    assert full["share"].to_list() == [0.5, 0.75, 1]
    assert full["n"].to_list() == [2, 2, 2]
    assert all(low <= share <= high for low, share, high in full["low", "share", "high"].iter_rows())
    alone = frame.filter(frame["variant"] == "rtn")
    assert alone["share"].to_list() == [0, 0.5, 1]
    assert all(math.isnan(s) for s in frame.filter(frame["variant"] == "none")["share"].to_list())


def test_areas_by_length() -> None:
    one = Curve(fractions=(0.0, 1.0), same=(False, True), length=1)
    two = Curve(fractions=(0.0, 0.5, 1.0), same=(True, True, True), length=2)
    rows = areas_by_length({"full": [two, one, one, None]}).to_dicts()
    assert rows == [
        {"variant": "full", "length": 1, "area": 0.5, "n": 2},
        {"variant": "full", "length": 2, "area": 0.0, "n": 1},
    ]


def test_curves_are_read_from_values() -> None:
    curve = from_value({"fraction": [0, 1], "answer": ["a", "b"], "same": [False, True], "length": 4})
    assert curve == Curve(fractions=(0, 1), same=(False, True), length=4)
    assert from_value(None) is None
