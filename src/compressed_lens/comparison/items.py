"""How many items: what each comparison of a run could have shown, and what it would take to show more."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compressed_lens.comparison.measures import Figure
from compressed_lens.statistics import detectable, items_for_margin

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What the items of one confirmatory measure of one variant can show.

    Attributes:
        pairs: Independent pairs with full precision.
        detectable: Smallest true difference that so many pairs show with 80 % probability at 5 %, before any
            correction; in the unit of the measure, from the width of the interval.
        for_margin: Pairs in all that would show equivalence within the margin with 80 % probability, if there were no
            difference and the spread stayed as it is. None without a margin, and where a difference is shown.
    """

    figure: Figure
    pairs: int
    detectable: float
    for_margin: int | None


def reaches(figures: Iterable[Figure]) -> tuple[Reach, ...]:
    """Return the reach of every confirmatory measure that has an interval of its difference to full precision."""
    return tuple(
        _reach(figure)
        for figure in figures
        if figure.confirmatory and figure.paired is not None and not math.isnan(figure.paired.low)
    )


def _reach(figure: Figure) -> Reach:
    paired = figure.paired
    assert paired is not None
    changed, spread = figure.counted, paired.spread
    for_margin = None
    if figure.margin is not None and figure.verdict not in {"worse", "better"}:
        deviation = spread if changed is None else math.sqrt(changed.rate)
        for_margin = items_for_margin(figure.margin, deviation, rate=changed is not None)
    return Reach(figure=figure, pairs=paired.units, detectable=detectable(spread, paired.units), for_margin=for_margin)


def reaches_frame(rows: Iterable[Reach]) -> pl.DataFrame:
    """Return reaches as a Polars frame, one row a (model, variant, task, analysis, metric).

    Columns: `model, variant, gate, task, analysis, metric, unit, pairs, difference, low, high, detectable, margin,
    for_margin, verdict, needed` (pairs in all that would decide an undecided one, were the truth as estimated).
    """
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("model", "variant", "gate", "task", "analysis", "metric", "unit"), pl.String),
        "pairs": pl.Int64,
        **dict.fromkeys(("difference", "low", "high", "detectable", "margin"), pl.Float64),
        "for_margin": pl.Int64,
        "verdict": pl.String,
        "needed": pl.Int64,
    }
    return pl.DataFrame([_row(reach) for reach in rows], schema=schema, orient="row")


def _row(reach: Reach) -> tuple[object, ...]:
    figure = reach.figure
    assert figure.paired is not None
    return (
        *(figure.model, figure.variant, figure.gate, figure.task, figure.analysis, figure.measure.name),
        *(figure.measure.unit, reach.pairs, figure.paired.estimate, figure.paired.low, figure.paired.high),
        *(reach.detectable, figure.margin, reach.for_margin, figure.verdict, figure.needed),
    )
