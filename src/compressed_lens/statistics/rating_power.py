"""What a rating study can show: the standard error of a contrast from its assignment, before anyone has rated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from compressed_lens.errors import DataError
from compressed_lens.statistics.fixed_effects import FixedEffects
from compressed_lens.statistics.interval import NORMAL, normal_quantile
from compressed_lens.statistics.random_intercepts import RandomIntercepts
from compressed_lens.statistics.student import student_quantile

_BISECTIONS = 60
_FARTHEST = 1e4


@dataclass(frozen=True, kw_only=True)
class RatingSpread:
    """Standard deviations of what makes a rating, in points.

    Attributes:
        rater: Severity of raters.
        item: Difficulty of items, shared by all texts of an item.
        text: What texts of the same item differ in.
        residual: All else: how one rater's view of one text differs.
    """

    rater: float
    item: float
    text: float
    residual: float

    @property
    def deviations(self) -> tuple[float, float, float]:
        """Those of the groupings, in the order rater, item, text."""
        return self.rater, self.item, self.text


def rating_spread(sd: float, alpha: float, *, severity: float = 0.3, item: float = 0.5) -> RatingSpread:
    """Return the standard deviations that assumptions about ratings imply.

    Krippendorff's alpha (interval) of ratings of the same texts is the share of their variance that texts account for.

    Args:
        sd: Standard deviation of all ratings of one variant, in points.
        alpha: Agreement, 0 to 1.
        severity: Share of the disagreement (1 - alpha) sd^2 that is severity of raters, 0 to 1; the rest is residual.
        item: Share of the texts' variance alpha sd^2 that is the item's, 0 to 1; the rest is the text's own.

    Raises:
        DataError: A share outside 0 to 1, or `sd` is not positive.
    """
    if not (sd > 0 and 0 <= alpha <= 1 and 0 <= severity <= 1 and 0 <= item <= 1):
        raise DataError(
            f"A spread of {sd} with alpha {alpha} and shares of {severity} and {item} is impossible.",
            fix="Pass a positive standard deviation, and shares from 0 to 1.",
        )
    texts, disagreement = alpha * sd * sd, (1 - alpha) * sd * sd
    return RatingSpread(
        rater=math.sqrt(severity * disagreement),
        item=math.sqrt(item * texts),
        text=math.sqrt((1 - item) * texts),
        residual=math.sqrt((1 - severity) * disagreement),
    )


def contrast_error(
    fixed: ArrayLike, groups: Sequence[ArrayLike], deviations: ArrayLike, residual: float, weights: ArrayLike
) -> float:
    """Return the standard error that generalized least squares has for a contrast of a given assignment.

    It is exact for a linear mixed model with these deviations, whatever the distributions.

    Args:
        fixed: [n, p] fixed effects of all planned ratings, without an intercept, which is added.
        groups: For each grouping, [n] labels.
        deviations: Standard deviation of each grouping's intercepts.
        residual: Standard deviation of the residuals, positive.
        weights: [p] of the contrast.

    Returns:
        The standard error, in the unit of the deviations; infinite where the assignment cannot tell the contrast.

    Raises:
        DataError: Shapes that do not fit, or deviations that are negative or not finite.
    """
    matrix = np.asarray(fixed, dtype=np.float64)
    effects = FixedEffects(matrix, len(matrix))
    intercepts = RandomIntercepts(groups, len(matrix))
    spreads = np.asarray(deviations, dtype=np.float64)
    if spreads.shape != (intercepts.groupings,) or not ((spreads >= 0) & np.isfinite(spreads)).all() or residual <= 0:
        raise DataError(
            f"Deviations {spreads.tolist()} with a residual of {residual} do not belong to {len(groups)} groupings.",
            fix="Pass one for each, none negative, and a positive residual.",
        )
    checked = effects.weights(weights)
    if not effects.estimable(checked):
        return math.inf
    ratios = spreads / residual
    rows = np.column_stack([np.ones(len(matrix)), effects.rows])
    gathered = intercepts.gather(rows, ratios)
    information = rows.T @ rows - gathered.T @ intercepts.factor(np.ones(len(matrix)), ratios).solve(gathered)
    inner = np.concatenate([[0.0], checked @ effects.back])
    return residual * math.sqrt(float(inner @ np.linalg.solve(information, inner)))


def contrast_power(difference: float, error: float, *, freedom: float = math.inf, confidence: float = 0.95) -> float:
    """Return the probability that the interval of a contrast leaves out zero, whichever side.

    Args:
        difference: The true difference.
        error: Standard error, positive.
        freedom: Degrees of freedom of the interval's t, such as the smaller number of clusters - 1.
        confidence: Of the interval.

    Raises:
        DataError: `error` or `freedom` is not positive, or `confidence` is not between 0 and 1.
    """
    if not (error > 0 and freedom > 0):
        raise DataError(
            f"An error of {error} with {freedom} degrees of freedom is impossible.", fix="Pass positive ones."
        )
    shift = abs(difference) / error
    if math.isinf(freedom):
        z = normal_quantile(confidence)
        return NORMAL.cdf(shift - z) + NORMAL.cdf(-shift - z)
    from scipy.special import nctdtr

    t = student_quantile(confidence, freedom)
    return float(1 - nctdtr(freedom, shift, t) + nctdtr(freedom, shift, -t))


def detectable_contrast(
    error: float, *, freedom: float = math.inf, power: float = 0.8, confidence: float = 0.95
) -> float:
    """Return the smallest true difference that a contrast shows with probability `power`.

    With the normal it is 2.80 errors for 80 % at 95 %.

    Raises:
        DataError: `power` is not between 1 - confidence and 1, or as in `contrast_power`.
    """
    if not 1 - confidence < power < 1:
        raise DataError(f"A power of {power} at {confidence} is out of range.", fix="Use for example 0.8 and 0.95.")
    if math.isinf(error):
        return math.inf
    low, high = 0.0, 1.0
    while high < _FARTHEST and contrast_power(high, 1.0, freedom=freedom, confidence=confidence) < power:
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        enough = contrast_power(middle, 1.0, freedom=freedom, confidence=confidence) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high * error
