"""Summaries that are no means, against plain renderings of their definitions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compressed_lens.errors import DataError
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
    with pytest.raises(DataError, match="lengths"):
        paired_summary([1.0], [1.0, 2.0], statistic="median", seed=0)
    assert paired_summary([math.nan], [1.0], statistic="median", seed=0)[0].n == 0
    assert summary_interval([1.0], statistic="median", seed=0).method == "none"
