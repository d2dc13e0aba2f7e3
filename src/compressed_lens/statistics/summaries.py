"""Summaries of a sample that are no plain means (a median, a ratio of sums): values, intervals, paired differences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.interval import NORMAL, Interval, normal_quantile

Floats = NDArray[np.float64]
Statistic = Literal["mean", "median", "exp_ratio"]

_CELLS_PER_CHUNK = 4_000_000


def summary(values: ArrayLike, over: ArrayLike | None = None, *, statistic: Statistic) -> float:
    """Return the mean or the median of values, or exp(sum of values / sum of `over`); NaN where nothing applies.

    Args:
        values: Shape [n]; NaN where not applicable.
        over: For "exp_ratio": what the values are summed over, shape [n] (tokens, for instance).
        statistic: Which.
    """
    rows = _rows(values, over, statistic)
    rows = rows[~np.isnan(rows).any(axis=1)]
    if not len(rows):
        return float("nan")
    return float(_of_rows(rows[None], statistic)[0])


def summary_interval(
    values: ArrayLike,
    over: ArrayLike | None = None,
    *,
    statistic: Statistic,
    clusters: ArrayLike | None = None,
    replicates: int = 10_000,
    confidence: float = 0.95,
    seed: int,
) -> Interval:
    """Percentile bootstrap interval of a `summary`.

    Args:
        values: Shape [n]; NaN where not applicable.
        over: As for `summary`.
        statistic: As for `summary`.
        clusters: Label of each value's independent unit, shape [n]; whole units are resampled.
        replicates: Bootstrap resamples.
        confidence: Nominal coverage.
        seed: Seed of the resampling.
    """
    rows = _rows(values, over, statistic)
    return _interval(rows, _own, statistic, clusters, replicates=replicates, confidence=confidence, seed=seed)


def paired_summary(
    base: ArrayLike,
    other: ArrayLike,
    base_over: ArrayLike | None = None,
    other_over: ArrayLike | None = None,
    *,
    statistic: Statistic,
    clusters: ArrayLike | None = None,
    replicates: int = 10_000,
    confidence: float = 0.95,
    seed: int,
) -> tuple[Interval, float]:
    """Interval and p of `summary(other) - summary(base)` over the items that apply on both sides.

    It is the difference of two summaries, not the summary of the differences.

    Args:
        base: Values of the reference, shape [n]; NaN where not applicable.
        other: Values of the same items under the other variant.
        base_over: As for `summary`, for `base`.
        other_over: As for `summary`, for `other`.
        statistic: As for `summary`.
        clusters: As for `summary_interval`.
        replicates: Bootstrap resamples, and random swaps.
        confidence: Nominal coverage.
        seed: Seed of both.

    Returns:
        The percentile bootstrap interval, items resampled in pairs; and the two-sided p of "no difference" by swapping
        the two sides of random units: (1 + #{|swapped difference| >= |difference|}) / (1 + replicates), 1 where nothing
        differs, NaN where no pair applies.

    Raises:
        DataError: Shapes differ, or `over` is missing.
    """
    rows = np.hstack([_rows(base, base_over, statistic), _rows(other, other_over, statistic)])
    interval = _interval(
        rows, _difference, statistic, clusters, replicates=replicates, confidence=confidence, seed=seed
    )
    kept, unit = _units(rows, clusters)
    if not len(kept):
        return interval, float("nan")
    observed, reached = abs(interval.estimate), 0
    tolerance = 1e-9 * max(1.0, observed)
    half = kept.shape[1] // 2
    swapped = np.hstack([kept[:, half:], kept[:, :half]])
    for flips in _chunks(replicates, int(unit.max()) + 1, kept.size, np.random.default_rng(seed), high=2):
        found = _difference(np.where(flips[:, unit, None].astype(bool), swapped, kept), statistic)
        reached += int((np.abs(found) >= observed - tolerance).sum())
    return interval, (1 + reached) / (1 + replicates)


def _rows(values: ArrayLike, over: ArrayLike | None, statistic: Statistic) -> Floats:
    """Return values [n, 1], with `over` as a second column where the statistic needs one."""
    sample = np.asarray(values, dtype=np.float64)
    columns = [sample]
    if statistic == "exp_ratio":
        if over is None:
            raise DataError("A ratio of sums needs what the values are summed over.", fix="Pass `over`.")
        columns.append(np.asarray(over, dtype=np.float64))
    if any(column.shape != sample.shape or column.ndim != 1 for column in columns):
        raise DataError(
            f"Values have shapes {', '.join(str(c.shape) for c in columns)}.", fix="Pass one-dimensional values."
        )
    return np.column_stack(columns)


def _of_rows(rows: Floats, statistic: Statistic) -> Floats:
    """Return the statistic of samples [r, n, columns], shape [r]."""
    if statistic == "median":
        return np.asarray(np.median(rows[..., 0], axis=1))
    if statistic == "mean":
        return np.asarray(rows[..., 0].mean(axis=1))
    sums = rows.sum(axis=1)
    return np.asarray(np.exp(sums[:, 0] / sums[:, 1]))


def _own(rows: Floats, statistic: Statistic) -> Floats:
    return _of_rows(rows, statistic)


def _difference(rows: Floats, statistic: Statistic) -> Floats:
    half = rows.shape[-1] // 2
    return _of_rows(rows[..., half:], statistic) - _of_rows(rows[..., :half], statistic)
