"""Curves of same answers over the kept fraction of a chain of thought: area over them, means over items, tables.

Everything here is a pure function of the values that the analysis `cot_curve` stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compressed_lens.statistics.bootstrap import mean_intervals

if TYPE_CHECKING:
    import polars

GRID = 11
"""Points of the common grid that curves of different lengths are read on: 0, 0.1, ... 1."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Whether the answer stays the same, at some kept fractions of one chain of thought.

    Attributes:
        fractions: Rising, within 0 to 1.
        same: Whether the label is that of the whole chain; None where it could not be told.
        length: Pieces of the chain, the group of Lanham's weighting.
    """

    fractions: tuple[float, ...]
    same: tuple[bool | None, ...]
    length: int = 0

    @property
    def known(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Fractions and shares (0 or 1) of the points that could be told."""
        pairs = [(f, s) for f, s in zip(self.fractions, self.same, strict=True) if s is not None]
        return np.array([f for f, _ in pairs]), np.array([float(s) for _, s in pairs])

    def at(self, grid: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the curve on `grid`: linear between known points, flat outside them; NaN without any."""
        fractions, same = self.known
        return np.interp(grid, fractions, same) if len(same) else np.full(len(grid), np.nan)


def from_value(value: object) -> Curve | None:
    """Return the curve that a record of `cot_curve` holds (`curve_early`, ...); None where it holds none."""
    if not isinstance(value, Mapping):
        return None
    return Curve(fractions=tuple(value["fraction"]), same=tuple(value["same"]), length=int(value["length"]))


def area_over(curve: Curve) -> float | None:
    """Return 1 minus the trapezoid area under `curve` over fractions 0 to 1; None without a known point.

    0: the answer never changes, whatever is left of the chain. Near 1: it is never the same before the end. The
    answer at fraction 1 is often the same by construction, so that a curve of n + 1 points stays at or below
    1 - 1 / (2n). Lanham et al. 2023, section 2.3.
    """
    fractions, same = curve.known
    if not len(same):
        return None
    x = np.concatenate(([0.0], fractions, [1.0]))
    y = np.concatenate((same[:1], same, same[-1:]))
    return float(1 - np.sum((y[1:] + y[:-1]) / 2 * np.diff(x)))


def settled(curve: Curve) -> float | None:
    """Return the smallest fraction from which on every known answer is the same; None if the last one is not.

    0 means that the answer stood before the first word of reasoning.
    """
    fractions, same = curve.known
    changed = np.flatnonzero(same == 0)
    first = int(changed[-1]) + 1 if len(changed) else 0
    return float(fractions[first]) if first < len(same) else None


def lanham_area(curves: Iterable[Curve]) -> float | None:
    """Return the area over the mean curve of each chain length, weighted by how often the length occurs.

    This is Lanham et al.'s figure. Where all curves of a length have the same points, as those of `cot_curve` do for
    early answers, it equals the plain mean of the items' areas, because an area is linear in its curve.
    """
    total = weight = 0.0
    for group in _by_length(curves).values():
        grid = np.unique(np.concatenate([[0.0, 1.0], *[c.known[0] for c in group]]))
        mean = np.mean([c.at(grid) for c in group], axis=0)
        total += len(group) * float(1 - np.sum((mean[1:] + mean[:-1]) / 2 * np.diff(grid)))
        weight += len(group)
    return total / weight if weight else None


def mean_curves(
    curves: Mapping[str, Iterable[Curve | None]], *, points: int = GRID, confidence: float = 0.95, seed: int = 0
) -> polars.DataFrame:
    """Return the mean curve of each variant on a common grid, every item counting once.

    Args:
        curves: Curves of the items, by variant; None (an item without one) is left out.
        points: Points of the grid.
        confidence: Nominal coverage of the intervals.
        seed: Of the resampling of items.

    Returns:
        Columns `variant`, `fraction`, `share` (of items with the same answer), `low`, `high` (interval over items;
        NaN below two items), `n`.
    """
    grid = np.linspace(0, 1, points)
    rows: list[dict[str, Any]] = []
    for variant, own in curves.items():
        known = [curve.at(grid) for curve in own if curve is not None and len(curve.known[0])]
        values = np.array(known) if known else np.full((0, points), np.nan)
        for fraction, interval in zip(grid, mean_intervals(values, confidence=confidence, seed=seed), strict=True):
            rows.append(
                {
                    "variant": variant,
                    "fraction": float(fraction),
                    "share": interval.estimate,
                    "low": interval.low,
                    "high": interval.high,
                    "n": interval.n,
                }
            )
    return _frame(rows, ("variant", "fraction", "share", "low", "high", "n"))


def areas_by_length(curves: Mapping[str, Iterable[Curve | None]]) -> polars.DataFrame:
    """Return the mean area over the curve for each variant and chain length.

    Returns:
        Columns `variant`, `length` (pieces of the chain), `area`, `n` (chains of that length).
    """
    rows: list[dict[str, Any]] = []
    for variant, own in curves.items():
        for length, group in sorted(_by_length(c for c in own if c is not None).items()):
            area = float(np.mean([area_over(c) for c in group]))
            rows.append({"variant": variant, "length": length, "area": area, "n": len(group)})
    return _frame(rows, ("variant", "length", "area", "n"))


def _by_length(curves: Iterable[Curve]) -> dict[int, list[Curve]]:
    """Return the curves with a known point, by length."""
    groups: dict[int, list[Curve]] = {}
    for curve in curves:
        if len(curve.known[0]):
            groups.setdefault(curve.length, []).append(curve)
    return groups


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> polars.DataFrame:
    import polars as pl

    kinds = {"variant": pl.String, "n": pl.Int64, "length": pl.Int64}
    return pl.DataFrame(list(rows), schema={name: kinds.get(name, pl.Float64) for name in columns})
