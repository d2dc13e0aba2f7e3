"""The cumulative-link mixed model against statsmodels, the integral, dense algebra and finite differences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import expit, logsumexp
from statsmodels.miscmodels.ordinal_model import OrderedModel
from tests.statistics.rating_designs import study

from compressed_lens.errors import DataError
from compressed_lens.statistics import OrdinalFit, ordinal_mixed
from compressed_lens.statistics.ordinal_likelihood import OrdinalLikelihood
from compressed_lens.statistics.random_intercepts import RandomIntercepts

Floats = NDArray[np.float64]


def loss(places: NDArray[np.int64], thresholds: Floats, predictor: Floats) -> Floats:
    """-log P(Y = place) as it is written, for predictors [..., n]."""
    above = expit(np.append(thresholds, np.inf)[places] - predictor)
    below = expit(np.insert(thresholds, 0, -np.inf)[places] - predictor)
    return -np.log(above - below)


def sample(n: int, sizes: tuple[int, ...], seed: int = 1) -> tuple[NDArray[np.int64], Floats, list[NDArray[np.int64]]]:
    """Ratings of 1 to 4 that effects and groupings move."""
    generator = np.random.default_rng(seed)
    groups = [np.resize(generator.permutation(size), n) if size else generator.integers(0, 9, n) for size in sizes]
    fixed = np.column_stack([generator.integers(0, 2, n), generator.normal(size=n)])
    latent = fixed @ [0.8, -0.4] + generator.logistic(size=n)
    for group in groups:
        latent += 0.9 * generator.normal(size=group.max() + 1)[group]
    return 1 + (latent[:, None] > [-1.2, 0.1, 1.6]).sum(axis=1), fixed, groups


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_value_and_gradient(count: int) -> None:
    """The value is h(û) + log |H| / 2 of a dense minimization; the gradient is that of differences."""
    ratings, fixed, groups = sample(60, (5, 7, 20)[:count])
    intercepts = RandomIntercepts(groups, 60)
    likelihood = OrdinalLikelihood(ratings - 1, fixed, intercepts)
    deviations = np.array([0.8, 0.5, 1.1])[:count]
    parameters = np.concatenate([[-1.0, 0.2, 0.9], [0.4, -0.3], deviations])
    value, gradient = likelihood(parameters)
    numeric = [
        (likelihood(parameters + move)[0] - likelihood(parameters - move)[0]) / 2e-5
        for move in 1e-5 * np.eye(5 + count)
    ]
    np.testing.assert_allclose(gradient, numeric, atol=1e-6)

    columns = [deviation * np.eye(group.max() + 1)[group] for deviation, group in zip(deviations, groups, strict=True)]
    dense = np.hstack([np.zeros((60, 1)), *columns])

    def joint(effects: Floats) -> float:
        shift = fixed @ parameters[3:5] + dense @ effects
        return float(loss(ratings - 1, parameters[:3], shift).sum() + effects @ effects / 2)

    found = minimize(joint, np.zeros(dense.shape[1]), method="BFGS", options={"gtol": 1e-7})
    shift = fixed @ parameters[3:5] + dense @ found.x
    step = 1e-4
    second = (
        loss(ratings - 1, parameters[:3], shift + step)
        - 2 * loss(ratings - 1, parameters[:3], shift)
        + loss(ratings - 1, parameters[:3], shift - step)
    ) / step**2
    hessian = dense.T @ (second[:, None] * dense) + np.eye(dense.shape[1])
    assert value == pytest.approx(found.fun + np.linalg.slogdet(hessian)[1] / 2, abs=1e-5)


def test_without_groupings_it_is_an_ordered_logit() -> None:
    ratings, fixed, _ = sample(200, ())
    fit = ordinal_mixed(ratings, fixed, [])
    peer = OrderedModel(ratings, fixed, distr="logit").fit(method="bfgs", disp=False, gtol=1e-7)
    assert fit.converged and fit.deviations.shape == (0,)
    assert fit.log_likelihood == pytest.approx(peer.llf, abs=1e-8)
    np.testing.assert_allclose(fit.coefficients, peer.params[:2], atol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), peer.bse[:2], rtol=1e-4)
    np.testing.assert_allclose(fit.thresholds, peer.model.transform_threshold_params(peer.params[2:])[1:-1], atol=1e-5)

    # Expected points and their error, by the peer's own covariance.
    rows, base = fixed[:50], fixed[50:60]

    def difference(params: Floats) -> float:
        cuts = peer.model.transform_threshold_params(params[2:])[1:-1]
        means = [1 + expit((part @ params[:2])[:, None] - cuts).sum(axis=1).mean() for part in (rows, base)]
        return float(means[0] - means[1])

    slope = np.array([(difference(peer.params + move) - difference(peer.params - move)) / 2e-5
                      for move in 1e-5 * np.eye(5)])  # fmt: skip
    found = fit.points_difference(rows, base)
    assert found.estimate == pytest.approx(difference(peer.params), abs=1e-5)
    assert found.error == pytest.approx(math.sqrt(slope @ peer.cov_params() @ slope), rel=1e-4)
    means = [fit.mean_points(part).estimate for part in (rows, base)]
    assert found.estimate == pytest.approx(means[0] - means[1], abs=1e-12)


def integrated(ratings: NDArray[np.int64], fixed: Floats, group: NDArray[np.int64], parameters: Floats) -> float:
    """-log likelihood of one grouping, the integral of each level by 321 points that lie close."""
    u = np.linspace(-8, 8, 321)
    by_row = loss(ratings - 1, parameters[:3], fixed @ parameters[3:5] + parameters[5] * u[:, None])
    by_level = np.stack([by_row[:, group == level].sum(axis=1) for level in np.unique(group)])
    normal = u**2 / 2 + math.log(2 * math.pi) / 2 - math.log(u[1] - u[0])
    return -float(logsumexp(-by_level - normal, axis=1).sum())


@pytest.mark.parametrize(("levels", "value_within", "estimate_within"), [(6, 0.02, 0.01), (30, 1.0, 0.06)])
def test_laplace_is_close_to_the_integral(levels: int, value_within: float, estimate_within: float) -> None:
    """With ten ratings a level nearly exact; with two, still within a tenth of a standard error (0.5)."""
    ratings, fixed, (group,) = sample(60, (levels,), seed=4)
    fit = ordinal_mixed(ratings, fixed, [group])
    start = np.concatenate([fit.thresholds, fit.coefficients, fit.deviations])
    assert -fit.log_likelihood == pytest.approx(integrated(ratings, fixed, group, start), abs=value_within)
    exact = minimize(lambda p: integrated(ratings, fixed, group, p), start, method="BFGS", options={"gtol": 1e-3})
    np.testing.assert_allclose(fit.coefficients, exact.x[3:5], atol=estimate_within)
    assert fit.deviations[0] == pytest.approx(abs(exact.x[5]), rel=0.15)


def test_covariance_is_the_inverse_information() -> None:
    ratings, fixed, groups = sample(80, (8, 5))
    fit = ordinal_mixed(ratings, fixed, groups)
    likelihood = OrdinalLikelihood(ratings - 1, fixed, RandomIntercepts(groups, 80))
    best = np.concatenate([fit.thresholds, fit.coefficients, fit.deviations])
    step = 1e-3 * np.eye(len(best))
    hessian = np.zeros((len(best), len(best)))
    for i, j in itertools.product(range(len(best)), repeat=2):
        corners = [a * b * likelihood(best + a * step[i] + b * step[j])[0] for a in (1, -1) for b in (1, -1)]
        hessian[i, j] = sum(corners) / 4e-6
    np.testing.assert_allclose(fit.covariance, np.linalg.inv(hessian)[3:5, 3:5], rtol=1e-3)
    assert np.abs(likelihood(best)[1]).max() < 1e-3


def test_expected_points_are_the_integral_over_the_groupings() -> None:
    ratings, fixed, groups = sample(80, (8, 5))
    ratings = np.where(ratings == 4, 5, ratings)
    fit = ordinal_mixed(ratings, fixed, groups)
    assert fit.points == (1, 2, 3, 5) and fit.unused == (4,)
    spread = math.sqrt(float(fit.deviations @ fit.deviations))

    def inside(z: float) -> float:
        below = expit(fit.thresholds - (fixed @ fit.coefficients)[:, None] - spread * z)
        shares = np.diff(np.pad(below, ((0, 0), (1, 1)), constant_values=(0, 1)))
        return float((shares @ fit.points).mean() * math.exp(-z * z / 2) / math.sqrt(2 * math.pi))

    assert fit.mean_points(fixed).estimate == pytest.approx(quad(inside, -9, 9, epsabs=1e-10)[0], abs=1e-7)


def same(first: OrdinalFit, second: OrdinalFit, weights: Floats, other: Floats) -> None:
    one, two = first.contrast(weights), second.contrast(other)
    for found, expected in ((one.estimate, two.estimate), (one.error, two.error), (one.p, two.p)):
        assert found == pytest.approx(expected, rel=1e-4)
    assert first.log_likelihood == pytest.approx(second.log_likelihood, abs=1e-6)


def test_order_and_coding_do_not_matter() -> None:
    generator = np.random.default_rng(3)
    planned = study(6, 36, generator)
    ratings = planned.rated(np.array([0, 0.5, 1.0, -1.0]), generator)
    fit = ordinal_mixed(ratings, planned.fixed, planned.groups)
    assert fit.converged and fit.units == 6 and fit.ratings == 144
    order = generator.permutation(144)
    shuffled = ordinal_mixed(ratings[order], planned.fixed[order], [group[order] for group in planned.groups[::-1]])
    np.testing.assert_allclose(shuffled.deviations[::-1], fit.deviations, atol=1e-3)
    weights = np.array([0, 0, 0, 1.0, -1.0])
    same(fit, shuffled, weights, weights)
    # A column for every variant, and a constant one: the thresholds and each other determine them.
    cells = np.column_stack([planned.fixed[:, :2], *(planned.variant == v for v in range(4)), np.ones(144)])
    cells_fit = ordinal_mixed(ratings, cells, planned.groups)
    same(fit, cells_fit, weights, np.array([0, 0, 0, 0, 1.0, -1.0, 0]))
    assert math.isnan(cells_fit.contrast([0, 0, 0, 0, 1, 0, 0]).estimate)
    base, row = np.zeros((1, 5)), np.eye(5)[4:]
    points = fit.points_difference(row, base)
    as_cells = cells_fit.points_difference([[0, 0, 0, 0, 0, 1, 1]], [[0, 0, 1, 0, 0, 0, 1]])
    assert points.estimate == pytest.approx(as_cells.estimate, abs=1e-5)
    assert points.error == pytest.approx(as_cells.error, rel=1e-3)


def test_without_variation_nothing_is_told() -> None:
    ratings, fixed, groups = sample(40, (5,))
    fit = ordinal_mixed(np.full(40, 5), fixed, groups)
    assert not fit.converged and fit.points == (5,) and fit.unused == (1, 2, 3, 4)
    for told in (fit.contrast([1, 0]), fit.mean_points(fixed), fit.points_difference(fixed, fixed[:1])):
        assert math.isnan(told.low) and math.isnan(told.p) and told.method == "none"


def test_separation_has_no_interval_and_leaves_the_rest() -> None:
    generator = np.random.default_rng(5)
    planned = study(6, 36, generator)
    ratings = planned.rated(np.zeros(4), generator)
    ratings[planned.variant == 3] = 5
    fit = ordinal_mixed(ratings, planned.fixed, planned.groups)
    assert not fit.converged
    assert math.isnan(fit.contrast(np.eye(5)[4]).low)
    assert math.isnan(fit.points_difference(np.eye(5)[4], np.zeros(5)).low)
    others = planned.variant < 3
    without = ordinal_mixed(ratings[others], planned.fixed[others, :4], [group[others] for group in planned.groups])
    assert without.converged
    # Raters and items still have the ratings of the separated variant, so that the others' move a little.
    left, right = fit.contrast(np.eye(5)[3]), without.contrast(np.eye(4)[3])
    assert left.estimate == pytest.approx(right.estimate, abs=0.3) and left.error == pytest.approx(right.error, rel=0.2)


def test_raters_who_never_disagree_leave_no_scale() -> None:
    generator = np.random.default_rng(6)
    planned = study(6, 36, generator)
    by_text = generator.integers(1, 6, planned.text.max() + 1)
    fit = ordinal_mixed(by_text[planned.text], planned.fixed, planned.groups)
    assert not fit.converged and math.isnan(fit.contrast(np.eye(5)[4]).low)


@pytest.mark.parametrize("seed", range(12))
def test_small_and_odd_data_give_a_fit(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n = int(generator.integers(2, 30))
    groups = [generator.integers(0, n, n) for _ in range(seed % 4)]
    fit = ordinal_mixed(generator.integers(1, 4, n), generator.integers(0, 2, (n, seed % 3)).astype(float), groups)
    for weights in np.eye(seed % 3):
        told = fit.contrast(weights)
        assert math.isnan(told.low) or told.low < told.estimate < told.high


@pytest.mark.parametrize(
    ("ratings", "fixed", "match"),
    [
        ([1, 2.5], [[0], [1]], "not a whole number"),
        ([1, 6], [[0], [1]], "not a whole number"),
        ([1, math.nan], [[0], [1]], "not a whole number"),
        ([1, 2], [[0]], "do not belong"),
        ([1, 2], [[0], [math.inf]], "finite"),
        ([], [], "do not belong"),
    ],
)
def test_what_is_refused(ratings: list[float], fixed: list[list[float]], match: str) -> None:
    with pytest.raises(DataError, match=match):
        ordinal_mixed(ratings, fixed, [])


def test_weights_and_rows_of_another_width_are_refused() -> None:
    ratings, fixed, _ = sample(40, ())
    fit = ordinal_mixed(ratings, fixed, [])
    with pytest.raises(DataError, match="do not belong to 2"):
        fit.contrast([1])
    with pytest.raises(DataError, match="do not belong to 2"):
        fit.mean_points([[1, 2, 3]])
