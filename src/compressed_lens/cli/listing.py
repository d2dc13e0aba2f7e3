"""`clens list`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from compressed_lens.cli.output import show_json, show_table

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Kind(StrEnum):
    """What can be listed."""

    variants = "variants"
    tasks = "tasks"
    analyses = "analyses"
    metrics = "metrics"


@app.command()
def list_names(
    kind: Annotated[Kind, typer.Argument(help="What to list.", metavar="variants|tasks|analyses|metrics")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the names a study may use: one line each with its cost and its source.

    \b
    clens list variants
    clens list metrics --json
    """
    columns, rows = _metrics() if kind is Kind.metrics else _entries(kind)
    if as_json:
        show_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        show_table(columns, rows)


def _entries(kind: Kind) -> tuple[list[str], list[list[str]]]:
    match kind:
        case Kind.variants:
            from compressed_lens.quantization import RECIPES as registry
        case Kind.tasks:
            from compressed_lens.tasks import REGISTRY as registry
        case _:
            from compressed_lens.analyses import REGISTRY as registry
    rows = [[name, e.summary, e.cost, e.source] for name in registry.names() for e in [registry.entries[name]]]
    return ["name", "summary", "cost", "source"], rows


def _metrics() -> tuple[list[str], list[list[str]]]:
    from compressed_lens.analyses import REGISTRY

    rows = []
    for name in REGISTRY.names():
        entry = REGISTRY.entries[name]
        rows += [
            [f"{name}.{m.name}", m.summary, m.unit, m.direction, entry.cost, entry.source]
            for m in REGISTRY.get(name).metrics
        ]
    return ["name", "summary", "unit", "better", "cost", "source"], rows
