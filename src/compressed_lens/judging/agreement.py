"""Do judges agree: with each other, with people, and about which variant is worse."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressed_lens.errors import DataError
from compressed_lens.statistics import alpha_interval, concordance, paired_bootstrap, sign_flip_p
from compressed_lens.statistics.agreement import Level
from compressed_lens.study.schema import FULL

if TYPE_CHECKING:
    import polars as pl

RATINGS = ("model", "variant", "task", "analysis", "item", "dimension", "rater", "rating")
HUMAN = ("item", "variant", "model", "dimension", "rater", "rating")
_OPTIONAL = ("task", "analysis")
_PLACE = ("task", "analysis", "dimension")
_UNIT = ("model", "variant", "item")
_LOWEST, _HIGHEST = 1, 5


def judge_ratings(records: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """Return every rating that judges gave in a run, one a row.

    Args:
        records: `Run.records`.
        cells: `Run.cells`; the records of cells with the method `rating` are read.

    Returns:
        Columns `RATINGS`; `rater` is the judge's name. Ratings that could not be read are left out.
    """
    import polars as pl

    rated = set(cells.filter(pl.col("method") == "rating")["cell"])
    rows = []
    for record in records.filter(pl.col("cell").is_in(list(rated))).iter_rows(named=True):
        place = (record["model"], record["variant"], record["task"], record["analysis"], record["item"])
        values = json.loads(record["values"])
        for told in values.get("answers") or values.get("probabilities") or ():
            dimension, _, judge = told.partition(":")
            if values.get(told) is not None:
                rows.append((*place, dimension, judge, float(values[told])))
    return _frame(rows, RATINGS)


def read_human_ratings(path: str | Path) -> pl.DataFrame:
    """Read ratings of people from a CSV file with the columns `HUMAN`, and `task` and `analysis` where several differ.

    Returns:
        The columns as text, `rating` as a number; rows without a rating are left out.

    Raises:
        DataError: No such file, a column is missing, a rating is not a number from 1 to 5, or somebody rated one text
            twice.
    """
    import polars as pl

    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"The ratings in {path} cannot be read: {str(error).splitlines()[0]}.") from error
    missing = [name for name in HUMAN if name not in frame.columns]
    if missing:
        raise DataError(f"The ratings in {path} lack the column '{missing[0]}'.", fix=f"Columns: {', '.join(HUMAN)}.")
    keys = [name for name in (*HUMAN[:-1], *_OPTIONAL) if name in frame.columns]
    frame = frame.select(*keys, "rating").filter(pl.col("rating").str.strip_chars() != "")
    numbers = frame["rating"].str.strip_chars().cast(pl.Float64, strict=False)
    for place, (said, number) in enumerate(zip(frame["rating"], numbers, strict=True)):
        if number is None or not _LOWEST <= number <= _HIGHEST:
            where = ", ".join(f"{name} {frame[name][place]}" for name in ("item", "variant", "dimension", "rater"))
            raise DataError(f"{path} has the rating '{said}' ({where}).", fix="Give a number from 1 to 5.")
    twice = frame.filter(frame.select(keys).is_duplicated())
    if len(twice):
        first = twice.row(0, named=True)
        told = f"'{first['rater']}' rates the {first['dimension']} of item {first['item']} ({first['variant']})"
        raise DataError(f"In {path} {told} twice.", fix="Keep one; two analyses need a column `analysis`.")
    return frame.with_columns(numbers.alias("rating"))


def agreement(
    ratings: pl.DataFrame, *, level: Level = "interval", confidence: float = 0.95, seed: int = 0
) -> pl.DataFrame:
    """Return Krippendorff's alpha of all raters, by task, analysis and dimension (as far as `ratings` has them).

    A unit is one text: a (model, variant, item). Alpha counts differences of level as disagreement, so a judge that is
    always one point milder lowers it; `pairwise` does not.

    Returns:
        Columns: the place, `raters`, `units` (with two ratings or more), `ratings`, `alpha` with `low` and `high`.
    """
    rows = []
    for place, part in _parts(ratings, _PLACE):
        table, raters = _table(part)
        found = alpha_interval(table, level=level, confidence=confidence, seed=seed)
        rows.append((*place, len(raters), found.units, found.n, found.estimate, found.low, found.high))
    return _frame(rows, (*_known(ratings, _PLACE), "raters", "units", "ratings", "alpha", "low", "high"))


def pairwise(ratings: pl.DataFrame, *, confidence: float = 0.95, seed: int = 0) -> pl.DataFrame:
    """Return how far every two raters put texts in the same order, and how far apart their levels are.

    Returns:
        Columns: the place, `first`, `second`, `n`, `spearman` with `low`, `high` (items resampled) and `p`, `kendall`,
        `difference` (mean of second minus first, in points). Pairs without two shared texts have null figures.
    """
    rows = []
    for place, part in _parts(ratings, _PLACE):
        table, raters = _table(part)
        items = _items(part)
        for a, b in combinations(range(len(raters)), 2):
            rows.append((*place, raters[a], raters[b], *_compared(table[a], table[b], items, confidence, seed)))
    return _frame(rows, (*_known(ratings, _PLACE), "first", "second", *_COMPARED))


def with_humans(judged: pl.DataFrame, human: pl.DataFrame, *, confidence: float = 0.95, seed: int = 0) -> pl.DataFrame:
    """Return how each judge's ratings go with the mean rating of people on the same texts.

    Args:
        judged: What `judge_ratings` gives.
        human: What `read_human_ratings` gives.
        confidence: Nominal coverage.
        seed: Seed of the bootstrap.

    Returns:
        Columns: `task`, `analysis`, `dimension`, `judge`, `n` (texts both rated), `spearman` with `low`, `high` and
        `p`, `kendall`, `difference` (judge minus people, in points).

    Raises:
        DataError: No text was rated by both, or the people's ratings do not say which task or analysis they are of.
    """
    import polars as pl

    keys = [*_UNIT, "dimension", *_known(human, _OPTIONAL)]
    means = human.group_by(keys).agg(pl.col("rating").mean().alias("people"))
    both = judged.join(means, on=keys, how="inner")
    if both.is_empty():
        raise DataError(
            "People and judges rated no text in common.",
            fix="model, variant, item and dimension must be spelt as in the run; `clens records` shows them.",
        )
    if both.select(*keys, "rater").is_duplicated().any():
        raise DataError(
            "The ratings of people fit more than one task or analysis of the run.",
            fix="Add a column `task` or `analysis` to them.",
        )
    rows = []
    for place, part in _parts(both, (*_PLACE, "rater")):
        figures = _compared(part["people"].to_numpy(), part["rating"].to_numpy(), _items(part), confidence, seed)
        rows.append((*place, *figures))
    return _frame(rows, (*_PLACE, "judge", *_COMPARED)).sort(*_PLACE, "judge")


def judge_shift(ratings: pl.DataFrame, *, confidence: float = 0.95, seed: int = 0) -> pl.DataFrame:
    """Return what each judge says a variant changed: its mean rating less that of full precision, on the same items.

    Returns:
        Columns: `model`, `task`, `analysis`, `dimension`, `variant`, `judge`, `n`, `full` and `rating` (means over
        those items), `shift` (negative: the variant is rated lower) with `low`, `high` and `p` (sign flips), and
        `same_sign`: whether the shifts of all judges of this variant point the same way; null with one judge.
    """
    import polars as pl

    keys = ["model", "task", "analysis", "dimension", "item", "rater"]
    base = ratings.filter(pl.col("variant") == FULL).select(*keys, pl.col("rating").alias("full"))
    paired = ratings.filter(pl.col("variant") != FULL).join(base, on=keys, how="inner")
    place = ("model", "task", "analysis", "dimension", "variant")
    rows: list[tuple[Any, ...]] = []
    for where, part in _parts(paired, place):
        found = []
        for (judge,), own in _parts(part, ("rater",)):
            before, after = own["full"].to_numpy(), own["rating"].to_numpy()
            shift = paired_bootstrap(before, after, confidence=confidence, seed=seed)
            p = float(sign_flip_p(before[:, None], after[:, None], seed=seed)[0])
            means = (float(before.mean()), float(after.mean()))
            found.append((judge, len(own), *means, shift.estimate, shift.low, shift.high, p))
        signs = {float(np.sign(row[4])) for row in found}
        rows += [(*where, *row, len(signs) == 1 if len(found) > 1 else None) for row in found]
    columns = (*place, "judge", "n", "full", "rating", "shift", "low", "high", "p", "same_sign")
    return _frame(rows, columns)


_COMPARED = ("n", "spearman", "low", "high", "p", "kendall", "difference")


def _compared(
    first: np.ndarray[Any, Any], second: np.ndarray[Any, Any], items: Sequence[str], confidence: float, seed: int
) -> tuple[float, ...]:
    # The same item under several variants is one unit: its ratings go up and down together.
    rho = concordance(first, second, clusters=items, confidence=confidence, seed=seed)
    tau = concordance(first, second, method="kendall", replicates=1, seed=seed)
    apart = (second - first)[~np.isnan(second - first)]
    difference = float(apart.mean()) if len(apart) else float("nan")
    return rho.n, rho.estimate, rho.low, rho.high, rho.p, tau.estimate, difference


def _parts(frame: pl.DataFrame, columns: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], pl.DataFrame]]:
    """Yield (values of `columns`, rows), in order of first appearance."""
    yield from frame.group_by(_known(frame, columns), maintain_order=True)


def _known(frame: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    return [name for name in columns if name in frame.columns]


def _table(part: pl.DataFrame) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Return ratings as [raters, units] with NaN where missing, and the raters; units are in order of appearance."""
    raters = part["rater"].unique(maintain_order=True).to_list()
    units = {unit: n for n, unit in enumerate(dict.fromkeys(part.select(_UNIT).iter_rows()))}
    table = np.full((len(raters), len(units)), np.nan)
    for unit, rater, rating in zip(part.select(_UNIT).iter_rows(), part["rater"], part["rating"], strict=True):
        table[raters.index(rater), units[unit]] = rating
    return table, raters


def _items(part: pl.DataFrame) -> list[str]:
    """Return the item of each unit, in the order of `_table`."""
    return [item for _, _, item in dict.fromkeys(part.select(_UNIT).iter_rows())]


def _frame(rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> pl.DataFrame:
    import polars as pl

    texts = {*RATINGS[:-1], "first", "second", "judge"}
    counts = {"raters", "units", "ratings", "n"}
    kinds: dict[str, Any] = {
        name: pl.String
        if name in texts
        else pl.Int64
        if name in counts
        else pl.Boolean
        if name == "same_sign"
        else pl.Float64
        for name in columns
    }
    frame = pl.DataFrame(rows, schema=kinds, orient="row")
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))
