"""Agreement against published figures, brute force over pairs, and worked examples."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from compressed_lens.errors import DataError
from compressed_lens.statistics.agreement import Level, Weights, alpha_interval, cohen_kappa, krippendorff_alpha

NAN = np.nan

# Krippendorff 2011, section D: four observers, twelve units, some ratings missing.
OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)


def by_pairs(table: np.ndarray, level: Level) -> float:
    """Alpha from its definition: every ordered pair of ratings, within units and among all."""
    units = [[float(v) for v in column if not np.isnan(v)] for column in table.T]
    units = [unit for unit in units if len(unit) > 1]
    everything = [v for unit in units for v in unit]
    counts = {v: everything.count(v) for v in everything}

    def difference(a: float, b: float) -> float:
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return (a - b) ** 2
        low, high = min(a, b), max(a, b)
        between = sum(n for v, n in counts.items() if low <= v <= high)
        return (between - (counts[low] + counts[high]) / 2) ** 2 if a != b else 0.0

    size = len(everything)
    observed = sum(difference(a, b) / (len(unit) - 1) for unit in units for a, b in permutations(unit, 2)) / size
    expected = sum(difference(a, b) for a, b in permutations(everything, 2)) / (size * (size - 1))
    return 1 - observed / expected


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level: Level, published: float) -> None:
    assert krippendorff_alpha(OBSERVERS, level=level) == pytest.approx(published, abs=5e-4)
    assert krippendorff_alpha(OBSERVERS, level=level) == pytest.approx(by_pairs(OBSERVERS, level), abs=1e-12)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(6))
def test_alpha_equals_its_definition_on_random_tables(level: Level, seed: int) -> None:
    generator = np.random.default_rng(seed)
    table = generator.integers(1, 6, size=(3 + seed % 2, 15)).astype(float)
    if seed % 2:
        table += generator.integers(0, 4, size=table.shape) / 4
    table[generator.random(table.shape) < 0.3] = NAN
    assert krippendorff_alpha(table, level=level) == pytest.approx(by_pairs(table, level), abs=1e-10)
    shifted = table + 1000.0
    assert krippendorff_alpha(shifted, level=level) == pytest.approx(krippendorff_alpha(table, level=level), abs=1e-9)


def test_alpha_at_its_ends() -> None:
    same = np.array([[1.0, 2, 3, 4], [1, 2, 3, 4]])
    assert krippendorff_alpha(same) == pytest.approx(1.0)
    assert krippendorff_alpha(np.array([[1.0, 5, 1, 5], [5, 1, 5, 1]]), level="interval") < -0.5
    assert np.isnan(krippendorff_alpha(np.full((2, 5), 3.0)))
    assert np.isnan(krippendorff_alpha(np.array([[1.0, NAN], [NAN, 2.0]])))
    with pytest.raises(DataError, match="infinity"):
        krippendorff_alpha([[1.0, np.inf], [1.0, 2.0]])
    with pytest.raises(DataError, match="One of: nominal"):
        krippendorff_alpha(same, level="ratio")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="matrix"):
        krippendorff_alpha([1.0, 2.0])


def test_the_interval_of_alpha_covers_and_narrows() -> None:
    generator = np.random.default_rng(4)

    def panel(units: int) -> np.ndarray:
        truth = generator.normal(3, 1, units)
        return np.round(truth + generator.normal(0, 0.7, (3, units)))

    small, large = (alpha_interval(panel(n), level="interval", replicates=300, seed=0) for n in (30, 400))
    # One rater's variance is 1 + 0.49 (+ 1/12 of rounding); they share 1.
    for found in (small, large):
        assert found.low < 1 / (1 + 0.49 + 1 / 12) < found.high
        assert found.low < found.estimate < found.high
        assert found.method == "studentized"
    assert large.high - large.low < (small.high - small.low) / 2
    again = alpha_interval(OBSERVERS, replicates=50, seed=1)
    assert again == alpha_interval(OBSERVERS, replicates=50, seed=1)
    assert (again.n, again.units, again.dropped) == (40, 11, 1)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_percentiles_are_those_of_resampling_one_by_one(level: Level) -> None:
    drawn = np.random.default_rng(3).integers(0, 11, size=(200, 11))
    kept = OBSERVERS[:, [c for c in range(12) if (~np.isnan(OBSERVERS[:, c])).sum() > 1]]
    alphas = np.array([by_pairs(kept[:, picks], level) for picks in drawn])
    found = alpha_interval(OBSERVERS, level=level, replicates=200, method="percentile", seed=3)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(alphas, [0.025, 0.975])), abs=1e-9)


def with_error(table: np.ndarray, level: Level) -> tuple[float, float]:
    """log(1 - alpha) and its error, from every unit a thousand times and one of them once more."""
    times, own = 1000, math.log(1 - krippendorff_alpha(table, level=level))
    often = np.repeat(table, times, axis=1)
    many = math.log(1 - krippendorff_alpha(often, level=level))
    changes = [math.log(1 - krippendorff_alpha(np.c_[often, unit], level=level)) - many for unit in table.T]
    return own, times * math.sqrt(float(((np.array(changes) - np.mean(changes)) ** 2).sum()))


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_studentized_intervals_are_those_of_resampling_one_by_one(level: Level) -> None:
    generator = np.random.default_rng(1)
    table = np.round(generator.normal(3, 1, 12) + generator.normal(0, 0.8, (3, 12)))
    table[0, :4] = NAN
    own, error = with_error(table, level)
    quotients = []
    for picks in np.random.default_rng(3).integers(0, 12, size=(60, 12)):
        its, its_error = with_error(table[:, picks], level)
        quotients.append((its - own) / max(its_error, error / 4))
    first, last = np.quantile(quotients, [0.05, 0.95])
    found = alpha_interval(table, level=level, replicates=60, confidence=0.9, seed=3)
    expected = (1 - math.exp(own - error * first), 1 - math.exp(own - error * last))
    assert (found.low, found.high) == pytest.approx(expected, abs=0.01) and found.method == "studentized"


def test_hardly_any_disagreement_is_no_certainty() -> None:
    table = np.tile(np.arange(1.0, 6.0), (2, 8))
    assert alpha_interval(table, seed=0).low == 1.0
    table[0, 0] = 2.0
    for level in ("nominal", "ordinal", "interval"):
        found = alpha_interval(table, level=level, seed=0)
        assert 0.6 < found.low < found.estimate - 0.001 and found.estimate < found.high <= 1.0


# Marginals (3, 3, 4) and (3, 4, 3). Four of ten pairs disagree, three by one and one by two; by chance 0.67 would, at
# a mean distance of 0.88 and a mean squared distance of 1.30.
@pytest.mark.parametrize(
    ("weights", "expected"), [("none", 1 - 0.4 / 0.67), ("linear", 1 - 0.5 / 0.88), ("quadratic", 1 - 0.7 / 1.30)]
)
def test_kappa_worked_by_hand(weights: Weights, expected: float) -> None:
    first = [1, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    second = [1, 1, 2, 2, 2, 3, 3, 3, 1, 2]
    assert cohen_kappa(first, second, weights=weights) == pytest.approx(expected)


def test_kappa_leaves_out_missing_ratings_and_refuses_nonsense() -> None:
    assert cohen_kappa([1, 2, NAN, 3], [1, 2, 3, NAN]) == pytest.approx(1.0)
    assert np.isnan(cohen_kappa([2, 2], [2, 2]))
    assert np.isnan(cohen_kappa([NAN], [1]))
    # Two raters that are independent by construction.
    assert cohen_kappa([1, 1, 2, 2], [1, 2, 1, 2]) == pytest.approx(0.0)
    with pytest.raises(DataError, match="same units"):
        cohen_kappa([1, 2], [1])
    with pytest.raises(DataError, match="One of: none"):
        cohen_kappa([1], [1], weights="cubic")  # type: ignore[arg-type]


def test_texts_of_one_item_are_resampled_together() -> None:
    generator = np.random.default_rng(4)
    units = 60
    quality = generator.normal(3, 1, units)
    ratings = np.clip(np.round(quality + generator.normal(0, 0.7, (2, units))), 1, 5)
    alone = alpha_interval(ratings, seed=1)
    same = alpha_interval(ratings, clusters=np.arange(units), seed=1)
    assert (same.low, same.high, same.units) == (pytest.approx(alone.low), pytest.approx(alone.high), units)
    # Four copies of every unit tell nothing new, and a bootstrap that knows them as one item finds that.
    copies = np.tile(ratings, 4)
    known = alpha_interval(copies, clusters=np.tile([f"item {n}" for n in range(units)], 4), seed=1)
    naive = alpha_interval(copies, seed=1)
    assert known.high - known.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert naive.high - naive.low == pytest.approx((alone.high - alone.low) / 2, rel=0.1)
    assert (known.units, known.dropped) == (units, 0)
    holes = copies.copy()
    holes[0, 0] = np.nan
    assert alpha_interval(holes, clusters=np.tile(np.arange(units), 4), seed=1).dropped == 1
    with pytest.raises(DataError, match="cluster labels"):
        alpha_interval(ratings, clusters=np.arange(3), seed=1)
