"""`clens human design`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def design(
    preset: Annotated[str, typer.Option(help="What to start from: paper or pilot.")] = "paper",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; default: print.")] = None,
) -> None:
    """Print a design file to edit: who rates what, and everything that raters read, in English and German.

    A file may leave out what it does not change. Change the consent text above all: who you are, what you pay,
    your ethics vote.

    \b
    clens human design --out design.yaml
    clens human create runs/study --design design.yaml --dry-run
    """
    from compressed_lens.cli.output import show, write
    from compressed_lens.errors import StudyError
    from compressed_lens.human.reading import default_design, design_yaml

    text = design_yaml(default_design(preset))
    if out is None:
        show(text)
        return
    if out.exists():
        raise StudyError(f"{out} is there already.", fix="Name another file, or remove that one.")
    write(out, text)
