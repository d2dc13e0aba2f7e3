"""`clens human import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressed_lens.cli.options import Database, StudyName
from compressed_lens.cli.output import progress_line, show

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_MOST_PLACES = 5


@app.command("import")
def import_ratings(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    ratings: Annotated[
        Path, typer.Argument(help="File or folder of ratings that the other tool wrote.", metavar="RATINGS")
    ],
    *,
    form: Annotated[str, typer.Option("--from", help="csv, potato or label-studio.", metavar="FORMAT")],
    name: StudyName = "main",
    database: Database = None,
) -> None:
    """Take ratings that were gathered elsewhere into the study, as if raters had given them here.

    All or nothing: ratings of unknown texts or raters, and ratings that differ from those in the study, are refused.
    Twice the same import changes nothing. CSV: rater, text, dimension, rating; or a column for each dimension.

    \b
    clens human import runs/study potato/annotation_output --from potato
    clens human import runs/study exports --from label-studio
    clens human import runs/study filled --from csv
    """
    from compressed_lens.human.database import database_url
    from compressed_lens.human.exchange import EXCHANGES
    from compressed_lens.human.exchange.bring import bring
    from compressed_lens.human.folder import study_folder
    from compressed_lens.human.store import HumanStore

    exchange = EXCHANGES.get(form)
    with HumanStore.open(database_url(study_folder(run, name), database)) as store:
        done = bring(store, exchange.read(ratings, store.questionnaire), source=form)
    show(f"{done.new} new ratings, {done.known} known before, of {done.raters} raters")
    for place in done.incomplete[:_MOST_PLACES]:
        progress_line(f"left out, as a dimension is missing: {place}")
    if len(done.incomplete) > _MOST_PLACES:
        progress_line(f"and {len(done.incomplete) - _MOST_PLACES} more without all dimensions")
