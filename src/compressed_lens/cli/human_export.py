"""`clens human export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressed_lens.cli.options import Database, StudyName
from compressed_lens.cli.output import progress_line, show
from compressed_lens.errors import StudyError
from compressed_lens.registry import nearest

if TYPE_CHECKING:
    from compressed_lens.human.store import HumanStore

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    *,
    to: Annotated[str, typer.Option("--to", help="csv, potato or label-studio.", metavar="FORMAT")],
    out: Annotated[Path, typer.Option(help="Folder to make.", metavar="FOLDER")],
    name: StudyName = "main",
    database: Database = None,
    language: Annotated[str | None, typer.Option(help="Of what raters read; default: the study's first.")] = None,
    unblind: Annotated[
        bool, typer.Option("--unblind", help="csv: join the key, and write no forms for raters.")
    ] = False,
    parquet: Annotated[bool, typer.Option("--parquet", help="csv: write the ratings as Parquet, too.")] = False,
) -> None:
    """Write a study for another rating tool, or its ratings for a table.

    Texts, order of each rater, instructions and scales are those of the study, and as blind; `clens human import` takes
    the ratings back. `--to csv` also writes ratings.csv: every rating there is so far.

    \b
    clens human export runs/study --to potato --out potato
    clens human export runs/study --to label-studio --out tasks --language de
    clens human export runs/study --to csv --out ratings --unblind --parquet
    """
    from compressed_lens.human.database import database_url
    from compressed_lens.human.exchange import EXCHANGES
    from compressed_lens.human.exchange.ratings import write_new
    from compressed_lens.human.folder import study_folder
    from compressed_lens.human.store import HumanStore

    exchange = EXCHANGES.get(to)
    if to != "csv" and (unblind or parquet):
        raise StudyError(f"--unblind and --parquet are about ratings, and {to} gets none.", fix="Use --to csv.")
    folder = study_folder(run, name)
    with HumanStore.open(database_url(folder, database)) as store:
        languages = store.questionnaire.languages
        chosen = language or languages[0]
        if chosen not in languages:
            raise StudyError(
                f"The study has no language '{chosen}'.",
                fix=nearest(chosen, languages) or f"One of: {', '.join(languages)}.",
            )
        blinded = store.blinded()
        files: dict[str, str | bytes] = dict(exchange.files(blinded, language=chosen))
        if to == "csv":
            files = _tables(store, folder, files, unblind=unblind, parquet=parquet)
    write_new(out, files)
    show(str(out))
    if unblind:
        progress_line("warning: these files tell which model and variant wrote a text; keep them from raters.")
    else:
        show(f"{exchange.steps} (docs/human-exchange.md)")


def _tables(
    store: HumanStore, folder: Path, files: dict[str, str | bytes], *, unblind: bool, parquet: bool
) -> dict[str, str | bytes]:
    """Return the files with the ratings so far; joined with the key, without what raters get."""
    from compressed_lens.human.exchange.csv import text_table
    from compressed_lens.human.exchange.ratings import csv_of, long_ratings, parquet_of, with_key

    tables = {"ratings": long_ratings(store.ratings())}
    if unblind:
        tables = {"ratings": tables["ratings"], "texts": text_table(store.blinded())}
        tables = {name: with_key(frame, folder) for name, frame in tables.items()}
        files = {"assignment.csv": files["assignment.csv"]}
    files = {**files, **{f"{name}.csv": csv_of(frame) for name, frame in tables.items()}}
    if parquet:
        files |= {f"{name}.parquet": parquet_of(frame) for name, frame in tables.items()}
    return files
