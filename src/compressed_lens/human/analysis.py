"""The analysis of a human study: what people said of each variant, how sure that is, and what it hangs on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from compressed_lens.comparison.verdicts import judged as verdict_of
from compressed_lens.errors import DataError
from compressed_lens.human.design import KINDS, POINTS, Kind
from compressed_lens.human.estimates import METHODS, Effect, effects
from compressed_lens.human.findings import ALL_TASKS, POOLED, TOGETHER, HumanAnalysis, frame
from compressed_lens.human.judges import BOUND, against_people, estimates, matches, shifts
from compressed_lens.human.sensitivity import rater_table, sensitivity
from compressed_lens.statistics import Interval, alpha_interval, crossed_mean, holm
from compressed_lens.study.schema import FULL

if TYPE_CHECKING:
    import polars as pl

    from compressed_lens.human.ratings import HumanRatings

MARGIN = 0.5
"""Default of the difference that would matter, in points of the scale from 1 to 5."""
PUBLISHED: Mapping[Kind, float] = {"explanation": 0.71, "counterfactual": 0.64}
"""Krippendorff's alpha of 2601.00282, section 5, by kind."""

Exclude = Literal["failed-checks", "none"]


def analyze(
    ratings: HumanRatings,
    *,
    judged: pl.DataFrame | None,
    margin: float = MARGIN,
    exclude: Exclude = "failed-checks",
    seed: int = 0,
    told: Callable[[str], None] = lambda _: None,
) -> HumanAnalysis:
    """Return what people's ratings say of each variant against full precision.

    Raters who failed an attention check are left out (see `exclude`), and stay in the tables `raters` and
    `sensitivity`. Raters who did not finish stay with what they rated.

    Args:
        ratings: The ratings, one row a (rater, text, dimension), and the raters' attention checks.
        judged: What `human.judges.judged_texts` gives; None where the run has no judges.
        margin: The difference that would matter, in points.
        exclude: "failed-checks", or "none".
        seed: Seed of the bootstraps (agreement, judges).
        told: Called with one line before each longer step.

    Raises:
        DataError: Nobody rated anything, all raters are excluded, or the margin is not above zero.

    Source: 2601.00282, section 5; ../shared/spec/methods.md, section 7 (Likert user studies).
    """
    import polars as pl

    if not margin > 0:
        raise DataError(f"A margin of {margin:g} points is not above zero.", fix="Use for example 0.5.")
    if ratings.long.is_empty():
        raise DataError("Nobody has rated anything yet.", fix="`clens human status` shows how far the raters are.")
    raters = rater_table(ratings.long, ratings.checks, exclude=exclude == "failed-checks")
    ordered = _ordered(ratings)
    long = ordered.filter(~pl.col("rater").is_in(raters.filter("excluded")["rater"].to_list()))
    if long.is_empty():
        raise DataError("Every rater failed an attention check.", fix="--exclude none analyzes them all the same.")
    told(f"estimating differences from {long.select('rater', 'text').n_unique():,} ratings")
    differences = _differences(long, margin)
    told("leaving out raters and pages in turn")
    hangs_on = sensitivity(ordered, raters, verdicts=lambda found: verdicts(found, margin))
    known = None if judged is None or judged.is_empty() else judged
    if known is not None:
        told("comparing judges with people")
    return HumanAnalysis(
        margin=margin,
        exclude=exclude,
        bound=BOUND,
        counts=_counts(long),
        means=_means(long),
        differences=differences,
        agreement=agreement(long, seed=seed),
        sensitivity=hangs_on,
        raters=raters,
        matches=frame("matches", []) if known is None else matches(long, known),
        judges=frame("judges", []) if known is None else against_people(long, known, seed=seed),
        estimates=frame("estimates", []) if known is None else estimates(long, known),
        shifts=frame("shifts", []) if known is None else shifts(long, known, seed=seed),
    )


def verdicts(found: Sequence[Effect], margin: float) -> list[tuple[float, str, str]]:
    """Return (p adjusted, verdict, leaning) of effects in points: a family, corrected by Holm's procedure.

    The words are those of docs/verdict.md. What counts as the number of pairs are items, not texts: a variant may spoil
    an item under all models alike, and a failure as rare as one item in ten hides from few items.
    """
    adjusted = holm([effect.p for effect in found])
    rows = []
    for effect, p in zip(found, adjusted, strict=True):
        interval = Interval(
            estimate=effect.estimate, low=effect.low, high=effect.high, n=effect.pairs, dropped=0, units=effect.pairs,
            confidence=0.95, method=effect.method,
        )  # fmt: skip
        verdict, leaning = verdict_of(
            interval, direction="higher", p=effect.p, p_adjusted=float(p), margin=margin, floor=None
        )
        rows.append((float(p), str(verdict), str(leaning)))
    return rows


def _ordered(ratings: HumanRatings) -> pl.DataFrame:
    """Return the ratings in the order of all tables: kinds and dimensions as in the design, `full` first."""
    import polars as pl

    dimensions = [dimension.name for dimension in ratings.design.questionnaire.dimensions]
    first: Mapping[str, Sequence[str]] = {
        "kind": KINDS,
        "dimension": dimensions,
        "model": ratings.design.sample.models,
        "variant": (FULL, *ratings.design.sample.variants),
    }
    places = []
    for column, names in first.items():
        others = sorted(set(ratings.long[column]) - set(names), key=_natural)
        order = {name: n for n, name in enumerate((*names, *others))}
        places.append(pl.col(column).replace_strict(order, return_dtype=pl.Int64))
    ordered: pl.DataFrame = ratings.long.sort(*places, "task", "item", "text", "rater")
    return ordered


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Return what puts 7B before 32B."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def _differences(long: pl.DataFrame, margin: float) -> pl.DataFrame:
    rows: list[tuple[Any, ...]] = []
    for place, part in _parts(long):
        found = [effect for method in METHODS for effect in effects(part, method=method)]
        # Pooled rows are one family, those by model another; each method answers the question anew.
        families: dict[tuple[str, str, bool], list[Effect]] = {}
        for effect in found:
            families.setdefault((effect.method, effect.unit, effect.model == POOLED), []).append(effect)
        for (_, unit, _), family in families.items():
            told = verdicts(family, margin)
            for effect, (p, verdict, leaning) in zip(family, told, strict=True):
                said = (p, verdict, leaning) if unit == "points" else (p, "", "")
                rows.append((*place, *_written(effect), *said, effect.converged))
    return frame("differences", rows)


def _written(effect: Effect) -> tuple[Any, ...]:
    counted = (effect.ratings, effect.raters, effect.texts, effect.items)
    figures = (effect.estimate, effect.low, effect.high, effect.p)
    return effect.model, effect.variant, effect.method, effect.unit, *counted, *figures


def _counts(long: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for place, part in _cells(long):
        given = part["rating"].to_numpy()
        shares = [float((given == point).mean()) for point in POINTS]
        rows.append((*place, *_sizes(part), *shares))
    return frame("counts", rows)


def _means(long: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for place, part in _cells(long):
        items = part["task"] + "\n" + part["item"]
        mean = crossed_mean(part["rating"].to_numpy(), part["rater"].to_numpy(), items.to_numpy())
        rows.append((*place, *_sizes(part), mean.estimate, mean.low, mean.high))
    return frame("means", rows)


def _sizes(part: pl.DataFrame) -> tuple[int, int, int]:
    return len(part), part["rater"].n_unique(), part["text"].n_unique()


def agreement(long: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Return the table `agreement`: Krippendorff's alpha by kind and dimension, and of all dimensions of a kind."""
    rows: list[tuple[Any, ...]] = []
    for kind in _present(long):
        own = long.filter(long["kind"] == kind)
        parts = dict(_by(own, "dimension"))
        # The paper gives one number a kind: every (text, dimension) is a unit.
        if len(parts) > 1:
            parts[TOGETHER] = own.with_columns(text=own["text"] + "\n" + own["dimension"])
        for dimension, part in parts.items():
            table, items = _table(part)
            for level in ("ordinal", "interval"):
                # Texts of one item are rated alike under every variant, so items are resampled.
                found = alpha_interval(table, level=level, clusters=items, seed=seed)
                sizes = (len(table), table.shape[1] - found.dropped, found.n)
                figures = (found.estimate, found.low, found.high, PUBLISHED[kind])
                rows.append((kind, dimension, level, *sizes, *figures))
    return frame("agreement", rows)


def _table(part: pl.DataFrame) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return ratings as [raters, texts], NaN where missing, and the item of each text."""
    raters, row = np.unique(part["rater"].to_numpy(), return_inverse=True)
    texts, first, column = np.unique(part["text"].to_numpy(), return_index=True, return_inverse=True)
    table = np.full((len(raters), len(texts)), np.nan)
    table[row, column] = part["rating"].to_numpy()
    return table, (part["task"] + "\n" + part["item"]).to_numpy()[first]


def _present(long: pl.DataFrame) -> list[Kind]:
    return [kind for kind in KINDS if kind in set(long["kind"])]


def _parts(long: pl.DataFrame) -> Iterator[tuple[tuple[str, str], pl.DataFrame]]:
    """Yield ((kind, dimension), rows)."""
    for kind in _present(long):
        for dimension, part in _by(long.filter(long["kind"] == kind), "dimension"):
            yield (kind, dimension), part


def _cells(long: pl.DataFrame) -> Iterator[tuple[tuple[str, ...], pl.DataFrame]]:
    """Yield (kind, dimension, model, variant, task) and its rows: over all models and tasks first, then every cell."""
    several = long["model"].n_unique() > 1 or long["task"].n_unique() > 1
    for place, part in _parts(long):
        for variant, own in _by(part, "variant"):
            if several:
                yield (*place, POOLED, variant, ALL_TASKS), own
        for model, of_model in _by(part, "model"):
            for task, of_task in _by(of_model, "task"):
                for variant, own in _by(of_task, "variant"):
                    yield (*place, model, variant, task), own


def _by(part: pl.DataFrame, column: str) -> Iterator[tuple[str, pl.DataFrame]]:
    for (name,), own in part.group_by([column], maintain_order=True):
        yield str(name), own
