"""Student's t without SciPy, whose import takes longer than a whole small report."""

from __future__ import annotations

import math
from functools import cache

from compressed_lens.errors import DataError

_BISECTIONS = 80
_TERMS = 400
_TINY = 1e-300


@cache
def student_quantile(confidence: float, freedom: float) -> float:
    """Return t such that Student's t with `freedom` degrees of freedom lies within ±t with probability `confidence`.

    Raises:
        DataError: `confidence` is not strictly between 0 and 1, or `freedom` is not positive.
    """
    if not 0 < confidence < 1:
        raise DataError(f"A confidence of {confidence} is not between 0 and 1.", fix="Use for example 0.95.")
    if freedom <= 0:
        raise DataError(f"Student's t has no {freedom} degrees of freedom.", fix="Pass at least two independent units.")
    # P(|T| >= t) = I_x(v / 2, 1 / 2) with x = v / (v + t^2), which rises with x.
    left, right = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (left + right) / 2
        if incomplete_beta(middle, freedom / 2, 0.5) < 1 - confidence:
            left = middle
        else:
            right = middle
    return math.sqrt(freedom * (1 - right) / right)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b), by Lentz's continued fraction."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - incomplete_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or _TINY)
    value = d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for term in (even, odd):
            d = 1 / (1 + term * d or _TINY)
            c = 1 + term / c or _TINY
            value *= c * d
        if abs(value - before) <= 1e-16 * abs(value):
            break
    return front * value
