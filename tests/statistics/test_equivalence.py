"""Equivalence and non-inferiority: agreement of tests and intervals, and how often they are claimed wrongly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.weightstats import ttost_paired

from compressed_lens.errors import DataError
from compressed_lens.statistics import (
    FEWEST_ALIKE,
    FEWEST_PAIRS,
    margin_test,
    paired_bootstraps,
    paired_rate_interval,
    sign_flip_p,
    stands,
)


@pytest.mark.parametrize(
    ("low", "high", "direction", "expected"),
    [
        (-0.01, 0.01, "higher", "equivalent"),
        (-0.01, 0.01, "lower", "equivalent"),
        (-0.01, 0.03, "higher", "non-inferior"),
        (-0.01, 0.03, "lower", ""),
        (-0.03, 0.01, "lower", "non-inferior"),
        (-0.03, 0.01, "higher", ""),
        (-0.02, 0.01, "higher", ""),
        (-0.01, 0.02, "higher", "non-inferior"),
        (-0.05, -0.03, "higher", ""),
        (-0.015, -0.005, "higher", "equivalent"),
        (0.03, 0.05, "higher", "non-inferior"),
        (math.nan, math.nan, "higher", ""),
    ],
)
def test_an_interval_stands_or_does_not(low: float, high: float, direction: str, expected: str) -> None:
    assert stands(low, high, pairs=FEWEST_PAIRS, margin=0.02, direction=direction) == expected
    assert stands(low, high, pairs=FEWEST_PAIRS - 1, margin=0.02, direction=direction) == ""


def test_rare_losses_that_no_pair_shows_are_no_equality() -> None:
    """5 % of the items lose 4 standard deviations, the margin on average; samples without any look all alike."""
    generator = np.random.default_rng(13)
    for n in (20, 50, FEWEST_ALIKE):
        base = generator.normal(size=(n, SAMPLES))
        other = base - 4 * (generator.random(base.shape) < 0.05)
        alike = (base == other).all(axis=0)
        intervals = paired_bootstraps(base[:, alike], other[:, alike], replicates=10, seed=0)
        standing = [stands(i.low, i.high, pairs=n, margin=0.2, direction="higher") for i in intervals]
        assert np.mean([s != "" for s in standing]) * alike.mean() <= 0.025 + ERROR
    assert standing and set(standing) == {"equivalent"}, "from then on they are"


def rates(loss: float, changed: float, n: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of 0/1 outcomes, shape [n, samples], with a true difference of -loss."""
    generator = np.random.default_rng(11)
    kind = generator.choice(4, size=(n, samples), p=[(changed + loss) / 2, (changed - loss) / 2, 0.5, 0.5 - changed])
    return np.isin(kind, (0, 2)).astype(float), np.isin(kind, (1, 2)).astype(float)


def skewed(loss: float, tail: int, n: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Values whose differences are exponential with a standard deviation of 1, a skewness of 2 and a mean of -loss."""
    generator = np.random.default_rng(12)
    base = generator.normal(size=(n, samples))
    return base, base + tail * (generator.exponential(size=base.shape) - 1) - loss


SAMPLES = 1500
ERROR = 3 * math.sqrt(0.025 * 0.975 / SAMPLES)


def claimed(base: np.ndarray, other: np.ndarray, margin: float) -> tuple[float, float]:
    """How often the interval, and the test, say that the loss is below the margin."""
    intervals = paired_bootstraps(base, other, replicates=1000, seed=0)
    by_interval = [stands(i.low, i.high, pairs=i.units, margin=margin, direction="higher") != "" for i in intervals]
    by_test = [margin_test(base[:, k], other[:, k], margin=margin, direction="higher").non_inferior < 0.025
               for k in range(base.shape[1])]  # fmt: skip
    return float(np.mean(by_interval)), float(np.mean(by_test))


@pytest.mark.parametrize("n", [50, 500])
@pytest.mark.parametrize(("loss", "changed"), [(0.02, 0.05), (0.05, 0.15), (0.1, 0.4)])
def test_a_loss_of_the_margin_is_rarely_called_small_for_rates(n: int, loss: float, changed: float) -> None:
    assert max(claimed(*rates(loss, changed, n, SAMPLES), loss)) <= 0.025 + ERROR


@pytest.mark.parametrize(("n", "tail", "most"), [(50, 1, 0.025), (50, -1, 0.033), (500, 1, 0.025), (500, -1, 0.025)])
def test_a_loss_of_the_margin_is_rarely_called_small_for_skewed_means(n: int, tail: int, most: float) -> None:
    # Rare large losses (tail -1) that 50 items happen to miss are the hard case: Student's t is at 5.5 %, both of ours
    # at 3.2 %.
    assert max(claimed(*skewed(0.3, tail, n, SAMPLES), 0.3)) <= most + ERROR


def test_a_difference_that_is_not_significant_is_never_enough() -> None:
    base, other = rates(0.05, 0.15, 30, 400)
    significant = sign_flip_p(base, other, permutations=1000, seed=1) < 0.05
    intervals = paired_bootstraps(base, other, replicates=1000, seed=0)
    standing = [stands(i.low, i.high, pairs=30, margin=0.05, direction="higher") for i in intervals]
    assert np.mean(~significant) > 0.8
    assert np.mean([s != "" for s in standing]) <= 0.025 + 3 * math.sqrt(0.025 / 400)


def test_no_difference_is_shown_where_there_are_items_enough() -> None:
    base, other = rates(0.0, 0.05, 1500, 200)
    intervals = paired_bootstraps(base, other, replicates=1000, seed=0)
    standing = [stands(i.low, i.high, pairs=1500, margin=0.02, direction="higher") for i in intervals]
    assert np.mean([s == "equivalent" for s in standing]) > 0.75


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_the_score_test_and_tangos_interval_say_the_same(direction: str) -> None:
    for down, up, n in ((0, 0, 150), (0, 0, 300), (3, 1, 200), (1, 6, 300), (12, 9, 900), (12, 9, 1100)):
        base = np.repeat([1.0, 0.0, 1.0], [down, up, n - down - up])
        other = np.repeat([0.0, 1.0, 1.0], [down, up, n - down - up])
        test = margin_test(base, other, margin=0.02, direction=direction)
        interval = paired_rate_interval(down, up, n)
        standing = stands(interval.low, interval.high, pairs=n, margin=0.02, direction=direction)
        assert (test.non_inferior < 0.025) == (standing != "")
        assert (test.equivalent < 0.025) == (standing == "equivalent")
        assert test.n == n and test.estimate == (up - down) / n


def test_without_skew_it_is_the_paired_t_test() -> None:
    spread = np.random.default_rng(4).normal(size=40)
    differences = np.concatenate([spread, -spread]) + 0.1
    base = np.zeros(80)
    expected, above, below = ttost_paired(differences, base, -0.3, 0.3)
    found = margin_test(base, differences, margin=0.3, direction="higher")
    assert found.equivalent == pytest.approx(expected, rel=0.02)
    assert found.non_inferior == pytest.approx(above[1], rel=0.02)
    assert margin_test(base, differences, margin=0.3, direction="lower").non_inferior == pytest.approx(
        below[1], rel=0.02
    )


def test_missing_pairs_and_no_spread() -> None:
    nan = math.nan
    found = margin_test([1.0, nan, 0.0, 2.0], [1.5, 1.0, nan, 2.5], margin=1.0, direction="higher")
    assert found.n == 2 and found.estimate == 0.5 and found.non_inferior == 0.0 and found.equivalent == 0.0
    alone = margin_test([1.0], [1.5], margin=1.0, direction="higher")
    assert alone.n == 1 and math.isnan(alone.non_inferior) and math.isnan(alone.equivalent)


@pytest.mark.parametrize(
    "call",
    [
        lambda: stands(-1, 1, pairs=30, margin=0.0, direction="higher"),
        lambda: stands(1, -1, pairs=30, margin=0.1, direction="higher"),
        lambda: margin_test([1.0], [1.0, 2.0], margin=0.1, direction="higher"),
        lambda: margin_test([1.0, 2.0], [1.0, 2.0], margin=-0.1, direction="higher"),
    ],
)
def test_malformed_questions_are_refused(call) -> None:
    with pytest.raises(DataError):
        call()
