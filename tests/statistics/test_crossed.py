"""Two-way clustered variances against sums over pairs of ratings, and against the paired t test."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from compressed_lens.errors import DataError
from compressed_lens.statistics import crossed_difference, crossed_mean

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def over_pairs(influence: Floats, alike: Callable[[int, int], bool], clusters: int) -> float:
    """Sum over all pairs of ratings that share a cluster."""
    pairs = [(a, b) for a in range(len(influence)) for b in range(len(influence)) if alike(a, b)]
    return sum(influence[a] * influence[b] for a, b in pairs) * clusters / (clusters - 1)


def sample(seed: int = 0) -> tuple[Floats, Codes, Codes, NDArray[np.bool_]]:
    """Ratings of 10 items in two groups by 6 raters, unequally many, some of the same rater and item."""
    generator = np.random.default_rng(seed)
    item, rater = generator.integers(0, 10, 50), generator.integers(0, 6, 50)
    other = generator.random(50) < 0.5
    values = generator.normal(size=10)[item] + generator.normal(size=6)[rater] + generator.normal(size=50) + other
    return values, rater, item, other


@pytest.mark.parametrize("seed", range(4))
def test_mean(seed: int) -> None:
    values, rater, item, _ = sample(seed)
    influence = (values - values.mean()) / 50
    raters, items, both = len(set(rater)), len(set(item)), len(set(zip(rater, item, strict=True)))
    by_rater = over_pairs(influence, lambda a, b: rater[a] == rater[b], raters)
    by_item = over_pairs(influence, lambda a, b: item[a] == item[b], items)
    by_both = over_pairs(influence, lambda a, b: rater[a] == rater[b] and item[a] == item[b], both)
    found = crossed_mean(values, rater, np.array([f"item {code}" for code in item]))
    variance = max(by_rater, by_item, by_rater + by_item - by_both)
    half = stats.t.ppf(0.975, raters - 1) * math.sqrt(variance)
    assert found.estimate == pytest.approx(values.mean()) and found.error == pytest.approx(math.sqrt(variance))
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(values.mean()) / found.error, raters - 1))
    assert (found.n, found.units, found.freedom, found.method) == (50, raters, raters - 1, "two-way clustered")


@pytest.mark.parametrize("seed", range(4))
def test_difference(seed: int) -> None:
    values, rater, item, other = sample(seed)
    shared = [i for i in range(10) if (other & (item == i)).any() and (~other & (item == i)).any()]
    kept = np.isin(item, shared)
    by_item = {i: [values[(item == i) & (other == side)] for side in (False, True)] for i in shared}
    estimate = float(np.mean([two.mean() - one.mean() for one, two in by_item.values()]))
    means = [float(np.mean([parts[side].mean() for parts in by_item.values()])) for side in (0, 1)]
    common, apart = np.zeros(50), np.zeros(50)
    for j in np.flatnonzero(kept):
        sides = by_item[item[j]]
        weight = (1 if other[j] else -1) / (len(shared) * len(sides[int(other[j])]))
        rest = values[j] - means[int(other[j])]
        common[j] = weight * rest
        # The mean of the item's other ratings, both groups counting by half, without this one.
        rows = [k for k in range(50) if item[k] == item[j] and k != j]
        parts = [0.5 / len(sides[int(other[k])]) for k in rows]
        apart[j] = weight * (rest - np.average([values[k] - means[int(other[k])] for k in rows], weights=parts))
    rows = np.flatnonzero(kept)
    raters, both = len(set(rater[rows])), len(set(zip(rater[rows], item[rows], strict=True)))
    items = over_pairs(common, lambda a, b: item[a] == item[b], len(shared))
    by_rater = over_pairs(apart, lambda a, b: rater[a] == rater[b], raters)
    by_both = over_pairs(apart, lambda a, b: rater[a] == rater[b] and item[a] == item[b], both)
    found = crossed_difference(values, rater, item, other)
    assert found.estimate == pytest.approx(estimate)
    assert found.error == pytest.approx(math.sqrt(items + max(0.0, by_rater - by_both)))
    assert (found.n, found.dropped, found.units) == (int(kept.sum()), int((~kept).sum()), min(raters, len(shared)))
    mirrored = crossed_difference(values, rater, item, ~other)
    assert (mirrored.estimate, mirrored.error, mirrored.p) == pytest.approx((-estimate, found.error, found.p))


def test_raters_who_rate_once_leave_the_paired_t_test() -> None:
    generator = np.random.default_rng(1)
    item = np.tile(np.arange(15), 2)
    other = np.repeat([False, True], 15)
    values = 3 * generator.normal(size=15)[item] + generator.normal(size=30)
    found = crossed_difference(values, np.arange(30), item, other)
    peer = stats.ttest_rel(values[15:], values[:15])
    assert found.freedom == 14 and found.p == pytest.approx(peer.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(peer.confidence_interval(0.95)))


def test_pairs_keep_models_apart() -> None:
    """One model has more ratings in one group; items alone would take the models' difference for the groups'."""
    item = np.repeat(np.arange(4), 5)
    model = np.tile([0, 0, 1, 1, 1], 4)
    other = np.tile([False, True, False, True, True], 4)
    rater = np.tile(np.arange(5), 4)
    values = 2.0 * model + 0.5 * other + item
    assert crossed_difference(values, rater, item, other).estimate == pytest.approx(0.5 + 2 * (2 / 3 - 1 / 2))
    assert crossed_difference(values, rater, item, other, pairs=item * 2 + model).estimate == pytest.approx(0.5)


def test_few_clusters_have_no_interval() -> None:
    values, rater, item, other = sample()
    one = np.zeros(50, dtype=int)
    means = crossed_mean(values, one, item), crossed_mean(values, rater, one)
    differences = crossed_difference(values, one, item, other), crossed_difference(values, rater, one, other)
    for found in (*means, *differences):
        assert math.isfinite(found.estimate) and math.isnan(found.low) and math.isnan(found.p)
        assert found.units == 1 and found.method == "none"
    two = crossed_mean(values, rater % 2, item)
    assert two.high - two.estimate == pytest.approx(stats.t.ppf(0.975, 1) * two.error)


def test_no_variation_and_no_shared_item_have_no_interval() -> None:
    _, rater, item, other = sample()
    alike = crossed_difference(np.full(50, 5.0), rater, item, other)
    assert alike.estimate == pytest.approx(0, abs=1e-12) and math.isnan(alike.low) and math.isnan(alike.p)
    assert math.isnan(crossed_mean(np.full(50, 5.0), rater, item).high)
    apart = crossed_difference(np.arange(50.0), rater, other.astype(int), other)
    assert math.isnan(apart.estimate) and apart.dropped == 50


@pytest.mark.parametrize(
    ("values", "labels", "match"),
    [([], [], "at least one"), ([1, math.inf], [0, 1], "finite"), ([1, 2], [0], "do not belong to 2")],
)
def test_what_is_refused(values: list[float], labels: list[int], match: str) -> None:
    with pytest.raises(DataError, match=match):
        crossed_mean(values, labels, labels)


def test_marks_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="marks of groups"):
        crossed_difference([1, 2], [0, 1], [0, 1], [True])
    with pytest.raises(DataError, match="confidence"):
        crossed_mean([1, 2], [0, 1], [0, 1], confidence=1.0)
