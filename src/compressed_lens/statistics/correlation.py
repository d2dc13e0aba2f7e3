"""Rank correlation of two measures of the same items, with a bootstrap interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.interval import normal_quantile

Floats = NDArray[np.float64]
_TWO = 2
_CELLS = 4
_FEW = 5


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """How two measures of the same items go together.

    Attributes:
        estimate: In -1..1; NaN where it is undefined.
        low: Lower bound; NaN where more than half of the resamples have no correlation.
        high: Upper bound.
        method: "percentile" (bootstrap), "jeffreys", or "none" where there is no interval.
        n: Items both measures apply to.
        dropped: Items at least one does not apply to.
        kind: "phi" where both are two-valued, else "spearman".
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
    constant: str


def correlation(
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    replicates: int = 2_000,
    confidence: float = 0.95,
    seed: int,
) -> Correlation:
    """Spearman's rank correlation, ties averaged; phi where both are two-valued, which is the same number there.

    Whole items (or clusters) are resampled, ranks are taken anew in each resample, and resamples in which a side
    is constant are left out. The interval is the percentile interval. A bootstrap never makes a kind of item that was
    not seen, so for two yes/no measures with fewer than five items in a cell of their 2 x 2 table the interval is that
    of the phi of tables drawn from Dirichlet(counts + 1/2), Jeffreys' prior, widened to hold the estimate.

    Args:
        first: Shape [n]; NaN where not applicable.
        second: Values of the same items.
        clusters: Label of each item's independent unit; None when items are independent.
        replicates: Bootstrap resamples.
        confidence: Nominal coverage.
        seed: Seed of the resampling.

    Raises:
        DataError: Shapes differ, or a value is infinite.

    Source: Spearman 1904; the phi coefficient, Yule 1912; ties as in Kendall and Gibbons 1990, chapter 3; Jeffreys'
        prior for 2 x 2 tables, Brown, Cai and DasGupta 2001 (one rate), Agresti and Min 2005 (two).
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise DataError(
            f"The measures have shapes {x.shape} and {y.shape}.", fix="Pass the same items in the same order."
        )
    if np.isinf(x).any() or np.isinf(y).any():
        raise DataError("A measure holds an infinity.", fix="Use NaN where a value does not apply.")
    both = ~(np.isnan(x) | np.isnan(y))
    n, units = int(both.sum()), None if clusters is None else np.asarray(clusters)[both]
    # Items with the same pair of values are one kind: a resample is how often each kind was drawn.
    _, of_x = np.unique(x[both], return_inverse=True)
    _, of_y = np.unique(y[both], return_inverse=True)
    kinds, kind_of = np.unique(np.column_stack([of_x, of_y]), axis=0, return_inverse=True)
    levels = [int(kinds[:, side].max()) + 1 if n else 0 for side in (0, 1)]
    flat = [side for side, level in zip(("first", "second"), levels, strict=True) if level < _TWO]
    constant = "few" if n < _TWO else "both" if len(flat) == _TWO else "".join(flat)
    estimate = low = high = math.nan
    two_valued, method = max(levels) <= _TWO, "none"
    if not constant:
        kind_of = kind_of.reshape(-1)
        counts = np.bincount(kind_of, minlength=len(kinds)).astype(np.float64)
        estimate = float(_spearman(counts[None], kinds)[0])
        if two_valued and units is None and (len(kinds) < _CELLS or counts.min() < _FEW):
            method, drawn = "jeffreys", _phi_of_tables(kinds, counts, replicates, seed)
        else:
            method, drawn = "percentile", _spearman(_resampled(kind_of, len(kinds), units, replicates, seed), kinds)
        low, high = _percentiles(drawn, confidence)
        if method == "jeffreys":
            low, high = min(low, estimate), max(high, estimate)
    return Correlation(
        estimate=estimate,
        low=low,
        high=high,
        n=n,
        dropped=len(x) - n,
        kind="phi" if two_valued else "spearman",
        method="none" if math.isnan(low) else method,
        constant=constant,
    )


def _resampled(
    kind_of: NDArray[np.intp], kinds: int, units: NDArray[np.generic] | None, replicates: int, seed: int
) -> Floats:
    """Return how often each kind of item is in each resample, shape [replicates, kinds]."""
    generator = np.random.default_rng(seed)
    if units is None:
        n = len(kind_of)
        return generator.multinomial(n, np.bincount(kind_of, minlength=kinds) / n, size=replicates).astype(np.float64)
    _, unit_of = np.unique(units, return_inverse=True)
    unit_of = unit_of.reshape(-1)
    content = np.zeros((int(unit_of.max()) + 1, kinds))
    np.add.at(content, (unit_of, kind_of), 1)
    drawn = generator.multinomial(len(content), np.full(len(content), 1 / len(content)), size=replicates)
    return np.asarray(drawn @ content, dtype=np.float64)


def _phi_of_tables(kinds: NDArray[np.intp], counts: Floats, replicates: int, seed: int) -> Floats:
    """Return phi of 2 x 2 tables drawn from Dirichlet(counts + 1/2), shape [replicates]."""
    table = np.full((_TWO, _TWO), 0.5)
    table[kinds[:, 0], kinds[:, 1]] += counts
    drawn = np.random.default_rng(seed).dirichlet(table.ravel(), size=replicates)
    a, b, c, d = drawn.T
    spread = np.sqrt((a + b) * (c + d) * (a + c) * (b + d))
    result: Floats = (a * d - b * c) / spread
    return result


def _spearman(counts: Floats, kinds: NDArray[np.intp]) -> Floats:
    """Return the correlation of mid-ranks for each row of counts [r, kinds]; NaN where a side is constant."""
    total = counts.sum(axis=1, keepdims=True)
    centred = []
    for side in (0, 1):
        level_of = kinds[:, side]
        sizes = counts @ np.eye(int(level_of.max()) + 1)[level_of]
        ranks = (sizes.cumsum(axis=1) - sizes / 2)[:, level_of]
        centred.append(ranks - total / 2)
    x, y = centred
    spread = (counts * x * x).sum(axis=1) * (counts * y * y).sum(axis=1)
    together = (counts * x * y).sum(axis=1)
    tiny = 1e-9
    result = np.full(len(counts), np.nan)
    np.divide(together, np.sqrt(spread), out=result, where=spread > tiny)
    return result


def _percentiles(replicates: Floats, confidence: float) -> tuple[float, float]:
    normal_quantile(confidence)
    known = replicates[~np.isnan(replicates)]
    if 2 * len(known) < len(replicates):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
