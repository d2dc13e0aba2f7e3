"""`clens resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressed_lens.cli.interrupt import resumable
from compressed_lens.cli.outcome import conclude

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Finish a run that was interrupted or killed; what is recorded is not asked again.

    \b
    clens resume runs/quick
    """
    from compressed_lens.runner import resume as finish

    with resumable(run):
        done = finish(run, progress=not quiet)
    raise typer.Exit(conclude(done))
