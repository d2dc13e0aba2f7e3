"""Questions on self-explanations that only one claim asks of a run."""

from __future__ import annotations

import math

import numpy as np

from compressed_lens.claims.claim import SELF_EXPLANATIONS, Own
from compressed_lens.claims.own import (
    DISTANCE,
    FLIPS,
    OwnFigure,
    OwnRun,
    Shows,
    figure,
    paper_name,
    shown,
    sides,
    without,
)
from compressed_lens.claims.own_changes import average_change
from compressed_lens.comparison import size_choices, size_trends
from compressed_lens.comparison.series import FULL

_TWO = 2
_SECONDS = 3600


def standard_errors(run: OwnRun) -> tuple[OwnFigure, ...]:
    """Return the standard error of each label flip rate at full precision, in points."""
    found: tuple[OwnFigure, ...] = ()
    for series, measure in run.measured(FLIPS):
        values = series.column(FULL, measure)
        known = values[~np.isnan(values)]
        if len(known):
            rate = float(known.mean())
            found += shown(
                run,
                f"{series.model}, {series.task}, {series.analysis}: standard error of the label flip rate",
                100 * math.sqrt(rate * (1 - rate) / len(known)),
                unit="points",
                n=len(known),
                why=f"Arithmetic for this run's {len(known)} items; the statement is about 500.",
            )
    return found or without(run, f"The run has no {FLIPS}.")


def larger_choice(*methods: str) -> Own:
    """Ask a run whether a larger quantized model does better than a smaller one at full precision."""

    def own(run: OwnRun) -> tuple[OwnFigure, ...]:
        found = []
        for c in size_choices([one for one in run.series if one.method in methods], run.variants):
            short = run.quantized(c.larger).get(c.variant)
            if short is not None:
                series = run.place(c.larger, c.task, c.analysis)
                found.append(
                    figure(
                        run,
                        f"{c.analysis}, {c.measure.name}: {c.larger} quantized minus {c.smaller}",
                        (c.difference.estimate, c.difference.low, c.difference.high),
                        n=c.difference.n,
                        unit=c.measure.unit,
                        shows=sides(c.difference.low, c.difference.high, "positive"),
                        barriers=run.barriers(SELF_EXPLANATIONS, series, c.difference.n),
                        quantizers=(short,),
                        model=c.larger,
                        task=c.task,
                    )
                )
        return tuple(found) or without(
            run, f"Needs two models of different size in one run, and {' or '.join(methods)}."
        )

    return own


def size_trend(*methods: str) -> Own:
    """Ask a run whether the loss falls with the size of the model."""

    def own(run: OwnRun) -> tuple[OwnFigure, ...]:
        found = []
        for t in size_trends([one for one in run.series if one.method in methods], run.variants):
            models = [model for model, *_ in t.losses]
            short = run.quantized(models[-1]).get(t.variant)
            items = min(n for *_, n in t.losses)
            if short is not None:
                series = [one for one in run.series if one.model in models and one.task == t.task]
                barriers = [told for one in series for told in run.barriers(SELF_EXPLANATIONS, one, items)]
                found.append(
                    figure(
                        run,
                        f"{t.analysis}, {t.measure.name}: change of the loss for ten times the parameters",
                        (t.slope, t.low, t.high),
                        n=items,
                        unit=t.measure.unit,
                        shows=sides(t.low, t.high, "negative"),
                        barriers=tuple(dict.fromkeys(barriers)),
                        quantizers=(short,),
                        task=t.task,
                    )
                )
        return tuple(found) or without(
            run, f"Needs two models of different size in one run, and {' or '.join(methods)}."
        )

    return own


def rewrites(run: OwnRun) -> tuple[OwnFigure, ...]:
    """Return the share of edits at full precision that change more words than the original had, in per cent."""
    found: tuple[OwnFigure, ...] = ()
    for series, measure in run.measured(DISTANCE):
        values = series.column(FULL, measure)
        known = values[~np.isnan(values)]
        if len(known):
            found += shown(
                run,
                f"{series.model}, {series.task}, {series.analysis}: edits that change more words than there were",
                100 * float((known > 1).mean()),
                unit="%",
                n=len(known),
                why="Shown for the reader: the statement is about one cell of another model.",
            )
    return found or without(run, f"The run has no {DISTANCE}.")


def eight_bit_kernels(run: OwnRun) -> tuple[OwnFigure, ...]:
    """Say with which kernel the run computed bib8."""
    kernels = {str(v.loaded.get("kernel")) for v in run.variants if paper_name(v) == "bib8" and v.loaded}
    if not kernels:
        return without(run, "The run has no bib8.")
    return shown(
        run,
        f"kernel of bib8: {'; '.join(sorted(kernels))}",
        math.nan,
        unit="",
        n=len(kernels),
        why="On a CPU the activations stay floats; on a GPU LLM.int8() rounds them in all columns but outliers.",
    )


def hours(run: OwnRun) -> tuple[OwnFigure, ...]:
    """Return how long the run took."""
    seconds = [float(v.speed.get("seconds", 0)) for v in run.variants]
    return shown(
        run,
        "time of all variants of the run",
        sum(seconds) / _SECONDS,
        unit="hours",
        n=len(seconds),
        why="Other models, analyses and machine: shown for the reader.",
    )


def judges_apart(run: OwnRun) -> tuple[OwnFigure, ...]:
    """Ask a run whether its judges differ in the sign of a dimension's change."""
    found = []
    for series in (one for one in run.series if one.method == "rating" and any(one.outcomes.get(FULL, ()))):
        variants = run.recorded(series)
        for dimension in ("trustworthiness", "coherence"):
            by_judge = [measure for measure in series.measures if measure.name.startswith(f"{dimension}:")]
            if len(by_judge) < _TWO or not variants:
                continue
            moved = {m.name.partition(":")[2]: average_change(series, m, tuple(variants))[0] for m in by_judge}
            up, down = (sum(one.low > 0 for one in moved.values()), sum(one.high < 0 for one in moved.values()))
            shows: Shows = "as stated" if up and down else "the contrary" if len(moved) in (up, down) else "neither"
            items = min(one.n for one in moved.values())
            told = ", ".join(f"{k} {one.estimate:+.2f} [{one.low:+.2f}, {one.high:+.2f}]" for k, one in moved.items())
            changes = [one.estimate for one in moved.values()]
            found.append(
                figure(
                    run,
                    f"{series.analysis}, {dimension}: highest minus lowest judge's change",
                    (max(changes) - min(changes), math.nan, math.nan),
                    n=items,
                    unit="points of 1 to 5",
                    shows=shows,
                    barriers=run.barriers(SELF_EXPLANATIONS, series, items),
                    quantizers=variants.values(),
                    model=series.model,
                    task=series.task,
                    remark=f"{told}.",
                )
            )
    return tuple(found) or without(run, "Needs an analysis `rating` with two judges or more.")
