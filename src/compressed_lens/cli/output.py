"""What the commands print: tables for people, tab-separated lines for pipes, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compressed_lens.errors import RunError
from compressed_lens.terminal import clean


def show(text: str) -> None:
    """Print `text` on standard output, cleaned."""
    print(clean(text))


def show_json(value: Any) -> None:
    """Print `value` as indented JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows as a table on a terminal, and as tab-separated lines under a header line in a pipe."""
    texts = [[clean(str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in [list(columns), *texts]:
            print("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in texts:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def progress_line(text: str) -> None:
    """Print what is being done on standard error, so that standard output holds results only."""
    print(clean(text), file=sys.stderr)


def write(path: Path, text: str, *, append: bool = False) -> None:
    """Write a file, or add to it, make its folder if need be, and say so.

    Raises:
        RunError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if append else "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}.", fix="Name another place.") from error
    progress_line(f"wrote {path}")
