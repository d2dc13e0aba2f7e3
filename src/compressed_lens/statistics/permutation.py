"""Tests of paired differences by sign flips: exact where the differences are whole numbers, else by random flips."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.flips import mcnemar_p
from compressed_lens.statistics.resampling import unit_sums

Floats = NDArray[np.float64]

_SIGNS_PER_CHUNK = 4_000_000
_WORD = 64
_LARGEST_TOTAL = 200_000
_MOST_COSINES = 20_000_000


def sign_flip_p(
    base: ArrayLike, other: ArrayLike, *, clusters: ArrayLike | None = None, permutations: int = 10_000, seed: int
) -> Floats:
    """Two-sided p of "no difference" for many paired measures over the same items, by sign flips.

    Under the null hypothesis a unit's difference is as likely to point one way as the other. Columns whose units
    differ by whole numbers (outcomes of 0 and 1, ratings, counts) get the exact p over all sign patterns, which needs
    no seed; the others share random flips.

    Args:
        base: Reference values, shape [n, m]; NaN where not applicable.
        other: Values of the same items and measures, shape [n, m].
        clusters: Label of each item's independent unit, shape [n]; a cluster's differences flip together.
        permutations: Random sign vectors.
        seed: Seed of the flips.

    Returns:
        Shape [m]. Exact: P(|sum of flipped differences| >= |sum of differences|), good to 1e-11. Random:
        (1 + #{the same}) / (1 + permutations), never zero. 1 where nothing differs, NaN where no pair applies.

    Source: Fisher 1935, section 21; for 0/1 outcomes this is McNemar's exact test.
    """
    sums, counts = paired_sums(base, other, clusters)
    p = np.full(sums.shape[1], np.nan)
    random = []
    for column in np.flatnonzero(counts.sum(axis=0) > 0):
        exact = exact_sign_flip_p(sums[:, column])
        if exact is None:
            random.append(column)
        else:
            p[column] = exact
    if permutations < 1:
        raise DataError(f"{permutations} sign flips were asked for.", fix="Use at least 1000.")
    if random:
        chosen = sums[:, random]
        observed = np.abs(chosen.sum(axis=0))
        tolerance = 1e-9 * np.maximum(np.abs(chosen).sum(axis=0), 1e-300)
        reached = np.zeros(len(random))
        for flipped in flipped_sums(chosen, permutations=permutations, seed=seed):
            reached += (np.abs(flipped) >= observed - tolerance).sum(axis=0)
        p[random] = (1 + reached) / (1 + permutations)
    return p


def exact_sign_flip_p(differences: ArrayLike) -> float | None:
    """Return the exact two-sided sign-flip p of whole-number differences, shape [n]; None where that is out of reach.

    The null distribution of the sum is the product of cos(v t)^(number of differences of size v) in the frequency
    domain, one transform for all 2^n patterns; good to 1e-11, and never below that of a single pattern and its mirror.
    Out of reach are values that are not whole, sizes that add up to more than 200,000, and too many distinct sizes.
    """
    values = np.asarray(differences, dtype=np.float64)
    whole = np.rint(values)
    if (np.abs(values - whole) > 1e-9).any() or np.abs(whole).sum() > _LARGEST_TOTAL:  # noqa: PLR2004
        return None
    sizes, counts = np.unique(np.abs(whole[whole != 0]).astype(np.int64), return_counts=True)
    if not sizes.size:
        return 1.0
    if sizes.size == 1:
        return mcnemar_p(int((whole < 0).sum()), int((whole > 0).sum()))
    total, observed = int((sizes * counts).sum()), abs(int(whole.sum()))
    length = 1 << (2 * total + 1).bit_length()
    if sizes.size * length > _MOST_COSINES:
        return None
    angle = 2 * np.pi / length * np.arange(length // 2 + 1)
    spectrum = np.ones(length // 2 + 1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        spectrum *= np.cos(size * angle) ** count
    chances = np.maximum(np.fft.irfft(spectrum, length), 0.0)
    tail = 2 * float(chances[observed : total + 1].sum()) if observed else 1.0
    return min(1.0, max(tail, 2.0 ** (1 - int(counts.sum()))))


def paired_sums(base: ArrayLike, other: ArrayLike, clusters: ArrayLike | None) -> tuple[Floats, Floats]:
    """Return the sums [g, m] of the differences `other - base` of each unit, and how many pairs [g, m] are in them."""
    first, second = np.asarray(base, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.shape != second.shape:
        raise DataError(
            f"Paired values have shapes {first.shape} and {second.shape}.", fix="Pass the same items in the same order."
        )
    sums, counts, _ = unit_sums(second - first, clusters)
    return sums, counts


def flipped_sums(sums: Floats, *, permutations: int, seed: int) -> Iterator[Floats]:
    """Yield the column sums under random sign flips of whole units, in chunks of shape [rows, m].

    All columns share the flips, which do not depend on the chunks.
    """
    generator = np.random.default_rng(seed)
    units, total = len(sums), sums.sum(axis=0)
    words = -(-units // _WORD)
    rows = max(1, _SIGNS_PER_CHUNK // max(1, units))
    for start in range(0, permutations, rows):
        size = min(rows, permutations - start)
        drawn = np.frombuffer(generator.bytes(size * words * 8), dtype=np.uint8).reshape(size, words * 8)
        signs = np.unpackbits(drawn, axis=1, count=units)
        # Signs of 0 and 1 instead of -1 and 1: the flipped sum is 2 * kept - all.
        yield 2 * (signs.astype(np.float64) @ sums) - total
