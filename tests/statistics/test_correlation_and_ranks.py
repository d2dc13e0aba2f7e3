"""Correlations and mean ranks against SciPy, plain resampling and full enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from compressed_lens.errors import DataError
from compressed_lens.statistics import average_ranks, correlation, rank_test

NAN = math.nan


@pytest.mark.parametrize("levels", [2, 3, 1000])
def test_estimate_is_scipys(levels: int) -> None:
    generator = np.random.default_rng(levels)
    x = generator.integers(0, levels, 80).astype(float)
    y = np.where(generator.random(80) < 0.5, x, generator.integers(0, levels, 80))
    found = correlation(x, y, seed=0)
    assert found.estimate == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert found.low < found.estimate < found.high and found.n == 80 and not found.constant
    assert found.kind == ("phi" if levels == 2 else "spearman")
    if levels == 2:
        table = [[((x == i) & (y == j)).sum() for j in (0, 1)] for i in (0, 1)]
        (a, b), (c, d) = table
        assert found.estimate == pytest.approx((a * d - b * c) / math.sqrt((a + b) * (c + d) * (a + c) * (b + d)))


@pytest.mark.parametrize("clustered", [False, True])
def test_interval_is_that_of_plain_resampling(clustered: bool) -> None:
    generator = np.random.default_rng(5)
    x = generator.normal(size=60)
    y = x + generator.normal(size=60)
    units = np.repeat(np.arange(20), 3) if clustered else np.arange(60)
    draws = []
    for _ in range(3000):
        picked = generator.integers(0, units.max() + 1, units.max() + 1)
        rows = np.concatenate([np.flatnonzero(units == unit) for unit in picked])
        draws.append(stats.spearmanr(x[rows], y[rows]).statistic)
    clusters = units if clustered else None
    found = correlation(x, y, clusters=clusters, replicates=6000, method="percentile", seed=1)
    assert [found.low, found.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.02)
    assert found.method == "percentile"


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("clustered", [False, True])
def test_standard_error_is_that_of_a_little_more_weight(levels: int, clustered: bool) -> None:
    """Every item many times over, and one unit once more: the literal change of the correlation."""
    generator = np.random.default_rng(levels)
    x = generator.integers(0, levels, 24)
    y = x // 2 + generator.integers(0, levels, 24)
    unit = np.sort(generator.integers(0, 9, 24)) if clustered else np.arange(24)
    times, changes = 2000, []
    rho = stats.spearmanr(x, y).statistic
    for label in np.unique(unit):
        repeats = times + (unit == label)
        moved = stats.spearmanr(np.repeat(x, repeats), np.repeat(y, repeats)).statistic
        changes.append((moved - rho) * times)
    units = len(changes)
    error = math.sqrt(sum(change**2 for change in changes) * units / (units - 1))
    half = stats.t.ppf(0.975, units - 1) * error / (1 - rho**2)
    found = correlation(x, y, clusters=unit if clustered else None, seed=0)
    expected = np.tanh([math.atanh(rho) - half, math.atanh(rho) + half])
    assert [found.low, found.high] == pytest.approx(expected, abs=2e-3)
    assert found.method == "jackknife"


def test_a_perfect_correlation_has_the_interval_of_its_resamples() -> None:
    found = correlation(range(9), range(9), seed=0)
    assert (found.estimate, found.low, found.high, found.method) == (pytest.approx(1.0), 1.0, 1.0, "percentile")
    with pytest.raises(DataError, match="One of: jackknife"):
        correlation([1, 2], [1, 2], method="bca", seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second", "constant"),
    [([1, 1, 1], [0, 1, 0], "first"), ([0, 1, 0], [2, 2, 2], "second"), ([1, 1], [1, 1], "both"), ([1], [0], "few"),
     ([NAN, 1, NAN], [1, NAN, NAN], "few"), ([], [], "few")],
)  # fmt: skip
def test_undefined_says_why(first: list[float], second: list[float], constant: str) -> None:
    found = correlation(first, second, seed=0)
    assert math.isnan(found.estimate) and math.isnan(found.low) and found.constant == constant


def test_a_thin_table_keeps_a_wide_interval() -> None:
    x, y = np.array([1] * 9 + [1, 1, 0.0]), np.array([1] * 9 + [0, 0, 1.0])
    found = correlation(x, y, seed=0)
    assert found.method == "jeffreys" and found.low < found.estimate < 0.2 < found.high
    same = correlation([1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0], seed=0)
    assert same.estimate == same.high == pytest.approx(1) and same.low < 0.8
    assert correlation([1, 0] * 20, [1, 0, 0, 1] * 10, seed=0).method == "jackknife"


@pytest.mark.parametrize("table", [(0.8, 0.05, 0.1, 0.05), (0.4, 0.1, 0.1, 0.4)])
def test_intervals_of_phi_cover(table: tuple[float, float, float, float]) -> None:
    generator = np.random.default_rng(4)
    a, b, c, d = table
    truth = (a * d - b * c) / math.sqrt((a + b) * (c + d) * (a + c) * (b + d))
    held = tried = 0
    for _ in range(150):
        cell = generator.choice(4, p=table, size=30)
        found = correlation(cell < 2, cell % 2 == 0, replicates=400, seed=1)
        if not math.isnan(found.low):
            tried, held = tried + 1, held + (found.low <= truth <= found.high)
    assert tried > 120 and held / tried > 0.88


def test_only_shared_items_count() -> None:
    found = correlation([1, 0, 1, 0, NAN, 1], [1, 0, 1, 0, 1, NAN], seed=0)
    assert (found.n, found.dropped, found.estimate) == (4, 2, pytest.approx(1.0))
    with pytest.raises(DataError, match="infinity"):
        correlation([math.inf, 1], [0, 1], seed=0)
    with pytest.raises(DataError, match="shapes"):
        correlation([0, 1], [0, 1, 1], seed=0)


def test_ranks_average_ties_and_skip_the_missing() -> None:
    found = average_ranks([[3, 1, 1, NAN], [5, 5, 5, 5], [NAN, 2, 1, 3]])
    np.testing.assert_array_equal(found, [[3, 1.5, 1.5, NAN], [2.5, 2.5, 2.5, 2.5], [NAN, 2, 1, 3]])


def test_statistic_orders_tables_as_friedmans() -> None:
    generator = np.random.default_rng(3)
    tables = [generator.normal(size=(30, 4)) + [0, shift, 0, 0] for shift in (0, 0.2, 0.4, 0.8)]
    ours = [rank_test(average_ranks(table), seed=0) for table in tables]
    theirs = [stats.friedmanchisquare(*table.T).pvalue for table in tables]
    assert np.argsort([found.p for found in ours]).tolist() == np.argsort(theirs).tolist()
    for found, chance in zip(ours, theirs, strict=True):
        assert found.p == pytest.approx(chance, abs=0.03)


def test_permutations_are_those_of_full_enumeration() -> None:
    ranks = np.array([[1, 2, 3], [1, 3, 2], [1.5, 1.5, NAN], [2, NAN, 1]])
    rows = [[row[list(order)] for order in itertools.permutations(range(3))] for row in ranks[:2]]
    for row in ranks[2:]:
        places = np.flatnonzero(~np.isnan(row))
        options = []
        for order in itertools.permutations(row[places]):
            option = row.copy()
            option[places] = order
            options.append(option)
        rows.append(options)
    counts = (~np.isnan(ranks)).sum(axis=0)

    def centred(table: np.ndarray) -> np.ndarray:
        return np.nansum(table - np.nanmean(table, axis=1, keepdims=True), axis=0) / counts

    everything = [centred(np.array(table)) for table in itertools.product(*rows)]
    observed = centred(ranks)
    score = [(counts * found**2).sum() for found in everything]
    found = rank_test(ranks, permutations=40_000, seed=2)
    assert found.p == pytest.approx(np.mean(np.array(score) >= (counts * observed**2).sum() - 1e-9), abs=0.01)
    assert found.centred == pytest.approx(observed)
    widest = np.array([f.max() - f.min() for f in everything])
    for one, other in itertools.combinations(range(3), 2):
        apart = abs(observed[one] - observed[other])
        assert found.pairs[one, other] == pytest.approx((widest >= apart - 1e-9).mean(), abs=0.01)


def test_critical_difference_is_nemenyis_for_many_rows() -> None:
    k, rows = 5, 120
    ranks = average_ranks(np.random.default_rng(0).normal(size=(rows, k)))
    nemenyi = 2.728 * math.sqrt(k * (k + 1) / (6 * rows))  # q of Demšar's table 5, alpha 0.05
    found = rank_test(ranks, permutations=20_000, seed=0)
    assert found.critical_difference == pytest.approx(nemenyi, rel=0.03) and found.p > 0.01


@pytest.mark.parametrize("rows", range(1, 9))
@pytest.mark.parametrize("k", [2, 3])
def test_what_reaches_the_critical_difference_is_rarer_than_alpha(k: int, rows: int) -> None:
    """Few rows have few distances, and one that chance often makes tells nobody apart."""
    found = rank_test([[*range(1, k + 1)]] * rows, permutations=20_000, seed=1)
    assert found.pairs[0, -1] == pytest.approx((k * (k - 1)) ** (1.0 - rows), abs=0.01)
    told = found.centred[-1] - found.centred[0] >= found.critical_difference
    assert told == (found.pairs[0, -1] < 0.05) and math.isnan(found.critical_difference) != told


def test_one_competitor_is_no_contest() -> None:
    found = rank_test([[1.0, NAN], [1.0, NAN]], seed=0)
    assert math.isnan(found.p) and found.rows == 0
