"""Rank correlation of two measures of the same items, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.interval import normal_quantile
from compressed_lens.statistics.resampling import resamples
from compressed_lens.statistics.student import student_quantile

Floats = NDArray[np.float64]
CorrelationMethod = Literal["jackknife", "percentile"]
_TWO = 2
_CELLS = 4
_FEW = 5
_TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """How two measures of the same items go together.

    Attributes:
        estimate: In -1..1; NaN where it is undefined.
        low: Lower bound; NaN where there is no interval: a single unit, or more than half of the resamples have no
            correlation.
        high: Upper bound.
        method: "jackknife", "percentile" (bootstrap), "jeffreys", or "none" where there is no interval.
        n: Items both measures apply to.
        dropped: Items at least one does not apply to.
        kind: "phi" where both are two-valued, else "spearman".
        units: Independent units they belong to: clusters, or the items themselves.
        constant: "first", "second" or "both" where the estimate is undefined because that side never varies;
            "few" where fewer than two items are shared; else "".
    """

    estimate: float
    low: float
    high: float
    n: int
    dropped: int
    kind: str
    method: str
    units: int
    constant: str


def correlation(
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    replicates: int = 2_000,
    confidence: float = 0.95,
    method: CorrelationMethod = "jackknife",
    seed: int,
) -> Correlation:
    """Spearman's rank correlation, ties averaged; phi where both are two-valued, which is the same number there.

    The interval is Student's on the scale of Fisher's z = artanh(rho). Its standard error is that of the
    infinitesimal jackknife: the root of the sum over units (items or clusters) of the square of what a little more
    weight of the unit would change, ranks included. That holds with ties and whatever the relation's form. Where the
    correlation is 1 or -1 that error is zero, and the interval is that of the percentiles: whole units are
    resampled, ranks taken anew in each resample, and resamples in which a side is constant are left out.

    Neither ever sees a kind of item that is not there, so for two yes/no measures with fewer than five items in a
    cell of their 2 x 2 table the interval is that of the phi of tables drawn from Dirichlet(counts + 1/2), Jeffreys'
    prior, widened to hold the estimate.

    Args:
        first: Shape [n]; NaN where not applicable.
        second: Values of the same items.
        clusters: Label of each item's independent unit; None when items are independent.
        replicates: Resamples of "percentile", and tables of Jeffreys' prior.
        confidence: Nominal coverage.
        method: "jackknife" or "percentile".
        seed: Seed of the resampling.

    Raises:
        DataError: Shapes differ, a value is infinite, or there is no such method.

    Source: Spearman 1904; the phi coefficient, Yule 1912; ties as in Kendall and Gibbons 1990, chapter 3; Fisher 1921;
        Efron and Tibshirani 1993, chapter 21 (infinitesimal jackknife); Jeffreys' prior for 2 x 2 tables, Brown, Cai
        and DasGupta 2001 (one rate), Agresti and Min 2005 (two).
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise DataError(
            f"The measures have shapes {x.shape} and {y.shape}.", fix="Pass the same items in the same order."
        )
    if np.isinf(x).any() or np.isinf(y).any():
        raise DataError("A measure holds an infinity.", fix="Use NaN where a value does not apply.")
    if method not in {"jackknife", "percentile"}:
        raise DataError(f"A correlation has no interval '{method}'.", fix="One of: jackknife, percentile.")
    normal_quantile(confidence)
    both = ~(np.isnan(x) | np.isnan(y))
    n = int(both.sum())
    _, of_x = np.unique(x[both], return_inverse=True)
    _, of_y = np.unique(y[both], return_inverse=True)
    levels = [int(side.max()) + 1 if n else 0 for side in (of_x, of_y)]
    flat = [side for side, level in zip(("first", "second"), levels, strict=True) if level < _TWO]
    constant = "few" if n < _TWO else "both" if len(flat) == _TWO else "".join(flat)
    estimate = low = high = math.nan
    two_valued, used, units = max(levels) <= _TWO, "none", 0
    if not constant:
        kinds = np.column_stack([of_x, of_y])
        unit = np.arange(n)
        if clusters is not None:
            unit = np.unique(np.asarray(clusters)[both], return_inverse=True)[1].reshape(-1)
        ranked = _Ranked(kinds)
        estimate, units = float(ranked.rho(np.ones((1, n)))[0]), int(unit.max()) + 1
        table = np.bincount(of_x * _TWO + of_y, minlength=_CELLS) if two_valued else np.empty(0, dtype=np.intp)
        error = ranked.error(unit) if units > 1 else 0.0
        if two_valued and clusters is None and table.min() < _FEW:
            used, drawn = "jeffreys", _phi_of_tables(table, replicates, seed)
            low, high = _percentiles(drawn, confidence)
            low, high = min(low, estimate), max(high, estimate)
        elif method == "jackknife" and error > _TINY:
            used, z = "jackknife", math.atanh(estimate)
            half = student_quantile(confidence, units - 1) * error / (1 - estimate**2)
            low, high = math.tanh(z - half), math.tanh(z + half)
        elif units > 1:
            parts = [ranked.rho(weights[:, unit]) for _, weights in resamples(units, replicates, seed)]
            used, (low, high) = "percentile", _percentiles(np.concatenate(parts), confidence)
    return Correlation(
        estimate=estimate,
        low=low,
        high=high,
        n=n,
        dropped=len(x) - n,
        kind="phi" if two_valued else "spearman",
        method="none" if math.isnan(low) else used,
        units=units,
        constant=constant,
    )


class _Ranked:
    """Items by the levels of two measures: mid-ranks and their correlation under any weights of the items."""

    def __init__(self, kinds: NDArray[np.intp]) -> None:
        self._level = kinds.T
        self._order = [np.argsort(level, kind="stable") for level in self._level]
        self._starts = [
            np.flatnonzero(np.diff(level[order], prepend=-1))
            for level, order in zip(self._level, self._order, strict=True)
        ]

    def rho(self, weights: Floats) -> Floats:
        """Return the correlation of mid-ranks for each row of weights [r, n]; NaN where a side is constant."""
        x, y = (self._ranks(weights, side) for side in (0, 1))
        spread = (weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1)
        result = np.full(len(weights), np.nan)
        np.divide((weights * x * y).sum(axis=1), np.sqrt(spread), out=result, where=spread > _TINY)
        return result

    def error(self, unit: NDArray[np.intp]) -> float:
        """Return the standard error of the correlation of all items, which belong to units 0, 1, ..., shape [n].

        With centred mid-ranks x and y, A = sum(xy), B = sum(x^2) and C = sum(y^2), rho is A / sqrt(BC). More weight
        of item j adds its own term to each sum and moves the ranks of all items above it (of its equals by half).
        """
        n, units = len(unit), int(unit.max()) + 1
        ones = np.ones((1, n))
        x, y = (self._ranks(ones, side) for side in (0, 1))
        a, b, c = float((x * y).sum()), float((x * x).sum()), float((y * y).sum())
        of_a = x * y + self._above(y, 0) + self._above(x, 1)
        of_b, of_c = x * x + 2 * self._above(x, 0), y * y + 2 * self._above(y, 1)
        influence = (of_a - a * (of_b / b + of_c / c) / 2) / math.sqrt(b * c)
        by_unit = np.bincount(unit, influence[0], minlength=units)
        return math.sqrt(float((by_unit**2).sum()) * units / (units - 1))

    def _sums(self, values: Floats, side: int) -> Floats:
        """Add up values [r, n] by level of a side, [r, levels]."""
        return np.add.reduceat(values[:, self._order[side]], self._starts[side], axis=1)

    def _ranks(self, weights: Floats, side: int) -> Floats:
        sizes = self._sums(weights, side)
        ranks: Floats = sizes.cumsum(axis=1) - sizes / 2 - sizes.sum(axis=1, keepdims=True) / 2
        return ranks[:, self._level[side]]

    def _above(self, values: Floats, side: int) -> Floats:
        """Return for each item the sum of the values of those above it on a side, and half of its equals'."""
        sums = self._sums(values, side)
        above: Floats = sums.sum(axis=1, keepdims=True) - sums.cumsum(axis=1) + sums / 2
        return above[:, self._level[side]]


def _phi_of_tables(counts: NDArray[np.signedinteger[Any]], replicates: int, seed: int) -> Floats:
    """Return phi of 2 x 2 tables drawn from Dirichlet(counts + 1/2), shape [replicates]."""
    drawn = np.random.default_rng(seed).dirichlet(counts + 0.5, size=replicates)
    a, b, c, d = drawn.T
    spread = np.sqrt((a + b) * (c + d) * (a + c) * (b + d))
    result: Floats = (a * d - b * c) / spread
    return result


def _percentiles(replicates: Floats, confidence: float) -> tuple[float, float]:
    known = replicates[~np.isnan(replicates)]
    if 2 * len(known) < len(replicates):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
