"""Means and differences of ratings whose raters and items are both samples: two-way clustered intervals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.fixed_effects import Array
from compressed_lens.statistics.wald import WaldInterval, wald_interval

_METHOD = "two-way clustered"


def crossed_mean(values: ArrayLike, first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> WaldInterval:
    """Return the mean of ratings with an interval that knows of two crossed clusterings.

    The variance is V_first + V_second - V_both, each the sum over clusters of squared sums of influences, times
    G / (G - 1); at least the largest of the three. The quantile is Student's with the smaller number of clusters - 1.

    Args:
        values: [n] ratings.
        first: [n] labels of the first clustering, such as raters.
        second: [n] labels of the second, such as items.
        confidence: Nominal coverage.

    Returns:
        The interval; `units` is the smaller number of clusters. It has no bounds with fewer than two clusters of either
        kind, nor where all values are alike.

    Raises:
        DataError: Shapes differ, there are no values, or one is not finite.

    Source: Cameron, Gelbach & Miller 2011, JBES 29:238.
    """
    y, (rater, item) = _checked(values, first, second)
    return _interval(float(y.mean()), (y - y.mean()) / len(y), rater, item, confidence=confidence, dropped=0)


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
        DataError: Shapes differ, there are no values, or one is not finite.
    """
    y, labels = _checked(values, first, second, second if pairs is None else pairs)
    treated = np.asarray(other, dtype=bool)
    if treated.shape != y.shape:
        raise DataError(f"{treated.shape} marks of groups do not belong to {len(y)} ratings.", fix="Pass one for each.")
    rater, item, pair = labels
    size = int(pair.max()) + 1
    counts = np.stack([np.bincount(pair[treated == side], minlength=size) for side in (False, True)])
    kept: NDArray[np.bool_] = ((counts[0] > 0) & (counts[1] > 0))[pair]
    y, rater, item, pair, treated = y[kept], rater[kept], item[kept], pair[kept], treated[kept]
    shared = len(np.unique(pair))
    weights = 1 / (max(1, shared) * counts[treated.astype(int), pair])
    means = [float(weights[treated == side] @ y[treated == side]) for side in (False, True)]
    influence = np.where(treated, weights, -weights) * (y - np.where(treated, means[1], means[0]))
    estimate = means[1] - means[0] if shared else math.nan
    return _interval(estimate, influence, rater, item, confidence=confidence, dropped=int((~kept).sum()))


def _checked(values: ArrayLike, *labels: ArrayLike) -> tuple[Array, list[NDArray[np.intp]]]:
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


def _interval(
    estimate: float,
    influence: Array,
    rater: NDArray[np.intp],
    item: NDArray[np.intp],
    *,
    confidence: float,
    dropped: int,
) -> WaldInterval:
    both = rater * (int(item.max(initial=0)) + 1) + item
    clusters = [np.unique(code, return_inverse=True)[1] for code in (rater, item, both)]
    sizes = [int(code.max(initial=-1)) + 1 for code in clusters]
    few = min(sizes[:2])
    error = math.nan
    if few > 1:
        parts = [
            float(np.square(np.bincount(code, influence)).sum()) * size / (size - 1)
            for code, size in zip(clusters, sizes, strict=True)
        ]
        error = math.sqrt(max(parts[0] + parts[1] - parts[2], *parts))
    return wald_interval(
        estimate,
        error,
        freedom=few - 1,
        confidence=confidence,
        n=len(influence),
        dropped=dropped,
        units=few,
        method=_METHOD,
    )
