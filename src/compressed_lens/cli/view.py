"""`clens view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressed_lens.cli.output import progress_line, show

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def view(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any that is free.")] = 8377,
    host: Annotated[str, typer.Option(help="Address to listen at; other machines can reach 0.0.0.0.")] = "127.0.0.1",
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Serve a run's report on this machine, with every record in its explorer, until Ctrl-C.

    Reads run.sqlite and writes nothing. Works on a run that is still going: reload the page for what is new.

    \b
    clens view runs/quick
    clens view runs/quick --port 0 --open
    """
    from compressed_lens.view import serve
    from compressed_lens.web import is_local

    if not is_local(host):
        progress_line(
            f"warning: everyone who can reach {host} on this port can read the whole run; there is no password."
        )

    def tell(address: str) -> None:
        show(address)
        progress_line("Ctrl-C stops it.")

    serve(run, host=host, port=port, open_browser=open_browser, tell=tell)
