"""Mid-p and odds of changed items against SciPy and by definition."""

from __future__ import annotations

import math
import time

import pytest
from scipy import stats

from compressed_lens.errors import DataError
from compressed_lens.statistics import flip_odds, mcnemar_mid_p, mcnemar_p

COUNTS = [(9, 3), (3, 9), (1, 0), (0, 6), (25, 25), (140, 101), (2000, 1900)]


@pytest.mark.parametrize(("lost", "gained"), COUNTS)
def test_mid_p_by_definition(lost: int, gained: int) -> None:
    null = stats.binom(lost + gained, 0.5)
    fewer = min(lost, gained)
    assert mcnemar_mid_p(lost, gained) == pytest.approx(2 * null.cdf(fewer) - null.pmf(fewer), rel=1e-9)
    assert mcnemar_p(lost, gained) == pytest.approx(stats.binomtest(lost, lost + gained).pvalue, rel=1e-9)
    assert mcnemar_mid_p(lost, gained) <= min(1.0, mcnemar_p(lost, gained))


def test_nothing_changed() -> None:
    assert mcnemar_p(0, 0) == mcnemar_mid_p(0, 0) == 1.0
    odds = flip_odds(0, 0)
    assert math.isnan(odds.estimate) and (odds.low, odds.high, odds.n) == (0.0, math.inf, 0)


@pytest.mark.parametrize(("lost", "gained"), COUNTS)
def test_odds_are_clopper_and_pearsons(lost: int, gained: int) -> None:
    odds = flip_odds(lost, gained)
    share = stats.binomtest(lost, lost + gained).proportion_ci(0.95, method="exact")
    assert odds.low == pytest.approx(share.low / (1 - share.low))
    assert odds.high == (math.inf if gained == 0 else pytest.approx(share.high / (1 - share.high)))
    assert odds.estimate == (math.inf if gained == 0 else lost / gained)
    assert (odds.low > 1 or odds.high < 1) == (mcnemar_p(lost, gained) < 0.05)


def test_a_hundred_thousand_changes_are_instant() -> None:
    start = time.process_time()
    assert mcnemar_p(50_300, 49_700) == pytest.approx(stats.binomtest(50_300, 100_000).pvalue, rel=1e-6)
    assert mcnemar_mid_p(50_300, 49_700) < mcnemar_p(50_300, 49_700)
    flip_odds(50_300, 49_700)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    "call", [lambda: mcnemar_mid_p(-1, 2), lambda: flip_odds(1, -2), lambda: flip_odds(1, 2, confidence=1.0)]
)
def test_impossible_counts_are_refused(call) -> None:
    with pytest.raises(DataError):
        call()
