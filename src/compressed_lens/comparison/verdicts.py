"""What the paired difference of a measure shows: one vocabulary, decided by one interval."""

from __future__ import annotations

import math
from typing import Literal

from compressed_lens.statistics import Interval
from compressed_lens.statistics.equivalence import stands
from compressed_lens.statistics.power import ALPHA

Verdict = Literal[
    "reference", "worse", "better", "different", "equivalent", "non-inferior", "undecided", "not comparable"
]
Leaning = Literal["", "worse", "better", "different"]


MOST_FAILED = 0.05
"""Where more of full precision's items than this share failed under the variant, the others cannot clear it."""


def only_survivors(paired: Interval, failed: int) -> bool:
    """Whether so many records failed that the pairs are those a damaged variant could still answer."""
    return failed > MOST_FAILED * (paired.n + failed)


def judged(
    paired: Interval | None,
    *,
    direction: str,
    p: float | None,
    p_adjusted: float | None,
    margin: float | None,
    floor: float | None,
    failed: int = 0,
) -> tuple[Verdict, Leaning]:
    """Say what a comparison shows, and where nothing is shown which way it leans.

    * equivalent: the whole interval is inside ±margin, however surely it excludes zero;
    * worse, better (different, without a better direction): the interval excludes zero, p is below 5 % after
      correction, and the difference is larger than what mere numerics make;
    * non-inferior: the interval leaves out a loss of the margin or more;
    * undecided: anything else. A difference that is not shown is never evidence of equality.

    Args:
        paired: Mean paired difference to full precision.
        direction: Of the measure: "higher", "lower" or "neither".
        p: Of no difference.
        p_adjusted: The same, corrected within its family.
        margin: The loss that would matter; None without a better direction or without a scale.
        floor: Noise floor, in the unit of the measure; None where it was not measured.
        failed: Items that have a value under full precision and a failed record under the variant. Where they are many
            (`only_survivors`) nothing good is said of the variant.
    """
    if paired is None or p is None or math.isnan(paired.low):
        return "not comparable", ""
    standing, survivors = "", only_survivors(paired, failed)
    if direction in {"higher", "lower"} and margin is not None and not survivors:
        side: Literal["higher", "lower"] = "lower" if direction == "lower" else "higher"
        standing = stands(paired.low, paired.high, pairs=paired.units, margin=margin, direction=side)
    if standing == "equivalent":
        return "equivalent", ""
    way: Literal["worse", "better", "different"] = "different"
    if direction != "neither":
        way = "better" if (paired.estimate > 0) == (direction == "higher") else "worse"
    apart = paired.excludes_zero and p < ALPHA and (floor is None or abs(paired.estimate) > floor)
    if apart and p_adjusted is not None and p_adjusted < ALPHA and not (survivors and way == "better"):
        return way, ""
    if standing == "non-inferior":
        return "non-inferior", ""
    return "undecided", way if apart else ""
