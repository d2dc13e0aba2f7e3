"""Bootstrap intervals of means and of paired differences: every metric from one resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.interval import (
    NORMAL,
    Interval,
    normal_quantile,
    paired_rate_interval,
    rate_interval,
)
from compressed_lens.statistics.resampling import LEAST_ERROR, matrix_of, replicate_means, resamples, unit_sums
from compressed_lens.statistics.student import student_quantile

Floats = NDArray[np.float64]
Method = Literal["studentized", "bca", "percentile"]

FEW_CHANGES = 10
"""Below this many changed pairs, or pairs that did not go the one way all others went, a two-valued difference gets
Tango's interval, and any other measure a wider one: a bootstrap of values that are all but equal is far too narrow."""

_NOTHING = 1e-12


def paired_bootstrap(
    base: ArrayLike,
    other: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    replicates: int = 10_000,
    confidence: float = 0.95,
    method: Method = "studentized",
    seed: int,
) -> Interval:
    """Interval of the mean paired difference `other - base`.

    Args:
        base: Values of the reference, shape [n]; NaN where not applicable.
        other: Values of the same n items under the other variant.
        clusters: Label of each item's independent unit (source instance), shape [n]; None when items are independent.
        replicates: Bootstrap resamples.
        confidence: Nominal coverage.
        method: "studentized" (bootstrap-t, never tighter than Student's t interval), "bca" (bias-corrected and
            accelerated) or "percentile".
        seed: Seed of the resampling.

    Returns:
        The interval; `n` counts the pairs that apply on both sides and `dropped` the others. Two-valued
        outcomes (0 and 1) with fewer than `FEW_CHANGES` changed pairs (or others than the one change) get Tango's
        score interval.

    Raises:
        DataError: Shapes differ, a value is infinite, or a setting is out of range.

    Source: Davison and Hinkley 1997, section 5.2.1 (studentized); Efron 1987, JASA 82:171 (BCa).
    """
    first, second = np.asarray(base, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.ndim != 1:
        raise DataError(f"Paired values have shape {first.shape}, not [n].", fix="Use paired_bootstraps for a matrix.")
    return paired_bootstraps(
        first[:, None],
        second[:, None] if second.ndim == 1 else second,
        clusters=clusters,
        replicates=replicates,
        confidence=confidence,
        method=method,
        seed=seed,
    )[0]


def paired_bootstraps(
    base: ArrayLike,
    other: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    replicates: int = 10_000,
    confidence: float = 0.95,
    method: Method = "studentized",
    seed: int,
    rates: Sequence[bool] | None = None,
) -> tuple[Interval, ...]:
    """Intervals of many paired differences over the same items, from one resampling.

    Args:
        base: Reference values, shape [n, m]: one column a metric (or a metric of one variant).
        other: Values of the same items and metrics, shape [n, m].
        clusters: As for `paired_bootstrap`.
        replicates: As for `paired_bootstrap`.
        confidence: As for `paired_bootstrap`.
        method: As for `paired_bootstrap`.
        seed: As for `paired_bootstrap`.
        rates: Which columns are shares of yes and no; every one of zeros and ones by default. A column of nothing but
            zeros may also be an amount that does not vary.

    Returns:
        One interval a column, as `paired_bootstrap` gives it.
    """
    first, second = matrix_of(base), matrix_of(other)
    if first.shape != second.shape:
        raise DataError(
            f"Paired values have shapes {first.shape} and {second.shape}.", fix="Pass the same items in the same order."
        )
    difference = second - first
    intervals = list(
        bootstrap_means(
            difference, clusters=clusters, replicates=replicates, confidence=confidence, method=method, seed=seed
        )
    )
    for column, interval in enumerate(intervals):
        both = ~np.isnan(difference[:, column])
        if rates is not None and not rates[column]:
            continue
        if not (_two_valued(first[both, column]) and _two_valued(second[both, column])):
            continue
        down, up = int((difference[both, column] < 0).sum()), int((difference[both, column] > 0).sum())
        # Where nearly all pairs moved one way a resample hardly varies either.
        varied = min(down + up, interval.n - down, interval.n - up)
        clustered = interval.units != interval.n
        if clustered and varied == 0:
            down, up = interval.units * (down > 0), interval.units * (up > 0)
        if varied == 0 if clustered else varied < FEW_CHANGES:
            score = paired_rate_interval(down, up, interval.units, confidence=confidence)
            intervals[column] = replace(interval, low=score.low, high=score.high, method=score.method)
        else:
            intervals[column] = _within(interval, -1.0, 1.0)
    return tuple(intervals)


def mean_interval(
    values: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    replicates: int = 10_000,
    confidence: float = 0.95,
    method: Method = "studentized",
    seed: int,
) -> Interval:
    """Interval of one sample's own mean: Wilson's for independent two-valued outcomes, else bootstrap.

    Where clustered two-valued outcomes are all the same, it is Wilson's of that many clusters.

    Args:
        values: Shape [n]; NaN where not applicable.
        clusters: As for `paired_bootstrap`.
        replicates: As for `paired_bootstrap`.
        confidence: As for `paired_bootstrap`.
        method: As for `paired_bootstrap`.
        seed: As for `paired_bootstrap`.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1:
        raise DataError(f"A sample has shape {sample.shape}, not [n].", fix="Use bootstrap_means for a matrix.")
    return mean_intervals(
        sample[:, None], clusters=clusters, replicates=replicates, confidence=confidence, method=method, seed=seed
    )[0]


def mean_intervals(
    values: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    replicates: int = 10_000,
    confidence: float = 0.95,
    method: Method = "studentized",
    seed: int,
    rates: Sequence[bool] | None = None,
) -> tuple[Interval, ...]:
    """`mean_interval` for each column of `values`, shape [n, m], from one resampling.

    `rates` is as for `paired_bootstraps`.
    """
    sample = matrix_of(values)
    intervals = list(
        bootstrap_means(
            sample, clusters=clusters, replicates=replicates, confidence=confidence, method=method, seed=seed
        )
    )
    for column, interval in enumerate(intervals):
        applied = sample[~np.isnan(sample[:, column]), column]
        if not (interval.n and _two_valued(applied) and (rates is None or rates[column])):
            continue
        if interval.units == interval.n:
            intervals[column] = rate_interval(
                int(applied.sum()), interval.n, confidence=confidence, dropped=interval.dropped
            )
        elif interval.estimate in {0.0, 1.0}:
            score = rate_interval(int(applied[0]) * interval.units, interval.units, confidence=confidence)
            intervals[column] = replace(interval, low=score.low, high=score.high, method=score.method)
        else:
            intervals[column] = _within(interval, 0.0, 1.0)
    return tuple(intervals)


def bootstrap_means(
    values: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    replicates: int = 10_000,
    confidence: float = 0.95,
    method: Method = "studentized",
    seed: int,
) -> tuple[Interval, ...]:
    """Bootstrap intervals of the column means of `values`, shape [n, m]; NaN marks not applicable.

    Whole units (clusters) are resampled. A column with NaN is a ratio of two resampled sums, so the
    number of applicable values varies between replicates as it would between samples.

    "studentized" takes, at each end, the farther of the studentized bootstrap's bound and Student's. The first follows
    skew, but a few large values on one side of a small sample look like skew too, and would tighten the other side.
    Where fewer than `FEW_CHANGES` units differ from the commonest value, Student's has one degree of freedom more
    than these.
    """
    if method not in {"studentized", "bca", "percentile"}:
        raise DataError(f"There is no bootstrap '{method}'.", fix="One of: studentized, bca, percentile.")
    z = normal_quantile(confidence)
    sums, counts, rows = unit_sums(values, clusters)
    if method == "studentized":
        resampled, scale = _studentized(sums, counts, replicates=replicates, seed=seed)
    else:
        resampled, scale = replicate_means(sums, counts, replicates=replicates, seed=seed), np.empty(0)
    intervals = []
    for column in range(sums.shape[1]):
        n = int(counts[:, column].sum())
        units = int((counts[:, column] > 0).sum())
        estimate = float(sums[:, column].sum() / n) if n else float("nan")
        low = high = float("nan")
        if units > 1:
            drawn = np.sort(resampled[:, column])
            drawn = drawn[~np.isnan(drawn)]
            levels = (NORMAL.cdf(-z), NORMAL.cdf(z))
            if method == "bca":
                levels = _bca_levels(drawn, estimate, sums[:, column], counts[:, column], z)
            low, high = (float(bound) for bound in np.quantile(drawn, levels))
            if method == "studentized":
                freedom = _freedom(sums[:, column], counts[:, column])
                least = student_quantile(confidence, freedom) * math.sqrt(units / (units - 1))
                error = float(scale[column])
                low, high = estimate - error * max(high, least), estimate - error * min(low, -least)
        intervals.append(
            Interval(
                estimate=estimate,
                low=low,
                high=high,
                n=n,
                dropped=rows - n,
                units=units,
                confidence=confidence,
                method=method if units > 1 else "none",
            )
        )
    return tuple(intervals)


def _studentized(sums: Floats, counts: Floats, *, replicates: int, seed: int) -> tuple[Floats, Floats]:
    """Return each replicate's deviation from the column's mean over its own standard error, and the sample's errors.

    The mean of a column is sum(s) / sum(c) over units; e = s - mean * c are the units' shares of its error, and
    its standard error is sqrt(sum(e^2)) / sum(c). A replicate's mean is off by d = sum(w e) / sum(w c), and the
    squares of its own e* = e - d c add up to sum(w e^2) - 2 d sum(w e c) + d^2 sum(w c^2).

    Returns:
        Shapes [replicates, m] (NaN where a replicate drew no applicable value) and [m].
    """
    units, columns = sums.shape
    number = counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nan_to_num(sums.sum(axis=0) / number)
        off = sums - mean * counts
        error = np.sqrt((off**2).sum(axis=0)) / number
        # What rounding leaves of equal values is no spread.
        error[~(error > _NOTHING * np.abs(sums).sum(axis=0) / number)] = 0.0
        off = np.where(error > 0, off / (error * number), 0.0)
    patterns, pattern = np.unique(counts, axis=1, return_inverse=True)
    of = patterns.shape[1]
    single = bool((counts <= 1).all())
    # Where a unit has one value or none, e c = e and c^2 = c.
    stacked = np.hstack([patterns, off, off**2] + ([] if single else [off * counts, patterns**2]))
    result = np.full((replicates, columns), np.nan)
    for rows, weights in resamples(units, replicates, seed):
        totals = weights @ stacked
        drawn = totals[:, :of][:, pattern]
        first, squares = totals[:, of : of + columns], totals[:, of + columns : of + 2 * columns]
        crossed, sizes = first, drawn
        if not single:
            crossed, sizes = totals[:, of + 2 * columns : of + 3 * columns], totals[:, of + 3 * columns :][:, pattern]
        with np.errstate(invalid="ignore", divide="ignore"):
            d = first / drawn
            spread = np.sqrt(np.maximum(squares - 2 * d * crossed + d**2 * sizes, 0.0)) / drawn
            result[rows] = d / np.maximum(spread, LEAST_ERROR / number)
    return result, error


def _freedom(sums: Floats, counts: Floats) -> int:
    """Return the degrees of freedom of the standard error of a mean: one less than units, or one more than differ.

    Where fewer than `FEW_CHANGES` units differ from the commonest value, it is these that the spread is known from.
    """
    applied = counts > 0
    found = np.unique(sums[applied] / counts[applied], return_counts=True)[1]
    units, differ = int(applied.sum()), int(applied.sum() - found.max())
    return min(differ + 1, units - 1) if differ < FEW_CHANGES else units - 1


def _bca_levels(replicates: Floats, estimate: float, sums: Floats, counts: Floats, z: float) -> tuple[float, float]:
    """Return the two percentile levels of the BCa interval; plain percentiles when it is undefined."""
    plain = (NORMAL.cdf(-z), NORMAL.cdf(z))
    tolerance = 1e-12 * max(1.0, abs(estimate))
    below = float((replicates < estimate - tolerance).mean())
    ties = float((np.abs(replicates - estimate) <= tolerance).mean())
    share = below + ties / 2
    rest = counts.sum() - counts
    if not 0 < share < 1 or (rest == 0).any():
        return plain
    jackknife = (sums.sum() - sums) / rest
    deviation = jackknife.mean() - jackknife
    spread = float((deviation**2).sum())
    if spread <= (1e-12 * max(1.0, abs(estimate))) ** 2:
        return plain
    acceleration = float((deviation**3).sum()) / (6 * spread**1.5)
    shift = NORMAL.inv_cdf(share)
    ends = (shift - z, shift + z)
    if any(acceleration * end >= 1 for end in ends):
        return plain
    left, right = (NORMAL.cdf(shift + end / (1 - acceleration * end)) for end in ends)
    return left, right


def _within(interval: Interval, least: float, most: float) -> Interval:
    return replace(interval, low=max(interval.low, least), high=min(interval.high, most))


def _two_valued(values: Floats) -> bool:
    return bool(((values == 0) | (values == 1)).all())
