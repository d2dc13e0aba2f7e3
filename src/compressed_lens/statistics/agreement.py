"""Agreement of raters: Krippendorff's alpha with missing ratings, and Cohen's kappa."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.interval import Interval, normal_quantile

Floats = NDArray[np.float64]
Level = Literal["nominal", "ordinal", "interval"]
Weights = Literal["none", "linear", "quadratic"]

_LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
_AXES = 2
_TWO = 2


def krippendorff_alpha(ratings: ArrayLike, *, level: Level = "ordinal") -> float:
    """Krippendorff's alpha: 1 is perfect agreement, 0 what chance gives, below 0 systematic disagreement.

    Args:
        ratings: Shape [raters, units]; NaN where a rater did not rate a unit. Units with one rating do not count.
        level: What a difference between two ratings means. "nominal": nothing but that they differ. "ordinal": how many
            ratings lie between. "interval": its square.

    Returns:
        alpha, at most 1; NaN where fewer than two units have two ratings, or all ratings are the same.

    Raises:
        DataError: Not a matrix, an infinite rating, or an unknown level.

    Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability"; 2601.00282, section 5.
    """
    return _alpha(_table(ratings, level), level)


def alpha_interval(
    ratings: ArrayLike, *, level: Level = "ordinal", replicates: int = 1000, confidence: float = 0.95, seed: int
) -> Interval:
    """Krippendorff's alpha with a percentile bootstrap interval over units.

    Args:
        ratings: As for `krippendorff_alpha`.
        level: As for `krippendorff_alpha`.
        replicates: Bootstrap resamples of units.
        confidence: Nominal coverage.
        seed: Seed of the resampling.

    Returns:
        The interval; `n` counts the ratings of units with two or more, `dropped` the units without.
    """
    normal_quantile(confidence)
    table = _table(ratings, level)
    units = table.shape[1]
    estimate = _alpha(table, level)
    low = high = float("nan")
    if units >= _TWO and not np.isnan(estimate):
        generator = np.random.default_rng(seed)
        drawn = [_alpha(table[:, generator.integers(0, units, units)], level) for _ in range(replicates)]
        found = np.array(drawn)[~np.isnan(drawn)]
        if found.size:
            low, high = (float(v) for v in np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2]))
    return Interval(
        estimate=estimate,
        low=low,
        high=high,
        n=int((~np.isnan(table)).sum()),
        dropped=np.asarray(ratings).shape[1] - units,
        units=units,
        confidence=confidence,
        method="none" if np.isnan(low) else "percentile",
    )


def cohen_kappa(first: ArrayLike, second: ArrayLike, *, weights: Weights = "none") -> float:
    """Cohen's kappa of two raters: 1 is perfect agreement, 0 what chance gives.

    Args:
        first: Ratings, shape [n]; NaN where missing. Pairs with a missing one are left out.
        second: Ratings of the same units.
        weights: How disagreements count: "none": all alike; "linear", "quadratic": by the distance of the ratings
            themselves, or its square (ratings 1, 2 and 5 are 1 and 4 apart, whatever ratings occur in between).

    Returns:
        kappa, at most 1; NaN without pairs, or where both raters gave one and the same rating throughout.

    Raises:
        DataError: Shapes differ, or unknown weights.

    Source: Cohen 1960; Cohen 1968 (weighted).
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise DataError(f"Ratings have shapes {a.shape} and {b.shape}.", fix="Pass the same units in the same order.")
    if weights not in {"none", "linear", "quadratic"}:
        raise DataError(f"Kappa knows no weights '{weights}'.", fix="One of: none, linear, quadratic.")
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]

    def distance(x: Floats, y: Floats) -> Floats:
        if weights == "none":
            return np.asarray(x != y, dtype=np.float64)
        return np.asarray(np.abs(x - y) ** (1 if weights == "linear" else 2), dtype=np.float64)

    if not a.size:
        return float("nan")
    ones, of_first = np.unique(a, return_counts=True)
    twos, of_second = np.unique(b, return_counts=True)
    by_chance = float((distance(ones[:, None], twos[None, :]) * of_first[:, None] * of_second).sum()) / a.size**2
    return 1.0 - float(distance(a, b).mean()) / by_chance if by_chance > 0 else float("nan")


def _table(ratings: ArrayLike, level: Level) -> Floats:
    """Return the units with at least two ratings, checked."""
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != _AXES:
        raise DataError(f"Ratings have shape {table.shape}, not [raters, units].", fix="Pass a matrix.")
    if np.isinf(table).any():
        raise DataError("Ratings hold an infinity.", fix="Use NaN for a missing rating.")
    if level not in _LEVELS:
        raise DataError(f"Alpha knows no level '{level}'.", fix=f"One of: {', '.join(_LEVELS)}.")
    return table[:, (~np.isnan(table)).sum(axis=0) >= _TWO]


def _alpha(table: Floats, level: Level) -> float:
    """Return alpha of units that all have two ratings or more, in time linear in the ratings.

    With m ratings in a unit, its pairs count 1 / (m - 1) each. For squared differences the sum over pairs is
    2 m (sum of squares - squared sum / m), and the ordinal difference is that of the ratings' mean ranks.
    """
    given = ~np.isnan(table)
    if table.shape[1] < _TWO:
        return float("nan")
    values, code = np.unique(table[given], return_inverse=True)
    counts = np.bincount(code).astype(np.float64)
    size = counts.sum()
    in_unit = given.sum(axis=0).astype(np.float64)
    if level == "nominal":
        unit = np.nonzero(given)[1]
        same = np.zeros((table.shape[1], len(values)))
        np.add.at(same, (unit, code), 1.0)
        observed = float(((in_unit**2 - (same**2).sum(axis=1)) / (in_unit - 1)).sum())
        expected = float(size**2 - (counts**2).sum())
    else:
        places = np.cumsum(counts) - counts / 2 if level == "ordinal" else values
        at = np.zeros_like(table)
        # Centred, so that large values lose no digits in the squares.
        at[given] = (places - (places * counts).sum() / size)[code]
        spread = (at**2).sum(axis=0) - at.sum(axis=0) ** 2 / in_unit
        observed = float((2 * in_unit * spread / (in_unit - 1)).sum())
        expected = float(2 * size * (at**2).sum())
    if len(values) < _TWO:
        return float("nan")
    return 1.0 - (float(size) - 1) * observed / expected
