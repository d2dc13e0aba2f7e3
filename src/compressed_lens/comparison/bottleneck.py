"""First-hop bottleneck: does the loss of two-hop accuracy follow the loss of the bridge?

Source: 2505.13963 (Spearman's 0.93 between the loss of two-hop accuracy and the ability to predict the bridge, without
saying over what); intervals, levels, and the second hop for contrast are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from compressed_lens.comparison.saturation import group_losses, rank_correlation
from compressed_lens.comparison.series import FULL, Gate, Measure, Series, or_none
from compressed_lens.comparison.transitions import is_yes_or_no
from compressed_lens.statistics import Correlation, correlation

if TYPE_CHECKING:
    import polars as pl

Level = Literal["groups", "items", "variants"]
Chosen = Callable[[Series, Measure], bool]
_HOPS = ("first_correct", "second_correct")
_TWO = 2
_SEED = 20_240_613
_Member = tuple[Series, Measure]


@dataclass(frozen=True, kw_only=True)
class LossPair:
    """The losses of two measures in one place (a group, or a variant of a model); positive is worse."""

    name: str
    first: float
    second: float


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """How the loss of one measure goes with the loss of another.

    Attributes:
        level: What is correlated. "groups": the mean losses of each group (composition type) under one variant.
            "items": single items under one variant. "variants": the mean losses of each (model, variant) of a task.
        variant: "" for the level "variants"; `model` is "" there, too.
        first: (analysis, measure) of the bridge, or of the second hop for contrast.
        second: The same of what needs it.
        correlation: Positive says that they are lost together. Of items: phi of lost against lost over the items that
            are good in both under full precision; where a measure is no yes or no, Spearman's of the losses of all.
        points: The pairs of losses; none for "items".
        lost: (items that lost the first measure, those of them that lost the second), for two yes/no measures.
        kept: (items that kept the first measure, those of them that lost the second).
    """

    model: str
    task: str
    variant: str
    gate: Gate
    level: Level
    first: tuple[str, str]
    second: tuple[str, str]
    correlation: Correlation
    points: tuple[LossPair, ...] = ()
    lost: tuple[int, int] | None = None
    kept: tuple[int, int] | None = None


def hops(series: Series, measure: Measure) -> bool:
    """Choose the accuracy of each hop, and EntRec of the bridge (metric `entity_recall` of that analysis).

    The second hop is there for contrast: if the first is the bottleneck, its loss should tell more.
    """
    return measure.value in _HOPS or (series.method == measure.name == "entity_recall")


def composed(series: Series, measure: Measure) -> bool:
    """Choose the accuracy of the two-hop prompt."""
    return measure.value == "composed_correct"


def bottlenecks(
    series: Sequence[Series],
    gates: Mapping[tuple[str, str], Gate],
    *,
    placebos: Collection[tuple[str, str]] = (),
    first: Chosen = hops,
    second: Chosen = composed,
) -> tuple[Bottleneck, ...]:
    """Correlate the losses of every pair of chosen measures of the same task, at every level there is.

    Args:
        series: The run's outcomes, lined up.
        gates: How each (model, variant) stands; variants that failed the gate are left out of the level "variants".
        placebos: Each (model, variant) that is a placebo: left out of the level "variants", too.
        first: Which measures say whether the bridge, or another part, is there.
        second: Which measures need it.
    """
    places: dict[tuple[str, str], list[_Member]] = {}
    for one in series:
        if any(one.outcomes.get(FULL, ())):
            for measure in one.measures:
                places.setdefault((one.model, one.task), []).append((one, measure))
    found: list[Bottleneck] = []
    cells: dict[tuple[str, tuple[str, str], tuple[str, str]], list[LossPair]] = {}
    for (model, task), members in places.items():
        for a in (member for member in members if first(*member)):
            for b in (member for member in members if second(*member) and member != a):
                shared = [name for name in a[0].outcomes if name != FULL and _recorded(name, a, b)]
                for variant in shared:
                    gate = gates.get((model, variant), "pending")
                    found += _of_variant(a, b, variant, gate)
                    pair = LossPair(name=f"{model} {variant}", first=_mean(a, variant), second=_mean(b, variant))
                    if gate != "failed" and (model, variant) not in placebos:
                        cells.setdefault((task, _named(a), _named(b)), []).append(pair)
    for (task, left, right), pairs in cells.items():
        if len(pairs) > _TWO:
            told: dict[str, Any] = {
                "model": "",
                "task": task,
                "variant": "",
                "gate": "passed",
                "first": left,
                "second": right,
            }
            found.append(Bottleneck(**told, level="variants", correlation=_over(pairs), points=tuple(pairs)))
    return tuple(found)


def _recorded(variant: str, *members: _Member) -> bool:
    return all(any(one.outcomes.get(variant, ())) for one, _ in members)


def _named(member: _Member) -> tuple[str, str]:
    return member[0].analysis, member[1].name


def _of_variant(a: _Member, b: _Member, variant: str, gate: Gate) -> list[Bottleneck]:
    one = a[0]
    told: dict[str, Any] = {"model": one.model, "task": one.task, "variant": variant, "gate": gate}
    told |= {"first": _named(a), "second": _named(b)}
    left, right = group_losses(*a, variant), group_losses(*b, variant)
    pairs = [LossPair(name=group, first=left[group][1], second=right[group][1]) for group in left if group in right]
    found = []
    if len(set(one.groups)) >= _TWO:
        found.append(Bottleneck(**told, level="groups", correlation=_over(pairs), points=tuple(pairs)))
    return [*found, _of_items(a, b, variant, told)]


def _over(pairs: Sequence[LossPair]) -> Correlation:
    return rank_correlation([pair.first for pair in pairs], [pair.second for pair in pairs])


def _of_items(a: _Member, b: _Member, variant: str, told: Mapping[str, Any]) -> Bottleneck:
    rows = list(dict.fromkeys([*a[0].rows, *b[0].rows]))
    yes_or_no = all(is_yes_or_no(one, measure) and measure.direction != "neither" for one, measure in (a, b))
    losses = [_by_row(member, variant, rows, could_lose=yes_or_no) for member in (a, b)]
    clusters = np.array([item for item, _ in rows]) if a[0].repeated or b[0].repeated else None
    lost = kept = None
    if yes_or_no:
        both = ~np.isnan(losses[0]) & ~np.isnan(losses[1])
        gone, second = losses[0][both] > 0, losses[1][both] > 0
        lost, kept = (int(gone.sum()), int(second[gone].sum())), (int((~gone).sum()), int(second[~gone].sum()))
    related = correlation(*losses, clusters=clusters, seed=_SEED)
    return Bottleneck(**told, level="items", correlation=related, lost=lost, kept=kept)


def _by_row(member: _Member, variant: str, rows: Sequence[tuple[str, int]], *, could_lose: bool) -> NDArray[np.float64]:
    """Return the loss of each row, NaN where there is none; with `could_lose` also where full precision was bad."""
    series, measure = member
    base, other = series.column(FULL, measure), series.column(variant, measure)
    losses = other - base if measure.direction == "lower" else base - other
    if could_lose:
        losses = np.where(base == (0 if measure.direction == "lower" else 1), losses, np.nan)
    known = dict(zip(series.rows, losses.tolist(), strict=True))
    return np.array([known.get(row, math.nan) for row in rows])


def _mean(member: _Member, variant: str) -> float:
    losses = _by_row(member, variant, member[0].rows, could_lose=False)
    applied = losses[~np.isnan(losses)]
    return float(applied.mean()) if applied.size else math.nan


def bottlenecks_frame(rows: Iterable[Bottleneck]) -> pl.DataFrame:
    """Return bottlenecks as a Polars frame, one row a (model, task, variant, level, pair of measures).

    Columns: `model, task, variant, gate, level, first_analysis, first, second_analysis, second`; `kind` (spearman or
    phi), `correlation, low, high` (null where undefined), `n`, `undefined` (why); `lost_first, lost_both, kept_first,
    lost_second_only` (counts of items, for two yes/no measures).
    """
    import polars as pl

    texts = (
        "model",
        "task",
        "variant",
        "gate",
        "level",
        "first_analysis",
        "first",
        "second_analysis",
        "second",
        "kind",
    )
    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(texts, pl.String),
        **dict.fromkeys(("correlation", "low", "high"), pl.Float64),
        "n": pl.Int64,
        "undefined": pl.String,
        **dict.fromkeys(("lost_first", "lost_both", "kept_first", "lost_second_only"), pl.Int64),
    }
    found = []
    for one in rows:
        c = one.correlation
        ends = tuple(map(or_none, (c.estimate, c.low, c.high)))
        counts = (*(one.lost or (None, None)), *(one.kept or (None, None)))
        place = (one.model, one.task, one.variant, one.gate, one.level, *one.first, *one.second)
        found.append((*place, c.kind, *ends, c.n, c.constant or None, *counts))
    return pl.DataFrame(found, schema=schema, orient="row")
