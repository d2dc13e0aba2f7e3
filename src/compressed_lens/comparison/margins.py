"""Margins: how large a loss would matter, set before the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from compressed_lens.comparison.series import Measure

RATES: Mapping[str, float] = {"task": 0.02, "knowledge": 0.02}
"""Default margin of rates, by family; `OTHER_RATES` for all others."""
OTHER_RATES = 0.05
STANDARD_DEVIATIONS = 0.2
"""Default margin of what is no rate, in standard deviations of the measure under full precision."""
_ROUNDING = 1e-6


def spread_of(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of a measure over items, shape [n]; NaN below two values that apply.

    What differs only in its last digits is the same on every item, and no scale for a margin: 0.
    """
    applied = values[~np.isnan(values)]
    if len(applied) < 2:  # noqa: PLR2004
        return math.nan
    spread = float(applied.std(ddof=1))
    return spread if spread > _ROUNDING * float(np.abs(applied).max()) else 0.0


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
