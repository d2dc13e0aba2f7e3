"""Effect sizes by definition, and how often Cliff's interval holds the truth."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from compressed_lens.errors import DataError
from compressed_lens.statistics import cliffs_delta, standardized_difference

GENERATOR = np.random.default_rng(20)


def brute(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sign(y[None, :] - x[:, None]).mean())


@pytest.mark.parametrize("ties", [True, False])
def test_delta_compares_every_value_with_every_other(ties: bool) -> None:
    x, y = GENERATOR.normal(size=31), GENERATOR.normal(0.4, 1.0, size=44)
    if ties:
        x, y = np.rint(x), np.rint(y)
    found = cliffs_delta(x, y, paired=False)
    assert found.estimate == pytest.approx(brute(x, y), abs=1e-12)
    assert found.superiority == pytest.approx((y[None, :] > x[:, None]).mean() + (y[None, :] == x[:, None]).mean() / 2)
    turned = cliffs_delta(y, x, paired=False)
    assert (turned.estimate, turned.low, turned.high) == pytest.approx((-found.estimate, -found.high, -found.low))


def test_variance_is_the_jackknifes() -> None:
    x = np.rint(GENERATOR.normal(size=60))
    y = np.rint(x + GENERATOR.normal(0.5, 0.7, size=60))
    found = cliffs_delta(x, y, paired=True)
    left = np.array([brute(np.delete(x, k), np.delete(y, k)) for k in range(60)])
    error = math.sqrt(59 / 60 * ((left - left.mean()) ** 2).sum())
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(error, rel=0.06)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_ratings_interval_holds_the_truth_in_95_percent(paired: bool, n: int, shift: float) -> None:
    generator = np.random.default_rng(n)

    def draw(size: int) -> tuple[np.ndarray, np.ndarray]:
        item = generator.normal(size=size) if paired else 0
        sides = [item + generator.normal(0.0, 1.0 if paired else 1.4, size=size) for _ in range(2)]
        first, second = (np.clip(np.rint(side + 3 + k * shift), 1, 5) for k, side in enumerate(sides))
        return first, second

    truth = cliffs_delta(*draw(200_000), paired=paired).estimate
    found = [cliffs_delta(*draw(n), paired=paired) for _ in range(800)]
    assert 0.925 <= np.mean([f.low <= truth <= f.high for f in found]) <= 0.975


def test_pairs_make_the_interval_narrower_and_are_dropped_together() -> None:
    x = GENERATOR.normal(size=80)
    y = x + GENERATOR.normal(0.2, 0.3, size=80)
    together, apart = cliffs_delta(x, y, paired=True), cliffs_delta(x, y, paired=False)
    assert together.estimate == apart.estimate
    assert together.high - together.low < 0.5 * (apart.high - apart.low)
    gaps = x.copy()
    gaps[:30] = math.nan
    found = cliffs_delta(gaps, y, paired=True)
    assert (found.n, found.dropped) == (50, 30) and found.estimate == pytest.approx(brute(x[30:], y[30:]))


def test_where_nothing_varies_there_is_no_interval() -> None:
    x = GENERATOR.normal(size=30)
    for found, expected in ((cliffs_delta(x, x, paired=True), 0), (cliffs_delta(x, x + 100, paired=False), 1)):
        assert found.method == "none" and math.isnan(found.low)
        assert found.estimate == pytest.approx(expected, abs=1e-12)
    empty = cliffs_delta([math.nan], [1.0], paired=True)
    assert empty.n == 0 and math.isnan(empty.estimate)


def test_a_hundred_thousand_values_take_no_time() -> None:
    x, y = GENERATOR.normal(size=(2, 100_000))
    start = time.process_time()
    cliffs_delta(x, y, paired=True)
    assert time.process_time() - start < 1.0


def test_standardized_difference_is_unbiased() -> None:
    differences = np.random.default_rng(1).normal(0.5, 1.0, size=(20_000, 10))
    found = [standardized_difference(np.zeros(10), row) for row in differences]
    assert np.mean(found) == pytest.approx(0.5, abs=0.01)
    raw = differences.mean(axis=1) / differences.std(axis=1, ddof=1)
    assert raw.mean() > 0.53
    x = np.array([1.0, 2.0, 4.0, math.nan, 3.0])
    expected = (1 - 3 / (4 * 3 - 1)) * np.mean([0.5, 0, 1, 2]) / np.std([0.5, 0, 1, 2], ddof=1)
    assert standardized_difference(x, x + [0.5, 0, 1, 9, 2]) == pytest.approx(expected, rel=0.01)


def test_without_spread_there_is_no_standardized_difference() -> None:
    assert math.isnan(standardized_difference([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]))
    assert math.isnan(standardized_difference([1.0, 2.0], [2.0, 4.0]))


@pytest.mark.parametrize(
    "call",
    [
        lambda: standardized_difference([1.0], [1.0, 2.0]),
        lambda: cliffs_delta([1.0], [1.0, 2.0], paired=True),
        lambda: cliffs_delta([[1.0]], [1.0], paired=False),
    ],
)
def test_malformed_input_is_refused(call) -> None:
    with pytest.raises(DataError):
        call()
