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
_POWER = 0.8


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

    The standard error is that of the linear mixed model which the analysis leads with: the ratings of the variant and
    of full precision, raters, items and texts as random intercepts, model x variant (and task) as fixed effects. With c
    cells (model x variant) and m items, Student's t has (c - 1) (m - 1) degrees of freedom.

    Args:
        plan: The study.
        assumed: Of the ratings; default: `Assumed()`.

    Returns:
        One row a kind and variant: `kind`, `variant`, `ratings` (of the variant), `raters` and `items` (of the kind),
        `error` (standard error of the difference, in points), `detectable` (smallest true difference that is shown with
        80 % probability, in points) and, for each of `DIFFERENCES`, `power 0.3` (probability that it is shown) and
        `items 0.3` (items of the kind, over all tasks, with which it is shown with 80 % probability, other things
        alike). Null where one item leaves nothing to judge by.
    """
    told = assumed or Assumed()
    texts = {text.id: text for text in plan.texts}
    given = [(rater, texts[page.text]) for rater, own in plan.pages.items() for page in own if page.text is not None]
    rows: list[tuple[object, ...]] = []
    for kind in KINDS:
        own = [(rater, text) for rater, text in given if text.shown.kind == kind]
        for variant in sorted({text.variant for _, text in own} - {FULL}):
            rows += _of_variant(kind, variant, own, told)
    kinds = {"kind": pl.String, "variant": pl.String, "ratings": pl.Int64, "raters": pl.Int64, "items": pl.Int64}
    numbers = dict.fromkeys(["error", "detectable", *(f"power {size:g}" for size in DIFFERENCES)], pl.Float64)
    needed = dict.fromkeys((f"items {size:g}" for size in DIFFERENCES), pl.Int64)
    return pl.DataFrame(rows, schema={**kinds, **numbers, **needed}, orient="row")


def _of_variant(
    kind: Kind, variant: str, own: Sequence[tuple[str, Text]], assumed: Assumed
) -> list[tuple[object, ...]]:
    of_side = [{text.model for _, text in own if text.variant == side} for side in (variant, FULL)]
    models = sorted(of_side[0] & of_side[1])
    both = [(rater, text) for rater, text in own if text.variant in {variant, FULL} and text.model in models]
    if not models:
        return []
    cells = [(model, side) for model in models for side in (variant, FULL)]
    groups = [
        [rater for rater, _ in both],
        [f"{text.task}|{text.item}" for _, text in both],
        [text.id for _, text in both],
    ]
    fixed = _fixed(both, cells)
    weights = np.zeros(fixed.shape[1])
    weights[: len(cells)] = np.array([1, -1] * len(models)) / len(models)
    spread = rating_spread(assumed.sd, assumed.alpha[kind], severity=assumed.severity, item=assumed.item)
    error = contrast_error(fixed, groups, spread.deviations, spread.residual, weights)
    items = len(set(groups[1]))
    counted = (sum(text.variant == variant for _, text in both), len({rater for rater, _ in own}), items)
    return [(kind, variant, *counted, *_shown(error, len(cells) - 1, items))]


def _fixed(own: Sequence[tuple[str, Text]], cells: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """Return a column for each model x variant, and one for each task but the first."""
    tasks = sorted({text.task for _, text in own})[1:]
    columns = [[text.model == model and text.variant == variant for _, text in own] for model, variant in cells]
    columns += [[text.task == task for _, text in own] for task in tasks]
    return np.array(columns, dtype=np.float64).T


def _shown(error: float, cells: int, items: int) -> tuple[float | int | None, ...]:
    """Return error, detectable difference, powers, and items needed, with `cells` degrees of freedom an item."""
    freedom = cells * (items - 1)
    if freedom < 1 or not math.isfinite(error):
        return (None,) * (2 + 2 * len(DIFFERENCES))
    chances = [contrast_power(size, error, freedom=freedom) for size in DIFFERENCES]
    needed = [_items_for(size, error * math.sqrt(items), cells) for size in DIFFERENCES]
    return error, detectable_contrast(error, freedom=freedom, power=_POWER), *chances, *needed


def _items_for(difference: float, error: float, cells: int) -> int:
    """Return the fewest items that show a difference with 80 % probability; `error` is that of a single item."""
    # The normal's number is a lower bound, from which few steps are left.
    items = max(2, math.floor((detectable_contrast(error, power=_POWER) / difference) ** 2))
    while contrast_power(difference, error / math.sqrt(items), freedom=cells * (items - 1)) < _POWER:
        items += 1
    return items
