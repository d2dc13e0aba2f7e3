"""What a planned human study could show, from its very assignment, before anyone has rated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from compressed_lens.human.design import KINDS, Kind
from compressed_lens.human.plan import Plan
from compressed_lens.human.texts import Text
from compressed_lens.statistics import contrast_error, contrast_power, detectable_contrast, rating_spread
from compressed_lens.study.schema import FULL

DIFFERENCES = (0.3, 0.5)
"""True differences, in points, whose chance of being shown is told."""


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """What is assumed of ratings that nobody has given yet.

    Attributes:
        sd: Standard deviation of the ratings of one variant, in points.
        alpha: Krippendorff's alpha by kind; the defaults are those of 2601.00282, section 5.
        severity: Share of the disagreement that is how strict a rater is.
        item: Share of the texts' variance that is the item's.
    """

    sd: float = 1.0
    alpha: Mapping[Kind, float] = field(default_factory=lambda: {"explanation": 0.71, "counterfactual": 0.64})
    severity: float = 0.3
    item: float = 0.5


def precision(plan: Plan, *, assumed: Assumed | None = None) -> pl.DataFrame:
    """Return how well a plan tells each variant from full precision, pooled over models.

    The standard error is that of the linear mixed model with raters, items and texts as random intercepts and model x
    variant (and task) as fixed effects; t has as many degrees of freedom as there are raters or items, whichever are
    fewer, less one.

    Args:
        plan: The study.
        assumed: Of the ratings; default: `Assumed()`.

    Returns:
        One row a kind and variant: `kind`, `variant`, `ratings` (of the variant), `raters` and `items` (of the kind),
        `error` (standard error of the difference, in points), `detectable` (smallest true difference that is shown with
        80 % probability, in points) and, for each of `DIFFERENCES`, `power 0.3` (probability that it is shown). Null
        where one item leaves nothing to judge by.
    """
    told = assumed or Assumed()
    texts = {text.id: text for text in plan.texts}
    given = [(rater, texts[page.text]) for rater, own in plan.pages.items() for page in own if page.text is not None]
    rows = []
    for kind in KINDS:
        own = [(rater, text) for rater, text in given if text.shown.kind == kind]
        rows += _of_kind(kind, own, told)
    kinds = {"kind": pl.String, "variant": pl.String, "ratings": pl.Int64, "raters": pl.Int64, "items": pl.Int64}
    numbers = dict.fromkeys(["error", "detectable", *(f"power {size:g}" for size in DIFFERENCES)], pl.Float64)
    return pl.DataFrame(rows, schema={**kinds, **numbers}, orient="row")


def _of_kind(kind: Kind, own: Sequence[tuple[str, Text]], assumed: Assumed) -> list[tuple[object, ...]]:
    cells = sorted({(text.model, text.variant) for _, text in own})
    variants = [name for name in dict.fromkeys(variant for _, variant in cells) if name != FULL]
    if not variants:
        return []
    groups = [
        [rater for rater, _ in own],
        [f"{text.task}|{text.item}" for _, text in own],
        [text.id for _, text in own],
    ]
    fixed = _fixed(own, cells)
    spread = rating_spread(assumed.sd, assumed.alpha[kind], severity=assumed.severity, item=assumed.item)
    raters, items, texts = (len(set(group)) for group in groups)
    # Every item has a text of every cell, so that cells and items are estimated from one text fewer than there are.
    freedom = texts - (len(cells) + items - 1)
    rows: list[tuple[object, ...]] = []
    for variant in variants:
        models = [model for model, name in cells if name == variant and (model, FULL) in cells]
        if not models:
            continue
        weights = np.zeros(fixed.shape[1])
        for model in models:
            weights[cells.index((model, variant))] += 1 / len(models)
            weights[cells.index((model, FULL))] -= 1 / len(models)
        error = contrast_error(fixed, groups, spread.deviations, spread.residual, weights)
        ratings = sum(text.variant == variant for _, text in own)
        rows.append((kind, variant, ratings, raters, items, *_shown(error, freedom)))
    return rows


def _fixed(own: Sequence[tuple[str, Text]], cells: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """Return a column for each model x variant, and one for each task but the first."""
    tasks = sorted({text.task for _, text in own})[1:]
    columns = [[text.model == model and text.variant == variant for _, text in own] for model, variant in cells]
    columns += [[text.task == task for _, text in own] for task in tasks]
    return np.array(columns, dtype=np.float64).T


def _shown(error: float, freedom: int) -> tuple[float | None, ...]:
    if freedom < 1 or not math.isfinite(error):
        return (None,) * (2 + len(DIFFERENCES))
    chances = [contrast_power(size, error, freedom=freedom) for size in DIFFERENCES]
    return error, detectable_contrast(error, freedom=freedom), *chances
