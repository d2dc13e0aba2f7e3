"""`clens human serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from compressed_lens.cli.options import Database, StudyName
from compressed_lens.cli.output import progress_line, show

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_TOKEN = "CLENS_HUMAN_ADMIN_TOKEN"  # noqa: S105 (the name of a variable)


@app.command()
def serve(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    *,
    name: StudyName = "main",
    database: Database = None,
    url: Annotated[str, typer.Option(help="Public address, where a proxy with https is in front.")] = "",
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any that is free.")] = 8378,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let other machines come without https.")] = False,
) -> None:
    """Serve the pages on which raters rate, until Ctrl-C.

    Raters come with the links of `clens human links`. The admin page shows progress and agreement, blind, to who has
    the token: that of $CLENS_HUMAN_ADMIN_TOKEN, or one that is made and printed at every start.

    \b
    clens human serve runs/study
    clens human serve runs/study --url https://study.example.org
    """
    from compressed_lens.human.database import database_url
    from compressed_lens.rater_app.server import serve as serve_study

    def tell(address: str, token: str | None) -> None:
        show(f"{address}/")
        show(f"{address}/admin")
        if token is not None:
            show(f"admin token: {token}")
        progress_line("Ctrl-C stops it.")

    if insecure:
        progress_line("warning: without https, everyone on the way can read links, ratings and the admin token.")
    serve_study(
        database_url(run / "human" / name, database),
        url=url,
        host=host,
        port=port,
        insecure=insecure,
        admin_token=os.environ.get(_TOKEN) or None,
        tell=tell,
    )
