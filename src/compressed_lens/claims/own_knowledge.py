"""Questions on factual knowledge that only one claim asks of a run."""

from __future__ import annotations

import math

import numpy as np

from compressed_lens.claims.claim import FACTUAL_KNOWLEDGE, Own
from compressed_lens.claims.own import OwnFigure, OwnRun, Shows, Target, averaged, figure, inside, sides, without
from compressed_lens.claims.own_changes import REPLICATES
from compressed_lens.comparison import bottlenecks, curves, saturations
from compressed_lens.comparison.measures import CONFIDENCE, SEED
from compressed_lens.statistics import paired_bootstrap

_LAST = 2
_LAST_OF = "Qwen2.5-7B"
_TWO = 2
_POINT = 0.01


def counted(method: str, source: str, *, items: int, groups: int) -> Own:
    """Ask a run whether the data it used has as many items and groups as stated; that holds for any model."""

    def own(run: OwnRun) -> tuple[OwnFigure, ...]:
        for one in run.series:
            if one.method == method and run.sources.get(one.task, one.task) == source:
                planned, kinds = max(one.planned.values()), len(set(one.groups) - {""})
                whole = (planned, kinds) == (items, groups)
                return (
                    figure(
                        run,
                        f"items of {one.task}, of {kinds} kinds",
                        (planned, math.nan, math.nan),
                        n=planned,
                        unit="items",
                        shows="as stated" if whole else "neither",
                        task=one.task,
                        barriers=() if whole else ("the run used a part of the data, or another form of it",),
                    ),
                )
        return without(run, f"The run has no {method} on {source}.")

    return own


def saturation(run: OwnRun) -> tuple[OwnFigure, ...]:
    """Ask a run whether relations that full precision knew less well lost more."""
    found = []
    for s in saturations([one for one in run.series if one.method == "recall"], run.gates):
        short = run.quantized(s.model).get(s.variant)
        if short is None or s.measure.name != "recall":
            continue
        series, c = run.place(s.model, s.task, s.analysis), s.correlation
        found.append(
            figure(
                run,
                f"{s.analysis}: Spearman of a relation's recall and its loss",
                (c.estimate, c.low, c.high),
                n=c.n,
                unit="rho",
                shows=sides(c.low, c.high, "negative"),
                barriers=run.barriers(FACTUAL_KNOWLEDGE, series, sum(point.pairs for point in s.points)),
                quantizers=(short,),
                model=s.model,
                task=s.task,
            )
        )
    return tuple(found) or without(run, "The run has no recall over relations under these quantizers.")


def last_layers(run: OwnRun) -> tuple[OwnFigure, ...]:
    """Ask a run whether contributions drop most in the last two layers, in 95 % of the resamples."""
    found = []
    for c in curves([one for one in run.series if one.method == "layer_contributions"], run.gates):
        short = run.quantized(c.model).get(c.variant)
        if short is None or c.worst is None or c.paired is None or not c.curve.name.endswith("drop"):
            continue
        place = c.paired[c.worst]
        shows: Shows = "neither"
        if place.excludes_zero and c.again >= CONFIDENCE:
            shows = "as stated" if c.worst >= len(c.losses) - _LAST else "the contrary"
        found.append(
            figure(
                run,
                f"{c.curve.name}: layer of the largest drop, of {len(c.losses)}",
                (c.worst + c.curve.first, math.nan, math.nan),
                n=place.n,
                unit="layer",
                shows=shows,
                barriers=run.barriers(
                    FACTUAL_KNOWLEDGE, run.place(c.model, c.task, c.analysis), place.n, about=_LAST_OF
                ),
                quantizers=(short,),
                model=c.model,
                task=c.task,
                remark=f"The same layer in {c.again:.0%} of the resamples.",
            )
        )
    return tuple(found) or without(run, "The run has no layer_contributions under these quantizers.")


def hop_losses(run: OwnRun) -> tuple[OwnFigure, ...]:
    """Ask a run whether the first hop loses more than the second."""
    found = []
    for series, first in run.measured(Target("two_hop", "first_hop")):
        second = next(measure for measure in series.measures if measure.name == "second_hop")
        variants = run.recorded(series)
        if not variants:
            continue
        losses = []
        for measure in (first, second):
            base, other = averaged(series, measure, tuple(variants))
            losses.append(base - other)
        apart = paired_bootstrap(
            losses[1], losses[0], clusters=series.clusters, replicates=REPLICATES, confidence=CONFIDENCE, seed=SEED
        )
        means = [100 * float(np.nanmean(one)) for one in losses]
        found.append(
            figure(
                run,
                f"{series.analysis}: loss of hop one minus loss of hop two",
                (apart.estimate, apart.low, apart.high),
                n=apart.n,
                unit="rate",
                shows=sides(apart.low, apart.high, "positive"),
                barriers=run.barriers(FACTUAL_KNOWLEDGE, series, apart.n),
                quantizers=variants.values(),
                model=series.model,
                task=series.task,
                remark=f"Lost: {means[0]:.1f} and {means[1]:.1f} points.",
            )
        )
    return tuple(found) or without(run, "The run has no two_hop under these quantizers.")


def bridge_bottleneck(run: OwnRun) -> tuple[OwnFigure, ...]:
    """Ask a run whether kinds of chain that lose hop one lose the two-hop prompt, too."""
    found = []
    known = [b for b in bottlenecks([s for s in run.series if s.method == "two_hop"], run.gates) if b.level == "groups"]
    contrast = {(b.model, b.task, b.variant): b.correlation.estimate for b in known if b.first[1] == "second_hop"}
    for b in known:
        short = run.quantized(b.model).get(b.variant)
        if b.first[1] != "first_hop" or short is None:
            continue
        series, c = run.place(b.model, b.task, b.second[0]), b.correlation
        second = contrast.get((b.model, b.task, b.variant), math.nan)
        found.append(
            figure(
                run,
                "Spearman of the losses of hop one and of the two-hop prompt over kinds of chain",
                (c.estimate, c.low, c.high),
                n=c.n,
                unit="rho",
                shows=sides(c.low, c.high, "positive"),
                barriers=run.barriers(FACTUAL_KNOWLEDGE, series, len(series.rows)),
                quantizers=(short,),
                model=b.model,
                task=b.task,
                remark="" if math.isnan(second) else f"Of hop two, for contrast: {second:.2f}.",
            )
        )
    return tuple(found) or without(run, "The run has no two_hop over kinds of chain under these quantizers.")


def same_answers(run: OwnRun) -> tuple[OwnFigure, ...]:
    """Ask a run whether bib4 and bib8 are within 1 point of each other on two hops."""
    found = []
    for series, measure in run.measured(Target("two_hop", "two_hop")):
        names = {short: name for name, short in run.recorded(series, ("bib4", "bib8")).items()}
        if len(names) < _TWO:
            continue
        four, eight = (series.column(names[short], measure) for short in ("bib4", "bib8"))
        both = ~(np.isnan(four) | np.isnan(eight))
        apart = paired_bootstrap(
            four, eight, clusters=series.clusters, replicates=REPLICATES, confidence=CONFIDENCE, seed=SEED
        )
        found.append(
            figure(
                run,
                f"{series.analysis}, {measure.name}: bib8 minus bib4",
                (apart.estimate, apart.low, apart.high),
                n=apart.n,
                unit="rate",
                shows=inside(apart.low, apart.high, _POINT),
                barriers=run.barriers(FACTUAL_KNOWLEDGE, series, apart.n),
                quantizers=names,
                model=series.model,
                task=series.task,
                remark=f"They differ on {int((four[both] != eight[both]).sum())} items.",
            )
        )
    return tuple(found) or without(run, "The run has no two_hop under both bib4 and bib8.")
