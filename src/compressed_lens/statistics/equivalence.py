"""Non-inferiority and equivalence at a margin: by interval, and as two one-sided tests."""

from __future__ import annotations

import math
from typing import Literal

from compressed_lens.errors import DataError

Standing = Literal["equivalent", "non-inferior", ""]

FEWEST_PAIRS = 20
"""Below this many independent pairs nothing is called equivalent or non-inferior: a rarer failure would not show."""


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
        does, else "": also without an interval (NaN) and below `FEWEST_PAIRS`.

    Raises:
        DataError: The margin is not above zero, or the bounds are the wrong way round.

    Source: Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657; Westlake 1981, Biometrics 37:589.
    """
    if not margin > 0:
        raise DataError(f"A margin of {margin} leaves no room for equality.", fix="Use a margin above zero.")
    if low > high:
        raise DataError(f"An interval from {low} to {high} is upside down.", fix="Pass the lower bound first.")
    if pairs < FEWEST_PAIRS or math.isnan(low) or math.isnan(high):
        return ""
    worst, best = (low, high) if direction == "higher" else (-high, -low)
    if worst <= -margin:
        return ""
    return "equivalent" if best < margin else "non-inferior"
