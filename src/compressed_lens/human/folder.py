"""The folder of a human study, the key of its blinding, and folders that are made as a whole."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from compressed_lens.errors import RunError

KEY = ("text", "cell", "kind", "model", "variant", "task", "analysis", "item")
ASSIGNMENT = ("rater", "position", "text")
_COPY = "Restore it from a copy."


def study_folder(run: Path, name: str = "main") -> Path:
    """Return the folder of a run's human study.

    Raises:
        RunError: There is none of this name.
    """
    folder = run / "human" / name
    if not (folder / "design.yaml").is_file():
        others = sorted(path.parent.name for path in (run / "human").glob("*/design.yaml"))
        known = f"Its studies: {', '.join(others)}." if others else f"Make one with `clens human create {run}`."
        raise RunError(f"{run} has no human study '{name}'.", fix=known)
    return folder


def read_key(folder: Path) -> pl.DataFrame:
    """Return what each text and each cell code stand for: the columns `KEY`, all of them text.

    Raises:
        RunError: The key is missing or damaged.
    """
    return read_table(folder / "key.csv", KEY)


def read_table(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    """Return a CSV file of a human study, every column as text.

    Raises:
        RunError: It is missing, or has other columns.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = list(csv.reader(file, strict=True)) or [[]]
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror}.", fix=_COPY) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise RunError(f"{path} is damaged.", fix=_COPY) from error
    if tuple(head) != columns or any(len(row) != len(columns) for row in rows):
        raise RunError(f"{path} is damaged: its columns are not {', '.join(columns)}.", fix=_COPY)
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, readable for its owner only; at the end it takes its place, after an error it is gone.

    A folder that somebody else has made there meanwhile stays, unless it is empty.

    Raises:
        RunError: The disk refuses.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield partial
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise RunError(
            f"Cannot write {folder}: {error.strerror}.", fix="Check the disk and who may write there."
        ) from error
