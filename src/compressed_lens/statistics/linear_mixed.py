"""Linear mixed model with crossed random intercepts: REML, and contrasts with Satterthwaite's degrees of freedom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from compressed_lens.errors import DataError
from compressed_lens.statistics.fixed_effects import Array, FixedEffects
from compressed_lens.statistics.random_intercepts import RandomIntercepts
from compressed_lens.statistics.wald import WaldInterval, wald_interval

_START = 0.7
_ITERATIONS = 200
_GRADIENT = 1e-5
_DIFFERENCE = 1e-4
_NO_DEVIATION = 1e-4
_SAME = 1e-12
# Ratios of deviations beyond this leave no residual: raters who never disagree.
_LARGEST = 1e4


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearFit:
    """A fitted linear mixed model: y = intercept + x b + random intercepts + residual.

    Attributes:
        coefficients: [p], in the unit of the values, in the order of the fixed effects; of effects that depend on each
            other the shortest vector.
        covariance: [p, p], of the coefficients; that of generalized least squares at the estimated deviations.
        deviations: Standard deviation of each grouping's intercepts; 0 is possible.
        residual: Standard deviation of the residuals.
        converged: Whether the maximum was found; False without variation, and where raters never disagree.
        values: Number of values.
        units: Levels of the smallest grouping, or values where there is none.
    """

    coefficients: Array
    covariance: Array
    deviations: Array
    residual: float
    converged: bool
    values: int
    units: int
    _effects: FixedEffects
    _slopes: Array
    _spread: Array

    def contrast(self, weights: ArrayLike, *, confidence: float = 0.95) -> WaldInterval:
        """Return the weighted sum of coefficients, with Student's t at Satterthwaite's degrees of freedom.

        These are 2 V^2 / Var(V), V the variance of the contrast as a function of the deviations.

        Args:
            weights: [p].
            confidence: Nominal coverage.

        Returns:
            Its interval; without bounds where the data do not tell the contrast.

        Raises:
            DataError: Another number of weights, or `confidence` is not between 0 and 1.

        Source: Satterthwaite 1946; Fai & Cornelius 1996; as R's lmerTest.
        """
        checked = self._effects.weights(weights)
        estimate = error = freedom = math.nan
        if self.converged and self._effects.estimable(checked):
            inner = checked @ self._effects.back
            estimate = float(checked @ self.coefficients)
            variance = float(checked @ self.covariance @ checked)
            slopes = inner @ self._slopes @ inner
            doubt = float(slopes @ self._spread @ slopes)
            error, freedom = math.sqrt(max(0.0, variance)), 2 * variance**2 / doubt if doubt > 0 else math.inf
        return wald_interval(
            estimate,
            error,
            freedom=freedom,
            confidence=confidence,
            n=self.values,
            units=self.units,
            method="linear mixed model",
        )


def linear_mixed(values: ArrayLike, fixed: ArrayLike, groups: Sequence[ArrayLike]) -> LinearFit:
    """Fit a linear mixed model with crossed random intercepts by restricted maximum likelihood.

    Args:
        values: [n].
        fixed: [n, p] fixed effects without an intercept, which is added; p may be 0.
        groups: For each grouping (rater, item, text), [n] labels of any kind.

    Returns:
        The fit. Without variation, or where raters never disagree, it has `converged` False and no intervals.

    Raises:
        DataError: Shapes that do not fit, values that are not finite, or no more values than effects.

    Source: Patterson & Thompson 1971, Biometrika 58:545; computed as in Bates et al. 2015, JSS 67(1).
    """
    y = np.asarray(values, dtype=np.float64)
    if y.ndim != 1 or not np.isfinite(y).all():
        raise DataError("A value is not a finite number.", fix="Leave out what was not rated.")
    effects = FixedEffects(fixed, len(y))
    intercepts = RandomIntercepts(groups, len(y))
    if len(y) <= effects.rows.shape[1] + 1:
        raise DataError(f"{len(y)} values are too few for {effects.rows.shape[1] + 1} effects.", fix="Fit fewer.")
    criterion = RestrictedLikelihood(y, effects.rows, intercepts)
    size = len(effects.rows.T)
    solution = criterion.at(np.full(intercepts.groupings, _START))
    varied = solution.residual > _SAME * max(1.0, float(np.abs(y).max())) ** 2
    ratios, found = _minimize(criterion, intercepts.groupings) if varied else (np.zeros(intercepts.groupings), False)
    solution = criterion.at(ratios)
    variance = solution.residual / criterion.freedom
    slopes, spread = criterion.doubts(ratios) if found else (np.zeros((1, size, size)), np.zeros((1, 1)))
    inner = solution.inverse[1:, 1:] * variance
    return LinearFit(
        coefficients=effects.back @ solution.slopes[1:],
        covariance=effects.back @ inner @ effects.back.T,
        deviations=ratios * math.sqrt(variance),
        residual=math.sqrt(variance),
        converged=found,
        values=len(y),
        units=min(intercepts.levels, default=len(y)),
        _effects=effects,
        _slopes=slopes,
        _spread=spread,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Solution:
    """Least squares at given ratios: criterion and gradient, and per grouping what its derivatives need."""

    value: float
    gradient: Array
    slopes: Array
    inverse: Array
    residual: float
    effects: tuple[float, ...]
    moved: tuple[Array, ...]
    traces: tuple[float, ...]


class RestrictedLikelihood:
    """-2 log restricted likelihood, profiled over fixed effects and the residual variance.

    Its parameters are the ratios of each grouping's deviation to the residual's. It is even in each of them.

    Attributes:
        freedom: Values less fixed effects, the intercept among them.
    """

    def __init__(self, values: Array, rows: Array, intercepts: RandomIntercepts) -> None:
        """Take values [n] and fixed effects [n, r] without intercept."""
        self._y = values - values.mean()
        self._x = np.column_stack([np.ones(len(values)), rows])
        self._intercepts = intercepts
        self._ones = np.ones(len(values))
        self.freedom = len(values) - self._x.shape[1]

    def at(self, ratios: Array) -> _Solution:
        """Return the solution at these ratios."""
        factor = self._intercepts.factor(self._ones, ratios)
        gathered = self._intercepts.gather(np.column_stack([self._y, self._x]), ratios)
        solved = factor.solve(gathered)
        y, x = gathered[:, 0], gathered[:, 1:]
        square = self._x.T @ self._x - x.T @ solved[:, 1:]
        inverse = np.asarray(np.linalg.inv(square), dtype=np.float64)
        both = self._x.T @ self._y - x.T @ solved[:, 0]
        slopes = inverse @ both
        residual = max(0.0, float(self._y @ self._y - y @ solved[:, 0] - both @ slopes))
        effects = solved[:, 0] - solved[:, 1:] @ slopes
        free = 1 - factor.diagonal()
        parts = self._intercepts.parts[: self._intercepts.groupings]
        sums = tuple(float(effects[part] @ effects[part]) for part in parts)
        moved = tuple(solved[part, 1:].T @ solved[part, 1:] for part in parts)
        traces = tuple(float(free[part].sum() - np.sum(inverse * m)) for part, m in zip(parts, moved, strict=True))
        value = factor.log_determinant + float(np.linalg.slogdet(square)[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            pull = np.array(traces) - self.freedom * np.array(sums) / residual
            gradient = np.where(ratios == 0, 0.0, 2 * pull / ratios)
            value += self.freedom * float(np.log(residual))
        return _Solution(
            value=value,
            gradient=gradient,
            slopes=slopes,
            inverse=inverse,
            residual=residual,
            effects=sums,
            moved=moved,
            traces=traces,
        )

    def doubts(self, ratios: Array) -> tuple[Array, Array]:
        """Return how the coefficients' covariance moves with ratios and log residual variance, and their spread.

        Args:
            ratios: [g] at the minimum of the criterion.

        Returns:
            Derivatives of the former [g + 1, r, r], covariance of the latter [g + 1, g + 1]. A ratio of 0 moves nothing
            and has no spread.
        """
        here = self.at(ratios)
        variance = here.residual / self.freedom
        free = np.flatnonzero(ratios > _NO_DEVIATION)
        count = len(ratios)
        slopes = np.zeros((count + 1, *here.inverse.shape))
        slopes[count] = variance * here.inverse
        hessian = np.zeros((count + 1, count + 1))
        hessian[count, count] = self.freedom
        for g in free:
            slopes[g] = variance * 2 / ratios[g] * here.inverse @ here.moved[g] @ here.inverse
            hessian[g, count] = hessian[count, g] = 2 / ratios[g] * here.effects[g] / variance
            step = np.zeros(count)
            step[g] = _DIFFERENCE * ratios[g]
            above, below = (self._by_ratio(ratios + sign * step, variance) for sign in (1, -1))
            hessian[g, :count] = (above - below) / (2 * step[g])
        hessian[:count, :count] = (hessian[:count, :count] + hessian[:count, :count].T) / 2
        kept = np.append(free, count)
        spread = np.zeros_like(hessian)
        spread[np.ix_(kept, kept)] = 2 * np.linalg.pinv(hessian[np.ix_(kept, kept)], hermitian=True)
        return slopes[:, 1:, 1:], spread

    def _by_ratio(self, ratios: Array, variance: float) -> Array:
        """Return the gradient by ratios where the residual variance is given."""
        here = self.at(ratios)
        pull = np.array(here.traces) - np.array(here.effects) / variance
        return np.divide(2 * pull, ratios, out=np.zeros(len(ratios)), where=ratios != 0)


def _minimize(criterion: RestrictedLikelihood, groupings: int) -> tuple[Array, bool]:
    """Return the ratios at the minimum, and whether there is one."""
    from scipy.optimize import minimize

    if not groupings:
        return np.zeros(0), True

    def objective(ratios: Array) -> tuple[float, Array]:
        if np.abs(ratios).max() > _LARGEST:
            return math.inf, np.zeros(groupings)
        here = criterion.at(ratios)
        return here.value, here.gradient

    start = np.full(groupings, _START)
    # Raters who never disagree leave no residual, and no finite gradient.
    with np.errstate(invalid="ignore", over="ignore"):
        result = minimize(
            objective, start, jac=True, method="BFGS", options={"gtol": _GRADIENT, "maxiter": _ITERATIONS}
        )
        ratios = np.abs(np.asarray(result.x))
        gradient = criterion.at(ratios).gradient
    found = bool(np.abs(gradient).max() < math.sqrt(_GRADIENT) and ratios.max() < math.sqrt(_LARGEST))
    return np.where(ratios > _NO_DEVIATION, ratios, 0.0), found
