"""Agreement of raters: Krippendorff's alpha with missing ratings, and Cohen's kappa."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.interval import Interval, normal_quantile
from compressed_lens.statistics.resampling import LEAST_ERROR, resamples
from compressed_lens.statistics.student import student_quantile

Floats = NDArray[np.float64]
Level = Literal["nominal", "ordinal", "interval"]
Weights = Literal["none", "linear", "quadratic"]
AlphaMethod = Literal["studentized", "percentile"]

_LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
_AXES = 2
_TWO = 2
_NOTHING = 1e-13


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
    ratings: ArrayLike,
    *,
    level: Level = "ordinal",
    clusters: ArrayLike | None = None,
    replicates: int = 1000,
    confidence: float = 0.95,
    method: AlphaMethod = "studentized",
    seed: int,
) -> Interval:
    """Krippendorff's alpha with a bootstrap interval over units.

    "studentized" works on log(1 - alpha), which has no upper end, with the standard error of the infinitesimal
    jackknife of each resample of units. Where so few units have a disagreement that a resample may hold none, it is
    never tighter than Student's interval. Where no unit has one, both methods give 1 to 1.

    Args:
        ratings: As for `krippendorff_alpha`.
        level: As for `krippendorff_alpha`.
        clusters: Label of each unit, shape [units], where several belong together, such as the texts on one item: whole
            clusters are resampled.
        replicates: Bootstrap resamples of units, or of clusters.
        confidence: Nominal coverage.
        method: "studentized" or "percentile".
        seed: Seed of the resampling.

    Returns:
        The interval; `n` counts the ratings of units with two or more, `dropped` the units without, `units` the units
        (or clusters) that were resampled.

    Raises:
        DataError: As for `krippendorff_alpha`; not one label for each unit; or a setting is out of range.

    Source: Krippendorff 2011; Davison and Hinkley 1997, sections 2.7 and 5.2.1.
    """
    normal_quantile(confidence)
    if method not in {"studentized", "percentile"}:
        raise DataError(f"Alpha has no interval '{method}'.", fix="One of: studentized, percentile.")
    table = _table(ratings, level)
    labels = None if clusters is None else _labels(ratings, clusters)
    units = table.shape[1] if labels is None else int(labels.max(initial=-1)) + 1
    estimate = _alpha(table, level)
    low = high = float("nan")
    if units >= _TWO and not math.isnan(estimate):
        sample = _Units(table, level, labels)
        (own,), (error,) = sample.distance(np.ones((1, units)))
        drawn = [sample.distance(weights) for _, weights in resamples(units, replicates, seed)]
        distances, errors = (np.concatenate(part) for part in zip(*drawn, strict=True))
        ends = [(1 - confidence) / 2, (1 + confidence) / 2]
        if not error > 0:
            method = "percentile"
        if method == "percentile":
            known = distances[~np.isnan(distances)]
            low, high = (
                (float(1 - end) for end in np.quantile(np.exp(known), ends)[::-1]) if known.size else (low, high)
            )
        else:
            whole = np.isfinite(distances)
            quotients = (distances[whole] - own) / np.maximum(errors[whole], LEAST_ERROR * error)
            least = student_quantile(confidence, units - 1) * math.sqrt(units / (units - 1))
            least = 0.0 if whole.all() else least
            first, last = np.quantile(quotients, ends) if whole.any() else (0.0, 0.0)
            low, high = (1 - math.exp(own - error * t) for t in (min(float(first), -least), max(float(last), least)))
    return Interval(
        estimate=estimate,
        low=low,
        high=high,
        n=int((~np.isnan(table)).sum()),
        dropped=np.asarray(ratings).shape[1] - table.shape[1],
        units=units,
        confidence=confidence,
        method="none" if math.isnan(low) else method,
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


def _labels(ratings: ArrayLike, clusters: ArrayLike) -> NDArray[np.intp]:
    """Return the number of the cluster of each unit with at least two ratings."""
    table, labels = np.asarray(ratings, dtype=np.float64), np.asarray(clusters)
    if labels.shape != table.shape[1:]:
        raise DataError(
            f"{table.shape[1]} units have cluster labels of shape {labels.shape}.", fix="Pass one label for each unit."
        )
    return np.unique(labels[(~np.isnan(table)).sum(axis=0) >= _TWO], return_inverse=True)[1]


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


class _Units:
    """Units by how often each value was given: log(1 - alpha) and its standard error under any weights of the units.

    With labels of clusters the weights are of these, and so is the standard error.

    1 - alpha is (N - 1) O / E with N ratings, observed O (sum over units) and expected E. Values have places p, the
    values themselves or, for ordinal ratings, their mean ranks; then O and E are spreads of places.
    """

    def __init__(self, table: Floats, level: Level, labels: NDArray[np.intp] | None = None) -> None:
        given = ~np.isnan(table)
        self._values, code = np.unique(table[given], return_inverse=True)
        every = np.zeros((table.shape[1], len(self._values)))
        np.add.at(every, (np.nonzero(given)[1], code), 1.0)
        # Units that got the same ratings are one unit of more weight: of ratings of 1 to 5 there are few kinds.
        self._given, kind = np.unique(every, axis=0, return_inverse=True)
        self._members: Floats | None = None
        if labels is not None:
            self._members = np.zeros((int(labels.max(initial=-1)) + 1, len(self._given)))
            np.add.at(self._members, (labels, kind.reshape(-1)), 1.0)
        self._order = np.argsort(kind.reshape(-1), kind="stable")
        self._starts = np.flatnonzero(np.diff(kind.reshape(-1)[self._order], prepend=-1))
        self._size = self._given.sum(axis=1)
        self._level = level

    def distance(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return log(1 - alpha) and its standard error for each row of weights [r, units]; NaN where undefined."""
        drawn = weights
        if self._members is None:
            weights = np.add.reduceat(weights[:, self._order], self._starts, axis=1)
        else:
            weights = weights @ self._members
        size, counts = self._size, weights @ self._given
        number = (weights @ size)[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = self._nominal(counts, number) if self._level == "nominal" else self._placed(weights, counts, number)
            observed, expected, by_observed, by_expected = parts
            total = (weights * observed).sum(axis=1, keepdims=True)
            # What rounding leaves of no disagreement is none.
            total = np.where(total > _NOTHING * expected / number, total, 0.0)
            distance = np.log((number - 1) * total / expected)[:, 0]
            influence = size / (number - 1) + by_observed / total - by_expected / expected
            if self._members is not None:
                weights, influence = drawn, influence @ self._members.T
            mean = (weights * influence).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
            return distance, np.sqrt((weights * (influence - mean) ** 2).sum(axis=1))

    def _nominal(self, counts: Floats, number: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return units' disagreement, the expected one, and what more weight of each unit adds to either's sum."""
        size = self._size
        observed = ((size**2 - (self._given**2).sum(axis=1)) / (size - 1))[None]
        expected = number**2 - (counts**2).sum(axis=1, keepdims=True)
        return observed, expected, observed, 2 * (number * size - counts @ self._given.T)

    def _placed(self, weights: Floats, counts: Floats, number: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return the same for values with places, which more weight of a unit moves if they are ranks."""
        size, given, ordinal = self._size, self._given, self._level == "ordinal"
        places = counts.cumsum(axis=1) - counts / 2 if ordinal else np.broadcast_to(self._values, counts.shape)
        places = places - (counts * places).sum(axis=1, keepdims=True) / number
        sums, squares = places @ given.T, (places**2) @ given.T
        observed = 2 * size / (size - 1) * (squares - sums**2 / size)
        spread = (counts * places**2).sum(axis=1, keepdims=True)
        by_observed, by_expected = observed, 2 * (spread * size + number * squares)
        if ordinal:
            moved = given.cumsum(axis=1) - given / 2
            pull = (weights * (size / (size - 1))) @ given * places - (weights * sums / (size - 1)) @ given
            by_observed = observed + 4 * pull @ moved.T
            by_expected = by_expected + 4 * (number * counts * places) @ moved.T
        return observed, 2 * number * spread, by_observed, by_expected
