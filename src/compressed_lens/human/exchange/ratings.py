"""The ratings of a study as one table, blind or joined with its key, and folders of exported files."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from compressed_lens.errors import RunError
from compressed_lens.human.exchange.base import CHECK, check_id
from compressed_lens.human.exchange.csv import table
from compressed_lens.human.folder import new_folder, read_key

COLUMNS = pl.Schema(
    {
        "rater": pl.String,
        "position": pl.Int64,
        "text": pl.String,
        "cell": pl.String,
        "kind": pl.String,
        "dimension": pl.String,
        "rating": pl.Int64,
        "comment": pl.String,
        "seconds": pl.Float64,
        "revisions": pl.Int64,
        "saved": pl.Float64,
        "check": pl.Boolean,
        "passed": pl.Boolean,
    }
)
"""One row a rater, text and dimension; attention checks have an id in place of a text, and neither cell nor kind."""

_KEY = ("text", "model", "variant", "task", "analysis", "item")


def long_ratings(ratings: pl.DataFrame) -> pl.DataFrame:
    """Return `HumanStore.ratings()` with a row a dimension; the columns are `COLUMNS`."""
    rows = [
        {
            **{name: row[name] for name in COLUMNS if name in row},
            "text": row["text"] or check_id(row["rater"], row["position"]),
            "dimension": dimension,
            "rating": point,
        }
        for row in ratings.iter_rows(named=True)
        for dimension, point in json.loads(row["values"]).items()
    ]
    return pl.DataFrame(rows, schema=COLUMNS)


def with_key(frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Return a table with a column `text` and model, variant, task, analysis and item of each, from the study's key.

    Raises:
        RunError: The key is missing, or lacks a text.
    """
    key = read_key(folder).select(_KEY)
    texts = frame.filter(~pl.col("text").str.starts_with(f"{CHECK}-"))["text"]
    strange = sorted(set(texts) - set(key["text"]))
    if strange:
        raise RunError(
            f"The key of {folder} lacks the text {strange[0]}.",
            fix="Is that the database of another study (--database)?",
        )
    return frame.join(key, on="text", how="left", maintain_order="left")


def csv_of(frame: pl.DataFrame) -> str:
    """Return a table as CSV whose comments and texts no spreadsheet takes for formulas."""
    return table(frame.columns, frame.with_columns(pl.col(pl.Boolean).cast(pl.String)).rows())


def parquet_of(frame: pl.DataFrame) -> bytes:
    """Return a table as a Parquet file."""
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def write_new(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files into a folder that does not exist yet, readable for its owner only, all or nothing.

    Raises:
        RunError: The folder exists, or the disk refuses.
    """
    if folder.exists():
        raise RunError(f"{folder} exists already.", fix="Name another folder with --out.")
    with new_folder(folder) as partial:
        for name, content in files.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
