"""`clens version`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


def installed() -> str:
    """Return the installed version, or "unknown" for a source tree that was not installed."""
    try:
        return version("compressed-lens")
    except PackageNotFoundError:
        return "unknown (not installed)"


@app.command()
def show() -> None:
    """Print the version.

    \b
    clens version
    """
    typer.echo(installed())
