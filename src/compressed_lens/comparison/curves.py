"""Curves: the mean of a list of numbers, one a layer, under each variant, and its paired difference to full precision.

Source: 2505.13963, section 3 (contribution by layer, EntRec and CnstScore by layer); the papers give no intervals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compressed_lens.analyses.base import Curve
from compressed_lens.comparison.series import FULL, Gate, Series, or_none
from compressed_lens.statistics import Interval, mean_intervals, paired_bootstraps, replicate_means, unit_sums

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
REPLICATES = 2_000
_SEED = 20_240_611
_SIGNS: Mapping[str, float] = {"higher": -1.0, "lower": 1.0}


@dataclass(frozen=True, kw_only=True)
class VariantCurve:
    """One curve under one variant.

    Attributes:
        recorded: Records there are.
        failed: How many of them have no usable outcome; they are left out of the means.
        without: How many others hold no number of this curve.
        own: Mean over the items that have a number there, with its pointwise 95 % interval; one a place.
        paired: Mean paired difference to full precision with its pointwise 95 % interval, one a place; None for full
            precision itself and where there is none.
        again: Share of resamples in which the place of the largest loss is the same; NaN where there is no loss.
    """

    model: str
    task: str
    analysis: str
    curve: Curve
    variant: str
    gate: Gate
    recorded: int
    failed: int
    without: int
    own: tuple[Interval, ...]
    paired: tuple[Interval, ...] | None
    again: float

    @property
    def losses(self) -> tuple[float, ...]:
        """The paired differences turned so that positive is worse (without a direction: their size); NaN without."""
        return tuple(_losses(np.array([one.estimate for one in self.paired or ()]), self.curve).tolist())

    @property
    def worst(self) -> int | None:
        """Position of the largest loss in the list; None where nothing is lost anywhere.

        It is the largest of many, so its own interval is too narrow by that choice; `again` says how sure the place is.
        """
        losses = [-math.inf if math.isnan(loss) else loss for loss in self.losses]
        place = max(range(len(losses)), key=losses.__getitem__, default=None)
        return None if place is None or losses[place] <= 0 else place


def curves(series: Iterable[Series], gates: Mapping[tuple[str, str], Gate]) -> tuple[VariantCurve, ...]:
    """Compute every declared curve of a run; variants that were never recorded are left out.

    All places of a curve under all variants share one resampling of the items (whole items where they have repeats).

    Args:
        series: The run's outcomes, lined up.
        gates: How each (model, variant) stands.
    """
    return tuple(
        found
        for one in series
        for curve in one.pictures
        if isinstance(curve, Curve)
        for found in _curves_of(one, curve, gates)
    )


def _curves_of(series: Series, curve: Curve, gates: Mapping[tuple[str, str], Gate]) -> list[VariantCurve]:
    lists = {name: values for name, values in series.lists(curve).items() if any(series.outcomes[name])}
    width = next((values.shape[1] for values in lists.values()), 0)
    if not width:
        return []
    others = [name for name in lists if name != FULL and FULL in lists]
    rate = curve.unit == "rate"
    own = mean_intervals(
        np.hstack(list(lists.values())),
        clusters=series.clusters,
        replicates=REPLICATES,
        seed=_SEED,
        rates=[rate] * width * len(lists),
    )
    base = np.hstack([lists[FULL]] * len(others)) if others else np.empty((len(series.rows), 0))
    rest = np.hstack([lists[name] for name in others]) if others else base
    paired = paired_bootstraps(
        base, rest, clusters=series.clusters, replicates=REPLICATES, seed=_SEED, rates=[rate] * rest.shape[1]
    )
    again = _again(rest - base, series.clusters, width, curve)
    found = []
    for v, name in enumerate(lists):
        outcomes = [outcome for outcome in series.outcomes[name] if outcome is not None]
        place = others.index(name) if name in others else None
        failed = sum(outcome.failed is not None for outcome in outcomes)
        applied = int((~np.isnan(lists[name])).any(axis=1).sum())
        found.append(
            VariantCurve(
                model=series.model,
                task=series.task,
                analysis=series.analysis,
                curve=curve,
                variant=name,
                gate=gates.get((series.model, name), "pending"),
                recorded=len(outcomes),
                failed=failed,
                without=len(outcomes) - failed - applied,
                own=own[v * width : (v + 1) * width],
                paired=None if place is None else paired[place * width : (place + 1) * width],
                again=math.nan if place is None else again[place],
            )
        )
    return found


def _losses(differences: Floats, curve: Curve) -> Floats:
    """Turn mean differences so that positive is worse; without a direction it is their size that counts."""
    return np.abs(differences) if curve.direction == "neither" else _SIGNS[curve.direction] * differences


def _again(differences: Floats, clusters: NDArray[np.str_] | None, width: int, curve: Curve) -> list[float]:
    """Return, for each variant, how often a resample has the place of the largest loss that all items have."""
    sums, counts, _ = unit_sums(differences, clusters)
    drawn = replicate_means(sums, counts, replicates=REPLICATES, seed=_SEED)
    with np.errstate(invalid="ignore"):
        means = sums.sum(axis=0) / counts.sum(axis=0)
    drawn, means = (_losses(values, curve) for values in (drawn, means))
    drawn, means = (np.where(np.isnan(values), -np.inf, values) for values in (drawn, means))
    shares = []
    for start in range(0, differences.shape[1], width):
        own = means[start : start + width]
        same = drawn[:, start : start + width].argmax(axis=1) == own.argmax()
        shares.append(float(same.mean()) if own.max() > 0 else math.nan)
    return shares


def curves_frame(rows: Iterable[VariantCurve]) -> pl.DataFrame:
    """Return curves as a Polars frame, one row a (model, task, analysis, curve, variant, place).

    Columns: `model, task, analysis, curve, unit, direction, axis, variant, gate`; `place` (number of the layer);
    `value, value_low, value_high, n` (own mean, pointwise 95 % interval, items it rests on); `difference, low, high,
    pairs, method` (mean paired difference to full precision); `worst` (whether it is the place of the largest loss) and
    `again` (share of resamples in which that place is the same); `recorded, failed, without` (records of the variant,
    those that failed, and those that hold no number of this curve).
    """
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(
            ("model", "task", "analysis", "curve", "unit", "direction", "axis", "variant", "gate"), pl.String
        ),
        "place": pl.Int64,
        **dict.fromkeys(("value", "value_low", "value_high"), pl.Float64),
        "n": pl.Int64,
        **dict.fromkeys(("difference", "low", "high"), pl.Float64),
        "pairs": pl.Int64,
        "method": pl.String,
        "worst": pl.Boolean,
        "again": pl.Float64,
        **dict.fromkeys(("recorded", "failed", "without"), pl.Int64),
    }
    found = [_row(one, position) for one in rows for position in range(len(one.own))]
    return pl.DataFrame(found, schema=schema, orient="row")


def _row(one: VariantCurve, position: int) -> tuple[object, ...]:
    curve, own = one.curve, one.own[position]
    paired = one.paired[position] if one.paired else None
    return (
        *(one.model, one.task, one.analysis, curve.name, curve.unit, curve.direction, curve.axis),
        *(one.variant, one.gate, curve.first + position),
        *(or_none(own.estimate), or_none(own.low), or_none(own.high), own.n),
        *((or_none(paired.estimate), or_none(paired.low), or_none(paired.high)) if paired else (None, None, None)),
        *((paired.n, paired.method) if paired else (None, None)),
        *(one.worst == position, or_none(one.again), one.recorded, one.failed, one.without),
    )
