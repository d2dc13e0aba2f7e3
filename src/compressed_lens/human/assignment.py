"""Who rates what: a balanced incomplete block assignment, seeded.

Every text gets the same number of raters and every rater the same number of texts, and nobody sees one item twice. As
far as that allows, every rater sees each variant, kind and model equally often, and the pairs of raters that share
texts vary, so that agreement is measured between many pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from compressed_lens.errors import StudyError

_RESTARTS = 24
_SLOTS_A_RESTART = 18_000
"""Large designs are balanced by their size, and get fewer restarts."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A text to be assigned.

    Attributes:
        id: Of the text.
        item: A rater sees one text of an item at most.
        factors: Levels that are balanced within each rater: variant, kind, model, ...; the same number for every unit.
    """

    id: str
    item: str
    factors: tuple[str, ...]


def raters_for(units: int, ratings: int, per_rater: int) -> int:
    """Return how many raters give every one of `units` texts `ratings` ratings, at most `per_rater` each."""
    return math.ceil(units * ratings / per_rater)


def assign(
    units: Sequence[Unit], *, raters: int, ratings: int, same_item: bool = False, seed: int = 0
) -> tuple[tuple[str, ...], ...]:
    """Assign texts to raters.

    Loads differ by at most one text. The items are taken in a random order, and the copies of an item's texts go to
    distinct raters so that the cost is least: first the load, then how often the rater has each level already, then how
    often the pair of raters shares a text already, then chance. The best of several random orders is kept.

    Args:
        units: The texts.
        raters: How many there are.
        ratings: Raters of each text.
        same_item: Whether a rater may see one item twice (never one text twice).
        seed: Of order, ties and restarts.

    Returns:
        Ids by rater, in the rater's own random order, in which two texts of the same factors do not follow each other
        where that can be helped.

    Raises:
        StudyError: There are fewer raters than an item (or a text) needs.
    """
    blocks = _blocks(units, same_item)
    largest = max((len(block) * ratings for block in blocks), default=0)
    if largest > raters:
        what = "text" if same_item else "item"
        raise StudyError(
            f"Each {what} needs {largest} different raters, and there are {raters}.",
            fix=_remedy(units, blocks, raters=raters, ratings=ratings, same_item=same_item),
        )
    levels = _levels(units)
    restarts = max(1, min(_RESTARTS, _SLOTS_A_RESTART // max(1, len(units) * ratings)))
    attempts = [
        _attempt(blocks, levels, raters=raters, ratings=ratings, rng=np.random.default_rng([seed, restart]))
        for restart in range(restarts)
    ]
    best = min(attempts, key=_imbalance)
    rng = np.random.default_rng([seed, restarts])
    shuffle = rng.permutation(raters)  # which rater is which tells nothing of the order in which they were filled
    return tuple(tuple(units[n].id for n in _ordered(best.own(rater), units, rng)) for rater in shuffle)


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """One assignment. Rows are raters; columns of `given` texts, of `counts` (by factor) levels, of `shared` raters."""

    given: NDArray[np.float64]
    counts: tuple[NDArray[np.float64], ...]
    shared: NDArray[np.float64]

    def own(self, rater: int) -> list[int]:
        return [int(unit) for unit in np.flatnonzero(self.given[rater])]


def _imbalance(attempt: _Attempt) -> tuple[float, ...]:
    """Return how unequal an assignment is, the heaviest part first; lower is better."""
    factors = sum(float(((counts - counts.mean(axis=0)) ** 2).sum()) for counts in attempt.counts)
    return factors, float((attempt.shared**2).sum())


def _attempt(
    blocks: Sequence[Sequence[int]],
    levels: Sequence[NDArray[np.int64]],
    *,
    raters: int,
    ratings: int,
    rng: np.random.Generator,
) -> _Attempt:
    texts = sum(len(block) for block in blocks)
    given = np.zeros((raters, texts))
    counts = tuple(np.zeros((raters, int(of.max(initial=0)) + 1)) for of in levels)
    shared = np.zeros((raters, raters))
    load = np.zeros(raters)
    for place in rng.permutation(len(blocks)):
        block = rng.permutation(blocks[place])
        # Copies come one round at a time: the pairs that a first copy makes are known when the second is given.
        taken = np.zeros(raters, dtype=bool)
        for _ in range(ratings):
            met = given[:, block].T @ shared
            repeated = np.zeros(met.shape)
            for of, own in zip(levels, counts, strict=True):
                repeated += own[:, of[block]].T
            cost = _in_turn(load - load.min(), repeated, met, rng.random(met.shape))
            cost[:, taken] = np.inf
            which, who = linear_sum_assignment(cost)
            for unit, rater in zip(block[which], who, strict=True):
                others = np.flatnonzero(given[:, unit])
                shared[rater, others] += 1
                shared[others, rater] += 1
                given[rater, unit] = 1
                for of, own in zip(levels, counts, strict=True):
                    own[rater, of[unit]] += 1
            load[who] += 1
            taken[who] = True
    return _Attempt(given=given, counts=counts, shared=shared)


def _in_turn(*parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of costs, each weighted so that one unit of it outweighs all of those after it together."""
    total = np.zeros_like(parts[-1])
    for part in reversed(parts):
        total = part * (1 + len(total) * total.max()) + total
    return total


def _blocks(units: Sequence[Unit], same_item: bool) -> list[list[int]]:
    """Return the places of the texts that no rater may see two of."""
    if same_item:
        return [[place] for place in range(len(units))]
    found: dict[str, list[int]] = {}
    for place, unit in enumerate(units):
        found.setdefault(unit.item, []).append(place)
    return list(found.values())


def _levels(units: Sequence[Unit]) -> list[NDArray[np.int64]]:
    """Return, for each factor, the level of each text as a number."""
    columns = [[unit.factors[n] for unit in units] for n in range(len(units[0].factors) if units else 0)]
    numbered = [{level: n for n, level in enumerate(sorted(set(column)))} for column in columns]
    return [np.array([of[level] for level in column]) for of, column in zip(numbered, columns, strict=True)]


def _ordered(own: list[int], units: Sequence[Unit], rng: np.random.Generator) -> list[int]:
    """Return a rater's texts in a random order without two of the same factors in a row, where one can be found.

    The next text is drawn at random, but one of the most frequent factors goes first as soon as it would otherwise be
    left over.
    """
    left = [own[place] for place in rng.permutation(len(own))]
    order: list[int] = []
    while left:
        before = units[order[-1]].factors if order else None
        often: dict[tuple[str, ...], int] = {}
        for unit in left:
            often[units[unit].factors] = often.get(units[unit].factors, 0) + 1
        urgent = [unit for unit in left if often[units[unit].factors] > len(left) // 2]
        fitting = [unit for unit in urgent or left if units[unit].factors != before]
        chosen = (fitting or [unit for unit in left if units[unit].factors != before] or left)[0]
        left.remove(chosen)
        order.append(chosen)
    return order


def _remedy(
    units: Sequence[Unit], blocks: Sequence[Sequence[int]], *, raters: int, ratings: int, same_item: bool
) -> str:
    """Return what would make the design possible."""
    most = max(len(block) for block in blocks)
    per_rater = len(units) * ratings // (most * ratings)
    options = [f"take {most * ratings} raters or more (--raters; or --per-rater {per_rater} or fewer)"]
    if raters >= most:
        fewer = raters // most
        options.append(f"{fewer} rating{'s' * (fewer > 1)} a text")
    if not same_item:
        options.append("more items, fewer variants or models, or let a rater see an item twice (same_item: true)")
    told = ", or ".join(options)
    return f"{told[0].upper()}{told[1:]}."
