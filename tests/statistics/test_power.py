"""Needed items against simulation: at the number named, 80 % of the samples show it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from compressed_lens.errors import DataError
from compressed_lens.statistics import (
    FEWEST_ALIKE,
    detectable,
    items_for,
    items_for_margin,
    items_for_rates,
    items_to_decide,
    mcnemar_p,
    mcnemar_power,
    paired_rate_interval,
    stands,
)

SAMPLES = 3000


def decided_by_rates(lost: float, gained: float, n: int, margin: float | None, seed: int) -> float:
    """Share of samples of n items whose verdict is not "undecided"."""
    drawn = np.random.default_rng(seed).multinomial(n, [lost, gained, 1 - lost - gained], size=SAMPLES)
    found, counts = np.unique(drawn[:, :2], axis=0, return_counts=True)
    total = 0
    for (down, up), count in zip(found.tolist(), counts.tolist(), strict=True):
        interval = paired_rate_interval(down, up, n)
        standing = margin and stands(interval.low, interval.high, pairs=n, margin=margin, direction="higher")
        shown = interval.excludes_zero and mcnemar_p(down, up) < 0.05
        total += count * bool(standing or shown)
    return total / SAMPLES


def decided_by_means(difference: float, sd: float, n: int, margin: float | None, seed: int) -> float:
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [generator.normal(difference, sd, size=(500, n)).mean(axis=1) for _ in range(SAMPLES // 500)]
    )
    half = 1.96 * sd / math.sqrt(n)
    shown = (means - half > 0) | (means + half < 0)
    return float((shown | (means - half > -(margin or -math.inf))).mean())


@pytest.mark.parametrize(
    ("difference", "changed", "margin"),
    [(-0.01, 0.05, 0.02), (-0.02, 0.05, 0.02), (-0.04, 0.06, 0.02), (0.01, 0.05, 0.02), (0.0, 0.1, 0.05),
     (0.03, 0.05, None), (-0.03, 0.2, None)],
)  # fmt: skip
def test_at_the_number_named_80_percent_of_samples_are_decided(
    difference: float, changed: float, margin: float | None
) -> None:
    sd = math.sqrt(changed - difference**2)
    n = items_to_decide(difference, sd, margin, pairs=40, rate=True, direction="higher")
    assert n is not None and n > 40
    assert 0.77 <= decided_by_rates((changed - difference) / 2, (changed + difference) / 2, n, margin, 1) <= 0.86
    n = items_to_decide(difference, sd, margin, pairs=40, rate=False, direction="higher")
    assert n is not None
    assert decided_by_means(difference, sd, n, margin, 2) == pytest.approx(0.8, abs=0.03)


def test_no_change_at_all_still_needs_items() -> None:
    n = items_to_decide(0.0, 0.0, 0.02, pairs=50, rate=True, direction="higher")
    assert n == math.floor(stats.norm.ppf(0.975) ** 2 * 0.98 / 0.02) + 1
    for pairs, standing in ((n - 1, ""), (n, "equivalent")):
        interval = paired_rate_interval(0, 0, pairs)
        assert stands(interval.low, interval.high, pairs=pairs, margin=0.02, direction="higher") == standing
    assert items_to_decide(0.0, 0.0, 0.02, pairs=400, rate=True, direction="higher") == 401
    assert items_to_decide(0.0, 0.0, 0.5, pairs=4, rate=False, direction="higher") == FEWEST_ALIKE
    assert items_for_margin(0.5, 0.0, rate=False) == FEWEST_ALIKE and items_for_margin(0.5, 0.01, rate=False) == 20


def test_what_no_number_decides() -> None:
    assert items_to_decide(0.0, 0.3, None, pairs=50, rate=True, direction="neither") is None
    assert items_to_decide(0.0, 0.0, None, pairs=50, rate=True, direction="neither") is None
    assert items_to_decide(0.0, 0.3, None, pairs=50, rate=False, direction="neither") is None
    assert items_to_decide(math.nan, math.nan, 0.02, pairs=0, rate=True, direction="higher") is None
    # Between the margin and the noise floor a loss is neither shown nor excluded.
    assert items_to_decide(-0.03, 0.2, 0.02, pairs=50, rate=False, direction="higher", floor=0.04) is None
    assert items_to_decide(-0.05, 0.2, 0.02, pairs=50, rate=False, direction="higher", floor=0.04) is not None


def test_a_loss_of_exactly_the_margin_is_decided_by_showing_it() -> None:
    n = items_to_decide(-0.02, 0.2, 0.02, pairs=50, rate=False, direction="higher")
    assert n is not None and n <= items_for(0.02, 0.2)


def test_directions_mirror_and_corrections_cost() -> None:
    for rate in (True, False):
        falls = items_to_decide(-0.03, 0.25, 0.02, pairs=50, rate=rate, direction="higher")
        assert falls == items_to_decide(0.03, 0.25, 0.02, pairs=50, rate=rate, direction="lower")
        corrected = items_to_decide(-0.03, 0.25, 0.02, pairs=50, rate=rate, direction="higher", tests=10)
        assert falls is not None and corrected is not None and corrected > 1.4 * falls
        gains = items_to_decide(0.03, 0.25, 0.02, pairs=50, rate=rate, direction="higher")
        assert gains is not None and gains < falls


@pytest.mark.parametrize("n", [60, 300])
def test_detectable_difference_has_its_power(n: int) -> None:
    effect = detectable(1.0, n)
    assert effect == pytest.approx(2.8016 / math.sqrt(n), rel=1e-4)
    assert TTestPower().power(effect, n, 0.05) == pytest.approx(0.8, abs=0.02)
    assert items_for(effect, 1.0) in (n, n + 1)


def brute_mcnemar(lost: float, gained: float, n: int, alpha: float) -> float:
    rest = 1 - lost - gained
    return sum(
        stats.multinomial.pmf([down, up, n - down - up], n, [lost, gained, rest])
        for down in range(n + 1)
        for up in range(n + 1 - down)
        if down + up and stats.binomtest(down, down + up).pvalue < alpha
    )


@pytest.mark.parametrize(
    ("lost", "gained", "n", "alpha"),
    [(0.3, 0.1, 25, 0.05), (0.2, 0.2, 30, 0.05), (0.5, 0.1, 20, 0.01), (0.4, 0.6, 18, 0.05)],
)
def test_mcnemar_power_against_all_tables(lost: float, gained: float, n: int, alpha: float) -> None:
    assert mcnemar_power(lost, gained, n, alpha=alpha) == pytest.approx(brute_mcnemar(lost, gained, n, alpha), abs=1e-9)


def test_mcnemar_power_does_not_jump_where_it_becomes_normal() -> None:
    exact, normal = mcnemar_power(0.1, 0.0985, 503_000), mcnemar_power(0.1, 0.0985, 504_000)
    assert exact == pytest.approx(normal, abs=0.005)


def test_items_for_rates_are_a_little_more_than_the_formula() -> None:
    for lost, gained in ((0.04, 0.02), (0.05, 0.0), (0.1, 0.12)):
        n = items_for_rates(lost, gained)
        assert 1.0 <= n / (7.85 * (lost + gained) / (lost - gained) ** 2) <= 1.35
        assert mcnemar_power(lost, gained, n) >= 0.8 > mcnemar_power(lost, gained, n - 1)


@pytest.mark.parametrize(("rate", "difference"), [(True, 0.0), (False, 0.0), (True, -0.01), (False, 0.01)])
def test_items_for_margin_show_equivalence_in_80_percent(rate: bool, difference: float) -> None:
    changed, margin = 0.05, 0.03
    n = items_for_margin(margin, math.sqrt(changed - difference**2), rate=rate, difference=difference)
    generator = np.random.default_rng(3)
    shares = [(changed - difference) / 2, (changed + difference) / 2, 1 - changed]
    drawn = generator.multinomial(n, shares, size=1500)
    equivalent = 0
    for down, up, _ in drawn.tolist():
        mean = (up - down) / n
        half = 1.96 * math.sqrt(((down + up) / n - mean**2) / n)
        interval = paired_rate_interval(down, up, n)
        low, high = (interval.low, interval.high) if rate else (mean - half, mean + half)
        equivalent += stands(low, high, pairs=n, margin=margin, direction="higher") == "equivalent"
    assert equivalent / 1500 == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(
    "call",
    [
        lambda: detectable(1.0, 0),
        lambda: detectable(1.0, 10, power=1.0),
        lambda: items_for(0.0, 1.0),
        lambda: items_for_rates(0.1, 0.1),
        lambda: items_for_rates(0.6, 0.6),
        lambda: items_for_margin(0.02, 0.2, rate=True, difference=-0.02),
    ],
)
def test_impossible_questions_are_refused(call) -> None:
    with pytest.raises(DataError):
        call()
