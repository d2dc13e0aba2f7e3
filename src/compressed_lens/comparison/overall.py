"""Each use of a variant over all tasks and models at once, as if these were drawn from many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compressed_lens.analyses.base import Family
from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.series import FULL, Measure, Series, or_none
from compressed_lens.comparison.uses import USES
from compressed_lens.statistics.hierarchical import HierarchicalInterval, hierarchical_interval

if TYPE_CHECKING:
    import polars as pl

SEED = 20_240_607
_TWO = 2


@dataclass(frozen=True, kw_only=True)
class Overall:
    """What a variant does to one use over all tasks and models.

    Attributes:
        gain: Mean paired difference to full precision in margins: -1 is a loss of the margin, 0 none, above 0 a gain.
        top: What the interval generalizes over: "models" where there are several, else "tasks".
        measures: Confirmatory measures it rests on.
    """

    variant: str
    use: Family
    gain: HierarchicalInterval
    top: str
    measures: int


def overall(series: Sequence[Series], figures: Iterable[Figure]) -> tuple[Overall, ...]:
    """Average each use of each variant over models, tasks, measures and items, each level counting its units alike.

    The hierarchical bootstrap resamples models (where there are several), tasks, and items, so its interval speaks of
    other models and tasks of this kind, not of these. It is left out where the top level has a single unit. Variants of
    one name under different models are one variant here; placebos, what failed the integrity gate, and statistics other
    than means are left out.

    Args:
        series: Outcomes lined up by item.
        figures: What `figures` returns for them.
    """
    parts = {(one.model, one.task, one.analysis): one for one in series}
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        sound = figure.gate == "passed" and not figure.placebo
        if sound and figure.confirmatory and figure.margin and figure.measure.statistic == "mean":
            groups.setdefault((figure.variant, figure.measure.family), []).append(figure)
    found = []
    for (variant, use), group in groups.items():
        models = {figure.model for figure in group}
        tasks = {figure.task for figure in group}
        family = next((known for known in USES if known == use), None)
        if family is None or (len(models) < _TWO and len(tasks) < _TWO):
            continue
        values = [_gains(parts[figure.model, figure.task, figure.analysis], variant, figure) for figure in group]
        labels = [(f.model, f.task, f"{f.analysis} {f.measure.name}") for f in group]
        sizes = [len(one) for one in values]
        levels = [np.repeat(level, sizes) for level in list(zip(*labels, strict=True))[0 if len(models) > 1 else 1 :]]
        interval = hierarchical_interval(np.concatenate(values), levels, seed=SEED)
        top = "models" if len(models) > 1 else "tasks"
        found.append(Overall(variant=variant, use=family, gain=interval, top=top, measures=len(group)))
    return tuple(sorted(found, key=lambda one: list(USES).index(one.use)))


def _gains(series: Series, variant: str, figure: Figure) -> NDArray[np.float64]:
    """Return each item's difference in margins, a gain above zero; repeats of an item enter with their mean."""
    measure: Measure = figure.measure
    difference = series.column(variant, measure) - series.column(FULL, measure)
    assert figure.margin is not None
    gains = np.asarray(difference / figure.margin * (-1 if measure.direction == "lower" else 1))
    if series.clusters is None:
        return gains
    applied = ~np.isnan(gains)
    _, item, repeats = np.unique(series.clusters[applied], return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(item, weights=gains[applied]) / repeats)


def overall_frame(rows: Iterable[Overall]) -> pl.DataFrame:
    """Return rows as a Polars frame.

    Columns: `use, variant`; `gain, low, high` in margins; `top` (models or tasks), `top_units`, `measures`, `n`;
    `caution`.
    """
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("use", "variant"), pl.String),
        **dict.fromkeys(("gain", "low", "high"), pl.Float64),
        "top": pl.String,
        **dict.fromkeys(("top_units", "measures", "n"), pl.Int64),
        "caution": pl.String,
    }
    told = [
        (
            *(one.use, one.variant, or_none(one.gain.estimate), or_none(one.gain.low), or_none(one.gain.high), one.top),
            *(one.gain.units[0] if one.gain.units else 0, one.measures, one.gain.n, one.gain.caution),
        )
        for one in rows
    ]
    return pl.DataFrame(told, schema=schema, orient="row")
