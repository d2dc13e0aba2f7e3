"""Differences of variants to full precision, from ratings of one dimension of one kind of text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compressed_lens.human.findings import HEADLINE, POOLED, Method
from compressed_lens.statistics import WaldInterval, crossed_difference, linear_mixed, ordinal_mixed
from compressed_lens.statistics.wald import wald_interval
from compressed_lens.study.schema import FULL

if TYPE_CHECKING:
    import polars as pl

Array = NDArray[np.float64]

METHODS: tuple[Method, ...] = ("linear", "clustered", "ordinal")


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a variant changed: its mean rating less that of full precision.

    Attributes:
        model: The model, or `POOLED`: the mean over all models that have both sides, each of the same weight.
        variant: The variant.
        method: How it was estimated.
        unit: "points" of the scale, or "log-odds" of a higher point.
        ratings: Ratings of the two sides.
        raters: Who gave them.
        texts: Texts they are of.
        items: Items these are of.
        pairs: Items that both sides have: what the comparison rests on, however many models wrote about each.
        estimate: Negative where the variant is rated lower.
        low: Lower end of the 95 % interval; NaN without one.
        high: Upper end.
        p: Two-sided, of no difference; NaN without an interval.
        converged: Whether the fit succeeded.
    """

    model: str
    variant: str
    method: str
    unit: str
    ratings: int
    raters: int
    texts: int
    items: int
    pairs: int
    estimate: float
    low: float
    high: float
    p: float
    converged: bool = True

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero (False without one)."""
        return self.low > 0 or self.high < 0


def effects(part: pl.DataFrame, *, method: Method = HEADLINE, by_model: bool = True) -> tuple[Effect, ...]:
    """Estimate what every variant changed, pooled over models and by model.

    "linear" and "ordinal" are mixed models with one mean for each (model, variant), effects of tasks, and crossed
    random intercepts of raters, items, items under each variant, and texts; pooled is the mean of the models'
    differences. "linear" fits each difference to the ratings of its two sides alone: where ratings under one variant
    spread wider than under the others, as below a ceiling, a spread shared by all would be too small for it. "ordinal"
    is one fit to all ratings, which share the thresholds. "clustered" is the mean over models and items of the
    difference of mean ratings, with two-way clustered intervals (raters, items).

    Args:
        part: Ratings of one kind and dimension.
        method: "linear", "clustered" or "ordinal"; "ordinal" gives log-odds and points.
        by_model: Whether to estimate each model's own differences, too.

    Returns:
        The effects, pooled ones first; those by model only where there are several. Variants without texts of full
        precision to compare with have none.
    """
    sides = [side for side in _sides(part) if by_model or side.model == POOLED]
    if not sides:
        return ()
    if method == "clustered":
        return tuple(_clustered(part, side) for side in sides)
    if method == "linear":
        return tuple(_linear(part, side) for side in sides)
    return tuple(_ordinal(part, sides))


@dataclass(frozen=True, kw_only=True)
class _Side:
    """A variant of some models, and full precision of the same ones: which ratings are of either."""

    model: str
    variant: str
    models: tuple[str, ...]
    rows: NDArray[np.bool_]
    base: NDArray[np.bool_]


def _sides(part: pl.DataFrame) -> Iterator[_Side]:
    model, variant = part["model"].to_numpy(), part["variant"].to_numpy()
    models = list(dict.fromkeys(model))
    variants = [name for name in dict.fromkeys(variant) if name != FULL]
    known = set(zip(model, variant, strict=True))
    pooled: list[_Side] = []
    own: list[_Side] = []
    for name in variants:
        both = tuple(one for one in models if (one, FULL) in known and (one, name) in known)
        for place, members in ((POOLED, both), *((one, (one,)) for one in both)):
            inside = np.isin(model, members)
            side = _Side(
                model=place,
                variant=name,
                models=members,
                rows=inside & (variant == name),
                base=inside & (variant == FULL),
            )
            if members:
                (pooled if place == POOLED else own).append(side)
    yield from pooled
    if len(models) > 1:
        yield from own


def _clustered(part: pl.DataFrame, side: _Side) -> Effect:
    both = part.filter(side.rows | side.base)
    items = _items(both)
    found = crossed_difference(
        both["rating"].to_numpy(),
        both["rater"].to_numpy(),
        items,
        side.rows[side.rows | side.base],
        pairs=(both["model"] + "\n").to_numpy() + items,
    )
    return _effect(part, side, "clustered", "points", found)


def _linear(part: pl.DataFrame, side: _Side) -> Effect:
    both = part.filter(side.rows | side.base)
    fixed, column = _fixed(both)
    weights = _weights(fixed, column, side)
    if len(both) <= len(weights):  # as many effects as ratings: nothing is left to judge by
        nothing = wald_interval(math.nan, math.nan, freedom=1, confidence=0.95, n=len(both), units=0, method="none")
        return _effect(part, side, "linear", "points", nothing, converged=False)
    fit = linear_mixed(both["rating"].to_numpy().astype(np.float64), fixed, _groups(both))
    return _effect(part, side, "linear", "points", fit.contrast(weights), converged=fit.converged)


def _ordinal(part: pl.DataFrame, sides: list[_Side]) -> Iterator[Effect]:
    fixed, column = _fixed(part)
    fit = ordinal_mixed(part["rating"].to_numpy().astype(np.float64), fixed, _groups(part))
    for side in sides:
        rows, base = _rows(fixed, side, column)
        for unit, found in (
            ("points", fit.points_difference(rows, base)),
            ("log-odds", fit.contrast(_weights(fixed, column, side))),
        ):
            yield _effect(part, side, "ordinal", unit, found, converged=fit.converged)


def _fixed(part: pl.DataFrame) -> tuple[Array, dict[str, int]]:
    """Return a column for each (model, variant), whose place is told, and one for each task but the first."""
    cells = part["model"] + "\n" + part["variant"]
    names, place = np.unique(cells.to_numpy(), return_inverse=True)
    tasks, task = np.unique(part["task"].to_numpy(), return_inverse=True)
    fixed = np.hstack([np.eye(len(names))[place], np.eye(len(tasks))[task][:, 1:]])
    return fixed, {name: n for n, name in enumerate(names)}


def _weights(fixed: Array, column: dict[str, int], side: _Side) -> Array:
    weights = np.zeros(fixed.shape[1])
    for model in side.models:
        weights[column[f"{model}\n{side.variant}"]] = 1 / len(side.models)
        weights[column[f"{model}\n{FULL}"]] = -1 / len(side.models)
    return weights


def _rows(fixed: Array, side: _Side, column: dict[str, int]) -> tuple[Array, Array]:
    """Return the fixed effects of the side's ratings with every one set to the variant, and to full precision.

    Each model counts alike, as in the weights of a contrast.
    """
    tasks = np.unique(fixed[side.rows | side.base][:, len(column) :], axis=0)
    parts = []
    for variant in (side.variant, FULL):
        rows = np.zeros((len(side.models) * len(tasks), fixed.shape[1]))
        for n, model in enumerate(side.models):
            rows[n * len(tasks) : (n + 1) * len(tasks), column[f"{model}\n{variant}"]] = 1
            rows[n * len(tasks) : (n + 1) * len(tasks), len(column) :] = tasks
        parts.append(rows)
    return parts[0], parts[1]


def _groups(part: pl.DataFrame) -> list[NDArray[Any]]:
    """Return raters, items, items under each variant, and texts, as far as the ratings can tell them apart.

    A grouping with one level, with a level for every rating, or with the levels of another one says nothing of its own.
    """
    found: list[NDArray[Any]] = []
    items = _items(part)
    within = items + ("\n" + part["variant"]).to_numpy()
    for labels in (part["rater"].to_numpy(), items, within, part["text"].to_numpy()):
        code = np.unique(labels, return_inverse=True)[1]
        levels = int(code.max()) + 1
        known = {
            len(np.unique(other)) for other in found if len(np.unique(np.stack([other, code]), axis=1).T) == levels
        }
        if 1 < levels < len(code) and levels not in known:
            found.append(code)
    return found


def _items(part: pl.DataFrame) -> NDArray[Any]:
    return (part["task"] + "\n" + part["item"]).to_numpy()


def _effect(
    part: pl.DataFrame, side: _Side, method: str, unit: str, found: WaldInterval, *, converged: bool = True
) -> Effect:
    both = part.filter(side.rows | side.base)
    items = [set(_items(part.filter(rows))) for rows in (side.rows, side.base)]
    return Effect(
        model=side.model,
        variant=side.variant,
        method=method,
        unit=unit,
        ratings=len(both),
        raters=both["rater"].n_unique(),
        texts=both["text"].n_unique(),
        items=len(items[0] | items[1]),
        pairs=len(items[0] & items[1]),
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        p=found.p,
        converged=converged,
    )
