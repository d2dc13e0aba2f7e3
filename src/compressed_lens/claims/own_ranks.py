"""Questions on the ranking of quantizers, asked of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from compressed_lens.claims.claim import SELF_EXPLANATIONS, Own
from compressed_lens.claims.own import OwnFigure, OwnRun, Shows, figure, shown, without
from compressed_lens.comparison import long_frame, ranking
from compressed_lens.statistics.power import ALPHA

if TYPE_CHECKING:
    import polars as pl

REPLICATES = 2_000
_FEWEST = 2


def first_in(family: str, stated: str) -> Own:
    """Ask a run whether one quantizer ranks first in a family of measures, beyond the critical difference.

    Measures in the paper's setting alone are ranked where there are any, else all, which then count as not comparable.
    """

    def own(run: OwnRun) -> tuple[OwnFigure, ...]:
        chosen = [f for f in run.figures if f.measure.family == family and f.own.n]
        barred = {
            (f.model, f.task): run.barriers(SELF_EXPLANATIONS, run.place(f.model, f.task, f.analysis), f.own.n)
            for f in chosen
        }
        free = [f for f in chosen if not barred[f.model, f.task]]
        table = _named(run, long_frame(free or chosen))
        if table["variant"].n_unique() < _FEWEST or stated not in table["variant"]:
            return without(run, f"Needs {stated} and another quantizer of the papers, with measures of {family}.")
        found = ranking(table, replicates=REPLICATES)
        mine = next(one for one in found.ranked if one.variant == stated)
        ahead = min(one.mean_rank for one in found.ranked if one is not mine) - mine.mean_rank
        shows: Shows = "neither"
        if found.p < ALPHA and abs(ahead) >= found.critical_difference:
            shows = "as stated" if ahead > 0 else "the contrary"
        order = ", ".join(f"{one.variant} {one.mean_rank:.2f}" for one in found.ranked)
        return (
            figure(
                run,
                f"mean rank of {stated} in {family}",
                (mine.mean_rank, mine.low, mine.high),
                n=found.rows,
                unit="mean rank",
                shows=shows,
                barriers=()
                if free
                else tuple(dict.fromkeys(told for barriers in barred.values() for told in barriers)),
                quantizers=[one.variant for one in found.ranked],
                remark=f"{order}; {_apart(found.critical_difference)}.",
            ),
        )

    return own


def _apart(critical_difference: float) -> str:
    if math.isnan(critical_difference):
        return "too few rows to tell any two apart"
    return f"two differ from {critical_difference:.2f} on"


def leaders(run: OwnRun) -> tuple[OwnFigure, ...]:
    """Return how many different quantizers lead task performance, quality and faithfulness."""
    found = {}
    for family in ("task", "quality", "faithfulness"):
        table = _named(run, long_frame(f for f in run.figures if f.measure.family == family))
        if table["variant"].n_unique() < _FEWEST:
            return without(run, f"Needs two quantizers of the papers with measures of {family}.")
        found[family] = ranking(table, replicates=REPLICATES).ranked[0].variant
    told = ", ".join(f"{family} {variant}" for family, variant in found.items())
    return shown(
        run,
        f"different first places: {told}",
        len(set(found.values())),
        unit="quantizers",
        n=len(found),
        why="First places without intervals decide nothing; see the rank of each family.",
    )


def _named(run: OwnRun, table: pl.DataFrame) -> pl.DataFrame:
    """Keep the quantizers of the papers, under the papers' names; of two of the same name the first."""
    import polars as pl

    models = dict.fromkeys(one.model for one in run.series)
    rows = [(model, name, short) for model in models for name, short in run.quantized(model).items()]
    known = pl.DataFrame(rows, schema=dict.fromkeys(("model", "variant", "short"), pl.String), orient="row")
    known = known.unique(["model", "short"], keep="first", maintain_order=True)
    return table.join(known, on=["model", "variant"]).with_columns(variant=pl.col("short")).drop("short")
