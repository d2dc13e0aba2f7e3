"""Bootstrap intervals of means and of paired differences: every metric from one resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

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

Floats = NDArray[np.float64]
Method = Literal["bca", "percentile"]

FEW_CHANGES = 10
"""Below this many changed pairs, or pairs that did not go the one way all others went, a two-valued difference gets
Tango's interval: a bootstrap of values that are all but equal is far too narrow."""

_COUNTS_PER_CHUNK = 4_000_000
_AXES = 2


def paired_bootstrap(
    base: ArrayLike,
    other: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    replicates: int = 10_000,
    confidence: float = 0.95,
    method: Method = "bca",
    seed: int,
) -> Interval:
    """Interval of the mean paired difference `other - base`.

    Args:
        base: Values of the reference, shape [n]; NaN where not applicable.
        other: Values of the same n items under the other variant.
        clusters: Label of each item's independent unit (source instance), shape [n]; None when items are independent.
        replicates: Bootstrap resamples.
        confidence: Nominal coverage.
        method: "bca" (bias-corrected and accelerated) or "percentile".
        seed: Seed of the resampling.

    Returns:
        The interval; `n` counts the pairs that apply on both sides and `dropped` the others. Two-valued
        outcomes (0 and 1) with fewer than `FEW_CHANGES` changed pairs (or others than the one change) get Tango's
        score interval.

    Raises:
        DataError: Shapes differ, a value is infinite, or a setting is out of range.

    Source: Efron 1987, JASA 82:171 (BCa); Davison and Hinkley 1997, sections 2 and 5.
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
    method: Method = "bca",
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
    first, second = _matrix(base), _matrix(other)
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
    return tuple(intervals)


def mean_interval(
    values: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    replicates: int = 10_000,
    confidence: float = 0.95,
    method: Method = "bca",
    seed: int,
) -> Interval:
    """Interval of one sample's own mean: Wilson for independent two-valued outcomes, else bootstrap.

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
    method: Method = "bca",
    seed: int,
    rates: Sequence[bool] | None = None,
) -> tuple[Interval, ...]:
    """`mean_interval` for each column of `values`, shape [n, m], from one resampling.

    `rates` is as for `paired_bootstraps`.
    """
    sample = _matrix(values)
    intervals = list(
        bootstrap_means(
            sample, clusters=clusters, replicates=replicates, confidence=confidence, method=method, seed=seed
        )
    )
    for column, interval in enumerate(intervals):
        applied = sample[~np.isnan(sample[:, column]), column]
        rate = _two_valued(applied) and (rates is None or rates[column])
        if interval.n and interval.units == interval.n and rate:
            intervals[column] = rate_interval(
                int(applied.sum()), interval.n, confidence=confidence, dropped=interval.dropped
            )
    return tuple(intervals)


def bootstrap_means(
    values: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    replicates: int = 10_000,
    confidence: float = 0.95,
    method: Method = "bca",
    seed: int,
) -> tuple[Interval, ...]:
    """Bootstrap intervals of the column means of `values`, shape [n, m]; NaN marks not applicable.

    Whole units (clusters) are resampled. A column with NaN is a ratio of two resampled sums, so the
    number of applicable values varies between replicates as it would between samples.
    """
    z = normal_quantile(confidence)
    sums, counts, rows = unit_sums(values, clusters)
    resampled = replicate_means(sums, counts, replicates=replicates, seed=seed)
    intervals = []
    for column in range(sums.shape[1]):
        n = int(counts[:, column].sum())
        units = int((counts[:, column] > 0).sum())
        estimate = float(sums[:, column].sum() / n) if n else float("nan")
        low = high = float("nan")
        if units > 1:
            share = resampled[:, column]
            share = np.sort(share[~np.isnan(share)])
            levels = (NORMAL.cdf(-z), NORMAL.cdf(z))
            if method == "bca":
                levels = _bca_levels(share, estimate, sums[:, column], counts[:, column], z)
            low, high = (float(bound) for bound in np.quantile(share, levels))
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


def unit_sums(values: ArrayLike, clusters: ArrayLike | None = None) -> tuple[Floats, Floats, int]:
    """Add up `values` [n, m] by cluster.

    Returns:
        Sums [g, m] and counts [g, m] of the applicable (not NaN) values of each of the g units, and n.
    """
    sample = _matrix(values)
    applied = ~np.isnan(sample)
    filled = np.where(applied, sample, 0.0)
    if clusters is None:
        return filled, applied.astype(np.float64), len(sample)
    labels: NDArray[Any] = np.asarray(clusters)
    if labels.shape != (len(sample),):
        raise DataError(
            f"{len(sample)} values have cluster labels of shape {labels.shape}.", fix="Pass one label for each value."
        )
    unit = np.unique(labels, return_inverse=True)[1]
    sums = np.zeros((int(unit.max(initial=-1)) + 1, sample.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, unit, filled)
    np.add.at(counts, unit, applied)
    return sums, counts, len(sample)


def replicate_means(sums: Floats, counts: Floats, *, replicates: int, seed: int) -> Floats:
    """Resample units and return each replicate's mean of every column.

    Replicate r draws as many units as there are, with replacement; its multinomial counts are one row
    of a matrix C, and all means are (C @ sums) / (C @ counts), computed in chunks of rows.

    Args:
        sums: Sum of the values of each unit, shape [g, m].
        counts: Number of applicable values of each unit, shape [g, m].
        replicates: Rows of the result.
        seed: Seed; the draws do not depend on the chunking.

    Returns:
        Shape [replicates, m]; NaN where a replicate drew no applicable value.
    """
    if replicates < 1:
        raise DataError(f"{replicates} bootstrap replicates were asked for.", fix="Use at least 1000.")
    units, columns = sums.shape
    if not units:
        return np.full((replicates, columns), np.nan)
    patterns, pattern = np.unique(counts, axis=1, return_inverse=True)
    stacked = np.hstack([sums, patterns])
    generator = np.random.default_rng(seed)
    means = np.empty((replicates, columns))
    rows = max(1, _COUNTS_PER_CHUNK // units)
    for start in range(0, replicates, rows):
        size = min(rows, replicates - start)
        drawn = generator.integers(0, units, size=(size, units))
        drawn += np.arange(size)[:, None] * units
        weights = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        totals = weights.astype(np.float64) @ stacked
        with np.errstate(invalid="ignore"):
            means[start : start + size] = totals[:, :columns] / totals[:, columns:][:, pattern]
    return means


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


def _matrix(values: ArrayLike) -> Floats:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != _AXES:
        raise DataError(f"Values have shape {matrix.shape}, not [n, metrics].", fix="Pass a matrix.")
    if np.isinf(matrix).any():
        raise DataError("Values hold an infinity, which no mean survives.", fix="Use NaN where a value does not apply.")
    return matrix


def _two_valued(values: Floats) -> bool:
    return bool(((values == 0) | (values == 1)).all())
