"""An estimate with its standard error, and the interval and p value that follow from both."""

from __future__ import annotations

import math
from dataclasses import dataclass

from compressed_lens.statistics.interval import NORMAL, Interval, normal_quantile
from compressed_lens.statistics.student import incomplete_beta, student_quantile


@dataclass(frozen=True, kw_only=True)
class WaldInterval(Interval):
    """An interval of estimate ± quantile x standard error.

    Attributes:
        error: Standard error; NaN where there is none.
        freedom: Degrees of freedom of Student's t; infinite for the normal.
        p: Two-sided p value of "the estimate's truth is 0"; NaN without an interval.
    """

    error: float
    freedom: float
    p: float


def wald_interval(
    estimate: float,
    error: float,
    *,
    freedom: float,
    confidence: float,
    n: int,
    units: int,
    method: str,
    dropped: int = 0,
) -> WaldInterval:
    """Return the interval of an estimate; one without a positive, finite error has NaN bounds and method "none".

    Raises:
        DataError: `confidence` is not strictly between 0 and 1.
    """
    normal = normal_quantile(confidence)
    if not (math.isfinite(estimate) and math.isfinite(error) and error > 0 and freedom > 0):
        low = high = p = error = math.nan
        method = "none"
    else:
        half = (student_quantile(confidence, freedom) if math.isfinite(freedom) else normal) * error
        low, high, p = estimate - half, estimate + half, two_sided_p(estimate / error, freedom)
    return WaldInterval(
        estimate=estimate,
        low=low,
        high=high,
        n=n,
        dropped=dropped,
        units=units,
        confidence=confidence,
        method=method,
        error=error,
        freedom=freedom,
        p=p,
    )


def two_sided_p(statistic: float, freedom: float) -> float:
    """Return P(|T| >= |statistic|) for Student's t, or the normal with infinite degrees of freedom."""
    if math.isinf(freedom):
        return 2 * NORMAL.cdf(-abs(statistic))
    return incomplete_beta(freedom / (freedom + statistic * statistic), freedom / 2, 0.5) if statistic else 1.0
