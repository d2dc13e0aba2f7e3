"""Questions that many claims ask of a run: does a measure change one way, stay within a margin, keep its items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from compressed_lens.claims.claim import Own, Paper
from compressed_lens.claims.own import (
    QUANTIZERS,
    OwnFigure,
    OwnRun,
    Shows,
    Sign,
    Target,
    averaged,
    figure,
    inside,
    sides,
    without,
)
from compressed_lens.comparison import transitions
from compressed_lens.comparison.measures import CONFIDENCE, SEED, figures
from compressed_lens.comparison.series import Measure, Series
from compressed_lens.statistics import FEW_CHANGES, Interval, paired_bootstrap

REPLICATES = 2_000
_HALF = 0.5


def change(paper: Paper, *targets: Target, expected: Sign, among: Sequence[str] = QUANTIZERS, about: str = "") -> Own:
    """Ask a run whether measures change in the stated direction, on average over the papers' quantizers it has.

    Args:
        paper: Whose setting counts as comparable.
        targets: What to look for.
        expected: Sign of "quantized minus full precision" as stated, in the measure's own unit.
        among: The quantizers that the statement is about.
        about: The one model that it is about.
    """
    return _asked(paper, targets, among, lambda low, high: sides(low, high, expected), about)


def within(paper: Paper, *targets: Target, margin: float, among: Sequence[str]) -> Own:
    """Ask a run whether measures stay within ±margin of full precision: the whole interval has to lie inside."""
    return _asked(paper, targets, among, lambda low, high: inside(low, high, margin), "")


def _asked(
    paper: Paper, targets: Sequence[Target], among: Sequence[str], shows: Callable[[float, float], Shows], about: str
) -> Own:
    def own(run: OwnRun) -> tuple[OwnFigure, ...]:
        found = []
        for target in targets:
            for series, measure in run.measured(target):
                variants = run.recorded(series, among)
                if variants:
                    change, few = average_change(series, measure, tuple(variants))
                    found.append(
                        figure(
                            run,
                            f"{series.analysis}, {measure.name}: mean change under quantization",
                            (change.estimate, change.low, change.high),
                            n=change.n,
                            unit=measure.unit,
                            shows="neither" if few else shows(change.low, change.high),
                            barriers=run.barriers(paper, series, change.n, about=about),
                            quantizers=variants.values(),
                            model=series.model,
                            task=series.task,
                            remark=f"{few} {_scorer(series)}".strip(),
                        )
                    )
        names = " or ".join(map(str, targets))
        return tuple(found) or without(run, f"The run has no {names} under {', '.join(among)}.")

    return own


def _scorer(series: Series) -> str:
    scorer = series.settings.get("scorer")
    return f"Scored by {scorer}." if scorer else ""


def average_change(series: Series, measure: Measure, variants: Sequence[str]) -> tuple[Interval, str]:
    """Return the interval of the mean paired difference, and a remark where too few items changed for a bootstrap.

    Each item counts with its mean over the variants; an item to which one of them does not apply is left out.
    """
    base, other = averaged(series, measure, variants)
    interval = paired_bootstrap(
        base, other, clusters=series.clusters, replicates=REPLICATES, confidence=CONFIDENCE, seed=SEED
    )
    both = ~(np.isnan(base) | np.isnan(other))
    changed = int((base[both] != other[both]).sum())
    if interval.method != "tango" and 0 < changed < FEW_CHANGES:
        return interval, f"Only {changed} items changed, too few for the interval to be taken at its word."
    return interval, ""


def kept(paper: Paper, *targets: Target) -> Own:
    """Ask a run whether most items keep their status and more are lost than gained; one figure a variant."""

    def own(run: OwnRun) -> tuple[OwnFigure, ...]:
        pairs = [one for target in targets for one in run.measured(target)]
        chosen = [replace(series, measures=(measure,)) for series, measure in pairs]
        found = []
        for t in transitions(chosen, figures(chosen, run.variants)):
            short = run.quantized(t.model).get(t.variant)
            if short is None or not t.pairs:
                continue
            found.append(
                figure(
                    run,
                    f"{t.analysis}, {t.measure.name}: gained minus lost",
                    (t.net.estimate, t.net.low, t.net.high),
                    n=t.pairs,
                    unit="rate",
                    shows="the contrary" if t.churn >= _HALF else sides(t.net.low, t.net.high, "negative"),
                    barriers=run.barriers(paper, run.place(t.model, t.task, t.analysis), t.pairs),
                    quantizers=(short,),
                    model=t.model,
                    task=t.task,
                    remark=f"{t.pairs - t.lost - t.gained} of {t.pairs} items keep their status, {t.lost} lost, "
                    f"{t.gained} gained.",
                )
            )
        return tuple(found) or without(run, "The run has no yes-or-no test of faithfulness under these quantizers.")

    return own
