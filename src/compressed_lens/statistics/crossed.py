"""Means and differences of ratings whose raters and items are both samples: two-way clustered intervals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.fixed_effects import Array
from compressed_lens.statistics.wald import WaldInterval, wald_interval

_METHOD = "two-way clustered"
# Relative to the ratings; a smaller standard error is rounding.
_ROUNDING = 1e-12

Codes = NDArray[np.intp]


def crossed_mean(values: ArrayLike, first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> WaldInterval:
    """Return the mean of ratings with an interval that knows of two crossed clusterings.

    The variance is V_first + V_second - V_both, each the sum over clusters of squared sums of influences, times
    G / (G - 1) for G clusters; at least V_first and V_second. The quantile is Student's with the smaller G - 1.

    Args:
        values: [n] ratings.
        first: [n] labels of the first clustering, such as raters.
        second: [n] labels of the second, such as items.
        confidence: Nominal coverage.

    Returns:
        The interval; `units` is the smaller number of clusters. It has no bounds with fewer than two clusters of either
        kind, nor where all values are alike.

    Raises:
        DataError: Shapes differ, there are no values, one is not finite, or `confidence` is not between 0 and 1.

    Source: Cameron, Gelbach & Miller 2011, JBES 29:238.
    """
    y, (rater, item) = _checked(values, first, second)
    influence = (y - y.mean()) / len(y)
    by_rater, by_item = _clustered(influence, rater), _clustered(influence, item)
    variance = max(by_rater, by_item, by_rater + by_item - _clustered(influence, _both(rater, item)))
    return _interval(float(y.mean()), variance, (y, rater, item), confidence=confidence, dropped=0)


def crossed_difference(
    values: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    other: ArrayLike,
    *,
    pairs: ArrayLike | None = None,
    confidence: float = 0.95,
) -> WaldInterval:
    """Return the difference of two groups of ratings, paired by item, with an interval clustered by raters and items.

    The estimate is the mean over items, each alike, of the item's mean in one group less its mean in the other.
    Ratings of items that only one group has are left out and counted in `dropped`.

    The variance is V_second + max(0, V_first - V_both). The last difference is what ratings of one rater have
    in common; it is taken from each rating's distance to the others of its item, since items cancel in the estimate but
    would drown it. Raters who saw both groups alike make it negative: then it counts as nothing, which is safe.

    Args:
        values: [n] ratings of both groups.
        first: [n] labels of raters.
        second: [n] labels of items.
        other: [n] booleans: True in the group that is compared, False in the base.
        pairs: [n] labels within which groups are compared, where items are too coarse: such as item and model, for a
            difference pooled over models. Default: the items.
        confidence: Nominal coverage.

    Returns:
        The interval as in `crossed_mean`. The estimate is NaN where no item is in both groups.

    Raises:
        DataError: As in `crossed_mean`.

    Source: Cameron, Gelbach & Miller 2011, with the two changes above.
    """
    y, (rater, item, pair) = _checked(values, first, second, second if pairs is None else pairs)
    treated = np.asarray(other, dtype=bool)
    if treated.shape != y.shape:
        raise DataError(f"{treated.shape} marks of groups do not belong to {len(y)} ratings.", fix="Pass one for each.")
    size = int(pair.max()) + 1
    counts = np.stack([np.bincount(pair[treated == side], minlength=size) for side in (False, True)])
    kept: NDArray[np.bool_] = ((counts[0] > 0) & (counts[1] > 0))[pair]
    dropped = int((~kept).sum())
    if dropped == len(y):
        return _interval(math.nan, 0.0, (y, rater, item), confidence=confidence, dropped=dropped)
    y, rater, item, pair, treated = y[kept], rater[kept], item[kept], pair[kept], treated[kept]
    shares = 1 / counts[treated.astype(int), pair]
    weights = shares / len(np.unique(pair))
    means = [float(weights[treated == side] @ y[treated == side]) for side in (False, True)]
    rest = y - np.where(treated, means[1], means[0])
    signed = np.where(treated, weights, -weights)
    # Both groups of an item count by half. The distance to the others is that to all, stretched by the own share.
    centre = np.bincount(pair, shares / 2 * rest, size)[pair]
    apart = signed * (rest - centre) / (1 - shares / 2)
    common = _clustered(apart, rater) - _clustered(apart, _both(rater, item))
    variance = _clustered(signed * rest, item) + max(0.0, common)
    return _interval(means[1] - means[0], variance, (y, rater, item), confidence=confidence, dropped=dropped)


def _checked(values: ArrayLike, *labels: ArrayLike) -> tuple[Array, list[Codes]]:
    y = np.asarray(values, dtype=np.float64)
    if y.ndim != 1 or not len(y) or not np.isfinite(y).all():
        raise DataError("Ratings are a list of finite numbers, at least one.", fix="Leave out what was not rated.")
    given = [np.asarray(label) for label in labels]
    for label in given:
        if label.shape != y.shape:
            raise DataError(
                f"Labels of shape {label.shape} do not belong to {len(y)} ratings.", fix="Pass one for each."
            )
    return y, [np.unique(label, return_inverse=True)[1] for label in given]


def _both(rater: Codes, item: Codes) -> Codes:
    return rater * (int(item.max()) + 1) + item


def _clustered(influence: Array, labels: Codes) -> float:
    """Return the variance of the sum of influences with one clustering; 0 with a single cluster."""
    codes = np.unique(labels, return_inverse=True)[1]
    sums = np.bincount(codes, influence)
    return float(sums @ sums) * len(sums) / max(1, len(sums) - 1)


def _interval(
    estimate: float, variance: float, rows: tuple[Array, Codes, Codes], *, confidence: float, dropped: int
) -> WaldInterval:
    y, rater, item = rows
    few = min(len(np.unique(rater)), len(np.unique(item)))
    error = math.sqrt(variance)
    return wald_interval(
        estimate,
        error if error > _ROUNDING * np.abs(y).max() else 0.0,
        freedom=few - 1,
        confidence=confidence,
        n=len(rater),
        dropped=dropped,
        units=few,
        method=_METHOD,
    )
