"""`clens records`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressed_lens.cli.options import ManyValues
from compressed_lens.cli.output import show
from compressed_lens.errors import StudyError

if TYPE_CHECKING:
    import polars as pl

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Format(StrEnum):
    """How records are written."""

    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


@app.command(cls=ManyValues)
def records(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    *,
    form: Annotated[Format, typer.Option("--format", "-f", help="How to write them.")] = Format.csv,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File; default: standard output.")] = None,
    variants: Annotated[list[str] | None, typer.Option(help="Only these variants.")] = None,
    tasks: Annotated[list[str] | None, typer.Option(help="Only these tasks.")] = None,
    analyses: Annotated[list[str] | None, typer.Option(help="Only these analyses.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only items without a usable outcome.")] = False,
) -> None:
    """Export a run's records: one row for every variant, task, analysis, item and repeat.

    \b
    clens records runs/quick --format csv > records.csv
    clens records runs/quick --format parquet -o records.parquet
    clens records runs/quick --variants full rtn-2bit --tasks esnli --failed
    """
    from compressed_lens.runner import load_run

    frame = load_run(run).records
    for column, chosen in (("variant", variants), ("task", tasks), ("analysis", analyses)):
        if chosen:
            frame = _only(frame, column, chosen)
    if failed:
        frame = frame.filter(frame["failed"].is_not_null())
    if output is None and form is Format.parquet and sys.stdout.isatty():
        raise StudyError("Parquet is binary.", fix="Add -o FILE, or send standard output to a file.")
    _write(frame, form, output)
    if output is not None:
        show(f"{frame.height} records in {output}")


def _only(frame: pl.DataFrame, column: str, chosen: list[str]) -> pl.DataFrame:
    from compressed_lens.registry import nearest

    present = frame[column].unique().sort().to_list()
    for name in chosen:
        if name not in present:
            raise StudyError(
                f"The run has no records of {column} '{name}'.",
                fix=nearest(name, present) or f"It has: {', '.join(present) or 'none'}.",
            )
    return frame.filter(frame[column].is_in(chosen))


def _write(frame: pl.DataFrame, form: Format, output: Path | None) -> None:
    target = output or sys.stdout.buffer
    match form:
        case Format.csv:
            frame.write_csv(target)
        case Format.jsonl:
            frame.write_ndjson(target)
        case Format.parquet:
            frame.write_parquet(target)
