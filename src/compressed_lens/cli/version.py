"""`clens version`."""

from __future__ import annotations

import typer

from compressed_lens.cli.output import show

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def version() -> None:
    """Print the version.

    \b
    clens version
    """
    from compressed_lens import __version__

    show(__version__)
