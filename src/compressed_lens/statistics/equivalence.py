"""Non-inferiority and equivalence at a margin: by interval, and as two one-sided tests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.interval import NORMAL, paired_rate_score

Standing = Literal["equivalent", "non-inferior", ""]

FEWEST_PAIRS = 20
"""Below this many independent pairs nothing is called equivalent or non-inferior: a rarer failure would not show."""
FEWEST_ALIKE = 73
"""The same where an interval has no width because no pair differs, or all by the same. Such an interval knows nothing
of pairs that were not drawn: were 5 % of all different, 73 would hold none of them in 2.4 % of samples, 20 in 36 %."""

_ROUNDING = 1e-6


def fewest_pairs(width: float, margin: float) -> int:
    """Return how many pairs it takes at least before an interval of some width may be called equivalent."""
    return FEWEST_ALIKE if width <= _ROUNDING * margin else FEWEST_PAIRS


def stands(low: float, high: float, *, pairs: int, margin: float, direction: Literal["higher", "lower"]) -> Standing:
    """Tell what the interval of a paired difference shows against a margin.

    A non-significant difference shows nothing here: only an interval that leaves out a loss of the margin or more does.
    With a 95 % interval this is two one-sided tests at 2.5 % each.

    Args:
        low: Lower bound of the mean difference "variant minus full precision", in the unit of the measure.
        high: Upper bound.
        pairs: Independent pairs the interval rests on (clusters, where items come in clusters).
        margin: The largest loss, and gain, that does not matter; same unit, above zero.
        direction: Whether "higher" or "lower" values of the measure are better.

    Returns:
        "equivalent" when both bounds lie strictly within ±margin, "non-inferior" when only the one on the bad side
        does, else "": also without an interval (NaN), below `FEWEST_PAIRS`, and below `FEWEST_ALIKE` where the interval
        has no width.

    Raises:
        DataError: The margin is not above zero, or the bounds are the wrong way round.

    Source: Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657; Westlake 1981, Biometrics 37:589.
    """
    _check_margin(margin)
    if low > high:
        raise DataError(f"An interval from {low} to {high} is upside down.", fix="Pass the lower bound first.")
    if math.isnan(low) or math.isnan(high) or pairs < fewest_pairs(high - low, margin):
        return ""
    worst, best = (low, high) if direction == "higher" else (-high, -low)
    if worst <= -margin:
        return ""
    return "equivalent" if best < margin else "non-inferior"


@dataclass(frozen=True, kw_only=True)
class MarginTest:
    """Tests of a paired difference against a margin fixed beforehand.

    Attributes:
        estimate: Mean difference "variant minus full precision".
        non_inferior: One-sided p of "the loss is the margin or more"; below 2.5 % where the 95 % interval says so.
        equivalent: The larger of the two one-sided p values (TOST): of a loss, and of a gain, of the margin or more.
        n: Pairs.
    """

    estimate: float
    non_inferior: float
    equivalent: float
    n: int


def margin_test(
    base: ArrayLike, other: ArrayLike, *, margin: float, direction: Literal["higher", "lower"]
) -> MarginTest:
    """Test the mean paired difference `other - base` against ±margin.

    Outcomes of 0 and 1 get the score test that Tango's interval inverts (`paired_rate_interval`), others Student's t
    with Hall's correction for skew.
    Items are taken as independent; with clusters, pass their means.

    Args:
        base: Values of the reference, shape [n]; NaN where not applicable. Pairs with a NaN are left out.
        other: Values of the same items under the other variant.
        margin: The largest loss, and gain, that does not matter; above zero.
        direction: Whether "higher" or "lower" values are better.

    Returns:
        p values in 0..1; NaN below two pairs. Where every pair differs by the same amount, t has no scale and p is 0
        or 1: that speaks of these items alone.

    Raises:
        DataError: Shapes differ, or the margin is not above zero.

    Source: Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657; Tango 1998, Statistics in Medicine 17:891;
        Hall 1992, JRSS B 54:221.
    """
    first, second = np.asarray(base, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(
            f"Paired values have shapes {first.shape} and {second.shape}.", fix="Pass the same items in the same order."
        )
    _check_margin(margin)
    both = ~(np.isnan(first) | np.isnan(second))
    first, second = first[both], second[both]
    differences = second - first
    n = differences.size
    if n < 2:  # noqa: PLR2004
        estimate = float(differences.mean()) if n else math.nan
        return MarginTest(estimate=estimate, non_inferior=math.nan, equivalent=math.nan, n=n)
    if np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all():
        down, up = int((differences < 0).sum()), int((differences > 0).sum())
        above, below = (NORMAL.cdf(-sign * paired_rate_score(down, up, n, -sign * margin)) for sign in (1, -1))
    else:
        above, below = _student(differences, margin), _student(-differences, margin)
    return MarginTest(
        estimate=float(differences.mean()),
        non_inferior=above if direction == "higher" else below,
        equivalent=max(above, below),
        n=n,
    )


def _student(differences: NDArray[np.float64], margin: float) -> float:
    """Return the one-sided p of "the mean is -margin or less", by Student's t with Hall's correction for skew.

    Without it a rare large loss that a small sample happens to miss would pass for equality twice as often or more.
    """
    from scipy.special import stdtr

    n, centred = differences.size, differences - differences.mean()
    above, spread = float(differences.mean()) + margin, float(differences.std(ddof=1))
    if spread <= 1e-12 * max(1.0, abs(above)):
        return 0.0 if above > 0 else 1.0
    skew = float((centred**3).mean() / (centred**2).mean() ** 1.5)
    ratio = above / spread
    corrected = ratio + skew * ratio**2 / 3 + skew**2 * ratio**3 / 27 + skew / (6 * n)
    return float(stdtr(n - 1, -math.sqrt(n) * corrected))


def _check_margin(margin: float) -> None:
    if not margin > 0:
        raise DataError(f"A margin of {margin} leaves no room for equality.", fix="Use a margin above zero.")
