"""Sizes of effects without a unit: standardized differences, and Cliff's delta for ordered values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.interval import Interval, normal_quantile

Floats = NDArray[np.float64]


def standardized_difference(base: ArrayLike, other: ArrayLike) -> float:
    """Return d_z: the mean paired difference `other - base` in standard deviations of the differences.

    Hedges' correction takes out the bias of small samples. Note that d_z grows with the agreement of the two sides: it
    says how visible a difference is, not how large.

    Args:
        base: Values of the reference, shape [n]; NaN where not applicable.
        other: Values of the same items under the other variant.

    Returns:
        NaN below three pairs and where the differences do not vary.

    Source: Cohen 1988, section 2.3.5; Hedges 1981, J. Educational Statistics 6:107 (exact correction).
    """
    first, second = _sides(base, other)
    if first.shape != second.shape:
        raise DataError(
            f"Paired values have shapes {first.shape} and {second.shape}.", fix="Pass the same items in the same order."
        )
    differences = second - first
    differences = differences[~np.isnan(differences)]
    freedom = differences.size - 1
    if freedom < 2:  # noqa: PLR2004
        return math.nan
    spread = float(differences.std(ddof=1))
    if spread <= 1e-12 * max(1.0, float(np.abs(differences).max())):
        return math.nan
    correction = math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    return correction * float(differences.mean()) / spread


@dataclass(frozen=True, kw_only=True)
class Dominance(Interval):
    """Cliff's delta with its interval; `n` counts the values of the second side that apply."""

    @property
    def superiority(self) -> float:
        """Vargha and Delaney's A12, 0..1: chance that a value of the second side is the larger one, ties half."""
        return (self.estimate + 1) / 2


def cliffs_delta(base: ArrayLike, other: ArrayLike, *, paired: bool, confidence: float = 0.95) -> Dominance:
    """Cliff's delta: P(other > base) - P(other < base) for values drawn independently from the two sides.

    It uses only the order of the values, so it suits ratings. Every value of one side is compared with every value of
    the other, also where items are paired: the pairing then only sharpens the interval. (The paired analogue, the share
    of items that rose minus the share that fell, is the mean of the signs of the differences.)

    Args:
        base: Values of the reference, shape [n]; NaN where not applicable.
        other: Values of the other variant; [m], or with `paired` [n]: pairs with a NaN are then left out.
        paired: Whether `base[i]` and `other[i]` are the same item, which makes them dependent.
        confidence: Nominal coverage.

    Returns:
        From -1 to 1, positive where `other` tends to be larger. The interval is Feng and Cliff's asymmetric one around
        the variance of the U statistic (its linear part); NaN below two values on a side, and where that variance is
        zero: with no changed pair, or no overlap at all, it says nothing.

    Source: Cliff 1993, Psychological Bulletin 114:494; Feng and Cliff 2004, J. Mod. Appl. Stat. Methods 3:322; Vargha
        and Delaney 2000.
    """
    first, second = _sides(base, other)
    if paired:
        if first.shape != second.shape:
            raise DataError(
                f"Paired values have shapes {first.shape} and {second.shape}.",
                fix="Pass the same items in the same order.",
            )
        both = ~(np.isnan(first) | np.isnan(second))
        x, y = first[both], second[both]
    else:
        x, y = first[~np.isnan(first)], second[~np.isnan(second)]
    z = normal_quantile(confidence)
    estimate = low = high = math.nan
    if x.size and y.size:
        above, below = _dominance(y, x), -_dominance(x, y)
        estimate = float(above.mean())
        if min(x.size, y.size) > 1:
            parts = [above + below] if paired else [above, below]
            variance = sum(float(part.var(ddof=1)) / part.size for part in parts)
            if variance > 1e-15:  # noqa: PLR2004
                centre, below_one = estimate - estimate**3, 1 - estimate**2
                half = z * math.sqrt(variance * (below_one**2 + z * z * variance))
                low, high = ((centre + sign * half) / (below_one + z * z * variance) for sign in (-1, 1))
    return Dominance(
        estimate=estimate,
        low=low,
        high=high,
        n=y.size,
        dropped=second.size - y.size,
        units=y.size,
        confidence=confidence,
        method="none" if math.isnan(low) else "feng-cliff",
    )


def _dominance(values: Floats, against: Floats) -> Floats:
    """Return for each value the share of `against` that is smaller minus the share that is larger."""
    order = np.sort(against)
    smaller = np.searchsorted(order, values, side="left")
    larger = against.size - np.searchsorted(order, values, side="right")
    return (smaller - larger) / against.size


def _sides(base: ArrayLike, other: ArrayLike) -> tuple[Floats, Floats]:
    first, second = np.asarray(base, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.ndim != 1 or second.ndim != 1:
        raise DataError(f"Values have shapes {first.shape} and {second.shape}, not [n].", fix="Pass one measure.")
    return first, second
