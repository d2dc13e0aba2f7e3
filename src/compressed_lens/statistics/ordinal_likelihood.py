"""Likelihood of ordered ratings with crossed random intercepts, integrated by Laplace's approximation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compressed_lens.statistics.random_intercepts import Factor, RandomIntercepts

Array = NDArray[np.float64]

_STEPS = 60
_HALVINGS = 30
_SMALL_STEP = 1e-5
_LARGEST = 1e3


class OrdinalLikelihood:
    """-log likelihood of logit P(Y <= k) = threshold_k - (x b + random intercepts), and its gradient.

    With the logistic, F(a) - F(c) = F(a) F(-c) (1 - exp(c - a)), so that -log P(Y = k) falls into a function of the
    upper, one of the lower threshold, and one of their distance; none of them loses digits in the tails.

    Laplace's approximation: h(û) + log |H| / 2, where h = -log P(ratings | u) + u'u / 2 has its minimum û and there the
    second derivative H. h is convex, so û is unique. The gradient follows û (implicit function), which costs one more
    solve.

    Source: Tierney & Kadane 1986, JASA 81:82; as R's ordinal::clmm.
    """

    def __init__(self, places: NDArray[np.intp], rows: Array, intercepts: RandomIntercepts) -> None:
        """Take the ratings as 0, 1, ..., every one of them used, and the fixed effects [n, r]."""
        self._places, self._rows, self._intercepts = places, rows, intercepts
        self._last = int(places.max())
        self._mode = np.zeros(intercepts.size)
        self.sizes = (self._last, rows.shape[1], intercepts.groupings)

    def __call__(self, parameters: Array) -> tuple[float, Array]:
        """Return value and gradient at thresholds (strictly ascending), coefficients and deviations, in this order.

        The value is even in each deviation. It is infinite where it cannot be had in numbers.
        """
        thresholds, slopes, deviations = np.split(parameters, np.cumsum(self.sizes)[:2])
        gaps = np.diff(thresholds)
        if not np.abs(parameters).max() < _LARGEST or (gaps <= 0).any():
            return np.inf, np.zeros_like(parameters)
        fixed = self._rows @ slopes
        upper = np.append(thresholds, np.inf)[self._places]
        lower = np.insert(thresholds, 0, -np.inf)[self._places]
        effects, value, factor = self._minimize(upper - fixed, lower - fixed, deviations)
        value += factor.log_determinant / 2 - float(np.log(-np.expm1(-gaps)) @ self._between())
        shift = fixed + self._intercepts.spread(effects, deviations)
        by_row, by_deviation = self._slopes(upper - shift, lower - shift, effects, deviations, factor)
        return value, np.concatenate([self._by_threshold(*by_row[1:], gaps), self._rows.T @ by_row[0], by_deviation])

    def _between(self) -> Array:
        """Return how many ratings lie between each two neighbouring thresholds."""
        return np.bincount(self._places, minlength=self._last + 1)[1:-1].astype(np.float64)

    def _minimize(self, upper: Array, lower: Array, deviations: Array) -> tuple[Array, float, Factor]:
        """Return û, h(û) without the distances of thresholds, and H there; Newton's method from the last û."""
        intercepts = self._intercepts
        effects = self._mode
        shift = intercepts.spread(effects, deviations)
        value = _loss(upper - shift, lower - shift) + effects @ effects / 2
        done = False
        for _ in range(_STEPS):
            above, below = _logistic(upper - shift), _logistic(lower - shift)
            factor = intercepts.factor(above * (1 - above) + below * (1 - below), deviations)
            if done:
                break
            step = factor.solve(intercepts.gather(1 - above - below, deviations) + effects)
            # Steps shrink quadratically: what is this small leaves nothing after the next.
            done = float(np.abs(step).max()) < _SMALL_STEP
            for _ in range(_HALVINGS):
                tried = effects - step
                moved = intercepts.spread(tried, deviations)
                moved_value = _loss(upper - moved, lower - moved) + tried @ tried / 2
                if done or moved_value <= value:
                    break
                step = step / 2
            effects, shift, value = tried, moved, moved_value
        self._mode = effects
        return effects, float(value), factor

    def _slopes(
        self, upper: Array, lower: Array, effects: Array, deviations: Array, factor: Factor
    ) -> tuple[tuple[Array, Array, Array], Array]:
        """Return derivatives by each row's predictor, upper and lower threshold, and by deviations."""
        above, below = _logistic(upper), _logistic(lower)
        above_density, below_density = above * (1 - above), below * (1 - below)
        above_slope, below_slope = above_density * (1 - 2 * above), below_density * (1 - 2 * below)
        # Derivatives of a rating's loss by its predictor: first, second, third.
        first, second, third = 1 - above - below, above_density + below_density, -above_slope - below_slope
        half = factor.leverage() / 2
        adjoint = factor.solve(self._intercepts.gather(half * third, deviations))
        follow = self._intercepts.spread(adjoint, deviations)
        by_predictor = first + half * third - second * follow
        by_upper = -(1 - above) + half * above_slope + follow * above_density
        by_lower = below + half * below_slope + follow * below_density
        free = 1 - factor.diagonal()
        pull = self._intercepts.gather(first, np.ones(self.sizes[2]))
        by_deviation = np.zeros(self.sizes[2])
        for g, part in enumerate(self._intercepts.parts[: self.sizes[2]]):
            by_deviation[g] = self._intercepts.of(g, effects) @ by_predictor - adjoint[part] @ pull[part]
            if deviations[g]:
                by_deviation[g] += free[part].sum() / deviations[g]
        return (by_predictor, by_upper, by_lower), by_deviation

    def _by_threshold(self, by_upper: Array, by_lower: Array, gaps: Array) -> Array:
        count = self._last + 1
        above = np.bincount(self._places, by_upper, count)[:-1].astype(np.float64)
        below = np.bincount(self._places, by_lower, count)[1:].astype(np.float64)
        apart = np.concatenate([[0.0], self._between() / np.expm1(gaps), [0.0]])
        slopes: Array = above + below - apart[:-1] + apart[1:]
        return slopes


def _logistic(values: Array) -> Array:
    return 0.5 * (1 + np.tanh(values / 2))


def _loss(upper: Array, lower: Array) -> float:
    return float(np.logaddexp(0, -upper).sum() + np.logaddexp(0, lower).sum())
