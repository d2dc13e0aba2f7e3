"""May a judge stand in for people, and what would people say: few of their ratings with many of the judge's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compressed_lens.errors import DataError
from compressed_lens.statistics import concordance, judge_trust, prediction_powered
from compressed_lens.study.schema import FULL

if TYPE_CHECKING:
    import polars as pl

FEWEST_ITEMS = 3
_PLACE = ("task", "analysis", "dimension", "judge")
_UNIT = ("model", "variant", "task", "analysis", "item", "dimension")
_POWERED = ("items", "rated", "judge_mean", "people_mean", "estimate", "low", "high", "bias", "weight", "gain")


def trust(judged: pl.DataFrame, human: pl.DataFrame, *, bound: float, seed: int = 0) -> pl.DataFrame:
    """Return whether each judge may stand in for people: whether its agreement with them is above a bound.

    Args:
        judged: What `agreement.judge_ratings` gives.
        human: What `agreement.read_human_ratings` gives.
        bound: Spearman's correlation required, fixed beforehand; such as that between people.
        seed: Seed of the bootstrap.

    Returns:
        Columns: `task`, `analysis`, `dimension`, `judge`, `items` (that both rated, under any variant), `texts`,
        `spearman` with `low` and `high` (items resampled), `bound`, `verdict` ("trusted", "not trusted", "undecided")
        and `needed` (items that people would have to rate in all to settle an undecided one).

    Raises:
        DataError: No text was rated by both, or the bound is out of range.
    """
    rows = []
    for place, part in _parts(_joined(judged, human), _PLACE):
        known = part.drop_nulls("people")
        items = known["item"].n_unique()
        people, ratings = known["people"].to_numpy(), known["rating"].to_numpy()
        rho = concordance(people, ratings, clusters=known["item"].to_list(), seed=seed)
        verdict, needed = judge_trust(rho.estimate, rho.low, rho.high, n=items, bound=bound)
        rows.append((*place, items, rho.n, rho.estimate, rho.low, rho.high, bound, verdict, needed))
    columns = (*_PLACE, "items", "texts", "spearman", "low", "high", "bound", "verdict", "needed")
    return _frame(rows, columns)


def people_estimates(judged: pl.DataFrame, human: pl.DataFrame) -> pl.DataFrame:
    """Return what people would say of each variant on average, and of what it changed, from a sample of their ratings.

    People must have rated a random sample of the items. Where they rated fewer than three, the row has nulls.

    Args:
        judged: What `agreement.judge_ratings` gives.
        human: What `agreement.read_human_ratings` gives.

    Returns:
        Columns: `model`, `variant`, `task`, `analysis`, `dimension`, `judge`; `what` ("mean", or "change" from full
        precision on the same items); `items` (that the judge rated), `rated` (of them, by people), `judge_mean`,
        `people_mean` (of their ratings alone), `estimate` with `low` and `high` (prediction-powered, 95 %), `bias`
        (judge minus people), `weight` of the judge, and `gain` (how many human ratings one is worth with its help).

    Raises:
        DataError: No text was rated by both.
    """
    import polars as pl

    both = _joined(judged, human)
    keys = ["model", "task", "analysis", "dimension", "judge", "item"]
    full = both.filter(pl.col("variant") == FULL).select(*keys, full_rating="rating", full_people="people")
    rows = []
    for (model, variant, *place), part in _parts(both, ("model", "variant", *_PLACE)):
        where = (model, variant, *place)
        rows.append((*where, "mean", *_powered(part["people"], part["rating"])))
        changed = part.join(full, on=keys, how="inner")
        if variant != FULL and len(changed):
            people, rating = changed["people"] - changed["full_people"], changed["rating"] - changed["full_rating"]
            rows.append((*where, "change", *_powered(people, rating)))
    return _frame(rows, ("model", "variant", *_PLACE, "what", *_POWERED))


def _powered(people: pl.Series, rating: pl.Series) -> tuple[float | None, ...]:
    human = people.fill_null(math.nan).to_numpy()
    judge = rating.to_numpy()
    rated = int((~np.isnan(human)).sum())
    if rated < FEWEST_ITEMS:
        return len(judge), rated, float(judge.mean()), *(None,) * 7
    found = prediction_powered(human, judge)
    own = found.powered
    figures = (found.judge, found.humans.estimate, own.estimate, own.low, own.high)
    return len(judge), rated, *figures, found.bias, found.weight, found.gain


def _joined(judged: pl.DataFrame, human: pl.DataFrame) -> pl.DataFrame:
    """Return the judges' ratings with the people's mean beside each, null where nobody rated the text.

    Dimensions (of an analysis of a task) that people rated nowhere are left out.
    """
    import polars as pl

    keys = [name for name in _UNIT if name in human.columns]
    means = human.group_by(keys).agg(pl.col("rating").mean().alias("people"))
    both = judged.rename({"rater": "judge"}).join(means, on=keys, how="left", maintain_order="left")
    if both["people"].null_count() == len(both):
        raise DataError(
            "People and judges rated no text in common.",
            fix="model, variant, item and dimension must be spelt as in the run; `clens records` shows them.",
        )
    return both.filter(pl.col("people").is_not_null().any().over("task", "analysis", "dimension"))


def _parts(frame: pl.DataFrame, columns: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], pl.DataFrame]]:
    """Yield (values of `columns`, rows), in order of first appearance."""
    yield from frame.group_by(list(columns), maintain_order=True)


def _frame(rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> pl.DataFrame:
    import polars as pl

    texts, counts = {"model", "variant", *_PLACE, "what", "verdict"}, {"items", "texts", "rated", "needed"}
    kinds: dict[str, Any] = {
        name: pl.String if name in texts else pl.Int64 if name in counts else pl.Float64 for name in columns
    }
    return pl.DataFrame(rows, schema=kinds, orient="row").with_columns(pl.col(pl.Float64).fill_nan(None))
