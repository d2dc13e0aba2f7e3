"""`clens human withdraw`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from compressed_lens.cli.options import Database, StudyName
from compressed_lens.cli.output import progress_line, show
from compressed_lens.errors import StudyError

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def withdraw(
    run: Annotated[Path, typer.Argument(help="Folder of a run with a human study.", metavar="RUN")],
    rater: Annotated[str, typer.Argument(help="Whose data; `clens human status` lists the raters.", metavar="R07")],
    *,
    name: StudyName = "main",
    database: Database = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete everything that a rater gave; the place is free again.

    Ratings with their earlier versions, comments, the platform's code, times, sessions and links go for good. Copies
    that you made of the database are yours to delete.

    \b
    clens human withdraw runs/study R07
    """
    from compressed_lens.human.database import database_url
    from compressed_lens.human.folder import study_folder
    from compressed_lens.human.store import HumanStore
    from compressed_lens.registry import nearest

    folder = study_folder(run, name)
    with HumanStore.open(database_url(folder, database)) as store:
        known = {one.id: one for one in store.raters()}
        if rater not in known:
            raise StudyError(f"There is no rater '{rater}'.", fix=nearest(rater, known))
        pages = f"{known[rater].answered} of {known[rater].pages} pages"
        if not yes:
            if not sys.stdin.isatty():
                raise StudyError(
                    f"Deleting what {rater} gave cannot be undone.", fix="Say --yes where nobody can be asked."
                )
            if not typer.confirm(f"Delete everything that {rater} gave ({pages})? It cannot be undone."):
                show("Nothing was deleted.")
                return
        store.withdraw(rater)
    show(f"Deleted what {rater} gave ({pages}).")
    which = "" if name == "main" else f" --name {name}"
    progress_line(f"A link for the next person: clens human links {run}{which} --rater {rater}")
    if (folder / "analysis.json").exists():
        progress_line(f"Tables and report were made with these ratings; anew: clens human analyze {run}{which}")
