"""Flips between two variants on the same items: McNemar's exact and mid-p tests, and their odds ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from compressed_lens.errors import DataError
from compressed_lens.statistics.interval import Interval, normal_quantile


@dataclass(frozen=True, kw_only=True)
class Flips:
    """How two-valued outcomes of the same items changed.

    Attributes:
        lost: Items that were 1 under the reference and are 0 now.
        gained: Items that were 0 and are 1.
        both: Items that are 1 under both.
        neither: Items that are 0 under both.
        dropped: Items that do not apply (NaN) on at least one side.
    """

    lost: int
    gained: int
    both: int
    neither: int
    dropped: int

    @property
    def n(self) -> int:
        """Pairs that apply on both sides."""
        return self.lost + self.gained + self.both + self.neither

    @property
    def rate(self) -> float:
        """Share of pairs that changed, in 0..1 (NaN without pairs); a difference of rates hides it."""
        return (self.lost + self.gained) / self.n if self.n else float("nan")


def flips(base: ArrayLike, other: ArrayLike) -> Flips:
    """Count how the outcomes of `base` (0, 1 or NaN; shape [n]) changed in `other`.

    Raises:
        DataError: Shapes differ, or a value is not 0, 1 or NaN.

    Source: Dutta et al. 2024, arXiv 2407.09141.
    """
    first, second = np.asarray(base, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(
            f"Outcomes have shapes {first.shape} and {second.shape}.", fix="Pass the same items in the same order."
        )
    for values in (first, second):
        if not ((values == 0) | (values == 1) | np.isnan(values)).all():
            raise DataError("Flips are counted between outcomes of 0 and 1 only.", fix="Threshold the values first.")
    return Flips(
        lost=int(((first == 1) & (second == 0)).sum()),
        gained=int(((first == 0) & (second == 1)).sum()),
        both=int(((first == 1) & (second == 1)).sum()),
        neither=int(((first == 0) & (second == 0)).sum()),
        dropped=int((np.isnan(first) | np.isnan(second)).sum()),
    )


def mcnemar_p(lost: int, gained: int) -> float:
    """Exact two-sided p of McNemar's test: are changes in one direction more frequent than in the other?

    Args:
        lost: Pairs that went from 1 to 0.
        gained: Pairs that went from 0 to 1.

    Returns:
        2 · P(X <= min(lost, gained)) for X ~ Binomial(lost + gained, 1/2), at most 1; 1 when nothing changed.

    Source: McNemar 1947, Psychometrika 12:153; exact binomial form.
    """
    at_most, _ = _binomial_half(lost, gained)
    return min(1.0, 2 * at_most)


def mcnemar_mid_p(lost: int, gained: int) -> float:
    """Two-sided mid-p of McNemar's test: half the chance of what was seen, instead of all of it, counts against it.

    Less conservative than `mcnemar_p`, and hardly ever above its level; there is no guarantee.

    Args:
        lost: Pairs that went from 1 to 0.
        gained: Pairs that went from 0 to 1.

    Returns:
        2 · P(X <= min(lost, gained)) - P(X = min(lost, gained)) for X ~ Binomial(lost + gained, 1/2).

    Source: Fagerland, Lydersen and Laake 2013, BMC Medical Research Methodology 13:91.
    """
    at_most, exactly = _binomial_half(lost, gained)
    return min(1.0, 2 * at_most - exactly)


def flip_odds(lost: int, gained: int, *, confidence: float = 0.95) -> Interval:
    """Odds that a changed item was lost rather than gained, with an exact interval.

    Args:
        lost: Pairs that went from 1 to 0.
        gained: Pairs that went from 0 to 1.
        confidence: Nominal coverage; the interval is conservative.

    Returns:
        lost / gained, from 0 to infinity (NaN and 0 to infinity where nothing changed). Clopper and Pearson's interval
        of the share of changes that are losses, as odds: it leaves out 1 exactly where `mcnemar_p` is below
        1 - confidence.

    Source: Clopper and Pearson 1934, Biometrika 26:404; Breslow and Day 1980, section 5.2.
    """
    _check(lost, gained)
    tail = (1 - confidence) / 2
    normal_quantile(confidence)
    low, high = 0.0, 1.0
    if lost or gained:
        from scipy.special import betaincinv

        low = float(betaincinv(lost, gained + 1, tail)) if lost else 0.0
        high = float(betaincinv(lost + 1, gained, 1 - tail)) if gained else 1.0
    changed = lost + gained
    return Interval(
        estimate=lost / gained if gained else math.inf if lost else math.nan,
        low=_odds(low),
        high=_odds(high),
        n=changed,
        dropped=0,
        units=changed,
        confidence=confidence,
        method="clopper-pearson",
    )


def _odds(share: float) -> float:
    return share / (1 - share) if share < 1 else math.inf


def _binomial_half(lost: int, gained: int) -> tuple[float, float]:
    """Return P(X <= k) and P(X = k), k the smaller count, for X ~ Binomial(lost + gained, 1/2)."""
    _check(lost, gained)
    n, fewer = lost + gained, min(lost, gained)
    log_factorials = np.concatenate([[0.0], np.log(np.arange(1, n + 1)).cumsum()])
    log_choices = log_factorials[n] - log_factorials[: fewer + 1] - log_factorials[n - fewer :][::-1]
    chances = np.exp(log_choices - n * np.log(2))
    return float(chances.sum()), float(chances[-1])


def _check(lost: int, gained: int) -> None:
    if min(lost, gained) < 0:
        raise DataError(f"{lost} lost and {gained} gained is impossible.", fix="Pass counts.")
