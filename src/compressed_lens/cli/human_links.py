"""`clens human links`."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Annotated

import typer

from compressed_lens.cli.options import Database, ManyValues, StudyName
from compressed_lens.cli.output import progress_line, show
from compressed_lens.errors import RunError, StudyError

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_PROLIFIC = "?PROLIFIC_PID={{%PROLIFIC_PID%}}"


@app.command(cls=ManyValues)
def links(
    run: Annotated[Path, typer.Argument(help="Folder of a run with a human study.", metavar="RUN")],
    *,
    name: StudyName = "main",
    database: Database = None,
    url: Annotated[str, typer.Option(help="Address under which raters reach the server.")] = "http://localhost:8378",
    rater: Annotated[
        list[str] | None, typer.Option(help="Make new links for these raters; their old ones end.", metavar="R07")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a CSV file that only you can read, in place of printing.", metavar="FILE")
    ] = None,
    open_link: Annotated[
        bool, typer.Option("--open", help="Make the one link for a recruitment platform instead; an older one ends.")
    ] = False,
) -> None:
    """Make the personal links through which raters come in, one each, and print them once.

    A link is a secret: whoever has it rates as that person. Only its digest is stored, so keep what is printed. Without
    --rater every rater who has no link gets one.

    \b
    clens human links runs/study --out links.csv
    clens human links runs/study --url https://study.example.org
    clens human links runs/study --rater R07           R07 lost it
    clens human links runs/study --open                for Prolific and the like: the next free place for each newcomer
    """
    from compressed_lens.human.database import database_url
    from compressed_lens.human.folder import study_folder
    from compressed_lens.human.store import HumanStore
    from compressed_lens.web import public_address

    if open_link and (rater or out is not None):
        raise StudyError("The open link is nobody's own and goes to no file.", fix="Give --open alone.")
    address = public_address(url)
    with HumanStore.open(database_url(study_folder(run, name), database)) as store:
        if open_link:
            show(f"{address}/join/{store.new_open_link()}{_PROLIFIC}")
            progress_line("Other platforms: end it in ?code= and what they call the person. An older open link ended.")
            return
        known = [one.id for one in store.raters()]
        unknown = sorted(set(rater or ()) - set(known))
        if unknown:
            raise StudyError(f"There is no rater '{unknown[0]}'.", fix=f"Raters are {known[0]} to {known[-1]}.")
        if out is None:
            made = _links(store.new_links(rater), address)
            if made:
                show("\n".join("\t".join(row) for row in [("rater", "link"), *made]))
        else:
            # The file is there before the links are: they cannot be read again.
            descriptor = _new_file(out)
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                made = _links(store.new_links(rater), address)
                csv.writer(file, lineterminator="\n").writerows([("rater", "link"), *made])
            if made:
                progress_line(f"wrote {out}")
            else:
                out.unlink()
    if not made:
        progress_line("Every rater has a link. --rater R01 makes a new one for R01; the old one ends.")


def _links(tokens: dict[str, str], address: str) -> list[tuple[str, str]]:
    return [(rater, f"{address}/r/{token}") for rater, token in tokens.items()]


def _new_file(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise RunError(f"{path} is there already, perhaps with links in use.", fix="Name another file.") from error
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}.", fix="Name another place.") from error
