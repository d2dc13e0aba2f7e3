"""Ratings of a human study from a CSV file, in place of its database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from compressed_lens.errors import DataError
from compressed_lens.human.exchange import EXCHANGES
from compressed_lens.human.exchange.base import CHECK
from compressed_lens.human.folder import ASSIGNMENT, read_key, read_table
from compressed_lens.human.ratings import CHECKS, LONG, HumanRatings
from compressed_lens.human.reading import read_design

if TYPE_CHECKING:
    from compressed_lens.human.exchange import Gathered


def given_ratings(folder: Path, path: Path) -> HumanRatings:
    """Read ratings from a CSV file (as `clens human import --from csv` does) and join the key.

    Attention checks are judged by the database only: nobody has any here, whatever the file says.

    Args:
        folder: The study's folder, RUN/human/NAME.
        path: The file: text, rater, dimension, rating; or one column a dimension.

    Raises:
        DataError: It cannot be read, has a text that is not of the study, or a rater who rates one twice.
        RunError: A file of the study is missing or damaged.
    """
    design = read_design(folder / "design.yaml")
    key = {row["text"]: row for row in read_key(folder).iter_rows(named=True)}
    gathered = [
        one for one in EXCHANGES.get("csv").read(path, design.questionnaire) if not one.page.startswith(f"{CHECK}-")
    ]
    _require_known(gathered, key, path)
    rows = [_row(one, key[one.page], place) for place, one in enumerate(gathered, 1)]
    long = pl.DataFrame(
        [{**row, "dimension": name, "rating": point} for row, values in rows for name, point in values.items()],
        schema=LONG,
    )
    assigned = read_table(folder / "assignment.csv", ASSIGNMENT).filter(pl.col("text") != "")
    wanted = dict(assigned.group_by("rater").len().iter_rows())
    rated = dict(long.group_by("rater", maintain_order=True).agg(pl.col("text").n_unique()).iter_rows())
    checks = [(rater, 0, 0, texts >= wanted.get(rater, 0)) for rater, texts in rated.items()]
    return HumanRatings(long=long, checks=pl.DataFrame(checks, schema=CHECKS, orient="row"), design=design)


def _row(one: Gathered, text: dict[str, str], place: int) -> tuple[dict[str, Any], dict[str, int]]:
    known = {name: text[name] for name in ("text", "kind", "model", "variant", "task", "analysis", "item")}
    seconds = one.seconds or None
    return {"rater": one.rater, "position": place, **known, "seconds": seconds, "revisions": 0}, dict(one.values)


def _require_known(gathered: list[Gathered], key: dict[str, dict[str, str]], path: Path) -> None:
    seen: set[tuple[str, str]] = set()
    for one in gathered:
        if one.page not in key:
            raise DataError(f"{path} rates the text '{one.page}', which is not of this study.", fix="See key.csv.")
        if (one.rater, one.page) in seen:
            raise DataError(f"In {path} '{one.rater}' rates the text '{one.page}' twice.", fix="Keep one.")
        seen.add((one.rater, one.page))
