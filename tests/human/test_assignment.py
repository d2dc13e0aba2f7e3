"""Assignments: what holds for every design, the paper's design to the number, and what is refused."""

from __future__ import annotations

import time
from collections import Counter
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressed_lens.errors import StudyError
from compressed_lens.human.assignment import Unit, assign, raters_for


def grid(models: int, variants: int, items: int) -> list[Unit]:
    """Return a text for each model, variant and item; the first half of the items are explanations."""
    return [
        Unit(id=f"{m}-{v}-{i}", item=f"i{i}", factors=(f"v{v}", "nle" if 2 * i < items else "cfe", f"m{m}"))
        for m in range(models)
        for v in range(variants)
        for i in range(items)
    ]


def spread(orders: tuple[tuple[str, ...], ...], units: list[Unit], factor: int) -> Counter[int]:
    """Return how often a rater has a level of a factor so many times."""
    level = {unit.id: unit.factors[factor] for unit in units}
    counts = [Counter(level[text] for text in own) for own in orders]
    return Counter(count[name] for count in counts for name in set(level.values()))


def test_the_paper_s_design_closes_to_the_number() -> None:
    units = grid(3, 4, 30)
    assert raters_for(len(units), 2, 15) == 48
    started = time.perf_counter()
    orders = assign(units, raters=48, ratings=2, seed=0)
    assert time.perf_counter() - started < 5  # 0.1 s on a quiet core
    assert sum(map(len, orders)) == 720 == 3 * 4 * 30 * 2 == 48 * 15
    assert {len(own) for own in orders} == {15}
    assert set(Counter(text for own in orders for text in own).values()) == {2}
    item = {unit.id: unit.item for unit in units}
    assert all(len({item[text] for text in own}) == 15 for own in orders)
    variants, kinds, models = (spread(orders, units, factor) for factor in range(3))
    assert set(variants) == {3, 4}
    assert set(kinds) == {7, 8}
    assert set(models) <= {4, 5, 6}
    assert models[5] > 130
    # 360 pairs of raters share a text, of 1,128 there are: no pair shares more than two.
    raters = {text: [n for n, own in enumerate(orders) if text in own] for text in item}
    shared = Counter(tuple(pair) for pair in raters.values())
    assert max(shared.values()) <= 2
    assert len(shared) > 340


def test_neighbours_differ_and_every_rater_has_an_own_order() -> None:
    units = grid(3, 4, 30)
    factors = {unit.id: unit.factors for unit in units}
    orders = assign(units, raters=48, ratings=2, seed=3)
    assert not any(factors[a] == factors[b] for own in orders for a, b in pairwise(own))
    first = Counter(factors[own[0]][0] for own in orders)
    assert len(first) == 4, "the first text is not always of one variant"
    assert [sorted(own) for own in orders] != list(map(list, orders))


def test_neighbours_of_one_factor_are_kept_apart_as_long_as_others_are_left() -> None:
    units = [Unit(id=f"{n}", item=f"{n}", factors=("a" if n < 5 else "b",)) for n in range(9)]
    for seed in range(20):
        (own,) = assign(units, raters=1, ratings=1, seed=seed)
        assert "".join("a" if int(text) < 5 else "b" for text in own) == "ababababa"


def test_the_seed_decides_everything() -> None:
    units = grid(2, 3, 6)
    assert assign(units, raters=12, ratings=2, seed=5) == assign(units, raters=12, ratings=2, seed=5)
    assert assign(units, raters=12, ratings=2, seed=5) != assign(units, raters=12, ratings=2, seed=6)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 8), st.integers(1, 3), st.integers(0, 20), st.booleans(),
    st.integers(0, 2**32),
)  # fmt: skip
def test_what_holds_for_every_design(  # noqa: PLR0917
    models: int, variants: int, items: int, ratings: int, more: int, same_item: bool, seed: int
) -> None:
    units = grid(models, variants, items)
    raters = (1 if same_item else models * variants) * ratings + more
    orders = assign(units, raters=raters, ratings=ratings, same_item=same_item, seed=seed)
    assert len(orders) == raters
    loads = [len(own) for own in orders]
    assert max(loads) - min(loads) <= 1
    assert Counter(text for own in orders for text in own) == {unit.id: ratings for unit in units}
    item = {unit.id: unit.item for unit in units}
    for own in orders:
        assert len(set(own)) == len(own)
        if not same_item:
            assert len({item[text] for text in own}) == len(own)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 3), st.integers(2, 4), st.integers(0, 1000))
def test_levels_are_spread_evenly_where_they_can_be(models: int, variants: int, seed: int) -> None:
    units = grid(models, variants, 12)
    raters = 2 * models * variants  # each then rates 12 texts
    orders = assign(units, raters=raters, ratings=2, seed=seed)
    for factor, levels in ((0, variants), (2, models)):
        counts = spread(orders, units, factor)
        assert min(counts) >= 12 // levels - 1
        assert max(counts) <= 12 // levels + 1


def test_an_item_may_be_seen_twice_but_never_a_text() -> None:
    units = grid(3, 4, 2)
    orders = assign(units, raters=4, ratings=2, same_item=True, seed=0)
    assert {len(own) for own in orders} == {12}
    assert all(len(set(own)) == 12 for own in orders)
    assert set(spread(orders, units, 0)) <= {2, 3, 4}


def test_pairs_of_raters_vary() -> None:
    units = [Unit(id=f"{n}", item=f"{n}", factors=("x",)) for n in range(45)]
    orders = assign(units, raters=10, ratings=2, seed=1)
    met = Counter(pair for n in range(45) for pair in combinations([r for r in range(10) if f"{n}" in orders[r]], 2))
    assert len(met) > 38, "nearly all 45 pairs of raters share a text"
    assert max(met.values()) <= 2


def test_an_impossible_design_says_what_would_do() -> None:
    with pytest.raises(StudyError, match="Each item needs 24 different raters, and there are 20") as told:
        assign(grid(3, 4, 30), raters=20, ratings=2)
    assert "24 raters" in told.value.fix
    assert "1 rating a text" in told.value.fix
    assert assign(grid(3, 4, 30), raters=24, ratings=2), "the remedy helps"
    assert assign(grid(3, 4, 30), raters=20, ratings=1), "so does the other"
    with pytest.raises(StudyError, match="Each text needs 3 different raters, and there are 2"):
        assign(grid(1, 1, 4), raters=2, ratings=3, same_item=True)


def test_ten_thousand_ratings_take_seconds() -> None:
    units = grid(5, 10, 100)
    started = time.perf_counter()
    orders = assign(units, raters=raters_for(len(units), 2, 15), ratings=2)
    assert time.perf_counter() - started < 60  # 0.8 s on a quiet core
    assert sum(map(len, orders)) == 10_000
