"""`clens human`: a study in which people rate a run's explanations, blind to the variant."""

from __future__ import annotations

import typer

from compressed_lens.cli.lazy import LazyGroup

COMMANDS = {
    "design": "human_design",
    "create": "human_create",
    "links": "human_links",
    "serve": "human_serve",
    "status": "human_status",
    "withdraw": "human_withdraw",
    "export": "human_export",
    "import": "human_import",
    "analyze": "human_analyze",
}
"""Command name to its module in this package, in the order of `clens human --help`."""


class _Commands(LazyGroup):
    modules = COMMANDS


app = typer.Typer(cls=_Commands, rich_markup_mode=None, add_completion=False)


@app.callback()
def human() -> None:
    """Have people rate a run's explanations, blind to the variant: from the design to the statistics.

    \b
    clens human create runs/study --dry-run    what raters would see, and what their ratings could show
    clens human create runs/study              draw texts, blind and assign them
    clens human links runs/study               one personal link for each rater
    clens human serve runs/study               the pages on which they rate
    clens human analyze runs/study             what they found, in the report, too
    """
