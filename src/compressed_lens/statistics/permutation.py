"""Tests of paired differences by sign flips."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.bootstrap import unit_sums

_SIGNS_PER_CHUNK = 4_000_000


def sign_flip_p(
    base: ArrayLike, other: ArrayLike, *, clusters: ArrayLike | None = None, permutations: int = 10_000, seed: int
) -> NDArray[np.float64]:
    """Two-sided p of "no difference" for many paired measures over the same items, by random sign flips.

    Under the null hypothesis a unit's difference is as likely to point one way as the other. All columns
    share the flips.

    Args:
        base: Reference values, shape [n, m]; NaN where not applicable.
        other: Values of the same items and measures, shape [n, m].
        clusters: Label of each item's independent unit, shape [n]; a cluster's differences flip together.
        permutations: Random sign vectors.
        seed: Seed of the flips.

    Returns:
        Shape [m]: (1 + #{|sum of flipped differences| >= |sum of differences|}) / (1 + permutations), never
        zero; 1 where nothing differs, NaN where no pair applies.
    """
    first, second = np.asarray(base, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.shape != second.shape:
        raise DataError(
            f"Paired values have shapes {first.shape} and {second.shape}.", fix="Pass the same items in the same order."
        )
    if permutations < 1:
        raise DataError(f"{permutations} sign flips were asked for.", fix="Use at least 1000.")
    sums, counts, _ = unit_sums(second - first, clusters)
    observed = np.abs(sums.sum(axis=0))
    tolerance = 1e-9 * np.maximum(np.abs(sums).sum(axis=0), 1e-300)
    generator = np.random.default_rng(seed)
    reached = np.zeros(sums.shape[1])
    rows = max(1, _SIGNS_PER_CHUNK // max(1, len(sums)))
    for start in range(0, permutations, rows):
        signs = generator.integers(0, 2, size=(min(rows, permutations - start), len(sums)), dtype=np.int8)
        # Signs of 0 and 1 instead of -1 and 1: the flipped sum is 2 * kept - all.
        flipped = 2 * (signs.astype(np.float64) @ sums) - sums.sum(axis=0)
        reached += (np.abs(flipped) >= observed - tolerance).sum(axis=0)
    return np.where(counts.sum(axis=0) > 0, (1 + reached) / (1 + permutations), np.nan)
