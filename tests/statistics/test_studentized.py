"""The studentized bootstrap against literal resampling, and where there is hardly anything to resample."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from compressed_lens.errors import DataError
from compressed_lens.statistics import (
    bootstrap_means,
    mean_interval,
    mean_intervals,
    paired_bootstrap,
    paired_rate_interval,
    rate_interval,
)
from compressed_lens.statistics.resampling import LEAST_ERROR
from compressed_lens.statistics.student import incomplete_beta, student_quantile

NAN = math.nan


def by_hand(values: np.ndarray, units: np.ndarray, replicates: int, seed: int) -> tuple[float, float]:
    """One resample at a time: gather its units, take their mean and standard error, and look up the quotients."""

    def mean_and_error(groups: list[np.ndarray]) -> tuple[float, float]:
        mean = float(np.concatenate(groups).mean())
        return mean, math.sqrt(sum(float((g - mean).sum()) ** 2 for g in groups)) / sum(len(g) for g in groups)

    groups = [values[(units == u) & ~np.isnan(values)] for u in sorted(set(units.tolist()))]
    mean, error = mean_and_error(groups)
    quotients = []
    for picks in np.random.default_rng(seed).integers(0, len(groups), size=(replicates, len(groups))):
        its_mean, its_error = mean_and_error([groups[pick] for pick in picks])
        quotients.append((its_mean - mean) / max(its_error, LEAST_ERROR * error))
    count = sum(len(g) > 0 for g in groups)
    t = float(stats.t.ppf(0.975, count - 1)) * math.sqrt(count / (count - 1))
    low, high = np.quantile(quotients, [0.025, 0.975])
    return mean - error * max(high, t), mean - error * min(low, -t)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_intervals_are_those_of_resampling_one_by_one(clustered: bool, shift: float) -> None:
    generator = np.random.default_rng(3)
    values = generator.lognormal(size=(40, 3)) + shift
    values[generator.random((40, 3)) < 0.2] = NAN
    units = np.sort(generator.integers(0, 17, 40)) if clustered else np.arange(40)
    found = bootstrap_means(values, clusters=units if clustered else None, replicates=400, seed=5)
    for column, interval in enumerate(found):
        expected = by_hand(values[:, column], units, 400, 5)
        assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-9)
        assert interval.method == "studentized" and interval.low < interval.estimate < interval.high


@pytest.mark.parametrize("sign", [1, -1])
def test_one_value_that_differs_opens_the_interval_to_its_side(sign: int) -> None:
    values = np.zeros(50)
    values[7] = sign
    found = mean_intervals(values[:, None], seed=0, rates=[False])[0]
    low, high = sorted((sign * found.low, sign * found.high))
    # Much as one change of fifty does, by Tango's reckoning: from -0.055 to 0.105.
    score = paired_rate_interval(0, 1, 50)
    assert (low, high) == pytest.approx((score.low, score.high), abs=0.015)


@pytest.mark.parametrize("values", [[1.0, 3.0], [0.0, 0.0, 5.0], [1e-120, 2e-120, 5e-120], [1e150, 2e150, 5e150]])
def test_tiny_samples_get_at_least_students_interval(values: list[float]) -> None:
    found = paired_bootstrap(np.zeros(len(values)), values, seed=0)
    t = stats.t.interval(0.95, len(values) - 1, np.mean(values), np.array(values).std(ddof=1) / math.sqrt(len(values)))
    assert found.low <= t[0] * (1 - 1e-9) < found.estimate < t[1] * (1 - 1e-9) <= found.high
    assert found.high - found.low < 10 * (t[1] - t[0])


def test_few_that_differ_are_few_degrees_of_freedom() -> None:
    for changed, freedom in ((4, 5), (9, 10), (10, 59)):
        values = np.zeros(60)
        values[:changed] = np.tile([1.0, -1.0], 5)[:changed] + np.arange(changed) / 50
        found = bootstrap_means(values[:, None], seed=0)[0]
        least = stats.t.ppf(0.975, freedom) * values.std(ddof=1) / math.sqrt(60)
        reached = max(found.high - found.estimate, found.estimate - found.low)
        assert least * (1 - 1e-9) <= reached < 1.6 * least
        assert found.high - found.low >= 2 * least * (1 - 1e-9)


def test_equal_values_have_no_width_whatever_rounding_leaves() -> None:
    base = np.random.default_rng(0).normal(size=60)
    found = paired_bootstrap(base, base + 0.1, seed=0)
    assert found.low == pytest.approx(0.1) == found.high and found.high - found.low < 1e-12


def test_no_interval_of_a_rate_leaves_its_range() -> None:
    clusters = np.arange(40) // 4
    right = np.ones(40)
    right[0] = 0
    (found,) = mean_intervals(right[:, None], clusters=clusters, seed=0)
    assert found.method == "studentized" and found.low < 0.975 < found.high == 1.0
    alike = mean_interval(np.ones(40), clusters=clusters, seed=0)
    assert (alike.low, alike.high) == (rate_interval(10, 10).low, 1.0) and (alike.n, alike.units) == (40, 10)


def test_a_column_does_not_care_for_its_neighbours() -> None:
    generator = np.random.default_rng(1)
    values = generator.exponential(size=(30, 4))
    values[generator.random((30, 4)) < 0.3] = NAN
    values[:, 3] = NAN
    together = bootstrap_means(values, replicates=500, seed=2)
    for column in range(3):
        alone = bootstrap_means(values[:, [column]], replicates=500, seed=2)[0]
        assert (alone.low, alone.high) == pytest.approx((together[column].low, together[column].high), rel=1e-9)
    assert together[3].method == "none" and math.isnan(together[3].estimate)
    with pytest.raises(DataError, match="One of: studentized"):
        bootstrap_means(values, method="basic", seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("freedom", [1, 2, 7, 49, 499, 123_456])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_students_quantile_is_scipys(freedom: int, confidence: float) -> None:
    expected = stats.t.ppf(0.5 + confidence / 2, freedom)
    assert student_quantile(confidence, freedom) == pytest.approx(expected, rel=1e-8)
    assert incomplete_beta(0.3, freedom / 2, 0.5) == pytest.approx(special.betainc(freedom / 2, 0.5, 0.3), abs=1e-12)


def test_students_quantile_refuses_nonsense() -> None:
    with pytest.raises(DataError, match="degrees of freedom"):
        student_quantile(0.95, 0)
    with pytest.raises(DataError, match="between 0 and 1"):
        student_quantile(1.0, 5)
