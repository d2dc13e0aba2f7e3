"""`clens judges`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compressed_lens.cli.comparisons import export
from compressed_lens.cli.output import show, show_table
from compressed_lens.errors import DataError

if TYPE_CHECKING:
    import polars as pl

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_FOLDER = "FOLDER"


@app.command()
def judges(
    run: Annotated[Path, typer.Argument(help="Folder of a run with the analysis `rating`.", metavar="RUN")],
    *,
    ratings: Annotated[
        Path | None,
        typer.Option(help="CSV of people's ratings: item, variant, model, dimension, rater, rating.", metavar="FILE"),
    ] = None,
    bound: Annotated[
        float, typer.Option(help="Correlation with people from which on a judge is trusted; fix it beforehand.")
    ] = 0.6,
    csv: Annotated[Path | None, typer.Option(help="Write every table as CSV, too.", metavar=_FOLDER)] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write every table as Parquet, too.", metavar=_FOLDER)] = None,
    latex: Annotated[Path | None, typer.Option(help="Write every table as LaTeX, too.", metavar=_FOLDER)] = None,
) -> None:
    """How far the judges of a run agree: with each other, about what a variant changed, and with people.

    \b
    clens judges runs/study
    clens judges runs/study --ratings people.csv --bound 0.7 --csv tables
    """
    from compressed_lens.judging.agreement import (
        agreement,
        judge_ratings,
        judge_shift,
        pairwise,
        read_human_ratings,
        with_humans,
    )
    from compressed_lens.judging.calibration import people_estimates, trust
    from compressed_lens.runner import load_run

    found = load_run(run)
    judged = judge_ratings(found.records, found.cells)
    if judged.is_empty():
        raise DataError("The run has no ratings.", fix="Add the analysis `rating` to the study (docs/judges.md).")
    tables = {"agreement": agreement(judged), "pairs": pairwise(judged), "shifts": judge_shift(judged)}
    show("Agreement of all judges (Krippendorff's alpha, interval level):")
    _show(tables["agreement"], ["task", "analysis", "dimension", "raters", "units", "alpha", "low", "high"])
    show("\nJudge by judge (Spearman; difference: second minus first, in points):")
    columns = ["task", "analysis", "dimension", "first", "second", "n", "spearman", "low", "high", "p", "difference"]
    _show(tables["pairs"], columns)
    show("\nWhat each judge says a variant changed (points; same sign: all judges point one way):")
    columns = ["task", "analysis", "dimension", "variant", "judge", "n", "shift", "low", "high", "p", "same_sign"]
    _show(tables["shifts"], columns)
    if ratings is not None:
        people = read_human_ratings(ratings)
        tables["people"] = with_humans(judged, people)
        show("\nJudges and people, on the same texts (Spearman; difference: judge minus people, in points):")
        columns = ["task", "analysis", "dimension", "judge", "n", "spearman", "low", "high", "p", "difference"]
        _show(tables["people"], columns)
        tables["trust"] = trust(judged, people, bound=bound)
        show(f"\nMay a judge stand in for people? (trusted: the whole interval is above {bound:g})")
        columns = ["task", "analysis", "dimension", "judge", "items", "spearman", "low", "high", "verdict", "needed"]
        _show(tables["trust"], columns)
        tables["estimates"] = people_estimates(judged, people)
        show("\nWhat people would say of all items, from those they rated and a judge's ratings of all (95 %; points):")
        columns = ["model", "variant", "task", "analysis", "dimension", "judge", "what", "items", "rated", "judge_mean"]
        _show(tables["estimates"], [*columns, "people_mean", "estimate", "low", "high", "gain"])
    export(tables, csv=csv, parquet=parquet, latex=latex)


def _show(frame: pl.DataFrame, columns: Sequence[str]) -> None:
    known = [name for name in columns if name in frame.columns]
    show_table(known, [[_written(row[name]) for name in known] for row in frame.iter_rows(named=True)])


def _written(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3g}"
    return "-" if value is None else str(value)
