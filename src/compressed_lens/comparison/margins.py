"""Margins: how large a loss would matter, set before the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compressed_lens.comparison.series import Measure

RATES: Mapping[str, float] = {"task": 0.02, "knowledge": 0.02}
"""Default margin of rates, by family; `OTHER_RATES` for all others."""
OTHER_RATES = 0.05
STANDARD_DEVIATIONS = 0.2
"""Default margin of what is no rate, in standard deviations of the measure under full precision."""


def margin_of(margins: Mapping[str, float], analysis: str, measure: Measure, spread: float) -> float | None:
    """Return the margin of a measure, in its unit; None for one without a better direction, or without any scale.

    Args:
        margins: The study's, by analysis.metric, metric, analysis or family; the most specific one holds.
        analysis: Name of the analysis in the study.
        measure: The measure.
        spread: Standard deviation of the measure over items under full precision.
    """
    if measure.direction == "neither":
        return None
    for key in (f"{analysis}.{measure.name}", measure.name, analysis, measure.family):
        if key in margins:
            return margins[key]
    if measure.unit == "rate":
        return RATES.get(measure.family, OTHER_RATES)
    return STANDARD_DEVIATIONS * spread if math.isfinite(spread) and spread > 0 else None
