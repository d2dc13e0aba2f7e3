"""`clens human analyze`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressed_lens.cli.options import Database, StudyName
from compressed_lens.cli.output import progress_line, show, show_table, write

if TYPE_CHECKING:
    from compressed_lens.report.people import PeopleStudy

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_FOLDER = "FOLDER"


class Exclude(StrEnum):
    """Whose ratings are left out."""

    failed_checks = "failed-checks"
    none = "none"


@app.command()
def analyze(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    *,
    name: StudyName = "main",
    database: Database = None,
    ratings: Annotated[
        Path | None, typer.Option(help="CSV with ratings, in place of the database.", metavar="FILE")
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Difference in points that would matter; fix it before anybody rates.")
    ] = 0.5,
    exclude: Annotated[Exclude, typer.Option(help="Whose ratings to leave out.")] = Exclude.failed_checks,
    csv: Annotated[Path | None, typer.Option(help="Write every table as CSV there, too.", metavar=_FOLDER)] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write every table as Parquet.", metavar=_FOLDER)] = None,
    latex: Annotated[Path | None, typer.Option(help="Write every table as LaTeX.", metavar=_FOLDER)] = None,
) -> None:
    """Say what people's ratings show of each variant, and put it into the run's report.

    Opens the key, so do it when the raters are done: who knows interim results is tempted to stop at a good one.
    Writes analysis.json, tables/*.csv and people.csv (for `clens judges --ratings`) into RUN/human/NAME, and the run's
    report anew, with the section People.

    \b
    clens human analyze runs/study
    clens human analyze runs/study --margin 0.3 --latex paper
    clens judges runs/study --ratings runs/study/human/main/people.csv
    """
    from compressed_lens.cli.comparisons import export
    from compressed_lens.human.analysis import analyze as analyze_ratings
    from compressed_lens.human.findings import FILE
    from compressed_lens.human.folder import study_folder
    from compressed_lens.human.given import given_ratings
    from compressed_lens.human.judges import judged_texts, people_ratings
    from compressed_lens.human.ratings import read_ratings
    from compressed_lens.report import write_report
    from compressed_lens.report.people import people
    from compressed_lens.runner import load_run

    folder = study_folder(run, name)
    found = read_ratings(folder, database) if ratings is None else given_ratings(folder, ratings)
    source = load_run(run)
    judged = judged_texts(source.records, source.cells, found.long)
    unfinished = len(found.checks.filter(~found.checks["finished"]))
    if unfinished:
        progress_line(f"warning: {unfinished} of {len(found.checks)} raters who began have not finished.")
    analysis = analyze_ratings(found, judged=judged, margin=margin, exclude=exclude.value, told=progress_line)
    write(folder / FILE, analysis.to_json())
    export(analysis.tables(), csv=folder / "tables", parquet=None, latex=None)
    write(folder / "people.csv", people_ratings(found.long, judged).write_csv())
    export(analysis.tables(), csv=csv, parquet=parquet, latex=latex)
    (told,) = people({name: analysis})
    _show(told)
    show(str(write_report(run)))


def _show(told: PeopleStudy) -> None:
    for fact in told.facts:
        show(fact)
    for panel in told.panels:
        show(f"\n{panel.dimension.capitalize()} of {panel.kind}, less full precision (points, margin {told.margin}):")
        rows = [
            (row.variant, row.where or "all models", row.difference, row.interval, row.p, row.words, row.counts)
            for row in (*panel.rows, *panel.by_model)
        ]
        show_table(["variant", "model", "difference", "95 %", "p (Holm)", "verdict", "rests on"], rows)
    show("\nAgreement of raters (Krippendorff's alpha; published: 2601.00282):")
    columns = ["texts", "dimension", "level", "units", "raters", "alpha", "95 %", "published"]
    show_table(columns, told.agreement)
    if told.judges:
        show(f"\nJudges and people, on the same texts ({told.matches}):")
        columns = ["texts", "task", "dimension", "judge", "n", "spearman", "95 %", "p", "judge less people", "verdict"]
        show_table(columns, told.judges)
    if told.shifts:
        show("\nWhat a variant changed, for people and for judges (points):")
        show_table(["texts", "dimension", "variant", "people", *told.shifted], told.shifts)
