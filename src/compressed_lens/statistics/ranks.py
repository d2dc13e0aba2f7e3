"""Mean ranks of competitors over rows, missing competitors allowed: test of any difference, critical difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError

Floats = NDArray[np.float64]
_AXES = 2
_CELLS_PER_CHUNK = 4_000_000
_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class RankTest:
    """Whether competitors rank differently over the rows.

    Attributes:
        p: Of "in every row each order is as likely": Friedman's test by permutation; NaN with under two competitors.
        critical_difference: Two competitors whose centred mean ranks differ by at least this differ, all pairs held
            to one error rate together (the permutation form of Nemenyi's critical difference): their p in `pairs` is
            then below alpha. NaN where there are so few rows that no distance is that rare.
        centred: Mean rank minus what chance expects in the rows a competitor is in, shape [k].
        pairs: p of each pair, adjusted for all pairs, shape [k, k].
        rows: Rows with at least two competitors.
    """

    p: float
    critical_difference: float
    centred: Floats
    pairs: Floats
    rows: int


def average_ranks(values: ArrayLike) -> Floats:
    """Rank each row's values, 1 for the smallest, ties averaged.

    Args:
        values: Shape [rows, k]; NaN where a competitor is missing.

    Returns:
        Same shape: ranks among those present, NaN where missing.
    """
    table = _table(values)
    below = (table[:, None, :] < table[:, :, None]).sum(axis=2)
    same = (table[:, None, :] == table[:, :, None]).sum(axis=2)
    return np.where(np.isnan(table), np.nan, below + (same + 1) / 2)


def rank_test(ranks: ArrayLike, *, permutations: int = 10_000, alpha: float = 0.05, seed: int) -> RankTest:
    """Test mean ranks by permuting the ranks within every row among the competitors that are in it.

    The statistic is the sum over competitors of (rows it is in) x (centred mean rank)², which orders tables as
    Friedman's does when none is missing. Rows are taken as independent.

    Args:
        ranks: What `average_ranks` returns, shape [rows, k].
        permutations: Random tables.
        alpha: Error rate of the critical difference.
        seed: Seed of the permutations.

    Source: Friedman 1937, JASA 32:675; Nemenyi 1963; Demšar 2006, JMLR 7:1; Westfall and Young 1993 (largest
        difference over permutations).
    """
    table = _table(ranks)
    present = ~np.isnan(table)
    used = present.sum(axis=1) >= _AXES
    table, present = table[used], present[used]
    rows, k = table.shape
    # Ranks are centred by their row's mean, so that a row with few competitors helps none of them.
    means = np.nansum(table, axis=1, keepdims=True) / np.maximum(present.sum(axis=1, keepdims=True), 1)
    deviations = np.where(present, table - means, 0.0)
    counts = present.sum(axis=0)
    entered = counts > 0
    pairs = np.full((k, k), np.nan)
    if entered.sum() < _AXES:
        nothing = np.full(k, np.nan)
        return RankTest(p=math.nan, critical_difference=math.nan, centred=nothing, pairs=pairs, rows=rows)
    weight = np.where(entered, counts, 1)
    centred = deviations.sum(axis=0) / weight
    generator = np.random.default_rng(seed)
    statistics, widest = np.empty(permutations), np.empty(permutations)
    size = max(1, _CELLS_PER_CHUNK // table.size)
    for start in range(0, permutations, size):
        stop = min(start + size, permutations)
        keys = generator.random((stop - start, rows, k))
        shuffled = np.take_along_axis(
            np.broadcast_to(deviations, keys.shape), _among_present(keys, present), axis=2
        ).sum(axis=1)
        found = shuffled / weight
        statistics[start:stop] = (counts * found**2).sum(axis=1)
        widest[start:stop] = found[:, entered].max(axis=1) - found[:, entered].min(axis=1)
    observed = float((counts * centred**2).sum())
    apart = np.abs(centred[:, None] - centred[None, :])
    reached = (widest[None, None, :] >= apart[:, :, None] - _TOLERANCE).sum(axis=2)
    known = entered[:, None] & entered[None, :]
    return RankTest(
        p=(1 + int((statistics >= observed - _TOLERANCE).sum())) / (1 + permutations),
        critical_difference=_critical(widest, alpha),
        centred=np.where(entered, centred, np.nan),
        pairs=np.where(known, (1 + reached) / (1 + permutations), np.nan),
        rows=rows,
    )


def _critical(widest: Floats, alpha: float) -> float:
    """Return the smallest distance that fewer than `alpha` of the permutations reach; NaN where there is none."""
    ordered = np.sort(widest)
    reached = len(ordered) - np.searchsorted(ordered, ordered - _TOLERANCE)
    rare = (1 + reached) / (1 + len(ordered)) < alpha
    return float(ordered[rare.argmax()]) if rare.any() else math.nan


def _among_present(keys: Floats, present: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each place of each row where its rank is taken from: a random order of the places present."""
    order = np.argsort(np.where(present, keys, np.inf), axis=2)
    # The j-th place present receives what the j-th of the random order holds; missing places keep their own zero.
    position = np.cumsum(present, axis=1) - 1
    taken = np.take_along_axis(order, np.broadcast_to(np.where(present, position, 0), order.shape), axis=2)
    own = np.broadcast_to(np.arange(present.shape[1]), order.shape)
    return np.where(present, taken, own)


def _table(values: ArrayLike) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != _AXES:
        raise DataError(f"Ranks need a table [rows, competitors], not {table.shape}.", fix="Pass a matrix.")
    return table
