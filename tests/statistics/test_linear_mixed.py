"""REML against statsmodels, dense algebra, finite differences and the exact t tests of balanced designs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import minimize
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

from compressed_lens.errors import DataError
from compressed_lens.statistics import linear_mixed
from compressed_lens.statistics.linear_mixed import RestrictedLikelihood
from compressed_lens.statistics.random_intercepts import RandomIntercepts

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def sample(n: int, sizes: Sequence[int], seed: int = 2) -> tuple[Floats, Floats, list[Codes]]:
    generator = np.random.default_rng(seed)
    groups = [np.resize(generator.permutation(np.repeat(np.arange(size), 2)), n) for size in sizes]
    fixed = np.column_stack([generator.integers(0, 2, n), generator.normal(size=n)])
    values = 3 + fixed @ [0.5, -0.2] + generator.normal(size=n)
    for group in groups:
        values += 0.8 * generator.normal(size=group.max() + 1)[group]
    return values, fixed, groups


def restricted(values: Floats, fixed: Floats, groups: Sequence[Codes], spreads: Floats) -> tuple[float, Floats]:
    """-2 log restricted likelihood at standard deviations (residual last) as it is written, and the covariance."""
    x = np.column_stack([np.ones(len(values)), fixed])
    v = spreads[-1] ** 2 * np.eye(len(values))
    for spread, group in zip(spreads, groups, strict=False):
        v += spread**2 * (group[:, None] == group)
    inverse = np.linalg.inv(v)
    information = x.T @ inverse @ x
    rest = values - x @ np.linalg.solve(information, x.T @ inverse @ values)
    value = np.linalg.slogdet(v)[1] + np.linalg.slogdet(information)[1] + rest @ inverse @ rest
    return float(value), np.linalg.inv(information)


def test_one_grouping_is_that_of_statsmodels() -> None:
    values, fixed, (group,) = sample(90, [15])
    fit = linear_mixed(values, fixed, [group])
    x = np.column_stack([np.ones(90), fixed])
    peer = MixedLM(values, x, group).fit(reml=True, method="bfgs", gtol=1e-8)
    assert fit.converged
    np.testing.assert_allclose(fit.coefficients, peer.fe_params[1:], atol=1e-5)
    # The peer's standard errors come from a Hessian that holds the variances, too.
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), peer.bse_fe[1:], rtol=0.02)
    assert fit.deviations[0] == pytest.approx(math.sqrt(peer.cov_re[0, 0]), rel=1e-4)
    assert fit.residual == pytest.approx(math.sqrt(peer.scale), rel=1e-4)


def test_crossed_groupings_are_those_of_statsmodels() -> None:
    values, fixed, groups = sample(80, [8, 10])
    fit = linear_mixed(values, fixed, groups)
    x = np.column_stack([np.ones(80), fixed])
    indicators = [[np.eye(group.max() + 1)[group]] for group in groups]
    names = [[[str(level) for level in range(group.max() + 1)]] for group in groups]
    components = VCSpec(["first", "second"], names, indicators)
    peer = MixedLM(values, x, np.zeros(80), exog_re=np.zeros((80, 0)), exog_vc=components).fit(
        reml=True, method="bfgs", gtol=1e-8
    )
    np.testing.assert_allclose(fit.coefficients, peer.fe_params[1:], atol=1e-4)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), peer.bse_fe[1:], rtol=0.02)
    np.testing.assert_allclose(fit.deviations, np.sqrt(peer.vcomp), rtol=1e-3)
    assert fit.residual == pytest.approx(math.sqrt(peer.scale), rel=1e-3)


@pytest.mark.parametrize("sizes", [(8,), (8, 10), (6, 10, 25)])
def test_fit_and_freedom_are_those_of_dense_algebra(sizes: tuple[int, ...]) -> None:
    values, fixed, groups = sample(60, sizes)
    fit = linear_mixed(values, fixed, groups)
    found = np.append(fit.deviations, fit.residual)
    best = minimize(lambda s: restricted(values, fixed, groups, s)[0], found + 0.1, method="BFGS").x
    np.testing.assert_allclose(found, np.abs(best), atol=2e-3)
    np.testing.assert_allclose(fit.covariance, restricted(values, fixed, groups, found)[1][1:, 1:], rtol=1e-6)

    # Satterthwaite as it is written: by the deviations that are not 0, of which nothing depends to first order.
    weights = np.array([0, 1.0, -0.5])
    step = 1e-3
    moves = [step * move for move, deviation in zip(np.eye(len(found)), found, strict=True) if deviation > 0]

    def variance(spreads: Floats) -> float:
        return float(weights @ restricted(values, fixed, groups, spreads)[1] @ weights)

    slopes = np.array([(variance(found + move) - variance(found - move)) / (2 * step) for move in moves])
    hessian = np.array([[
        sum(a * b * restricted(values, fixed, groups, found + a * one + b * two)[0] for a in (1, -1) for b in (1, -1))
        for one in moves] for two in moves]) / (4 * step**2)  # fmt: skip
    freedom = 2 * variance(found) ** 2 / (slopes @ (2 * np.linalg.inv(hessian)) @ slopes)
    assert fit.contrast(weights[1:]).freedom == pytest.approx(freedom, rel=2e-3)


def test_gradient_is_that_of_differences() -> None:
    values, fixed, groups = sample(60, (6, 10, 25))
    criterion = RestrictedLikelihood(values, fixed, RandomIntercepts(groups, 60))
    ratios = np.array([0.5, 0.9, 0.3])
    numeric = [
        (criterion.at(ratios + move).value - criterion.at(ratios - move).value) / 2e-5 for move in 1e-5 * np.eye(3)
    ]
    np.testing.assert_allclose(criterion.at(ratios).gradient, numeric, atol=1e-6)


def test_without_groupings_it_is_the_t_test() -> None:
    values, fixed, _ = sample(30, ())
    other = fixed[:, 0] == 1
    peer = stats.ttest_ind(values[other], values[~other])
    found = linear_mixed(values, fixed[:, :1], []).contrast([1])
    interval = peer.confidence_interval(0.95)
    assert found.freedom == pytest.approx(28) and found.p == pytest.approx(peer.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_balanced_groups_give_the_t_test_of_their_means() -> None:
    """An effect between groups: t of the group means. One within them: the paired differences' degrees of freedom."""
    generator = np.random.default_rng(4)
    group = np.repeat(np.arange(12), 6)
    between, within = (group % 2).astype(float), np.tile([0.0, 1.0], 36)
    values = 1.5 * generator.normal(size=12)[group] + generator.normal(size=72) + between
    fit = linear_mixed(values, np.column_stack([between, within]), [group])
    means = values.reshape(12, 6).mean(axis=1)
    peer = stats.ttest_ind(means[1::2], means[::2])
    found = fit.contrast([1, 0])
    assert found.freedom == pytest.approx(10, rel=1e-3) and found.p == pytest.approx(peer.pvalue, rel=1e-3)
    assert fit.contrast([0, 1]).freedom == pytest.approx(72 - 12 - 1, rel=1e-3)


def test_dependent_columns_are_told_together_or_not_at_all() -> None:
    values, fixed, groups = sample(60, (6, 10))
    cells = np.column_stack([fixed[:, 0], 1 - fixed[:, 0], fixed[:, 1]])
    one, two = linear_mixed(values, fixed, groups), linear_mixed(values, cells, groups)
    first, second = one.contrast([1, 0]), two.contrast([1, -1, 0])
    assert (first.estimate, first.error, first.freedom) == pytest.approx(
        (second.estimate, second.error, second.freedom), rel=1e-4
    )
    assert math.isnan(two.contrast([1, 0, 0]).estimate) and two.contrast([1, 0, 0]).method == "none"


def test_without_variation_nothing_is_told() -> None:
    _, fixed, groups = sample(40, (5,))
    assert not linear_mixed(np.full(40, 4.0), fixed, groups).converged
    agreed = linear_mixed(groups[0].astype(float), fixed[:, :1], groups)
    assert not agreed.converged and math.isnan(agreed.contrast([1]).low)


@pytest.mark.parametrize(
    ("values", "fixed", "groups", "match"),
    [
        ([1, math.nan, 2], [[0], [1], [1]], [], "finite"),
        ([1, 2, 2], [[0], [1]], [], "do not belong"),
        ([1, 2, 2], [[0], [1], [1]], [[1, 2]], "does not belong"),
        ([1, 2], [[0], [1]], [], "too few"),
    ],
)
def test_what_is_refused(values: list[float], fixed: list[list[float]], groups: list[list[int]], match: str) -> None:
    with pytest.raises(DataError, match=match):
        linear_mixed(values, fixed, groups)
