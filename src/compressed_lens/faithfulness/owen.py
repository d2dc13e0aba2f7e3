"""Owen values of the pieces of an input, exact or within a budget of evaluations. Pure; a model never appears.

A value function says what each set of shown pieces is worth. The functions here are generators that yield lists of
sets and receive their values, so that whoever has a model can evaluate many sets in one batch.

Sets of pieces are integers: bit j stands for piece j. See docs/cc-shap.md.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import combinations
from math import factorial
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from compressed_lens.faithfulness.partition import Cluster

Mode = Literal["reference", "exact"]
MODES: tuple[Mode, ...] = ("reference", "exact")

Vector = NDArray[np.float64]
Exploring = Generator[list[int], Sequence[Vector], Vector]

_LIST = 1024
_LISTS = 4
_MARGIN = 1.1
_CHILD = 0.3


def explore(tree: Cluster, *, mode: Mode, max_evals: int, look_ahead: int, seed: int) -> Exploring:
    """Return the generator for a mode; see `exact` and `within_budget`."""
    if mode == "exact":
        return exact(tree)
    return within_budget(tree, max_evals=max_evals, look_ahead=look_ahead, seed=seed)


def exact(tree: Cluster) -> Exploring:
    """Find exact Owen values: a piece's mean marginal contribution over all orders that keep every cluster together.

    With the tree `partition.flat` they are Shapley values. No order of evaluation matters, so sets are asked for in
    lists of up to a thousand. A balanced binary tree over M pieces takes about 2/3 M² evaluations, a flat one 2^M.

    Yields:
        Sets of pieces, each asked for once; to be answered with their values [targets], in order.

    Returns:
        Values [pieces, targets]; over the pieces they sum to value(all pieces) - value(no piece).
    """
    shares = list(_marginals(tree))
    column = {mask: at for at, mask in enumerate(dict.fromkeys(m for s in shares for m in (s[1], s[1] | 1 << s[0])))}
    masks = list(column)
    found: list[Vector] = []
    for start in range(0, len(masks), _LIST):
        found += yield masks[start : start + _LIST]
    weights = np.zeros((tree.size, len(masks)))
    for piece, context, weight in shares:
        weights[piece, column[context | 1 << piece]] += weight
        weights[piece, column[context]] -= weight
    return weights @ np.asarray(found, dtype=np.float64)


def _marginals(tree: Cluster) -> Iterator[tuple[int, int, float]]:
    """Yield (piece, set shown before it, weight) of every marginal contribution; a piece's weights sum to 1."""
    todo: list[tuple[Cluster, int, float]] = [(tree, 0, 1.0)]
    while todo:
        cluster, context, weight = todo.pop()
        children = cluster.children
        if not children:
            yield cluster.bits.bit_length() - 1, context, weight
        for child in children:
            others = [other.bits for other in children if other is not child]
            for before in range(len(children)):
                share = factorial(before) * factorial(len(others) - before) / factorial(len(children))
                for chosen in combinations(others, before):
                    todo.append((child, context | sum(chosen), weight * share))


class _Problem(NamedTuple):
    """Share out what `cluster` adds to `context`; `weight` is the share of all orders in which that happens."""

    cluster: Cluster
    context: int
    weight: float

    @property
    def shown(self) -> int:
        return self.context | self.cluster.bits

    @property
    def masks(self) -> tuple[int, int]:
        """The two sets whose values open the problem: each child alone on top of the context."""
        first, second = self.cluster.children
        return self.context | first.bits, self.context | second.bits

    @property
    def parts(self) -> tuple[_Problem, ...]:
        """The four smaller problems: each child, without and with the other."""
        first, second = self.cluster.children
        half = self.weight / 2
        return (
            _Problem(first, self.context, half),
            _Problem(second, self.context | first.bits, half),
            _Problem(first, self.context | second.bits, half),
            _Problem(second, self.context, half),
        )

    def gain(self, known: Mapping[int, Vector]) -> Vector:
        """Return what the cluster adds to the context [targets]."""
        return known[self.shown] - known[self.context]


_Queue = list[tuple[float, float, int, _Problem]]


def within_budget(
    tree: Cluster, *, max_evals: int = 500, look_ahead: int = 48, step: int = 10, seed: int = 0
) -> Exploring:
    """Find Owen values as far as a budget allows: the partition explainer's recursion, with look-ahead and replay.

    The recursion keeps a queue of problems (a cluster, a context). The one with the largest -priority, that is
    max over targets of |what the cluster adds| times its weight, is opened first: both children are evaluated on top of
    the context, and four problems of half the weight take its place. As many are opened at a time as `step`
    evaluations allow, ties are broken at random, and when the budget is spent, what each problem left adds is spread
    evenly over its pieces. Where the budget suffices for the whole tree the values are those of `exact`.

    Which problems come next is mostly foreseeable. So whenever a value is missing, the sets of about `look_ahead`
    problems that are likely to be opened next are asked for in the same list, and the recursion then goes on from what
    is known. It never sees a difference: the values do not depend on `look_ahead`.

    Args:
        tree: A binary tree.
        max_evals: Most evaluations the recursion makes, those of no piece and of all pieces included; sets asked for in
            vain come on top, about a tenth at most.
        look_ahead: Number of problems to look ahead.
        step: Evaluations between two decisions of the recursion.
        seed: Of the random numbers that break ties.

    Yields:
        Sets of pieces, each asked for once; to be answered with their values [targets], in order.

    Returns:
        Values [pieces, targets]; over the pieces they sum to value(all pieces) - value(no piece).
    """
    ties = np.random.default_rng(seed)
    pushed = 0
    queue: _Queue = []
    root = _Problem(tree, 0, 1.0)
    ends = list(dict.fromkeys((root.context, root.shown)))
    # A small budget is asked for in at least a few lists, so that only the first of them is a blind guess; and all that
    # is asked for in vain stays within a tenth of the budget.
    longest, most = max(2 * step, min(2 * look_ahead, max_evals // _LISTS)), int(max_evals * _MARGIN)
    asked = [*ends, *_foresee([(-1.0, root)], [], ends, {}, min(longest, most) - len(ends))]
    known: dict[int, Vector] = dict(zip(asked, (yield asked), strict=True))
    spent = len(ends)
    shared = np.zeros((tree.size, len(known[root.shown])))
    new: tuple[_Problem, ...] = (root,)
    while True:
        for problem in new:
            size = float(np.abs(problem.gain(known)).max(initial=0.0))
            heapq.heappush(queue, (-size * problem.weight, float(ties.standard_normal()), pushed, problem))
            pushed += 1
        opened: list[tuple[float, _Problem]] = []
        while queue and 2 * len(opened) + 2 <= min(step, max_evals - spent):
            priority, _, _, problem = heapq.heappop(queue)
            if problem.cluster.children:
                opened.append((priority, problem))
            else:
                _spread(shared, problem, known)
        if not opened:
            break
        spent += 2 * len(opened)
        needed = [m for m in dict.fromkeys(m for _, p in opened for m in p.masks) if m not in known]
        if needed:
            room = min(longest, most - len(known)) - len(needed)
            asked = [*needed, *_foresee(opened, queue, needed, known, room)]
            known.update(zip(asked, (yield asked), strict=True))
        new = tuple(part for _, problem in opened for part in problem.parts)
    for _, _, _, problem in queue:
        _spread(shared, problem, known)
    return shared


def _spread(shared: Vector, problem: _Problem, known: Mapping[int, Vector]) -> None:
    """Give every piece of the cluster an even share of what the cluster adds."""
    shared[list(problem.cluster.pieces)] += problem.gain(known) * problem.weight / problem.cluster.size


def _foresee(
    opened: Sequence[tuple[float, _Problem]],
    queue: _Queue,
    needed: Sequence[int],
    known: Mapping[int, Vector],
    room: int,
) -> list[int]:
    """Return up to `room` sets, neither known nor needed already, that the recursion is likely to ask for next.

    It is played forward. A part whose values are missing is taken to have a fixed share of its parent's priority.
    """
    heap = [(priority, i, problem) for i, (priority, problem) in enumerate(opened)]
    heap += [(priority, len(opened) + pushed, problem) for priority, _, pushed, problem in queue]
    heapq.heapify(heap)
    count = len(opened) + max((pushed for _, _, pushed, _ in queue), default=0) + 1
    have = set(needed)
    found: list[int] = []
    while heap and len(found) < room:
        priority, _, problem = heapq.heappop(heap)
        if not problem.cluster.children:
            continue
        fresh = [m for m in problem.masks if m not in known and m not in have]
        have.update(fresh)
        found += fresh
        for part in problem.parts:
            sure = part.shown in known and part.context in known
            expected = -float(np.abs(part.gain(known)).max(initial=0.0)) * part.weight if sure else priority * _CHILD
            heapq.heappush(heap, (expected, count, part))
            count += 1
    return found[: max(0, room)]
