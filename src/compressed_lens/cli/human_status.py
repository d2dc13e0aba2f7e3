"""`clens human status`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressed_lens.cli.options import Database, StudyName
from compressed_lens.cli.output import progress_line, show, show_table

if TYPE_CHECKING:
    from compressed_lens.rater_app.progress import CellProgress, Progress, RaterProgress

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def status(
    run: Annotated[Path, typer.Argument(help="Folder of a run with a human study.", metavar="RUN")],
    *,
    name: StudyName = "main",
    database: Database = None,
    unblind: Annotated[
        bool, typer.Option("--unblind", help="Say which model, variant and task a cell is: only once all is over.")
    ] = False,
) -> None:
    """How far the raters are, how many ratings each cell has, and how well raters agree so far.

    Cells are shown by their codes, so that who runs the study stays blind.

    \b
    clens human status runs/study
    """
    from compressed_lens.human.database import database_url
    from compressed_lens.human.folder import study_folder
    from compressed_lens.human.store import HumanStore
    from compressed_lens.rater_app.progress import progress

    folder = study_folder(run, name)
    with HumanStore.open(database_url(folder, database)) as store:
        found = progress(store)
    _show_raters(found.raters)
    show("")
    _show_cells(found.cells, folder if unblind else None)
    show("\nAgreement so far (Krippendorff's alpha, ordinal, 95 %):")
    _show_agreement(found)
    total, wanted = sum(cell.ratings for cell in found.cells), sum(cell.wanted for cell in found.cells)
    steps = Counter(rater.state for rater in found.raters)
    show(f"\n{total} of {wanted} ratings; raters: {', '.join(f'{count} {step}' for step, count in steps.items())}.")
    if found.incidents:
        kinds = Counter(what for _, what, _ in found.incidents)
        progress_line("Noted last: " + ", ".join(f"{count} {what}" for what, count in kinds.most_common()) + ".")


def _show_raters(raters: tuple[RaterProgress, ...]) -> None:
    coded = any(one.rater.code for one in raters)
    heads = ["rater", "step", "pages", "checks failed", "seconds a page", *(["code"] if coded else [])]
    rows = []
    for one in raters:
        checks = f"{one.failed} of {one.checks}" if one.checks else "-"
        seconds = "-" if one.seconds is None else f"{one.seconds:.0f}"
        row = [one.rater.id, one.state, f"{one.rater.answered} of {one.rater.pages}", checks, seconds]
        rows.append([*row, *([one.rater.code or "-"] if coded else [])])
    show_table(heads, rows)


def _show_cells(cells: tuple[CellProgress, ...], folder: Path | None) -> None:
    rows = [(cell.cell, cell.kind, f"{cell.ratings} of {cell.wanted}") for cell in cells]
    if folder is None:
        show_table(["cell", "kind", "ratings"], rows)
        return
    from compressed_lens.human.folder import read_key

    parts = ["model", "variant", "task"]
    key = {code: of for code, *of in read_key(folder).select("cell", *parts).unique().iter_rows()}
    show_table(["cell", "kind", "ratings", *parts], [(*row, *key.get(row[0], ["?"] * 3)) for row in rows])


def _show_agreement(found: Progress) -> None:
    rows = []
    for one in found.agreement:
        alpha = one.alpha
        told = "-" if alpha is None else f"{alpha.estimate:.2f} [{alpha.low:.2f}, {alpha.high:.2f}]"
        rows.append((one.kind, one.dimension, one.texts, told))
    show_table(["kind", "dimension", "texts with two ratings or more", "alpha"], rows)
