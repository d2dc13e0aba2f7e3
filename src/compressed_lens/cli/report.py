"""`clens report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressed_lens.cli.output import show

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
) -> None:
    """Write report.html, report.md and metrics.csv into a run's folder again, and print the report's path.

    Works on a run that is still going, too: it reports what is recorded so far.

    \b
    clens report runs/quick
    """
    from compressed_lens.report import write_report

    show(str(write_report(run)))
