"""Score intervals, flips and McNemar against published values and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, stats

from compressed_lens.errors import DataError
from compressed_lens.statistics import flips, mcnemar_p, normal_quantile, paired_rate_interval, rate_interval


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_matches_newcombe_1998(successes: int, n: int, low: float, high: float) -> None:
    interval = rate_interval(successes, n)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)
    assert interval.estimate == successes / n


def test_wilson_matches_scipy() -> None:
    for successes, n in itertools.product([0, 1, 7, 30], [30, 101]):
        expected = stats.binomtest(successes, n).proportion_ci(0.9, method="wilson")
        ours = rate_interval(successes, n, confidence=0.9)
        assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def brute_score(down: int, up: int, n: int, difference: float) -> float:
    """Tango's score statistic with the nuisance rate found by numerical maximisation."""

    def loss(rate: float) -> float:
        cells = [(down, rate), (up, rate + difference), (n - down - up, 1 - 2 * rate - difference)]
        return -sum(count * math.log(max(p, 1e-300)) for count, p in cells if count)

    lower, upper = max(0.0, -difference), (1 - difference) / 2
    rate = optimize.minimize_scalar(loss, bounds=(lower, upper), method="bounded", options={"xatol": 1e-12}).x
    return (up - down - n * difference) / math.sqrt(n * (2 * rate + difference * (1 - difference)))


@pytest.mark.parametrize(("down", "up", "n"), [(12, 9, 50), (3, 0, 40), (1, 6, 300), (20, 2, 60)])
def test_tango_bounds_solve_the_score_equation(down: int, up: int, n: int) -> None:
    interval = paired_rate_interval(down, up, n)
    z = normal_quantile(0.95)
    assert brute_score(down, up, n, interval.low) == pytest.approx(z, abs=1e-3)
    assert brute_score(down, up, n, interval.high) == pytest.approx(-z, abs=1e-3)
    mirrored = paired_rate_interval(up, down, n)
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low), abs=1e-9)


def test_tango_without_disagreement_has_its_closed_form() -> None:
    z2 = normal_quantile(0.95) ** 2
    interval = paired_rate_interval(0, 0, 50)
    assert (interval.low, interval.high) == pytest.approx((-z2 / (50 + z2), z2 / (50 + z2)), abs=1e-9)
    everything = paired_rate_interval(50, 0, 50)
    assert everything.low == pytest.approx(-1.0) and everything.high < -0.8


@pytest.mark.parametrize(
    "call",
    [
        lambda: rate_interval(3, 2),
        lambda: paired_rate_interval(2, 2, 3),
        lambda: rate_interval(1, 2, confidence=0.0),
        lambda: mcnemar_p(-1, 2),
        lambda: flips([0.5], [1]),
        lambda: flips([0, 1], [1]),
    ],
)
def test_impossible_counts_are_refused(call) -> None:
    with pytest.raises(DataError):
        call()


def test_no_outcomes_no_interval() -> None:
    assert rate_interval(0, 0).method == "none" and math.isnan(rate_interval(0, 0).estimate)
    assert paired_rate_interval(0, 0, 0).method == "none"


def test_flips_by_enumeration() -> None:
    generator = np.random.default_rng(0)
    base, other = generator.choice([0.0, 1.0, math.nan], size=(2, 300), p=[0.3, 0.5, 0.2])
    counted = flips(base, other)
    pairs = list(zip(base.tolist(), other.tolist(), strict=True))
    assert counted.lost == pairs.count((1.0, 0.0)) and counted.gained == pairs.count((0.0, 1.0))
    assert counted.both == pairs.count((1.0, 1.0)) and counted.neither == pairs.count((0.0, 0.0))
    assert counted.n + counted.dropped == 300
    assert counted.rate == pytest.approx((counted.lost + counted.gained) / counted.n)
    assert math.isnan(flips([], []).rate)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (5, 0), (6, 0), (4, 9), (13, 5), (40, 41), (700, 800)])
def test_mcnemar_by_enumeration(lost: int, gained: int) -> None:
    n = lost + gained
    tail = sum(math.comb(n, k) for k in range(min(lost, gained) + 1)) / 2**n
    assert mcnemar_p(lost, gained) == pytest.approx(min(1.0, 2 * tail), rel=1e-11)
    assert mcnemar_p(gained, lost) == mcnemar_p(lost, gained)
