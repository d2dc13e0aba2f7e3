"""Summaries that are no means, against plain renderings of their definitions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from compressed_lens.errors import DataError
from compressed_lens.statistics import mean_interval
from compressed_lens.statistics.summaries import Statistic, paired_summary, summary, summary_interval

Floats = NDArray[np.float64]

RNG = np.random.default_rng(5)
NLL = RNG.gamma(4.0, 10.0, size=40)
TOKENS = RNG.integers(3, 30, size=40).astype(float)


def test_a_summary_is_what_its_name_says() -> None:
    values = [3.0, float("nan"), 10.0, 1.0, 2.0]
    assert summary(values, statistic="median") == 2.5
    assert summary(values, statistic="mean") == 4.0
    over = [1.0, 5.0, float("nan"), 1.0, 4.0]
    assert summary(values, over, statistic="exp_ratio") == pytest.approx(math.exp((3 + 1 + 2) / 6))
    assert math.isnan(summary([], statistic="median"))
    assert summary(NLL, statistic="median") == pytest.approx(statistics.median(NLL.tolist()))


def resampled(rows: Floats, of: Callable[[Floats], float], units: NDArray[Any], seed: int, replicates: int) -> Floats:
    """One resample at a time, by gathering rows."""
    drawn = np.random.default_rng(seed).integers(0, units.max() + 1, size=(replicates, units.max() + 1))
    places = [np.flatnonzero(units == u) for u in range(units.max() + 1)]
    return np.array([of(rows[np.concatenate([places[u] for u in one])]) for one in drawn])


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("statistic", ["median", "exp_ratio", "mean"])
def test_intervals_are_those_of_resampling_one_by_one(statistic: Statistic, clustered: bool) -> None:
    plains: dict[str, Callable[[Floats], float]] = {
        "median": lambda rows: statistics.median(rows[:, 0].tolist()),
        "mean": lambda rows: float(rows[:, 0].mean()),
        "exp_ratio": lambda rows: math.exp(rows[:, 0].sum() / rows[:, 1].sum()),
    }
    plain = plains[statistic]
    units = np.arange(40) // 3 if clustered else np.arange(40)
    clusters = units if clustered else None
    rows = np.column_stack([NLL, TOKENS])
    found = summary_interval(
        NLL,
        TOKENS,
        statistic=statistic,
        clusters=clusters,
        replicates=300,
        method="percentile",
        seed=2,
    )
    expected = resampled(rows, plain, units, seed=2, replicates=300)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])))
    assert found.estimate == pytest.approx(plain(rows))
    assert (found.n, found.units, found.method) == (40, int(units.max()) + 1, "percentile")
    other, other_tokens = NLL * 1.3, TOKENS + 2
    paired, _ = paired_summary(
        NLL,
        other,
        TOKENS,
        other_tokens,
        statistic=statistic,
        clusters=clusters,
        replicates=300,
        method="percentile",
        seed=2,
    )
    both = np.column_stack([NLL, TOKENS, other, other_tokens])
    expected = resampled(both, lambda r: plain(r[:, 2:]) - plain(r[:, :2]), units, seed=2, replicates=300)
    assert (paired.low, paired.high) == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])))


def one_more(rows: Floats, of: Callable[[Floats], float], units: NDArray[Any]) -> float:
    """Standard error from literal influence: every row many times, and one unit once more."""
    times = 4000
    often, own = np.repeat(rows, times, axis=0), of(rows)
    moved = [of(np.concatenate([often, rows[units == unit]])) - own for unit in np.unique(units)]
    return times * math.sqrt(sum(move**2 for move in moved))


@pytest.mark.parametrize("clustered", [False, True])
def test_studentized_intervals_are_those_of_resampling_one_by_one(clustered: bool) -> None:
    units = np.arange(14) // 2 if clustered else np.arange(14)
    rows = np.column_stack([NLL, TOKENS, NLL * (1 + RNG.random(40)), TOKENS + 2])[:14]
    rows[:, [0, 2]] /= 10

    def logarithm(r: Floats) -> float:
        return float(r[:, 0].sum() / r[:, 1].sum())

    def difference(r: Floats) -> float:
        return float(np.exp(r[:, 2].sum() / r[:, 3].sum()) - np.exp(r[:, 0].sum() / r[:, 1].sum()))

    def expected(of: Callable[[Floats], float]) -> tuple[float, float]:
        own, error, quotients = of(rows), one_more(rows, of, units), []
        count = units.max() + 1
        for picks in np.random.default_rng(2).integers(0, count, size=(40, count)):
            places = [np.flatnonzero(units == unit) for unit in picks]
            drawn = rows[np.concatenate(places)]
            label = np.concatenate([[number] * len(place) for number, place in enumerate(places)])
            quotients.append((of(drawn) - own) / max(one_more(drawn, of, label), error / 4))
        least = float(stats.t.ppf(0.9, count - 1)) * math.sqrt(count / (count - 1))
        first, last = np.quantile(quotients, [0.1, 0.9])
        return own - error * max(last, least), own - error * min(first, -least)

    settings: dict[str, Any] = {"clusters": units, "replicates": 40, "confidence": 0.8, "seed": 2}
    alone = summary_interval(rows[:, 0], rows[:, 1], statistic="exp_ratio", **settings)
    assert (math.log(alone.low), math.log(alone.high)) == pytest.approx(expected(logarithm), rel=2e-3)
    paired, _ = paired_summary(rows[:, 0], rows[:, 2], rows[:, 1], rows[:, 3], statistic="exp_ratio", **settings)
    assert (paired.low, paired.high) == pytest.approx(expected(difference), rel=2e-3)
    assert alone.method == paired.method == "studentized"
    median = summary_interval(rows[:, 0], statistic="median", **settings)
    assert median.method == "percentile"


def test_a_studentized_mean_is_that_of_the_bootstrap_of_means() -> None:
    for clusters in (None, np.arange(40) // 3):
        found = summary_interval(NLL, statistic="mean", clusters=clusters, replicates=300, seed=2)
        other = mean_interval(NLL, clusters=clusters, replicates=300, seed=2)
        assert (found.low, found.high) == pytest.approx((other.low, other.high)) and found.method == other.method


def test_hardly_any_units_get_numbers() -> None:
    found = summary_interval([1.0, 900.0], [1.0, 1.0], statistic="exp_ratio", seed=0)
    assert 0 < found.low < found.estimate < found.high < math.inf
    same, p = paired_summary(NLL, NLL, TOKENS, TOKENS, statistic="exp_ratio", replicates=100, seed=0)
    assert (same.low, same.estimate, same.high, p) == (0.0, 0.0, 0.0, 1.0)
    flat = summary_interval([2.0] * 9, [1.0] * 9, statistic="exp_ratio", seed=0)
    assert flat.low == flat.high == pytest.approx(math.exp(2))


def test_only_pairs_that_apply_on_both_sides_count() -> None:
    base, other = NLL.copy(), NLL + 1
    base[0], other[1] = math.nan, math.nan
    paired, p = paired_summary(base, other, statistic="median", replicates=200, seed=0)
    assert (paired.n, paired.dropped) == (38, 2)
    assert paired.estimate == pytest.approx(1.0)
    assert p < 0.2


@pytest.mark.parametrize("statistic", ["median", "exp_ratio"])
def test_p_is_that_of_every_swap_tried(statistic: Statistic) -> None:
    base, other, tokens = NLL[:8], NLL[:8] * np.array([1.2, 1.4, 0.9, 1.3, 1.1, 1.5, 1.2, 1.05]), TOKENS[:8]

    def of(first: Floats, second: Floats) -> float:
        return summary(second, tokens, statistic=statistic) - summary(first, tokens, statistic=statistic)

    observed = abs(of(base, other))
    reached = 0
    for number in range(256):
        mask = np.array([number >> bit & 1 for bit in range(8)], dtype=bool)
        swapped = of(np.where(mask, other, base), np.where(mask, base, other))
        reached += abs(swapped) >= observed * (1 - 1e-9)
    _, p = paired_summary(base, other, tokens, tokens, statistic=statistic, replicates=20_000, seed=1)
    assert p == pytest.approx(reached / 256, abs=0.02)


def test_p_of_no_difference_is_one_and_false_alarms_are_rare() -> None:
    _, p = paired_summary(NLL, NLL, TOKENS, TOKENS, statistic="exp_ratio", replicates=100, seed=0)
    assert p == 1.0
    rng = np.random.default_rng(0)
    low = 0
    for seed in range(100):
        first, second = rng.gamma(3, 2, size=(2, 30))
        low += paired_summary(first, second, statistic="median", replicates=200, seed=seed)[1] < 0.05
    assert low <= 11


def test_malformed_samples_are_refused() -> None:
    with pytest.raises(DataError, match="summed over"):
        summary([1.0], statistic="exp_ratio")
    with pytest.raises(DataError, match="shapes"):
        summary([1.0], [1.0, 2.0], statistic="exp_ratio")
    with pytest.raises(DataError, match="One of: studentized"):
        summary_interval([1.0, 2.0], statistic="median", method="bca", seed=0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="lengths"):
        paired_summary([1.0], [1.0, 2.0], statistic="median", seed=0)
    assert paired_summary([math.nan], [1.0], statistic="median", seed=0)[0].n == 0
    assert summary_interval([1.0], statistic="median", seed=0).method == "none"
