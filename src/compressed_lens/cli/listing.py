"""`clens list`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compressed_lens.cli.output import show_json, show_table

if TYPE_CHECKING:
    from compressed_lens.registry import Registry

app = typer.Typer(rich_markup_mode=None, add_completion=False)

FULL = "full"


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
    registry = _registry(kind)
    rows = _unchanged() if kind is Kind.variants else []
    for name in registry.names():
        entry = registry.entries[name]
        rows.append([name, entry.summary, entry.cost, entry.source])
    return ["name", "summary", "cost", "source"], rows


def _unchanged() -> list[list[str]]:
    """Return the rows of the variants that are no recipes."""
    from compressed_lens.study.schema import PLACEBOS

    rows = [[FULL, "the unchanged model, baseline of every comparison", "none", ""]]
    for name, placebo in PLACEBOS.items():
        changed = ", ".join(f"{key} {value}" for key, value in placebo.settings.items())
        rows.append([name, f"the unchanged model with {changed}, for the noise floor", "none", "docs/noise-floor.md"])
    return rows


def _registry(kind: Kind) -> Registry[Any]:
    match kind:
        case Kind.variants:
            from compressed_lens import quantization

            return quantization.RECIPES
        case Kind.tasks:
            from compressed_lens import tasks

            return tasks.REGISTRY
        case _:
            from compressed_lens import analyses

            return analyses.REGISTRY


def _metrics() -> tuple[list[str], list[list[str]]]:
    registry = _registry(Kind.analyses)
    rows = []
    for name in registry.names():
        entry = registry.entries[name]
        for metric in registry.get(name)().metrics:  # metrics may depend on settings: those of the defaults
            told = [metric.summary, metric.unit, metric.direction]
            rows.append([f"{name}.{metric.name}", *told, entry.cost, entry.source])
    return ["name", "summary", "unit", "better", "cost", "source"], rows
