"""Corrections for many tests: of p values alone, and over shared sign flips.

Every correction is over one family: the values it is given. Say which they are wherever the result is shown. NaN marks
a test that could not be made: it stays NaN and does not count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.statistics.permutation import flipped_sums, paired_sums

Floats = NDArray[np.float64]


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down correction: p values that keep the chance of any false finding in the family below alpha.

    Args:
        p: The family's p values, shape [m]; NaN stays NaN and does not count.

    Returns:
        Adjusted p values, shape [m], at most 1. Valid under any dependence.

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65.
    """
    values, known, order = _sorted(p)
    stepped = values[order] * np.arange(len(order), 0, -1)
    return _placed(values, order, np.maximum.accumulate(stepped) if len(known) else stepped)


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Benjamini and Hochberg's step-up correction: it keeps the share of false ones among the findings below alpha.

    Args:
        p: The family's p values, shape [m]; NaN stays NaN and does not count.

    Returns:
        Adjusted p values, shape [m], at most 1. Valid for independent or positively dependent tests.

    Source: Benjamini and Hochberg 1995, JRSS B 57:289.
    """
    return _step_up(p, 1.0)


def benjamini_yekutieli(p: ArrayLike) -> Floats:
    """`benjamini_hochberg` for tests that depend on each other in any way: stricter by 1 + 1/2 + ... + 1/m.

    Source: Benjamini and Yekutieli 2001, Annals of Statistics 29:1165.
    """
    count = int((~np.isnan(np.asarray(p, dtype=np.float64))).sum())
    return _step_up(p, float((1 / np.arange(1, count + 1)).sum()))


def max_statistic_p(
    base: ArrayLike, other: ArrayLike, *, clusters: ArrayLike | None = None, permutations: int = 10_000, seed: int
) -> Floats:
    """Two-sided p of "no difference" for many paired measures, each adjusted for all of them, by shared sign flips.

    The family is all columns. Each column's |sum| is scaled by the root of its sum of squares, and compared with the
    largest of all columns under the same flips: columns that move together cost less than under Holm's correction.

    Args:
        base: Reference values, shape [n, m]; NaN where not applicable.
        other: Values of the same items and measures, shape [n, m].
        clusters: Label of each item's independent unit, shape [n]; a cluster's differences flip together.
        permutations: Random sign vectors.
        seed: Seed of the flips.

    Returns:
        Adjusted p, shape [m]: (1 + #{largest scaled |sum| >= own}) / (1 + permutations), which cannot be smaller than
        1 / (1 + permutations); 1 where nothing differs, NaN where no pair applies.

    Source: Westfall and Young 1993, section 2.3 (single-step maxT).
    """
    sums, counts = paired_sums(base, other, clusters)
    scale = np.sqrt((sums**2).sum(axis=0))
    scaled = sums / np.where(scale > 0, scale, 1.0)
    observed = np.abs(scaled.sum(axis=0))
    reached = np.zeros(sums.shape[1])
    for flipped in flipped_sums(scaled, permutations=permutations, seed=seed):
        largest = np.abs(flipped).max(axis=1, initial=0.0)
        reached += (largest[:, None] >= observed - 1e-9).sum(axis=0)
    return np.where(counts.sum(axis=0) > 0, (1 + reached) / (1 + permutations), np.nan)


def _step_up(p: ArrayLike, factor: float) -> Floats:
    values, known, order = _sorted(p)
    stepped = values[order] * factor * len(known) / np.arange(1, len(order) + 1)
    return _placed(values, order, np.minimum.accumulate(stepped[::-1])[::-1])


def _sorted(p: ArrayLike) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
    values = np.asarray(p, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    return values, known, known[np.argsort(values[known], kind="stable")]


def _placed(values: Floats, order: NDArray[np.intp], adjusted: Floats) -> Floats:
    placed = np.full(values.shape, np.nan)
    placed[order] = np.minimum(1.0, adjusted)
    return placed
