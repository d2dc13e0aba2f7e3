"""The interval type, and closed-form intervals for rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from compressed_lens.errors import DataError

# The standard library's: importing scipy.special takes longer than a whole small report.
NORMAL = NormalDist()
_BISECTIONS = 60


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate, its confidence interval, and what both rest on.

    Attributes:
        estimate: Point estimate in the unit of the data; NaN when nothing applied.
        low: Lower bound; NaN when fewer than two units applied.
        high: Upper bound; NaN when fewer than two units applied.
        n: Values (or pairs) the estimate rests on.
        dropped: Values (or pairs) left out because they were not applicable (NaN).
        units: Independent units that were resampled: clusters, or values where there are none.
        confidence: Nominal coverage, such as 0.95.
        method: What made the interval, such as "studentized", "percentile", "wilson" or "tango"; "none" where there is
            none.
    """

    estimate: float
    low: float
    high: float
    n: int
    dropped: int
    units: int
    confidence: float
    method: str

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero (False without an interval)."""
        return self.low > 0 or self.high < 0

    @property
    def spread(self) -> float:
        """Standard deviation of a unit that would give a mean an interval of this width, whatever its kind."""
        return (self.high - self.low) / (2 * normal_quantile(self.confidence)) * math.sqrt(self.units)


def normal_quantile(confidence: float) -> float:
    """Return z such that a standard normal lies within ±z with probability `confidence`.

    Raises:
        DataError: `confidence` is not strictly between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise DataError(f"A confidence of {confidence} is not between 0 and 1.", fix="Use for example 0.95.")
    return NORMAL.inv_cdf(0.5 + confidence / 2)


def rate_interval(successes: int, n: int, *, confidence: float = 0.95, dropped: int = 0) -> Interval:
    """Wilson score interval of a rate.

    Args:
        successes: How many of the `n` independent outcomes were successes.
        n: Outcomes that applied.
        confidence: Nominal coverage.
        dropped: Outcomes that did not apply; passed through to the result.

    Source: Wilson 1927, JASA 22:209.
    """
    if not 0 <= successes <= n:
        raise DataError(f"{successes} successes of {n} is impossible.", fix="Pass counts with 0 <= successes <= n.")
    z2 = normal_quantile(confidence) ** 2
    if n == 0:
        return _nothing(dropped, confidence)
    rate = successes / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(
        estimate=rate, low=low, high=high, n=n, dropped=dropped, units=n, confidence=confidence, method="wilson"
    )


def paired_rate_interval(down: int, up: int, n: int, *, confidence: float = 0.95, dropped: int = 0) -> Interval:
    """Tango's score interval of the difference of two rates measured on the same items.

    Unlike a bootstrap it keeps its width when few or no pairs disagree: no disagreement among n
    pairs still leaves differences up to about z²/(n + z²) open.

    Args:
        down: Pairs that went from 1 to 0.
        up: Pairs that went from 0 to 1.
        n: All pairs, agreeing ones included.
        confidence: Nominal coverage.
        dropped: Pairs that did not apply; passed through to the result.

    Returns:
        The interval of (up - down) / n, in -1..1.

    Source: Tango 1998, Statistics in Medicine 17:891.
    """
    if min(down, up) < 0 or down + up > n:
        raise DataError(f"{down} + {up} changed pairs of {n} is impossible.", fix="Pass counts with down + up <= n.")
    z = normal_quantile(confidence)
    if n == 0:
        return _nothing(dropped, confidence)

    estimate = (up - down) / n
    return Interval(
        estimate=estimate,
        low=_root(lambda x: paired_rate_score(down, up, n, x) - z, -1.0, estimate),
        high=_root(lambda x: paired_rate_score(down, up, n, x) + z, estimate, 1.0),
        n=n,
        dropped=dropped,
        units=n,
        confidence=confidence,
        method="tango",
    )


def paired_rate_score(down: int, up: int, n: int, difference: float) -> float:
    """Return Tango's score statistic of "(up - down) / n differs from `difference` by chance", about standard normal.

    Positive where the estimate is above `difference`; infinite where `difference` leaves no room for chance.
    """
    variance = n * paired_rate_variance(down / n, up / n, difference)
    excess = up - down - n * difference
    if variance <= 0:
        return math.inf if excess > 0 else -math.inf if excess < 0 else 0.0
    return excess / math.sqrt(variance)


def paired_rate_variance(down: float, up: float, difference: float) -> float:
    """Return the variance of one pair's change if the true difference were `difference`.

    Args:
        down: Share of pairs that went from 1 to 0.
        up: Share of pairs that went from 0 to 1.
        difference: The assumed true difference up - down, in -1..1; what it leaves open is set to the likeliest value.

    Source: Tango 1998, equation 5; Nam 1997, Biometrics 53:1422.
    """
    linear = (2 + down - up) * difference - down - up
    constant = down * difference * (difference - 1)
    lost = (math.sqrt(max(linear * linear - 8 * constant, 0.0)) - linear) / 4
    return 2 * lost + difference * (1 - difference)


def _nothing(dropped: int, confidence: float) -> Interval:
    """Return the interval of no data at all."""
    return Interval(
        estimate=math.nan,
        low=math.nan,
        high=math.nan,
        n=0,
        dropped=dropped,
        units=0,
        confidence=confidence,
        method="none",
    )


def _root(falling: Callable[[float], float], left: float, right: float) -> float:
    """Bisect a falling function between `left` and `right`."""
    for _ in range(_BISECTIONS):
        middle = (left + right) / 2
        if falling(middle) > 0:
            left = middle
        else:
            right = middle
    return (left + right) / 2
