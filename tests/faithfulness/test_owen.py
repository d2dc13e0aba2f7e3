"""Owen values against all orders of the pieces, and the recursion within a budget against its literal rendering."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.faithfulness.literal import partition_values

from compressed_lens.faithfulness.owen import Exploring, Vector, exact, within_budget
from compressed_lens.faithfulness.partition import Cluster, agglomerate, flat

Value = Callable[[int], Vector]


def run(exploring: Exploring, value: Value) -> tuple[Vector, list[list[int]]]:
    """Answer a generator; return its values and what it asked in each list."""
    asked = [next(exploring)]
    while True:
        try:
            asked.append(exploring.send([value(mask) for mask in asked[-1]]))
        except StopIteration as end:
            return end.value, asked


def orders(tree: Cluster) -> Iterator[tuple[int, ...]]:
    """Yield every order of the pieces that keeps each cluster together."""
    if not tree.children:
        yield tree.pieces
        return
    for arrangement in permutations(tree.children):
        partial: list[tuple[int, ...]] = [()]
        for child in arrangement:
            partial = [before + after for before in partial for after in orders(child)]
        yield from partial


def brute_force(tree: Cluster, value: Value) -> Vector:
    """Return the mean marginal contribution of every piece over all consistent orders."""
    total = np.zeros((tree.size, len(value(0))))
    every = list(orders(tree))
    for order in every:
        shown = 0
        for piece in order:
            total[piece] += value(shown | 1 << piece) - value(shown)
            shown |= 1 << piece
    return total / len(every)


def table(pieces: int, seed: int, targets: int = 3) -> Value:
    """A value function without any structure."""
    values = np.random.default_rng(seed).normal(size=(1 << pieces, targets))
    return lambda mask: values[mask]


def smooth(pieces: int, seed: int) -> Value:
    """A value function as texts have it: words of unequal weight, and a few pairs that only work together."""
    random = np.random.default_rng(seed)
    single = random.standard_t(2, size=(pieces, 2))
    pairs = [(int(a), int(b), random.normal(size=2)) for a, b in random.integers(0, pieces, size=(pieces, 2))]

    def value(mask: int) -> Vector:
        both = sum((w for a, b, w in pairs if mask >> a & 1 and mask >> b & 1), np.zeros(2))
        return both + sum((single[j] for j in range(pieces) if mask >> j & 1), np.zeros(2))

    return value


gaps = st.lists(st.integers(0, 4), min_size=0, max_size=7)


@settings(max_examples=25, deadline=None)
@given(gaps=gaps, seed=st.integers(0, 10**6))
def test_exact_values_are_those_of_all_consistent_orders(gaps: list[int], seed: int) -> None:
    tree, value = agglomerate(gaps), table(len(gaps) + 1, seed)
    found, asked = run(exact(tree), value)
    np.testing.assert_allclose(found, brute_force(tree, value), atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=0), value(tree.bits) - value(0), atol=1e-12)
    assert len(asked) == 1
    assert len(set(asked[0])) == len(asked[0])


@pytest.mark.parametrize("pieces", [1, 2, 5, 7])
def test_without_structure_exact_values_are_shapley_values(pieces: int) -> None:
    value = table(pieces, pieces)
    total = np.zeros((pieces, 3))
    every = list(permutations(range(pieces)))
    for order in every:
        for at, piece in enumerate(order):
            before = sum(1 << other for other in order[:at])
            total[piece] += value(before | 1 << piece) - value(before)
    found, asked = run(exact(flat(pieces)), value)
    np.testing.assert_allclose(found, total / len(every), atol=1e-12)
    assert len(asked[0]) == 2**pieces


def test_a_tree_with_three_branches() -> None:
    leaves = [Cluster(bits=1 << j) for j in range(6)]
    trio = Cluster(bits=0b111, children=tuple(leaves[:3]))
    tree = Cluster(bits=0b111111, children=(trio, *leaves[3:]))
    value = table(6, 1)
    np.testing.assert_allclose(run(exact(tree), value)[0], brute_force(tree, value), atol=1e-12)


def test_exact_values_of_known_games() -> None:
    tree = agglomerate([0, 0, 0])
    additive, _ = run(exact(tree), lambda mask: np.array([mask.bit_count() * 2.0]))
    np.testing.assert_allclose(additive, 2.0)
    pair, _ = run(exact(tree), lambda mask: np.array([float(mask & 0b101 == 0b101)]))
    np.testing.assert_allclose(pair[:, 0], [0.5, 0, 0.5, 0])


def test_many_sets_are_asked_for_in_several_lists() -> None:
    tree = flat(11)
    found, asked = run(exact(tree), lambda mask: np.array([float(mask.bit_count() ** 2)]))
    assert [len(masks) for masks in asked] == [1024, 1024]
    np.testing.assert_allclose(found, 11.0)


@settings(max_examples=40, deadline=None)
@given(
    gaps=st.lists(st.integers(0, 3), min_size=0, max_size=11),
    max_evals=st.integers(2, 300),
    look_ahead=st.integers(1, 60),
    seed=st.integers(0, 10**6),
)
def test_look_ahead_never_changes_a_value(gaps: list[int], max_evals: int, look_ahead: int, seed: int) -> None:
    tree, value = agglomerate(gaps), table(len(gaps) + 1, seed)
    literal, _ = partition_values(tree, value, max_evals=max_evals, seed=seed)
    found, asked = run(within_budget(tree, max_evals=max_evals, look_ahead=look_ahead, seed=seed), value)
    np.testing.assert_array_equal(found, literal)
    every = [mask for masks in asked for mask in masks]
    assert len(every) == len(set(every))
    assert len(every) <= max(20, 1.1 * max_evals) + 10 * len(asked)


@pytest.mark.parametrize(("pieces", "max_evals"), [(40, 500), (60, 500), (90, 500), (30, 200)])
def test_a_quarter_of_the_calls_and_hardly_more_evaluations(pieces: int, max_evals: int) -> None:
    tree, value = agglomerate([3 if j % 9 == 8 else 1 for j in range(pieces - 1)]), smooth(pieces, pieces)
    literal, steps = partition_values(tree, value, max_evals=max_evals)
    found, asked = run(within_budget(tree, max_evals=max_evals), value)
    np.testing.assert_array_equal(found, literal)
    assert len(asked) <= len(steps) / 4
    needed = {mask for step in steps for mask in step}
    assert sum(map(len, asked)) <= 1.12 * len(needed)


@settings(max_examples=25, deadline=None)
@given(gaps=gaps, seed=st.integers(0, 10**6))
def test_a_large_budget_gives_exact_values(gaps: list[int], seed: int) -> None:
    tree, value = agglomerate(gaps), table(len(gaps) + 1, seed)
    found, _ = run(within_budget(tree, max_evals=10**6, seed=seed), value)
    np.testing.assert_allclose(found, run(exact(tree), value)[0], atol=1e-12)


def test_a_budget_of_the_end_points_spreads_evenly() -> None:
    value = table(5, 0)
    found, asked = run(within_budget(agglomerate([1] * 4), max_evals=2), value)
    np.testing.assert_allclose(found, np.tile((value(31) - value(0)) / 5, (5, 1)), atol=1e-12)
    assert asked[0][:2] == [0, 31]


def test_ties_are_broken_by_the_seed() -> None:
    # All four problems after the first step weigh the same, and the budget opens one of them.
    tree, values = agglomerate([1] * 7), np.random.default_rng(0).normal(size=256) * 1e-9

    def value(mask: int) -> Vector:
        return np.array([round((mask & 0xF).bit_count() + (mask >> 4).bit_count() + values[mask], 6)])

    outer = {0, 255, 0x0F, 0xF0}
    opened = set()
    for seed in range(8):
        _, steps = partition_values(tree, value, max_evals=6, seed=seed)
        opened.add(frozenset(steps[2]) - outer)
        again = [run(within_budget(tree, max_evals=6, seed=seed), table(8, 3))[0] for _ in range(2)]
        np.testing.assert_array_equal(*again)
    assert len(opened) > 1


def test_neighbours_are_joined_across_the_weakest_gap_first() -> None:
    tree = agglomerate([1, 1, 3, 1, 2])
    assert [child.pieces for child in tree.children] == [(0, 1, 2), (3, 4, 5)]
    first, second = tree.children
    assert [child.pieces for child in first.children] == [(0, 1), (2,)]
    assert [child.pieces for child in second.children] == [(3, 4), (5,)]


def test_clusters_of_equal_gaps_are_balanced() -> None:
    def depth(tree: Cluster) -> int:
        return 1 + max(map(depth, tree.children)) if tree.children else 0

    assert depth(agglomerate([1] * 63)) == 6
    assert depth(agglomerate([1] * 99)) <= 8
    assert agglomerate([]).children == ()
