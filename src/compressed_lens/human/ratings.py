"""Ratings as the analysis reads them: the store's, with the key of the blinding joined."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from compressed_lens.errors import RunError
from compressed_lens.human.database import database_url
from compressed_lens.human.design import Design
from compressed_lens.human.folder import ASSIGNMENT, read_key, read_table
from compressed_lens.human.reading import read_design
from compressed_lens.human.store import HumanStore, Rater

LONG = pl.Schema(
    {
        "rater": pl.String,
        "position": pl.Int64,
        "text": pl.String,
        "kind": pl.String,
        "model": pl.String,
        "variant": pl.String,
        "task": pl.String,
        "analysis": pl.String,
        "item": pl.String,
        "dimension": pl.String,
        "rating": pl.Int64,
        "seconds": pl.Float64,
        "revisions": pl.Int64,
        "language": pl.String,
    }
)
"""Columns of `HumanRatings.long`."""

CHECKS = pl.Schema({"rater": pl.String, "checks": pl.Int64, "failed": pl.Int64, "finished": pl.Boolean})
"""Columns of `HumanRatings.checks`."""

_FINISHED = ("comments", "done")


@dataclass(frozen=True, kw_only=True)
class HumanRatings:
    """What people said, unblinded.

    Attributes:
        long: One row a (rater, text, dimension), with the columns `LONG`; `rating` is from 1 (worst) to 5,
            `seconds` is of the page, not of the dimension. Raters who withdrew are not in it.
        checks: One row a rater who answered any page, with the columns `CHECKS`: attention checks answered, those
            answered otherwise than they asked, and whether every page was answered.
        design: The design they were gathered under.
    """

    long: pl.DataFrame
    checks: pl.DataFrame
    design: Design


def read_ratings(folder: Path, database: str | None = None) -> HumanRatings:
    """Read the ratings of a human study and join the key.

    Args:
        folder: The study's folder, RUN/human/NAME.
        database: URL of its database; default: $CLENS_HUMAN_DATABASE, then `ratings.sqlite` in the folder.

    Raises:
        RunError: A file is missing or damaged, or the database is another study's.
    """
    design = read_design(folder / "design.yaml")
    key = read_key(folder)
    assignment = read_table(folder / "assignment.csv", ASSIGNMENT)
    with HumanStore.open(database_url(folder, database)) as store:
        answered, raters = store.ratings(), store.raters()
    texts = answered.filter(~pl.col("check"))
    _require_own(texts, key, assignment, folder)
    languages = pl.DataFrame(
        {"rater": [rater.id for rater in raters], "language": [rater.language for rater in raters]}
    )
    long = (
        _by_dimension(texts)
        .join(key.drop("cell", "kind"), on="text", maintain_order="left")
        .join(languages, on="rater", maintain_order="left")
        .select(LONG.names())
    )
    return HumanRatings(long=long.cast(LONG), checks=_checks(answered, raters), design=design)


def _by_dimension(texts: pl.DataFrame) -> pl.DataFrame:
    """Return one row a dimension in place of the JSON of all."""
    points = [json.loads(values) for values in texts["values"]]
    return texts.with_columns(
        pl.Series("dimension", [list(point) for point in points], dtype=pl.List(pl.String)),
        pl.Series("rating", [list(point.values()) for point in points], dtype=pl.List(pl.Int64)),
    ).explode("dimension", "rating")


def _require_own(texts: pl.DataFrame, key: pl.DataFrame, assignment: pl.DataFrame, folder: Path) -> None:
    """Raise unless every rating is of a text of the key, in its cell, at the place where it was assigned."""
    fix = "Name the database that this study was created with (--database or $CLENS_HUMAN_DATABASE)."
    unknown = texts.join(key, on="text", how="anti")["text"]
    if not unknown.is_empty():
        raise RunError(
            f"There are ratings of the text '{unknown[0]}', which {folder / 'key.csv'} does not know.", fix=fix
        )
    places = assignment.with_columns(pl.col("position").cast(pl.Int64, strict=False))
    for known, on in ((key, ["text", "cell", "kind"]), (places, ["rater", "position", "text"])):
        if not texts.join(known, on=on, how="anti").is_empty():
            raise RunError(f"The ratings in the database are of another human study than {folder}.", fix=fix)


def _checks(answered: pl.DataFrame, raters: tuple[Rater, ...]) -> pl.DataFrame:
    counts = {
        rater: (checks, failed)
        for rater, checks, failed in answered.group_by("rater")
        .agg(pl.col("check").sum(), (~pl.col("passed")).sum().alias("failed"))
        .iter_rows()
    }
    rows = [(rater.id, *counts[rater.id], rater.step in _FINISHED) for rater in raters if rater.id in counts]
    return pl.DataFrame(rows, schema=CHECKS, orient="row")
