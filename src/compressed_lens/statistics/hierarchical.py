"""Means over tasks and models: resampling level by level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.interval import normal_quantile
from compressed_lens.statistics.student import student_quantile

Floats = NDArray[np.float64]

FEW_TOP_UNITS = 10
"""Below this many units at the top, an interval comes with a caution."""

_CELLS_PER_CHUNK = 1_000_000
_TWO = 2


@dataclass(frozen=True, kw_only=True)
class HierarchicalInterval:
    """A mean over nested units, and how far it holds for other units of the same kind.

    Attributes:
        estimate: Mean of the top units' means, each of which is the mean of its own units' means, down to single
            values; NaN where nothing applies.
        low: Lower bound; NaN with fewer than two units at the top.
        high: Upper bound.
        n: Values that apply.
        dropped: Values left out because they were not applicable (NaN).
        units: Units that apply at each level, top first.
        confidence: Nominal coverage.
        method: "hierarchical", or "none" where there is no interval.
        caution: What few units at the top mean for this interval, one sentence; "" with `FEW_TOP_UNITS` or more.
    """

    estimate: float
    low: float
    high: float
    n: int
    dropped: int
    units: tuple[int, ...]
    confidence: float
    method: str
    caution: str


def hierarchical_interval(
    values: ArrayLike,
    levels: Sequence[ArrayLike],
    *,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int,
) -> HierarchicalInterval:
    """Interval of a mean (of paired differences, say) over units that are themselves a sample: models, tasks, items.

    A replicate draws top units with replacement, within each drawn unit units of the next level, and so on to the
    values; each time anew. Every unit counts alike within the one above, however many values it has. The interval
    is that of the percentiles, at each end not closer than Student's of the top units' means: percentiles of two to
    four units are far too narrow.

    Levels at which all there is was measured (these two models, and no others are meant) are no sample: leave them out.

    Args:
        values: Shape [n]; NaN where not applicable.
        levels: Labels of each value's units, top level first, each of shape [n]: for instance models, then tasks.
            Equal labels below different units are different units. Values of one lowest unit are its items.
        replicates: Bootstrap resamples.
        confidence: Nominal coverage.
        seed: Seed of the resampling.

    Raises:
        DataError: Shapes differ, there is no level, a value is infinite, or a setting is out of range.

    Source: Davison and Hinkley 1997, section 3.8; Owen and Eckles 2012, Annals of Applied Statistics 6:895 (it is
        conservative); Cameron, Gelbach and Miller 2008 (few clusters).
    """
    sample = np.asarray(values, dtype=np.float64)
    labels: list[NDArray[Any]] = [np.asarray(level) for level in levels]
    if sample.ndim != 1 or any(level.shape != sample.shape for level in labels):
        shapes = [sample.shape, *(level.shape for level in labels)]
        raise DataError(f"Values and their levels have shapes {shapes}.", fix="Pass one label a value at each level.")
    if not labels:
        raise DataError("A hierarchical interval was asked for without levels.", fix="Use mean_interval.")
    if np.isinf(sample).any():
        raise DataError("Values hold an infinity, which no mean survives.", fix="Use NaN where a value does not apply.")
    if replicates < 1:
        raise DataError(f"{replicates} bootstrap replicates were asked for.", fix="Use at least 1000.")
    normal_quantile(confidence)
    applied = ~np.isnan(sample)
    codes = [np.unique(level[applied], return_inverse=True)[1].reshape(-1) for level in labels]
    top = _Unit(sample[applied], codes)
    means = np.array([unit.mean for unit in top.units])
    low = high = math.nan
    if len(means) >= _TWO:
        drawn = top.resampled(replicates, np.random.default_rng(seed))
        low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
        half = student_quantile(confidence, len(means) - 1) * float(means.std(ddof=1)) / math.sqrt(len(means))
        low, high = min(low, top.mean - half), max(high, top.mean + half)
    return HierarchicalInterval(
        estimate=top.mean,
        low=low,
        high=high,
        n=int(applied.sum()),
        dropped=int((~applied).sum()),
        units=tuple(len(np.unique(np.column_stack(codes[: k + 1]), axis=0)) for k in range(len(codes))),
        confidence=confidence,
        method="none" if math.isnan(low) else "hierarchical",
        caution=_caution(len(means)),
    )


class _Unit:
    """A unit with units of its own, or with nothing but values."""

    def __init__(self, values: Floats, codes: Sequence[NDArray[np.intp]]) -> None:
        self.values = values
        self.units: list[_Unit] = []
        self.mean = math.nan
        if codes:
            first, *rest = codes
            for code in np.unique(first):
                inside = first == code
                self.units.append(_Unit(values[inside], [level[inside] for level in rest]))
        parts = [unit.mean for unit in self.units] if codes else values
        if len(parts):
            self.mean = float(np.mean(parts))

    def resampled(self, times: int, generator: np.random.Generator) -> Floats:
        """Return the means of so many resamples of the unit, drawn from its units and their own resamples."""
        size = len(self.units) or len(self.values)
        result = np.empty(times)
        rows = max(1, _CELLS_PER_CHUNK // size)
        for start in range(0, times, rows):
            picks = generator.integers(0, size, size=(min(rows, times - start), size))
            if self.units:
                drawn = np.empty(picks.shape)
                for place, unit in enumerate(self.units):
                    chosen = picks == place
                    drawn[chosen] = unit.resampled(int(chosen.sum()), generator)
            else:
                drawn = self.values[picks]
            result[start : start + len(picks)] = drawn.mean(axis=1)
        return result


def _caution(units: int) -> str:
    if units >= FEW_TOP_UNITS:
        return ""
    if units < _TWO:
        return "One unit at the top says nothing about others: there is no interval."
    return (
        f"Only {units} units at the top were resampled: the interval is wide, and holds as far as their means are a "
        "sample of a roughly normal population."
    )
