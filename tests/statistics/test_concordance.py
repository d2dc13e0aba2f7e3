"""Rank correlations against SciPy, and their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compressed_lens.errors import DataError
from compressed_lens.statistics.concordance import concordance

stats: Any = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [4, 9, 33, 34, 120])
@pytest.mark.parametrize("strength", [0.0, 0.5, -2.0])
def test_coefficients_and_p_values_are_those_of_scipy(n: int, ties: bool, strength: float) -> None:
    generator = np.random.default_rng(n)
    x = generator.normal(size=n)
    y = strength * x + generator.normal(size=n)
    if ties:
        x, y = np.round(x), np.round(y)
    rho, tau = stats.spearmanr(x, y), stats.kendalltau(x, y)
    ours = concordance(x, y, replicates=20, seed=0)
    assert ours.estimate == pytest.approx(rho.statistic, abs=1e-12)
    assert ours.p == pytest.approx(rho.pvalue, rel=1e-9, abs=1e-300)
    ours = concordance(x, y, method="kendall", replicates=20, seed=0)
    assert ours.estimate == pytest.approx(tau.statistic, abs=1e-12)
    assert ours.p == pytest.approx(tau.pvalue, rel=1e-9)


def test_each_replicate_is_the_coefficient_of_the_drawn_pairs() -> None:
    generator = np.random.default_rng(7)
    x, y = generator.integers(0, 5, 25).astype(float), generator.integers(0, 5, 25).astype(float)
    drawn = np.random.default_rng(3).integers(0, 25, size=(400, 25))
    replicates = [stats.kendalltau(x[row], y[row]).statistic for row in drawn]
    found = concordance(x, y, method="kendall", replicates=400, seed=3)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(replicates, [0.025, 0.975])), abs=1e-9)


@pytest.mark.parametrize("method", ["spearman", "kendall"])
def test_clusters_widen_the_interval_of_copied_pairs(method: Any) -> None:
    generator = np.random.default_rng(2)
    x = generator.normal(size=30)
    y = x + generator.normal(size=30)
    copied = concordance(np.repeat(x, 8), np.repeat(y, 8), method=method, seed=0)
    clustered = concordance(
        np.repeat(x, 8), np.repeat(y, 8), clusters=np.repeat(np.arange(30), 8), method=method, seed=0
    )
    plain = concordance(x, y, method=method, seed=0)
    assert clustered.n == 240
    assert copied.high - copied.low < (clustered.high - clustered.low) / 2
    assert (clustered.low, clustered.high) == pytest.approx((plain.low, plain.high), abs=0.05)
    if method == "spearman":
        assert copied.p < 1e-6 * clustered.p, "copies are no evidence"


def test_the_p_value_of_clusters_says_what_their_interval_says() -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(60):
        cluster = np.repeat(np.arange(15), 12)
        x, y = (rng.normal(size=15)[cluster] + rng.normal(size=180) for _ in range(2))
        one = concordance(x, y, clusters=cluster, seed=0)
        assert (one.p < 0.05) == (one.low > 0 or one.high < 0)
        found.append((one.p < 0.05, concordance(x, y, seed=0).p < 0.05))
    rightly, naively = np.mean(found, axis=0)
    assert rightly < 0.15 and naively > 0.3, "180 pairs in 15 clusters are not 180 pieces of evidence"


def test_missing_sides_and_constant_measures() -> None:
    found = concordance([1, 2, np.nan, 4, 5], [2, np.nan, 3, 4, 9], seed=0)
    assert (found.n, found.dropped) == (3, 2)
    assert found.estimate == pytest.approx(1.0)
    for method in ("spearman", "kendall"):
        flat = concordance([1, 1, 1, 1], [1, 2, 3, 4], method=method, seed=0)  # type: ignore[arg-type]
        assert np.isnan(flat.estimate)
        assert np.isnan(flat.p)
        assert np.isnan(flat.low)
        nothing = concordance([], [], method=method, seed=0)  # type: ignore[arg-type]
        assert np.isnan(nothing.estimate)
    with pytest.raises(DataError, match="same (units|items)"):
        concordance([1, 2], [1], seed=0)
    with pytest.raises(DataError, match="One of: spearman"):
        concordance([1, 2], [1, 2], method="pearson", seed=0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one a pair"):
        concordance([1, 2], [1, 2], clusters=[1], method="kendall", seed=0)
