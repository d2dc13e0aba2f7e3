"""`clens doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from compressed_lens.cli.output import show, show_json, show_table
from compressed_lens.errors import DependencyError

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what this machine can run, and the exact install line for the rest.

    Exit code 6 when a library of the core is missing or broken, else 0.

    \b
    clens doctor
    clens doctor --json
    """
    from compressed_lens.cli.machine import examine

    machine = examine()
    if as_json:
        show_json(machine.as_json())
    else:
        show_table(["what", "found", ""], [[f.name, f.found, f.note] for f in machine.facts])
        show("")
        libraries = [[e.name, e.installed or "", e.problem, e.install if e.problem else ""] for e in machine.libraries]
        show_table(["library", "installed", "problem", "install"], libraries)
        show("")
        abilities = [[a.name, "yes" if a.ready else "no", a.install] for a in machine.abilities]
        show_table(["can run", "", "install"], abilities)
    if machine.broken:
        raise typer.Exit(DependencyError.exit_code)
