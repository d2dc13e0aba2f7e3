"""Bootstrap intervals against brute-force resampling, textbook formulas and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from compressed_lens.errors import DataError
from compressed_lens.statistics import bootstrap as intervals
from compressed_lens.statistics import (
    bootstrap_means,
    mean_interval,
    mean_intervals,
    paired_bootstrap,
    paired_bootstraps,
    rate_interval,
    replicate_means,
    unit_sums,
)
from compressed_lens.statistics import resampling as module
from compressed_lens.statistics.interval import paired_rate_interval


def brute_force(values: np.ndarray, clusters: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Resample clusters one by one, gather their rows, and average what applies."""
    names = sorted(set(clusters.tolist()))
    drawn = np.random.default_rng(seed).integers(0, len(names), size=(replicates, len(names)))
    means = np.empty((replicates, values.shape[1]))
    for row, picks in enumerate(drawn):
        chosen = np.concatenate([values[clusters == names[pick]] for pick in picks])
        for column in range(values.shape[1]):
            applied = [v for v in chosen[:, column].tolist() if not math.isnan(v)]
            means[row, column] = sum(applied) / len(applied) if applied else math.nan
    return means


@pytest.fixture
def sample() -> np.ndarray:
    generator = np.random.default_rng(11)
    values = generator.gamma(2.0, size=(40, 3))
    values[generator.random((40, 3)) < 0.2] = np.nan
    values[:, 2] = generator.random(40) < 0.7
    return values


@pytest.mark.parametrize("clustered", [False, True])
def test_replicates_equal_brute_force(sample: np.ndarray, clustered: bool) -> None:
    clusters = np.arange(40) // 3 if clustered else np.arange(40)
    sums, counts, rows = unit_sums(sample, clusters if clustered else None)
    fast = replicate_means(sums, counts, replicates=60, seed=5)
    assert rows == 40
    np.testing.assert_allclose(fast, brute_force(sample, clusters, 60, 5), atol=1e-12)


def test_chunking_does_not_change_the_draws(sample: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    sums, counts, _ = unit_sums(sample)
    whole = replicate_means(sums, counts, replicates=101, seed=3)
    monkeypatch.setattr(module, "_COUNTS_PER_CHUNK", 7 * 40)
    np.testing.assert_array_equal(replicate_means(sums, counts, replicates=101, seed=3), whole)


def test_percentile_interval_is_the_quantiles_of_brute_force(sample: np.ndarray) -> None:
    (interval, *_) = bootstrap_means(sample, replicates=400, method="percentile", confidence=0.9, seed=2)
    expected = np.quantile(brute_force(sample, np.arange(40), 400, 2)[:, 0], [0.05, 0.95])
    np.testing.assert_allclose([interval.low, interval.high], expected, atol=1e-12)


def test_bca_agrees_with_scipy() -> None:
    values = np.random.default_rng(4).exponential(size=60)
    ours = mean_interval(values, replicates=20_000, method="bca", seed=1)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(9))
    standard_error = values.std() / math.sqrt(60)
    assert abs(ours.low - theirs.confidence_interval.low) < 0.05 * standard_error
    assert abs(ours.high - theirs.confidence_interval.high) < 0.05 * standard_error
    percentile = mean_interval(values, replicates=20_000, method="percentile", seed=1)
    assert ours.high > percentile.high + 0.02 * standard_error  # skew to the right: BCa shifts right


def test_many_columns_equal_one_column_at_a_time(sample: np.ndarray) -> None:
    other = sample[::-1].copy()
    together = paired_bootstraps(sample, other, replicates=300, seed=8)
    for column, interval in enumerate(together):
        alone = paired_bootstrap(sample[:, column], other[:, column], replicates=300, seed=8)
        assert alone.n == interval.n and alone.method == interval.method
        np.testing.assert_allclose([alone.low, alone.high], [interval.low, interval.high], atol=1e-12)


def test_inapplicable_pairs_are_dropped_and_counted() -> None:
    base = [1.0, 2.0, math.nan, 4.0, 5.0]
    other = [1.5, math.nan, 3.0, 5.0, 5.5]
    interval = paired_bootstrap(base, other, replicates=500, seed=0)
    assert (interval.n, interval.dropped, interval.units) == (3, 2, 3)
    assert interval.estimate == pytest.approx((0.5 + 1.0 + 0.5) / 3)
    assert interval.low <= interval.estimate <= interval.high


@pytest.mark.parametrize(("values", "n"), [([math.nan, math.nan], 0), ([1.5], 1), ([], 0)])
def test_too_little_data_gives_no_interval(values: list[float], n: int) -> None:
    interval = mean_interval(values, replicates=50, seed=0)
    assert interval.n == n and interval.method == "none"
    assert math.isnan(interval.low) and math.isnan(interval.high) and not interval.excludes_zero


def test_clusters_widen_the_interval_of_repeated_rows() -> None:
    once = np.random.default_rng(1).normal(size=50)
    repeated = np.repeat(once, 4)
    alone = mean_interval(once, replicates=4000, seed=0)
    naive = mean_interval(repeated, replicates=4000, seed=0)
    clustered = mean_interval(repeated, clusters=np.repeat(np.arange(50), 4), replicates=4000, seed=0)
    assert clustered.units == 50 and clustered.n == 200
    np.testing.assert_allclose([clustered.low, clustered.high], [alone.low, alone.high], atol=1e-12)
    assert naive.high - naive.low < 0.6 * (clustered.high - clustered.low)


def test_rates_get_score_intervals_where_a_bootstrap_fails() -> None:
    right = np.ones(50)
    same = paired_bootstrap(right, right, replicates=200, seed=0)
    assert same.method == "tango" and same.estimate == 0 and same.low < -0.05 and same.high > 0.05
    own = mean_interval(right, replicates=200, seed=0)
    assert own == rate_interval(50, 50)
    many = right.copy()
    many[:12] = 0
    assert paired_bootstrap(right, many, replicates=200, seed=0).method == "studentized"
    clusters = np.arange(50) // 2
    unchanged = paired_bootstrap(right, right, clusters=clusters, replicates=200, seed=0)
    assert unchanged.units == 25 and unchanged.high > same.high
    assert mean_interval(many, clusters=clusters, replicates=200, seed=0).method == "studentized"


@pytest.mark.parametrize(
    "call",
    [
        lambda: paired_bootstrap([1.0, 2.0], [1.0], seed=0),
        lambda: paired_bootstrap([1.0, math.inf], [1.0, 2.0], seed=0),
        lambda: paired_bootstrap([1.0, 2.0], [1.0, 2.0], confidence=1.0, seed=0),
        lambda: paired_bootstrap([1.0, 2.0], [1.0, 2.0], replicates=0, seed=0),
        lambda: paired_bootstrap([1.0, 2.0], [1.0, 2.0], clusters=[1], seed=0),
        lambda: paired_bootstrap([[1.0]], [[1.0]], seed=0),
        lambda: mean_intervals([1.0], seed=0),
    ],
)
def test_malformed_input_is_refused(call) -> None:
    with pytest.raises(DataError):
        call()


def covered(draw, truth: float, trials: int) -> float:
    hits = 0
    for trial in range(trials):
        base, other = draw(np.random.default_rng((77, trial)))
        interval = paired_bootstrap(base, other, replicates=1000, seed=trial)
        hits += interval.low <= truth <= interval.high
    return hits / trials


def skewed(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    base = generator.normal(size=60)
    return base, base + generator.exponential(0.5, size=60)


def rates(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    base = generator.random(200) < 0.8
    return base, np.where(generator.random(200) < 0.15, generator.random(200) < 0.5, base)


def few_flips(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    base = generator.random(100) < 0.9
    return base, np.where(generator.random(100) < 0.02, ~base, base)


@pytest.mark.parametrize(("draw", "truth"), [(skewed, 0.5), (rates, 0.15 * (0.5 - 0.8))], ids=["skewed mean", "rates"])
def test_coverage_is_near_nominal(draw, truth: float) -> None:
    assert 0.92 <= covered(draw, truth, 500) <= 0.98


def test_few_flips_are_covered_where_the_plain_bootstrap_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = 0.02 * (0.1 - 0.9)
    assert covered(few_flips, truth, 400) >= 0.94
    monkeypatch.setattr(intervals, "FEW_CHANGES", 0)
    assert covered(few_flips, truth, 400) < 0.9


@pytest.mark.parametrize("clustered", [False, True])
def test_a_change_of_every_item_is_not_certain(clustered: bool) -> None:
    clusters = np.repeat(np.arange(12), 2) if clustered else None
    ones, zeros = np.ones(24 if clustered else 12), np.zeros(24 if clustered else 12)
    lost = paired_bootstrap(ones, zeros, clusters=clusters, seed=0)
    gained = paired_bootstrap(zeros, ones, clusters=clusters, seed=0)
    expected = paired_rate_interval(12, 0, 12)
    assert lost.method == gained.method == "tango"
    assert (lost.low, lost.high) == pytest.approx((expected.low, expected.high)) == (-gained.high, -gained.low)
    assert -0.8 < lost.high < -0.5


def test_an_amount_that_is_always_zero_has_no_width_and_a_rate_has() -> None:
    zeros = np.zeros((12, 2))
    amount, rate = mean_intervals(zeros, replicates=200, seed=0, rates=[False, True])
    assert (amount.low, amount.high) == (0.0, 0.0)
    assert rate.high > 0.1
    amount, rate = paired_bootstraps(zeros, zeros, replicates=200, seed=0, rates=[False, True])
    assert (amount.low, amount.high) == (0.0, 0.0)
    assert rate.low < 0 < rate.high
