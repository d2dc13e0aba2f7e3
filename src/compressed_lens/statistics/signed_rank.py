"""Wilcoxon's signed-rank test, its effect size, and the shift that goes with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.interval import normal_quantile
from compressed_lens.statistics.permutation import exact_sign_flip_p

Floats = NDArray[np.float64]

EXACT_PAIRS = 60
"""Up to so many pairs p and interval come from the exact distribution, beyond from the normal one."""

_BISECTIONS = 100


@dataclass(frozen=True, kw_only=True)
class SignedRank:
    """Paired differences by their ranks.

    Attributes:
        p: Two-sided p of "differences are symmetric about zero"; 1 where nothing differs, NaN without pairs.
        rank_biserial: (W+ - W-) / (W+ + W-), from -1 (all fell) to 1 (all rose); 0 where nothing differs.
        shift: Hodges and Lehmann's: the median of the means of all pairs of differences, in the unit of the measure.
        low: Lower bound of the shift; NaN below six pairs, which cannot exclude anything at 95 %.
        high: Upper bound.
        n: Pairs.
        zeros: Pairs that do not differ.
        dropped: Pairs that do not apply (NaN) on at least one side.
        method: Whether p and interval are "exact" or "normal".
    """

    p: float
    rank_biserial: float
    shift: float
    low: float
    high: float
    n: int
    zeros: int
    dropped: int
    method: Literal["exact", "normal"]


def signed_rank(base: ArrayLike, other: ArrayLike, *, confidence: float = 0.95) -> SignedRank:
    """Wilcoxon's signed-rank test of `other - base`, with Pratt's zeros and average ranks of ties.

    Up to `EXACT_PAIRS` pairs p is exact given the ranks, ties and zeros included: all sign patterns count. The interval
    of the shift inverts the test without ties and zeros; where there are many it is conservative, and a shift of
    exactly zero says that at least half of the pairwise means are not on one side.

    Args:
        base: Values of the reference, shape [n]; NaN where not applicable.
        other: Values of the same items under the other variant. Items are taken as independent.
        confidence: Nominal coverage of the interval of the shift.

    Raises:
        DataError: Shapes differ, or a value is infinite.

    Source: Wilcoxon 1945; Pratt 1959, JASA 54:655; Hodges and Lehmann 1963; Kerby 2014 (rank-biserial correlation).
    """
    first, second = np.asarray(base, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(
            f"Paired values have shapes {first.shape} and {second.shape}.", fix="Pass the same items in the same order."
        )
    if np.isinf(first).any() or np.isinf(second).any():
        raise DataError("A value is infinite.", fix="Use NaN where a value does not apply.")
    differences = second - first
    differences = np.sort(differences[~np.isnan(differences)])
    n = differences.size
    signed = np.sign(differences) * _ranks(np.abs(differences))
    square = float((signed**2).sum())
    balance, total = float(signed.sum()), float(np.abs(signed).sum())
    method: Literal["exact", "normal"] = "exact" if n <= EXACT_PAIRS else "normal"
    exact = exact_sign_flip_p(2 * signed) if method == "exact" else None
    p = math.erfc(abs(balance) / math.sqrt(2 * square)) if square else 1.0
    low, high = _shift_interval(differences, confidence)
    return SignedRank(
        p=(p if exact is None else exact) if n else math.nan,
        rank_biserial=(balance / total if total else 0.0) if n else math.nan,
        shift=_shift(differences) if n else math.nan,
        low=low,
        high=high,
        n=n,
        zeros=int((differences == 0).sum()),
        dropped=first.size - n,
        method=method,
    )


def _ranks(values: Floats) -> Floats:
    """Return ranks from 1 on, ties averaged."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    found: Floats = (last - (counts - 1) / 2)[place]
    return found


def _shift(differences: Floats) -> float:
    pairs = differences.size * (differences.size + 1) // 2
    return (_walsh(differences, (pairs + 1) // 2) + _walsh(differences, pairs // 2 + 1)) / 2


def _shift_interval(differences: Floats, confidence: float) -> tuple[float, float]:
    z, n = normal_quantile(confidence), differences.size
    pairs = n * (n + 1) // 2
    if n <= EXACT_PAIRS:
        # Ways to reach each sum of the ranks 1..n; their tail gives the order statistic that the test stops at.
        ways = np.ones(1)
        for rank in range(1, n + 1):
            ways = (np.concatenate([ways, np.zeros(rank)]) + np.concatenate([np.zeros(rank), ways])) / 2
        place = int(np.searchsorted(ways.cumsum(), (1 - confidence) / 2, side="right"))
    else:
        place = math.floor(pairs / 2 - z * math.sqrt(n * (n + 1) * (2 * n + 1) / 24))
    if place < 1:
        return math.nan, math.nan
    return _walsh(differences, place), _walsh(differences, pairs + 1 - place)


def _walsh(differences: Floats, place: int) -> float:
    """Return the `place`-th smallest (from 1) of the means of all pairs i <= j of sorted differences.

    By bisection on the value, counting the means below it in O(n log n): 10,000 differences have 50 million means.
    """
    low, high = float(differences[0]), float(differences[-1])

    def partners(value: float) -> NDArray[np.intp]:
        """Return for each difference how many others make a mean of at most `value` with it."""
        return np.searchsorted(differences, 2 * value - differences, side="right")

    def count(value: float) -> int:
        alone = int(np.searchsorted(differences, value, side="right"))
        return (int(partners(value).sum()) + alone) // 2

    if count(low) >= place:
        return low
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (low, middle) if count(middle) >= place else (middle, high)
    # The largest mean up to `high` is the one looked for: a value of the data, not the end of a bracket.
    reach = partners(high)
    known = reach > 0
    return float(((differences[known] + differences[reach[known] - 1]) / 2).max())
