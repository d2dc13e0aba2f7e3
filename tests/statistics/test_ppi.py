"""Prediction-powered means: coverage with a biased judge, the gain from a good one, and the bound for trust."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from compressed_lens.errors import DataError
from compressed_lens.statistics import concordance, judge_trust, prediction_powered


def study(generator: np.random.Generator, *, rated: int, rows: int, follows: float, bias: float = 0.8):
    """Ratings of 1 to 5 whose true mean is 3, and a judge that follows people and is `bias` too generous."""
    quality = generator.normal(size=rows)
    human = np.clip(np.rint(3 + quality), 1, 5)
    noise = generator.normal(size=rows)
    judge = np.clip(np.rint(3 + bias + follows * quality + math.sqrt(1 - follows**2) * noise), 1, 5)
    return np.where(np.arange(rows) < rated, human, math.nan), judge


@pytest.mark.parametrize(("rated", "rows"), [(30, 300), (100, 600)])
@pytest.mark.parametrize("follows", [0.0, 0.6, 0.95])
def test_the_interval_holds_the_truth_whatever_the_judge(rated: int, rows: int, follows: float) -> None:
    generator = np.random.default_rng(rated)
    found = [prediction_powered(*study(generator, rated=rated, rows=rows, follows=follows)) for _ in range(600)]
    assert 0.925 <= np.mean([f.powered.low <= 3 <= f.powered.high for f in found]) <= 0.975
    # The judge alone is far off, and says so with its bias.
    assert np.mean([f.judge for f in found]) > 3.6
    assert np.mean([f.bias for f in found]) == pytest.approx(0.72, abs=0.08)


def test_a_good_judge_is_worth_ratings_and_a_useless_one_costs_none() -> None:
    generator = np.random.default_rng(3)
    for follows, low, high in ((0.95, 2.5, 4.0), (0.0, 0.95, 1.1)):
        found = [prediction_powered(*study(generator, rated=60, rows=600, follows=follows)) for _ in range(200)]
        assert low < np.median([f.gain for f in found]) < high
        spread = np.std([f.humans.estimate for f in found]) / np.std([f.powered.estimate for f in found])
        assert math.sqrt(low) * 0.88 < spread < math.sqrt(high) * 1.12


def test_bootstrap_and_linearized_intervals_agree() -> None:
    human, judge = study(np.random.default_rng(5), rated=150, rows=1500, follows=0.8)
    by_clt = prediction_powered(human, judge)
    drawn = prediction_powered(human, judge, method="bootstrap", replicates=4000, seed=1)
    width = by_clt.powered.high - by_clt.powered.low
    assert drawn.powered.estimate == by_clt.powered.estimate
    assert drawn.powered.low == pytest.approx(by_clt.powered.low, abs=0.08 * width)
    assert drawn.powered.high == pytest.approx(by_clt.powered.high, abs=0.08 * width)


def test_by_definition() -> None:
    generator = np.random.default_rng(7)
    human, judge = study(generator, rated=40, rows=200, follows=0.7)
    found = prediction_powered(human, judge)
    y, f, rest = human[:40], judge[:40], judge[40:]
    weight = (y * f).mean() - y.mean() * f.mean()
    weight /= judge.var() * (1 + 40 / 160)
    assert found.weight == pytest.approx(weight)
    assert found.powered.estimate == pytest.approx(y.mean() + weight * (rest.mean() - f.mean()))
    variance = (y - weight * f).var() / 39 + weight**2 * rest.var() / 160 * 40 / 39
    half = stats.t.ppf(0.975, 39) * math.sqrt(variance)
    assert (found.powered.low, found.powered.high) == pytest.approx(
        (found.powered.estimate - half, found.powered.estimate + half)
    )
    assert found.humans.estimate == y.mean()
    expected = stats.t.interval(0.95, 39, y.mean(), y.std(ddof=1) / math.sqrt(40))
    assert (found.humans.low, found.humans.high) == pytest.approx(expected)


def test_rows_of_one_item_count_once() -> None:
    human, judge = study(np.random.default_rng(9), rated=40, rows=300, follows=0.8)
    alone = prediction_powered(human, judge)
    items = np.repeat(np.arange(300), 3)
    for method in ("clt", "bootstrap"):
        once = prediction_powered(human, judge, method=method, replicates=500, seed=2)
        tripled = prediction_powered(
            np.repeat(human, 3), np.repeat(judge, 3), clusters=items, method=method, replicates=500, seed=2
        )
        assert tripled.powered.units == 40 and tripled.powered.n == 120
        assert (tripled.powered.low, tripled.powered.high) == pytest.approx((once.powered.low, once.powered.high))
    assert tripled.powered.estimate == pytest.approx(alone.powered.estimate)


def test_difference_of_two_variants() -> None:
    generator = np.random.default_rng(11)
    held, gains = [], []
    for _ in range(300):
        loss = generator.binomial(1, 0.3, size=400)
        human = np.where(np.arange(400) < 40, -loss, math.nan)
        found = prediction_powered(human, -0.7 * loss + generator.normal(0, 0.2, size=400))
        held.append(found.powered.low <= -0.3 <= found.powered.high)
        gains.append(found.gain)
    assert np.median(gains) > 2
    assert 0.91 <= np.mean(held) <= 0.985


def test_people_rated_all_rows_or_too_few() -> None:
    human, judge = study(np.random.default_rng(1), rated=50, rows=50, follows=0.9)
    found = prediction_powered(human, judge)
    assert found.weight == 0.0 and found.powered.estimate == found.humans.estimate == human.mean()
    gaps = judge.copy()
    gaps[:5] = math.nan
    assert prediction_powered(human, gaps).powered.dropped == 5
    for call in (
        lambda: prediction_powered([1.0, 2.0, math.nan], [1.0, 2.0, 3.0]),
        lambda: prediction_powered([1.0], [1.0, 2.0]),
        lambda: prediction_powered(human, judge, clusters=[1, 2]),
        lambda: judge_trust(0.5, 0.4, 0.6, n=50, bound=1.0),
    ):
        with pytest.raises(DataError):
            call()


@pytest.mark.parametrize(
    ("estimate", "low", "high", "n", "verdict"),
    [(0.8, 0.7, 0.9, 60, "trusted"), (0.8, 0.7, 0.9, 12, "undecided"), (0.3, 0.1, 0.5, 60, "not trusted"),
     (0.65, 0.5, 0.8, 60, "undecided"), (0.6, 0.5, 0.7, 60, "undecided"),
     (math.nan, math.nan, math.nan, 60, "undecided")],
)  # fmt: skip
def test_trust(estimate: float, low: float, high: float, n: int, verdict: str) -> None:
    told, needed = judge_trust(estimate, low, high, n=n, bound=0.6)
    assert told == verdict
    assert (needed is None) == (verdict != "undecided" or estimate == 0.6 or math.isnan(estimate))
    if needed is not None:
        assert needed > n


def test_at_the_number_named_80_percent_are_settled() -> None:
    generator = np.random.default_rng(13)

    def rated(n: int):
        quality = generator.normal(size=n)
        judge = 0.8 * quality + 0.6 * generator.normal(size=n)
        return concordance(quality, judge, replicates=500, seed=1)

    truth = np.arctanh(0.786)
    needed = []
    for pilot in (rated(40) for _ in range(60)):
        half = (np.arctanh(pilot.high) - np.arctanh(pilot.low)) / 2
        told = judge_trust(0.786, math.tanh(truth - half), math.tanh(truth + half), n=40, bound=0.65)
        needed.append(told[1] or 40)
    n = int(np.median(needed))
    found = [rated(n) for _ in range(400)]
    settled = [judge_trust(r.estimate, r.low, r.high, n=n, bound=0.65)[0] == "trusted" for r in found]
    assert np.mean(settled) == pytest.approx(0.8, abs=0.1)
