"""Every figure of a run: each measure of each variant, and its paired difference to full precision."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from compressed_lens.comparison.margins import margin_of, spread_of
from compressed_lens.comparison.series import FULL, Gate, Measure, Series, Variant, gates_of, placebos_of
from compressed_lens.comparison.verdicts import Leaning, Verdict, judged, only_survivors
from compressed_lens.statistics import (
    Flips,
    Interval,
    benjamini_hochberg,
    flips,
    holm,
    items_to_decide,
    mcnemar_p,
    mean_intervals,
    paired_bootstraps,
    sign_flip_p,
)
from compressed_lens.statistics.summaries import paired_summary, summary_interval

CONFIDENCE = 0.95
REPLICATES = 10_000
SEED = 20_240_607


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measure of one variant on one task.

    Attributes:
        gate: How the variant stands at the integrity gate.
        placebo: Whether the variant is a placebo: a yardstick, no candidate.
        planned: Records the study asks for.
        recorded: Records there are.
        failed: How many of them have no usable outcome.
        reasons: How often each reason for that was given.
        unpaired: Items that have a value under full precision and none under the variant, because the record failed.
        own: The variant's own mean, with its interval.
        paired: Mean paired difference to full precision, with its interval; None for full precision itself
            and where there is none to compare with.
        flips: For outcomes of 0 and 1: how they changed; else None.
        p: p of "no difference": McNemar's exact test for outcomes of 0 and 1, else (or with repeats) sign flips.
        p_adjusted: The same after a correction: Holm's over the confirmatory measures of the variant, or, for an
            exploratory one, Benjamini and Hochberg's over its exploratory ones.
        unparsed: Records whose values say `unparsed`.
        spread: Standard deviation of the measure under full precision, for scaling colours and margins.
        same: Whether every pair came out the same.
        margin: The loss that would matter, in the unit of the measure; None without a better direction.
        floor: Largest absolute difference that mere numerics made: over the model's placebo variants that passed the
            integrity gate. None where there is none, and for placebos themselves.
        verdict: What the comparison shows (`comparison.verdicts`).
        leaning: For an undecided measure, which way it leans.
        needed: Pairs in all that would decide an undecided confirmatory measure; None where no number would.
    """

    model: str
    variant: str
    task: str
    analysis: str
    measure: Measure
    gate: Gate
    placebo: bool
    planned: int
    recorded: int
    failed: int
    reasons: Mapping[str, int]
    unpaired: int
    own: Interval
    paired: Interval | None
    flips: Flips | None
    p: float | None
    p_adjusted: float | None
    unparsed: int
    spread: float
    same: bool
    margin: float | None
    floor: float | None
    verdict: Verdict
    leaning: Leaning
    needed: int | None

    @property
    def confirmatory(self) -> bool:
        """Whether verdicts on uses rest on it: primary, and with a better direction. The others are exploratory."""
        return self.measure.primary and self.measure.direction != "neither"

    @property
    def loss(self) -> float:
        """Mean loss against full precision, in the unit of the measure; negative for a gain, NaN without a pair."""
        if self.paired is None:
            return math.nan
        return self.paired.estimate if self.measure.direction == "lower" else -self.paired.estimate

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What is measured, whatever the variant: model, task, analysis, metric."""
        return self.model, self.task, self.analysis, self.measure.name

    @property
    def counted(self) -> Flips | None:
        """The flips where each is a change of an independent item; None for repeats, and for what is no yes or no."""
        return self.flips if self.paired is not None and self.paired.units == self.paired.n else None

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


def figures(
    series: Iterable[Series], variants: Sequence[Variant], *, margins: Mapping[str, float] | None = None
) -> tuple[Figure, ...]:
    """Compute every figure.

    Within a series all measures of all variants share one resampling, so that their errors move together
    as their items do. Items with several repeats are resampled whole.

    Args:
        series: Outcomes lined up by item.
        variants: How each variant stands at the integrity gate, and which are placebos.
        margins: The study's margins.
    """
    gates = gates_of(variants)
    placebos = placebos_of(variants)
    found = [figure for one in series for figure in _figures_of(one, gates, margins or {})]
    floors = _floors(found, placebos)
    adjusted = _adjusted(found)
    tests = Counter(_family(figure) for figure, p in zip(found, adjusted, strict=True) if p is not None)
    return tuple(
        _decided(
            replace(
                figure,
                placebo=(figure.model, figure.variant) in placebos,
                floor=None if (figure.model, figure.variant) in placebos else floors.get(figure.place),
                p_adjusted=p,
            ),
            tests[_family(figure)],
        )
        for figure, p in zip(found, adjusted, strict=True)
    )


def _family(figure: Figure) -> tuple[str, str, bool]:
    """Return what the figure is corrected within."""
    return figure.model, figure.variant, figure.confirmatory


def _floors(found: Iterable[Figure], placebos: set[tuple[str, str]]) -> dict[tuple[str, str, str, str], float]:
    floors: dict[tuple[str, str, str, str], float] = {}
    for figure in found:
        if (figure.model, figure.variant) in placebos and figure.gate == "passed" and figure.paired is not None:
            size = abs(figure.paired.estimate)
            if not math.isnan(size):
                floors[figure.place] = max(size, floors.get(figure.place, 0.0))
    return floors


def _adjusted(found: Sequence[Figure]) -> list[float | None]:
    """Correct p within each variant: Holm over its confirmatory measures, Benjamini-Hochberg over the others."""
    families: dict[tuple[str, str, bool], list[int]] = {}
    for position, figure in enumerate(found):
        families.setdefault(_family(figure), []).append(position)
    adjusted: list[float | None] = [None] * len(found)
    for (_, _, confirmatory), family in families.items():
        correct = holm if confirmatory else benjamini_hochberg
        chances = [found[n].p for n in family]
        for n, p in zip(family, correct([math.nan if p is None else p for p in chances]).tolist(), strict=True):
            adjusted[n] = None if math.isnan(p) else p
    return adjusted


def _decided(figure: Figure, tests: int) -> Figure:
    """Add the verdict, and for an undecided measure how many pairs would decide."""
    if figure.verdict == "reference":
        return figure
    verdict, leaning = judged(
        figure.paired,
        direction=figure.measure.direction,
        p=figure.p,
        p_adjusted=figure.p_adjusted,
        margin=figure.margin,
        floor=figure.floor,
        failed=figure.unpaired,
    )
    needed = None
    paired, direction = figure.paired, figure.measure.direction
    countable = paired is not None and not math.isnan(paired.low) and not only_survivors(paired, figure.unpaired)
    if verdict == "undecided" and figure.confirmatory and countable:
        assert paired is not None
        changed = figure.counted
        spread = paired.spread if changed is None else math.sqrt(max(changed.rate - paired.estimate**2, 0.0))
        needed = items_to_decide(
            paired.estimate,
            spread,
            figure.margin,
            pairs=paired.units,
            rate=changed is not None,
            direction=direction,
            tests=tests,
            floor=figure.floor or 0.0,
        )
    return replace(figure, verdict=verdict, leaning=leaning, needed=needed)


def _figures_of(series: Series, gates: Mapping[tuple[str, str], Gate], margins: Mapping[str, float]) -> list[Figure]:
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
        spread = spread_of(columns[FULL][:, m]) if FULL in columns else math.nan
        margin = margin_of(margins, series.analysis, measure, spread)
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
                    placebo=False,
                    planned=series.planned[variant],
                    recorded=len(outcomes),
                    failed=sum(outcome.failed is not None for outcome in outcomes),
                    reasons=Counter(outcome.failed for outcome in outcomes if outcome.failed is not None),
                    unpaired=0 if place is None else _unpaired(series, variant, columns, m),
                    own=single,
                    paired=difference,
                    flips=changed,
                    p=p,
                    p_adjusted=None,
                    unparsed=sum(outcome.values.get("unparsed") is True for outcome in outcomes),
                    spread=spread,
                    same=place is not None and _same(columns[FULL][:, m], columns[variant][:, m]),
                    margin=margin,
                    floor=None,
                    verdict="reference" if variant == FULL else "not comparable",
                    leaning="",
                    needed=None,
                )
            )
    return result


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


def _unpaired(series: Series, variant: str, columns: Mapping[str, NDArray[np.float64]], m: int) -> int:
    failed = np.array([one is not None and one.failed is not None for one in series.outcomes[variant]])
    return int((failed & np.isnan(columns[variant][:, m]) & ~np.isnan(columns[FULL][:, m])).sum())


def _flips(base: NDArray[np.float64], other: NDArray[np.float64]) -> Flips | None:
    values = np.concatenate([base, other])
    if not ((values == 0) | (values == 1) | np.isnan(values)).all():
        return None
    return flips(base, other)


def _same(base: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    both = ~(np.isnan(base) | np.isnan(other))
    return bool(both.any() and (base[both] == other[both]).all())
