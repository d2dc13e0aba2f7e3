"""Every figure of a run: each measure of each variant, and its paired difference to full precision."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from compressed_lens.comparison.series import FULL, Gate, Measure, RunFrames, Series, or_none, series_of, variant_list
from compressed_lens.statistics import (
    Flips,
    Interval,
    flips,
    holm,
    mcnemar_p,
    mean_intervals,
    paired_bootstraps,
    sign_flip_p,
)
from compressed_lens.statistics.summaries import paired_summary, summary_interval

if TYPE_CHECKING:
    import polars as pl

Verdict = Literal[
    "reference",
    "worse",
    "better",
    "different",
    "perhaps worse",
    "perhaps better",
    "perhaps different",
    "unchanged",
    "not shown",
    "not comparable",
]

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
        p: p of "no difference": McNemar's exact test for outcomes of 0 and 1, else (or with repeats) sign flips.
        p_adjusted: The same after Holm's correction over the primary measures of the variant, or, for a secondary
            measure, over its secondary ones.
        unparsed: Records whose values say `unparsed`.
        spread: Standard deviation of the measure under full precision, for scaling colours.
        same: Whether every pair came out the same.
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
    p_adjusted: float | None
    unparsed: int
    spread: float
    same: bool
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
    found = [figure for one in series for figure in _figures_of(one, gates)]
    families: dict[tuple[str, str, bool], list[int]] = {}
    for position, figure in enumerate(found):
        families.setdefault((figure.model, figure.variant, figure.measure.primary), []).append(position)
    for family in families.values():
        chances = [found[n].p for n in family]
        adjusted = holm([math.nan if p is None else p for p in chances])
        for n, p in zip(family, adjusted.tolist(), strict=True):
            if found[n].verdict != "reference":
                told = verdict(found[n], p)
                found[n] = replace(found[n], p_adjusted=None if math.isnan(p) else p, verdict=told)
    return tuple(found)


def metrics_table(run: RunFrames) -> pl.DataFrame:
    """Return every figure of a run as a Polars frame, one row a (model, task, analysis, metric, variant).

    Args:
        run: What `load_run` returns, or anything with its frames `records`, `cells` and `variants`.

    Returns:
        Columns: `model, task, analysis, metric, family, primary, unit, direction, variant, gate`; `planned`,
        `recorded`, `failed` and `unparsed` records; `value, value_low, value_high, n` (own mean, 95 % interval, items
        it rests on);
        `difference, low, high, pairs, dropped` (mean paired difference to full precision, 95 % interval,
        pairs it rests on, pairs that do not apply on both sides); `method` of that interval; `lost` and
        `gained` for outcomes of 0 and 1; `p` (McNemar's exact test, else sign flips) and `p_adjusted` (Holm, over
        the primary measures of the variant, and over its others); `verdict`. Rates are 0 to 1.
    """
    gates = {(variant.model, variant.name): variant.gate for variant in variant_list(run.variants)}
    return figures_frame(figures(series_of(run), gates))


def figures_frame(rows: Iterable[Figure]) -> pl.DataFrame:
    """Return figures as the frame `metrics_table` describes."""
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("model", "task", "analysis", "metric", "family"), pl.String),
        "primary": pl.Boolean,
        **dict.fromkeys(("unit", "direction", "variant", "gate"), pl.String),
        **dict.fromkeys(("planned", "recorded", "failed", "unparsed"), pl.Int64),
        **dict.fromkeys(("value", "value_low", "value_high"), pl.Float64),
        "n": pl.Int64,
        **dict.fromkeys(("difference", "low", "high"), pl.Float64),
        **dict.fromkeys(("pairs", "dropped"), pl.Int64),
        "method": pl.String,
        **dict.fromkeys(("lost", "gained"), pl.Int64),
        **dict.fromkeys(("p", "p_adjusted"), pl.Float64),
        "verdict": pl.String,
    }
    return pl.DataFrame([_row(figure) for figure in rows], schema=schema, orient="row")


def _row(figure: Figure) -> tuple[object, ...]:
    measure, own, paired = figure.measure, figure.own, figure.paired
    return (
        *(figure.model, figure.task, figure.analysis, measure.name, measure.family, measure.primary),
        *(measure.unit, measure.direction),
        *(figure.variant, figure.gate, figure.planned, figure.recorded, figure.failed, figure.unparsed),
        *(or_none(own.estimate), or_none(own.low), or_none(own.high), own.n),
        *((or_none(paired.estimate), or_none(paired.low), or_none(paired.high)) if paired else (None, None, None)),
        *((paired.n, paired.dropped, paired.method) if paired else (None, None, None)),
        *(figure.lost, figure.gained, figure.p, figure.p_adjusted, figure.verdict),
    )


def _figures_of(series: Series, gates: Mapping[tuple[str, str], Gate]) -> list[Figure]:
    variants, measures = list(series.outcomes), series.measures
    if not measures or not series.rows:
        return []
    clusters = series.clusters
    columns = {variant: np.column_stack([series.column(variant, m) for m in measures]) for variant in variants}
    rates = [measure.unit == "rate" for measure in measures]
    own = mean_intervals(
        np.hstack([columns[variant] for variant in variants]),
        clusters=clusters,
        replicates=REPLICATES,
        confidence=CONFIDENCE,
        seed=SEED,
        rates=rates * len(variants),
    )
    others = [variant for variant in variants if variant != FULL and FULL in columns]
    paired: tuple[Interval, ...] = ()
    chances: list[float] = []
    if others:
        base, rest = np.hstack([columns[FULL]] * len(others)), np.hstack([columns[variant] for variant in others])
        paired = paired_bootstraps(
            base,
            rest,
            clusters=clusters,
            replicates=REPLICATES,
            confidence=CONFIDENCE,
            seed=SEED,
            rates=rates * len(others),
        )
        chances = sign_flip_p(base, rest, clusters=clusters, permutations=REPLICATES, seed=SEED).tolist()
    result = []
    for m, measure in enumerate(measures):
        for v, variant in enumerate(variants):
            outcomes = [outcome for outcome in series.outcomes[variant] if outcome is not None]
            place = others.index(variant) * len(measures) + m if variant in others else None
            difference = None if place is None else paired[place]
            changed = None if place is None else _flips(columns[FULL][:, m], columns[variant][:, m])
            single = own[v * len(measures) + m]
            if measure.statistic != "mean":
                single = _summary(series, variant, measure, clusters)
                changed = None
                if place is not None:
                    difference, chances[place] = _paired_summary(series, variant, measure, clusters)
            p = None if place is None or math.isnan(chances[place]) else chances[place]
            if p is not None and changed is not None and not series.repeated:
                p = mcnemar_p(changed.lost, changed.gained)
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
                    own=single,
                    paired=difference,
                    flips=changed,
                    p=p,
                    p_adjusted=None,
                    unparsed=sum(outcome.values.get("unparsed") is True for outcome in outcomes),
                    spread=_spread(columns[FULL][:, m]) if FULL in columns else math.nan,
                    same=place is not None and _same(columns[FULL][:, m], columns[variant][:, m]),
                    verdict="reference" if variant == FULL else "not comparable",
                )
            )
    return result


def verdict(figure: Figure, adjusted: float) -> Verdict:
    """Say what a comparison shows.

    A difference is shown when its interval excludes zero and its p, corrected for the number of measures of
    its kind (primary or secondary) of the variant, is below 5 %. It is "perhaps" there when only the uncorrected
    p is. Everything else is "not shown", which is no evidence of equality; "unchanged" says only that every
    single item came out the same.
    """
    paired, p = figure.paired, figure.p
    if paired is None or p is None or math.isnan(paired.low):
        return "not comparable"
    if figure.same:
        return "unchanged"
    if not paired.excludes_zero or p >= _ALPHA:
        return "not shown"
    shown = adjusted < _ALPHA
    if figure.measure.direction == "neither":
        return "different" if shown else "perhaps different"
    if (paired.estimate > 0) == (figure.measure.direction == "higher"):
        return "better" if shown else "perhaps better"
    return "worse" if shown else "perhaps worse"


def _summary(series: Series, variant: str, measure: Measure, clusters: NDArray[np.str_] | None) -> Interval:
    values, over = series.parts(variant, measure)
    return summary_interval(
        values,
        over,
        statistic=measure.statistic,
        clusters=clusters,
        replicates=REPLICATES,
        confidence=CONFIDENCE,
        seed=SEED,
    )


def _paired_summary(
    series: Series, variant: str, measure: Measure, clusters: NDArray[np.str_] | None
) -> tuple[Interval, float]:
    base, base_over = series.parts(FULL, measure)
    other, other_over = series.parts(variant, measure)
    return paired_summary(
        base,
        other,
        base_over,
        other_over,
        statistic=measure.statistic,
        clusters=clusters,
        replicates=REPLICATES,
        confidence=CONFIDENCE,
        seed=SEED,
    )


def _flips(base: NDArray[np.float64], other: NDArray[np.float64]) -> Flips | None:
    values = np.concatenate([base, other])
    if not ((values == 0) | (values == 1) | np.isnan(values)).all():
        return None
    return flips(base, other)


def _same(base: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    both = ~(np.isnan(base) | np.isnan(other))
    return bool(both.any() and (base[both] == other[both]).all())


def _spread(base: NDArray[np.float64]) -> float:
    applied = base[~np.isnan(base)]
    return float(applied.std(ddof=1)) if len(applied) > 1 else math.nan
