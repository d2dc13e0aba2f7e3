"""People's ratings beside the judges' of the same run: which texts both read, and whether they say the same of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compressed_lens.human.design import KINDS
from compressed_lens.human.estimates import Effect, effects
from compressed_lens.human.findings import POOLED, frame
from compressed_lens.judging.agreement import HUMAN, RATINGS, judge_ratings, with_humans
from compressed_lens.judging.calibration import people_estimates, trust
from compressed_lens.statistics import paired_bootstrap
from compressed_lens.study.schema import FULL

if TYPE_CHECKING:
    import polars as pl

BOUND = 0.6
"""Correlation with people from which on a judge is trusted, as in `clens judges`."""

JUDGED = (*RATINGS, "kind", "text", "same_text")
_CELL = ("model", "variant", "task", "item")
_WORDS = {"explanation": ("explanation", "prediction"), "counterfactual": ("edited", "target")}
"""The values of a record that hold the text and the label it stands for, by kind."""

Place = tuple[str, str, str, str]


def judged_texts(records: pl.DataFrame, cells: pl.DataFrame, long: pl.DataFrame) -> pl.DataFrame:
    """Return every rating that judges gave in a run, with the text of the human study that it belongs to.

    A judge's analysis of explanations (setting `of`) belongs to the kind `explanation`, one of edits to
    `counterfactual`. A rating belongs to the text that people rated of the same model, variant, task and item; it is of
    the same text where label and words are the same (white space aside, which judges do not see).

    Args:
        records: `Run.records`.
        cells: `Run.cells`.
        long: `HumanRatings.long`.

    Returns:
        Columns `JUDGED`: those of `judge_ratings`, `kind`, `text` (null where people rated none there) and `same_text`.
    """
    import polars as pl

    first = records.filter(pl.col("repeat") == 0)
    kinds = {
        row["analysis"]: json.loads(row["settings"] or "{}").get("of", KINDS[0])
        for row in cells.filter(pl.col("method") == "rating").iter_rows(named=True)
    }
    texts = long.unique(["kind", *_CELL]).select("text", "kind", "analysis", *_CELL)
    read = {kind: _words(first, texts.filter(pl.col("kind") == kind), kind) for kind in KINDS}
    rows = []
    for analysis, kind in kinds.items():
        own = texts.filter(pl.col("kind") == kind)
        judged = _words(first, own.with_columns(analysis=pl.lit(analysis)), kind, text="text")
        rows += [
            (analysis, *place, kind, text, read[kind].get(place) == judged[place])
            for *place_, text in own.select(*_CELL, "text").iter_rows()
            if (place := _place(place_)) in judged and judged[place] is not None
        ]
    names = ("analysis", *_CELL, "kind", "text", "same_text")
    known = pl.DataFrame(rows, schema={name: pl.Boolean if name == "same_text" else pl.String for name in names},
                         orient="row")  # fmt: skip
    given = judge_ratings(first, cells)
    kind_of = pl.DataFrame({"analysis": list(kinds), "kind": list(kinds.values())},
                           schema={"analysis": pl.String, "kind": pl.String})  # fmt: skip
    joined = given.join(kind_of, on="analysis", how="left", maintain_order="left").join(
        known.drop("kind"), on=["analysis", *_CELL], how="left", maintain_order="left"
    )
    return joined.with_columns(pl.col("same_text").fill_null(value=False)).select(JUDGED)


def people_ratings(long: pl.DataFrame, judged: pl.DataFrame | None) -> pl.DataFrame:
    """Return people's ratings as `clens judges --ratings` reads them.

    Each is of the judge's analysis that rated the same text (once for each such analysis), or of its own analysis where
    no judge did: judges are compared with people on the very same texts only.

    Returns:
        Columns: those of `HUMAN`, `task` and `analysis`.
    """
    import polars as pl

    columns = [*HUMAN, "task", "analysis"]
    if judged is None or judged.is_empty():
        return long.select(columns)
    same = judged.filter("same_text").select("text", pl.col("analysis").alias("judged")).unique(maintain_order=True)
    joined = long.join(same, on="text", how="left", maintain_order="left_right")
    return joined.with_columns(analysis=pl.coalesce("judged", "analysis")).select(columns)


def matches(long: pl.DataFrame, judged: pl.DataFrame) -> pl.DataFrame:
    """Return how many texts of each cell people rated, judges rated, and both read in the same words."""
    import polars as pl

    cell = ("kind", "model", "variant", "task")
    wanted = long.group_by(cell, maintain_order=True).agg(texts=pl.col("text").n_unique())
    read = judged.filter(pl.col("text").is_in(long["text"].unique().to_list()))
    found = read.group_by(*cell, "analysis").agg(
        judged=pl.col("text").n_unique(), same_text=pl.col("text").filter("same_text").n_unique()
    )  # fmt: skip
    analyses = judged.select("kind", "analysis").unique(maintain_order=True)
    joined = wanted.join(analyses, on="kind", maintain_order="left_right").join(
        found, on=[*cell, "analysis"], how="left", maintain_order="left"
    )
    columns = (*cell, "analysis", "texts", "judged", "same_text")
    return frame("matches", joined.fill_null(0).select(columns).rows())


def against_people(long: pl.DataFrame, judged: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Return the table `judges`: each judge against the mean of people's ratings of the same texts, by dimension."""
    people = _matched(long, judged)
    if people.is_empty():
        return frame("judges", [])
    keys = ["task", "analysis", "dimension", "judge"]
    trusted = trust(judged, people, bound=BOUND, seed=seed).select(*keys, "items", "bound", "verdict", "needed")
    kinds = dict(judged.select("analysis", "kind").iter_rows())
    joined = with_humans(judged, people, seed=seed).join(trusted, on=keys, maintain_order="left")
    rows = [
        (
            *(kinds[row["analysis"]], *(row[key] for key in keys), row["n"], row["items"], row["spearman"]),
            *(row["low"], row["high"], row["p"], row["kendall"], row["difference"]),
            *(row["bound"], row["verdict"], row["needed"]),
        )
        for row in joined.iter_rows(named=True)
    ]
    order = {name: n for n, name in enumerate(long["dimension"].unique(maintain_order=True))}
    return frame("judges", sorted(rows, key=lambda row: (KINDS.index(row[0]), row[1], row[2], order[row[3]])))


def estimates(long: pl.DataFrame, judged: pl.DataFrame) -> pl.DataFrame:
    """Return the table `estimates`: what people would say of all items that could have been drawn.

    Those are the items that a judge rated under every model and variant of the human study.
    """
    import polars as pl

    people = _matched(long, judged)
    if people.is_empty():
        return frame("estimates", [])
    cells = long.select("model", "variant").unique()
    everywhere = (
        judged.join(cells, on=["model", "variant"], how="semi", maintain_order="left")
        .with_columns(
            cells=pl.struct("model", "variant").n_unique().over("task", "analysis", "dimension", "rater", "item")
        )
        .filter(pl.col("cells") == len(cells))
    )
    if everywhere.join(people, on=["model", "variant", "task", "analysis", "item", "dimension"], how="semi").is_empty():
        return frame("estimates", [])
    found = people_estimates(everywhere, people)
    return frame("estimates", found.rows())


def shifts(long: pl.DataFrame, judged: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Return the table `shifts`: what a variant changed, for people and for each judge, on the same texts.

    People's change is the headline estimate of the study on these texts; a judge's is the mean paired difference to
    full precision, items resampled. `direction` is "same way" or "wrong way" where both intervals leave out zero.
    """
    import polars as pl

    rows: list[tuple[Any, ...]] = []
    same = judged.filter("same_text")
    places = long.select("kind", "dimension").unique(maintain_order=True)
    for kind, dimension in places.iter_rows():
        of_place = same.filter((pl.col("kind") == kind) & (pl.col("dimension") == dimension))
        for (analysis,), own in of_place.group_by(["analysis"], maintain_order=True):
            texts = own["text"].unique().to_list()
            part = long.filter((pl.col("dimension") == dimension) & pl.col("text").is_in(texts))
            told = effects(part) if len(part) else ()
            for (judge,), given in own.group_by(["rater"], maintain_order=True):
                pairs = _pairs(given)
                for people in told:
                    chosen = pairs.filter(pl.col("variant") == people.variant)
                    if people.model != POOLED:
                        chosen = chosen.filter(pl.col("model") == people.model)
                    place = (kind, dimension, analysis, judge, people.model, people.variant)
                    rows.append((*place, *_shift(people, chosen, seed)))
    return frame("shifts", rows)


def _shift(people: Effect, pairs: pl.DataFrame, seed: int) -> tuple[Any, ...]:
    found = paired_bootstrap(pairs["full"], pairs["rating"], clusters=pairs["item"].to_numpy(), seed=seed)
    same = people.estimate * found.estimate > 0
    settled = found.excludes_zero and people.excludes_zero
    direction = ("same way" if same else "wrong way") if settled else "open"
    counted = (2 * len(pairs), pairs["item"].n_unique())
    interval = (people.estimate, people.low, people.high, found.estimate, found.low, found.high)
    return (*counted, *interval, same, direction)


def _pairs(given: pl.DataFrame) -> pl.DataFrame:
    """Return one judge's ratings of variants, `rating`, with that of full precision of the same item, `full`."""
    import polars as pl

    keys = ["model", "task", "item"]
    base = given.filter(pl.col("variant") == FULL).select(*keys, full="rating")
    paired = given.filter(pl.col("variant") != FULL).join(base, on=keys, maintain_order="left")
    return paired.with_columns(item=pl.concat_str("task", "item", separator="\n"))


def _matched(long: pl.DataFrame, judged: pl.DataFrame) -> pl.DataFrame:
    """Return people's ratings of texts that a judge rated, too, as of the judge's analysis."""
    return people_ratings(long, judged).filter(_is_one_of("analysis", judged))


def _is_one_of(column: str, judged: pl.DataFrame) -> pl.Expr:
    import polars as pl

    return pl.col(column).is_in(judged[column].unique().to_list())


def _words(
    records: pl.DataFrame, texts: pl.DataFrame, kind: str, *, text: str = ""
) -> Mapping[Place, tuple[str, str] | None]:
    """Return label and words of the records at the places of `texts`, None where one has no text."""
    keys = ["analysis", *_CELL]
    name, label = _WORDS[kind]
    found: dict[Place, tuple[str, str] | None] = {}
    for row in records.join(texts.select(keys).unique(), on=keys, how="semi").iter_rows(named=True):
        values = json.loads(row["values"])
        said = values.get(text or name)
        told = None if said is None else (str(values.get(label)), " ".join(str(said).split()))
        found[_place([row[key] for key in _CELL])] = told
    return found


def _place(parts: list[str]) -> Place:
    model, variant, task, item = parts
    return model, variant, task, item
