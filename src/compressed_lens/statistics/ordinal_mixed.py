"""Cumulative-link mixed model of ratings: differences in log-odds, and the same in points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.fixed_effects import Array, FixedEffects
from compressed_lens.statistics.ordinal_likelihood import OrdinalLikelihood
from compressed_lens.statistics.random_intercepts import RandomIntercepts
from compressed_lens.statistics.wald import WaldInterval, wald_interval

_START = 0.7
_ITERATIONS = 200
_GRADIENT = 1e-4
_DIFFERENCE = 1e-4
_SETTLED = 1e-4
# Curvature in logits squared below what differences of the gradient can tell from 0.
_FLAT = 1e-5
_NODES = 64
_NO_DEVIATION = 1e-3
# A direction of effects in which the farthest rating's predictor has a standard error of so many logits is unbounded.
_UNBOUNDED = 40.0
_LOADING = 1e-2
# Intercepts that spread wider leave no doubt what anyone gives: raters who never disagree.
_WIDEST = 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class OrdinalFit:
    """A fitted cumulative-link mixed model: logit P(Y <= k) = threshold_k - (x b + random intercepts).

    A positive coefficient raises ratings. Whatever the data cannot tell has no interval: effects that others determine,
    and effects that run to infinity because all ratings under them are alike.

    Attributes:
        points: The points that were given, ascending.
        unused: Points of the scale that nobody gave; the model leaves them out, as of probability 0.
        thresholds: [points - 1], log-odds.
        coefficients: [p], log-odds, in the order of the fixed effects; of effects that depend on each other the
            shortest vector. NaN without variation.
        covariance: [p, p], of the coefficients.
        deviations: Standard deviation of each grouping's intercepts, log-odds; 0 is possible.
        log_likelihood: Laplace's approximation of it.
        converged: Whether the maximum was found and every effect is finite there (no separation).
        ratings: Number of ratings.
        units: Levels of the smallest grouping, or ratings where there is none.
        freedom: Degrees of freedom of the intervals: levels of the smallest grouping - 1; infinite without groupings.
    """

    points: tuple[int, ...]
    unused: tuple[int, ...]
    thresholds: Array
    coefficients: Array
    covariance: Array
    deviations: Array
    log_likelihood: float
    converged: bool
    ratings: int
    units: int
    freedom: float
    _effects: FixedEffects
    _unbounded: Array
    _joint: Array

    def contrast(self, weights: ArrayLike, *, confidence: float = 0.95) -> WaldInterval:
        """Return the weighted sum of coefficients, in log-odds.

        Args:
            weights: [p].
            confidence: Nominal coverage.

        Raises:
            DataError: Another number of weights, or `confidence` is not between 0 and 1.
        """
        checked = self._effects.weights(weights)
        estimate, error = math.nan, math.nan
        if self._known(checked[None]):
            estimate = float(checked @ self.coefficients)
            error = math.sqrt(max(0.0, float(checked @ self.covariance @ checked)))
        return self._interval(estimate, error, confidence)

    def mean_points(self, rows: ArrayLike, *, confidence: float = 0.95) -> WaldInterval:
        """Return the expected rating, in points, averaged over rows of fixed effects and all raters, items and texts.

        Args:
            rows: [m, p] fixed effects to average over, such as those of all ratings with every variant set to one.
            confidence: Nominal coverage (delta method).

        Raises:
            DataError: Rows of another width.
        """
        return self._points(((1.0, rows),), confidence)

    def points_difference(self, rows: ArrayLike, base: ArrayLike, *, confidence: float = 0.95) -> WaldInterval:
        """Return the difference of two expected ratings, `rows` less `base`, in points; see `mean_points`."""
        return self._points(((1.0, rows), (-1.0, base)), confidence)

    def _points(self, parts: Sequence[tuple[float, ArrayLike]], confidence: float) -> WaldInterval:
        estimate, slope, known = 0.0, np.zeros(len(self._joint)), len(self.points) > 1
        for sign, rows in parts:
            matrix = np.atleast_2d(np.asarray(rows, dtype=np.float64))
            if matrix.shape[1:] != self.coefficients.shape or not len(matrix):
                raise DataError(
                    f"Rows of shape {matrix.shape} do not belong to {len(self.coefficients)} fixed effects.",
                    fix="Pass one column for each effect.",
                )
            known = known and self._known(matrix - self._effects.centre)
            if known:
                value, gradient = self._expected(matrix)
                estimate, slope = estimate + sign * value, slope + sign * gradient
        error = math.sqrt(max(0.0, float(slope @ self._joint @ slope))) if known else math.nan
        return self._interval(estimate if known else math.nan, error, confidence)

    def _expected(self, rows: Array) -> tuple[float, Array]:
        """Return the mean of the expected ratings, and its gradient by thresholds, coordinates and deviations."""
        nodes, shares = _normal_nodes()
        spread = math.sqrt(float(self.deviations @ self.deviations))
        centred = rows - self._effects.centre
        thresholds = self.thresholds - self._effects.centre @ self.coefficients
        predictor = (centred @ self.coefficients)[:, None, None] + spread * nodes[:, None] - thresholds
        above = 0.5 * (1 + np.tanh(predictor / 2))
        steps = np.diff(np.array(self.points, dtype=np.float64))
        density = above * (1 - above) * steps * shares[:, None] / len(rows)
        by_row = density.sum(axis=(1, 2))
        by_spread = float(np.einsum("mqk,q->", density, nodes))
        by_deviation = self.deviations * (by_spread / spread if spread else 0.0)
        gradient = [-density.sum(axis=(0, 1)), by_row @ centred @ self._effects.back, by_deviation]
        mean = self.points[0] + float(np.einsum("mqk,q,k->", above, shares, steps)) / len(rows)
        return mean, np.concatenate(gradient)

    def _known(self, rows: Array) -> bool:
        """Return whether the data tell all these sums of coefficients, and bound them."""
        if not all(self._effects.estimable(row) for row in np.unique(rows, axis=0)):
            return False
        inner = rows @ self._effects.back
        sizes = np.linalg.norm(inner, axis=1)
        return bool((np.linalg.norm(inner @ self._unbounded, axis=1) <= _LOADING * sizes).all())

    def _interval(self, estimate: float, error: float, confidence: float) -> WaldInterval:
        return wald_interval(
            estimate,
            error,
            freedom=self.freedom,
            confidence=confidence,
            n=self.ratings,
            units=self.units,
            method="ordinal mixed model",
        )


def ordinal_mixed(ratings: ArrayLike, fixed: ArrayLike, groups: Sequence[ArrayLike], *, points: int = 5) -> OrdinalFit:
    """Fit a cumulative-link (logit) mixed model with crossed random intercepts by maximum likelihood.

    The integral over random effects is Laplace's approximation. Covariances are the inverse of the observed information
    of all parameters, thresholds and deviations included. Such standard errors are some percent too small with few
    items: intervals have Student's quantile, with the levels of the smallest grouping less one as degrees of freedom.

    Args:
        ratings: [n], whole numbers from 1 to `points`.
        fixed: [n, p] fixed effects without an intercept, for which the thresholds stand; p may be 0.
        groups: For each grouping (rater, item, text), [n] labels of any kind.
        points: Highest point of the scale.

    Returns:
        The fit. Without variation, where raters never disagree, or where the maximum was not found, it has `converged`
        False and no intervals.

    Raises:
        DataError: Shapes that do not fit, or ratings that are not whole numbers from 1 to `points`.

    Source: McCullagh 1980, JRSS B 42:109; Tutz & Hennevogl 1996, CSDA 22:537; as R's ordinal::clmm.
    """
    values = np.asarray(ratings, dtype=np.float64)
    if values.ndim != 1 or not np.isin(values, np.arange(1, points + 1)).all():
        raise DataError(f"A rating is not a whole number from 1 to {points}.", fix="Leave out what was not rated.")
    effects = FixedEffects(fixed, len(values))
    intercepts = RandomIntercepts(groups, len(values))
    used, places = np.unique(values.astype(np.int64), return_inverse=True)
    sizes = (len(used) - 1, effects.rows.shape[1], intercepts.groupings)
    inner = slice(sizes[0], sizes[0] + sizes[1])
    found, joint = np.full(sum(sizes), math.nan), np.full((sum(sizes), sum(sizes)), math.nan)
    log_likelihood, unbounded = 0.0, np.zeros((sizes[1], 0))
    converged = len(used) > 1
    if converged:
        likelihood = OrdinalLikelihood(places, effects.rows, intercepts)
        found, covariance = _maximize(likelihood, _start(places, effects, sizes[2]))
        log_likelihood, converged = -likelihood(found)[0], covariance is not None
        if covariance is not None:
            joint = covariance
            unbounded = _unbounded(joint[inner, inner], effects.rows)
            converged = not unbounded.shape[1]
    centred, coordinates, deviations = np.split(found, np.cumsum(sizes)[:2])
    coefficients = effects.back @ coordinates
    return OrdinalFit(
        points=tuple(used.tolist()),
        unused=tuple(point for point in range(1, points + 1) if point not in used),
        thresholds=centred + effects.centre @ coefficients,
        coefficients=coefficients,
        covariance=effects.back @ joint[inner, inner] @ effects.back.T,
        deviations=np.abs(deviations),
        log_likelihood=log_likelihood,
        converged=converged,
        ratings=len(values),
        units=min(intercepts.levels, default=len(values)),
        freedom=min(intercepts.levels, default=math.inf) - 1,
        _effects=effects,
        _unbounded=unbounded,
        _joint=joint,
    )


def _start(places: NDArray[np.intp], effects: FixedEffects, groupings: int) -> Array:
    """Return thresholds, coordinates and deviations near those of a linear regression of the ratings' places."""
    below = np.cumsum(np.bincount(places))[:-1] / len(places)
    stretch = math.sqrt(1 + 0.35 * groupings * _START**2)
    slopes = effects.rows.T @ (places - places.mean()) / len(places) / places.std() * math.pi / math.sqrt(3)
    return np.concatenate([np.log(below / (1 - below)) * stretch, slopes * stretch, np.full(groupings, _START)])


def _maximize(likelihood: OrdinalLikelihood, start: Array) -> tuple[Array, Array | None]:
    """Return the maximum and the covariance there; None where none was found."""
    from scipy.optimize import minimize

    count = likelihood.sizes[0]

    def natural(working: Array) -> Array:
        return np.concatenate([np.cumsum([working[0], *np.exp(working[1:count])]), working[count:]])

    def objective(working: Array) -> tuple[float, Array]:
        value, gradient = likelihood(natural(working))
        later = np.cumsum(gradient[:count][::-1])[::-1]
        return value, np.concatenate([later[:1], later[1:] * np.exp(working[1:count]), gradient[count:]])

    working = np.concatenate([start[:1], np.log(np.diff(start[:count])), start[count:]])
    with np.errstate(over="ignore", invalid="ignore"):
        result = minimize(
            objective, working, jac=True, method="BFGS", options={"gtol": _GRADIENT, "maxiter": _ITERATIONS}
        )
        found = natural(np.asarray(result.x))
        found[count + likelihood.sizes[1] :] = np.abs(found[count + likelihood.sizes[1] :])
        return _polish(likelihood, found)


def _polish(likelihood: OrdinalLikelihood, found: Array) -> tuple[Array, Array | None]:
    """Return the maximum after one step of Newton's, and the inverse of the information."""
    gradient = likelihood(found)[1]
    moves = np.eye(len(found)) * _DIFFERENCE
    curvature = np.array([(likelihood(found + move)[1] - likelihood(found - move)[1]) for move in moves])
    information = (curvature + curvature.T) / (4 * _DIFFERENCE)
    # The likelihood is even in each deviation: at 0 it is independent of all else, and nothing is known of its spread.
    free = np.ones(len(found), dtype=bool)
    free[sum(likelihood.sizes[:2]) :] = found[sum(likelihood.sizes[:2]) :] > _NO_DEVIATION
    if not np.isfinite(information).all():
        return found, None
    values, vectors = np.linalg.eigh(information[np.ix_(free, free)])
    if values[0] < -_FLAT or found[sum(likelihood.sizes[:2]) :].max(initial=0.0) > _WIDEST:
        return found, None
    inverse = (vectors / np.maximum(values, _FLAT)) @ vectors.T
    step = inverse @ gradient[free]
    if gradient[free] @ step > _SETTLED:
        return found, None
    covariance = np.zeros_like(information)
    covariance[np.ix_(free, free)] = inverse
    polished = found.copy()
    polished[free] -= step
    return (polished if likelihood(polished)[0] <= likelihood(found)[0] else found), covariance


def _unbounded(covariance: Array, rows: Array) -> Array:
    """Return the directions of the coordinates in which the likelihood has no maximum, [r, any number]."""
    values, vectors = np.linalg.eigh(covariance)
    reach = np.abs(rows @ vectors).max(axis=0, initial=0.0) * np.sqrt(np.maximum(values, 0.0))
    directions: Array = vectors[:, reach > _UNBOUNDED]
    return directions


@cache
def _normal_nodes() -> tuple[Array, Array]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return nodes, weights / weights.sum()
