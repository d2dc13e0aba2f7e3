"""Every figure of a run: each measure of each variant, and its paired difference to full precision."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from compressed_lens.report.run_data import FULL, Gate, Measure, RunFrames, Series, series_of, variant_list
from compressed_lens.statistics import Flips, Interval, flips, mcnemar_p, mean_intervals, paired_bootstraps

if TYPE_CHECKING:
    import polars as pl

Verdict = Literal["reference", "worse", "better", "different", "unchanged", "not shown", "not comparable"]

CONFIDENCE = 0.95
REPLICATES = 10_000
SEED = 20_240_607
_ALPHA = 1 - CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measure of one variant on one task.

    Attributes:
        gate: How the variant stands at the integrity gate.
        planned: Records the study asks for.
        recorded: Records there are.
        failed: How many of them have no usable outcome.
        reasons: How often each reason for that was given.
        own: The variant's own mean, with its interval.
        paired: Mean paired difference to full precision, with its interval; None for full precision itself
            and where there is none to compare with.
        flips: For outcomes of 0 and 1: how they changed; else None.
        p: Exact McNemar p of the flips; else None.
        spread: Standard deviation of the measure under full precision, for scaling colours.
        verdict: What the comparison shows; "not shown" never means equal.
    """

    model: str
    variant: str
    task: str
    analysis: str
    measure: Measure
    gate: Gate
    planned: int
    recorded: int
    failed: int
    reasons: Mapping[str, int]
    own: Interval
    paired: Interval | None
    flips: Flips | None
    p: float | None
    spread: float
    verdict: Verdict

    @property
    def lost(self) -> int | None:
        """Items that went from good to bad (for a rate without direction: from 1 to 0)."""
        if self.flips is None:
            return None
        return self.flips.gained if self.measure.direction == "lower" else self.flips.lost

    @property
    def gained(self) -> int | None:
        """Items that went from bad to good (for a rate without direction: from 0 to 1)."""
        if self.flips is None:
            return None
        return self.flips.lost if self.measure.direction == "lower" else self.flips.gained


def figures(series: Iterable[Series], gates: Mapping[tuple[str, str], Gate]) -> tuple[Figure, ...]:
    """Compute every figure; `gates` tells how each (model, variant) stands.

    Within a series all measures of all variants share one resampling, so that their errors move together
    as their items do. Items with several repeats are resampled whole.
    """
    return tuple(figure for one in series for figure in _figures_of(one, gates))


def metrics_table(run: RunFrames) -> pl.DataFrame:
    """Return every figure of a run as a Polars frame, one row a (model, task, analysis, metric, variant).

    Args:
        run: What `load_run` returns, or anything with its frames `records`, `cells` and `variants`.

    Returns:
        Columns: `model, task, analysis, metric, unit, direction, variant, gate`; `planned`, `recorded` and
        `failed` records; `value, value_low, value_high, n` (own mean, 95 % interval, items it rests on);
        `difference, low, high, pairs, dropped` (mean paired difference to full precision, 95 % interval,
        pairs it rests on, pairs that do not apply on both sides); `method` of that interval; `lost`,
        `gained` and `p` (exact McNemar) for outcomes of 0 and 1; `verdict`. Rates are 0 to 1.
    """
    gates = {(variant.model, variant.name): variant.gate for variant in variant_list(run.variants)}
    return figures_frame(figures(series_of(run), gates))


def figures_frame(rows: Iterable[Figure]) -> pl.DataFrame:
    """Return figures as the frame `metrics_table` describes."""
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("model", "task", "analysis", "metric", "unit", "direction", "variant", "gate"), pl.String),
        **dict.fromkeys(("planned", "recorded", "failed"), pl.Int64),
        **dict.fromkeys(("value", "value_low", "value_high"), pl.Float64),
        "n": pl.Int64,
        **dict.fromkeys(("difference", "low", "high"), pl.Float64),
        **dict.fromkeys(("pairs", "dropped"), pl.Int64),
        "method": pl.String,
        **dict.fromkeys(("lost", "gained"), pl.Int64),
        "p": pl.Float64,
        "verdict": pl.String,
    }
    return pl.DataFrame([_row(figure) for figure in rows], schema=schema, orient="row")


def _row(figure: Figure) -> tuple[object, ...]:
    measure, own, paired = figure.measure, figure.own, figure.paired
    return (
        *(figure.model, figure.task, figure.analysis, measure.name, measure.unit, measure.direction),
        *(figure.variant, figure.gate, figure.planned, figure.recorded, figure.failed),
        *(_known(own.estimate), _known(own.low), _known(own.high), own.n),
        *((_known(paired.estimate), _known(paired.low), _known(paired.high)) if paired else (None, None, None)),
        *((paired.n, paired.dropped, paired.method) if paired else (None, None, None)),
        *(figure.lost, figure.gained, figure.p, figure.verdict),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _figures_of(series: Series, gates: Mapping[tuple[str, str], Gate]) -> list[Figure]:
    variants, measures = list(series.outcomes), series.measures
    if not measures or not series.rows:
        return []
    clusters = np.array([item for item, _ in series.rows]) if series.repeated else None
    columns = {variant: np.column_stack([series.column(variant, m) for m in measures]) for variant in variants}
    own = mean_intervals(
        np.hstack([columns[variant] for variant in variants]),
        clusters=clusters,
        replicates=REPLICATES,
        confidence=CONFIDENCE,
        seed=SEED,
    )
    others = [variant for variant in variants if variant != FULL and FULL in columns]
    paired: tuple[Interval, ...] = ()
    if others:
        paired = paired_bootstraps(
            np.hstack([columns[FULL]] * len(others)),
            np.hstack([columns[variant] for variant in others]),
            clusters=clusters,
            replicates=REPLICATES,
            confidence=CONFIDENCE,
            seed=SEED,
        )
    result = []
    for m, measure in enumerate(measures):
        for v, variant in enumerate(variants):
            outcomes = [outcome for outcome in series.outcomes[variant] if outcome is not None]
            difference = paired[others.index(variant) * len(measures) + m] if variant in others else None
            base = columns[FULL][:, m] if FULL in columns else None
            changed = None if base is None or difference is None else _flips(base, columns[variant][:, m])
            p = None if changed is None or series.repeated else mcnemar_p(changed.lost, changed.gained)
            same = base is not None and _same(base, columns[variant][:, m])
            result.append(
                Figure(
                    model=series.model,
                    variant=variant,
                    task=series.task,
                    analysis=series.analysis,
                    measure=measure,
                    gate=gates.get((series.model, variant), "pending"),
                    planned=series.planned[variant],
                    recorded=len(outcomes),
                    failed=sum(outcome.failed is not None for outcome in outcomes),
                    reasons=Counter(outcome.failed for outcome in outcomes if outcome.failed is not None),
                    own=own[v * len(measures) + m],
                    paired=difference,
                    flips=changed,
                    p=p,
                    spread=_spread(base),
                    verdict="reference" if variant == FULL else verdict(measure, difference, p, same=same),
                )
            )
    return result


def verdict(measure: Measure, paired: Interval | None, p: float | None, *, same: bool) -> Verdict:
    """Say what a comparison shows.

    A difference is shown when the interval excludes zero and, for outcomes of 0 and 1, McNemar's exact
    test agrees at the same level. Everything else is "not shown", which is no evidence of equality;
    "unchanged" says only that every single item came out the same.
    """
    if paired is None or paired.n == 0 or math.isnan(paired.low):
        return "not comparable"
    if same:
        return "unchanged"
    if not paired.excludes_zero or (p is not None and p >= _ALPHA):
        return "not shown"
    if measure.direction == "neither":
        return "different"
    return "better" if (paired.estimate > 0) == (measure.direction == "higher") else "worse"


def _flips(base: NDArray[np.float64], other: NDArray[np.float64]) -> Flips | None:
    values = np.concatenate([base, other])
    if not ((values == 0) | (values == 1) | np.isnan(values)).all():
        return None
    return flips(base, other)


def _same(base: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    both = ~(np.isnan(base) | np.isnan(other))
    return bool(both.any() and (base[both] == other[both]).all())


def _spread(base: NDArray[np.float64] | None) -> float:
    applied = np.array([]) if base is None else base[~np.isnan(base)]
    return float(applied.std(ddof=1)) if len(applied) > 1 else math.nan
