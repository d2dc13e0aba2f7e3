"""Saturation: do the relations that full precision knew less well lose more?

Source: 2505.13963, section 3 ("relations far from saturation in the full model lose most"), which shows it as a figure;
the rank correlation and its interval are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from compressed_lens.comparison.series import FULL, Gate, Measure, Series, or_none
from compressed_lens.comparison.transitions import is_yes_or_no
from compressed_lens.statistics import Correlation, correlation

if TYPE_CHECKING:
    import polars as pl

FLOOR = 0.1
_TWO = 2
_SEED = 20_240_612


@dataclass(frozen=True, kw_only=True)
class GroupLoss:
    """What one group (relation) lost.

    Attributes:
        full: Share that is good under full precision, 0..1, over the pairs.
        loss: That share minus the variant's: positive is worse, -1..1.
        pairs: Items both apply to.
        floor: Whether `full` is below the floor, so that there was next to nothing to lose.
    """

    group: str
    full: float
    loss: float
    pairs: int
    floor: bool


@dataclass(frozen=True, kw_only=True)
class Saturation:
    """Loss against full precision over the groups of one yes/no measure under one variant.

    Attributes:
        points: One a group with pairs, in order of names.
        floor: Groups below this share under full precision are left out of the correlation.
        correlation: Spearman's of share under full precision and loss over the groups at or above the floor, groups
            resampled. Negative: what was known less well lost more.
    """

    model: str
    task: str
    analysis: str
    measure: Measure
    variant: str
    gate: Gate
    points: tuple[GroupLoss, ...]
    floor: float
    correlation: Correlation

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the groups below the floor."""
        return tuple(point.group for point in self.points if point.floor)


def saturations(
    series: Iterable[Series], gates: Mapping[tuple[str, str], Gate], *, floor: float = FLOOR
) -> tuple[Saturation, ...]:
    """Return the saturation of every directed yes/no measure whose items come in groups, under every recorded variant.

    The loss holds full precision's own noise, which pulls the correlation up (a group that was lucky under full
    precision has more to lose): a negative one stands in spite of it.

    Args:
        series: The run's outcomes, lined up.
        gates: How each (model, variant) stands.
        floor: Least share under full precision, 0..1, for a group to count.
    """
    found = []
    for one in series:
        if len(set(one.groups)) < _TWO or not any(one.outcomes.get(FULL, ())):
            continue
        for measure in one.measures:
            if measure.direction != "neither" and is_yes_or_no(one, measure):
                for variant, outcomes in one.outcomes.items():
                    if variant != FULL and any(outcomes):
                        gate = gates.get((one.model, variant), "pending")
                        found.append(_saturation(one, measure, variant, gate, floor))
    return tuple(found)


def group_losses(series: Series, measure: Measure, variant: str) -> dict[str, tuple[float, float, int]]:
    """Return (full precision's mean, loss, pairs) of each group over its pairs; the loss is positive where worse.

    Groups without a pair are left out.
    """
    base, other = series.column(FULL, measure), series.column(variant, measure)
    losses = base - other if measure.direction != "lower" else other - base
    groups = np.array(series.groups)
    found = {}
    for group in sorted(set(series.groups)):
        member = (groups == group) & ~np.isnan(losses)
        if member.any():
            found[group] = (float(base[member].mean()), float(losses[member].mean()), int(member.sum()))
    return found


def _saturation(series: Series, measure: Measure, variant: str, gate: Gate, floor: float) -> Saturation:
    points = []
    for group, (mean, loss, pairs) in group_losses(series, measure, variant).items():
        full = 1 - mean if measure.direction == "lower" else mean
        points.append(GroupLoss(group=group, full=full, loss=loss, pairs=pairs, floor=full < floor))
    counted = [point for point in points if not point.floor]
    return Saturation(
        model=series.model,
        task=series.task,
        analysis=series.analysis,
        measure=measure,
        variant=variant,
        gate=gate,
        points=tuple(points),
        floor=floor,
        correlation=rank_correlation([p.full for p in counted], [p.loss for p in counted]),
    )


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Correlation:
    """Correlate values of a few groups, groups resampled; without an interval where every resample says the same.

    A bootstrap of few groups that are in perfect order never leaves that order, which shows nothing about others.
    """
    found = correlation(first, second, seed=_SEED)
    return replace(found, low=math.nan, high=math.nan, method="none") if found.low == found.high else found


def saturations_frame(rows: Iterable[Saturation]) -> pl.DataFrame:
    """Return saturation as a Polars frame, one row a (model, task, analysis, metric, variant, group).

    Columns: `model, task, analysis, metric, variant, gate`; `group, full, loss, pairs, floor` as in `GroupLoss`; the
    same for all groups of a variant: `correlation, low, high` (null where undefined), `relations` it rests on,
    `undefined` (why).
    """
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("model", "task", "analysis", "metric", "variant", "gate", "group"), pl.String),
        **dict.fromkeys(("full", "loss"), pl.Float64),
        "pairs": pl.Int64,
        "floor": pl.Boolean,
        **dict.fromkeys(("correlation", "low", "high"), pl.Float64),
        "relations": pl.Int64,
        "undefined": pl.String,
    }
    found = []
    for one in rows:
        c = one.correlation
        ends = tuple(map(or_none, (c.estimate, c.low, c.high)))
        place = (one.model, one.task, one.analysis, one.measure.name, one.variant, one.gate)
        found += [
            (*place, p.group, p.full, p.loss, p.pairs, p.floor, *ends, c.n, c.constant or None) for p in one.points
        ]
    return pl.DataFrame(found, schema=schema, orient="row")
