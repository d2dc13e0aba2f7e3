"""Resampling of whole units: one matrix of counts for whatever is measured of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError

Floats = NDArray[np.float64]

LEAST_ERROR = 0.25
"""Least standard error of a replicate, as a share of the sample's. One that happened to draw hardly any of the few
units that differ would send a bound to infinity."""

# Large products: on a busy machine the threads of many small ones wait for each other. Small counts stay in the cache.
_COUNTS_PER_CHUNK = 4_000_000
_COUNTS_AT_ONCE = 65_536
_AXES = 2


def unit_sums(values: ArrayLike, clusters: ArrayLike | None = None) -> tuple[Floats, Floats, int]:
    """Add up `values` [n, m] by cluster.

    Returns:
        Sums [g, m] and counts [g, m] of the applicable (not NaN) values of each of the g units, and n.
    """
    sample = matrix_of(values)
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
    units, columns = sums.shape
    patterns, pattern = np.unique(counts, axis=1, return_inverse=True)
    stacked = np.hstack([sums, patterns])
    means = np.full((replicates, columns), np.nan)
    for rows, weights in resamples(units, replicates, seed):
        totals = weights @ stacked
        with np.errstate(invalid="ignore"):
            means[rows] = totals[:, :columns] / totals[:, columns:][:, pattern]
    return means


def resamples(units: int, replicates: int, seed: int) -> Iterator[tuple[slice, Floats]]:
    """Yield which replicates, and how often each drew each unit, shape [part, units], in parts that fit into memory.

    The array is overwritten by the next part.
    """
    if replicates < 1:
        raise DataError(f"{replicates} bootstrap replicates were asked for.", fix="Use at least 1000.")
    if not units:
        return
    generator = np.random.default_rng(seed)
    size = min(replicates, max(1, _COUNTS_PER_CHUNK // units))
    step = max(1, _COUNTS_AT_ONCE // units)
    weights = np.empty((size, units))
    for start in range(0, replicates, size):
        drawn = generator.integers(0, units, size=(min(size, replicates - start), units))
        for first in range(0, len(drawn), step):
            part = drawn[first : first + step]
            flat = (part + np.arange(len(part))[:, None] * units).ravel()
            weights[first : first + len(part)] = np.bincount(flat, minlength=part.size).reshape(part.shape)
        yield slice(start, start + len(drawn)), weights[: len(drawn)]


def matrix_of(values: ArrayLike) -> Floats:
    """Return `values` as a matrix without infinities."""
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != _AXES:
        raise DataError(f"Values have shape {matrix.shape}, not [n, metrics].", fix="Pass a matrix.")
    if np.isinf(matrix).any():
        raise DataError("Values hold an infinity, which no mean survives.", fix="Use NaN where a value does not apply.")
    return matrix
