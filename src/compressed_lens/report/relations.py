"""Relation scatter and first-hop bottleneck as they are shown: places in per cent, and texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from compressed_lens.comparison import Bottleneck, Saturation
from compressed_lens.report.formatting import MINUS, amount, counted, difference
from compressed_lens.report.scale import change_label, padded, round_numbers
from compressed_lens.statistics import Correlation

_EDGE = 3.0
_CONSTANT = {
    "first": "undefined: {first} is the same in every {one}",
    "second": "undefined: {second} is the same in every {one}",
    "both": "undefined: the same in every {one}",
    "few": "undefined: fewer than two {one}s",
}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One relation in a scatter; `name` is set for the one that lost most."""

    x: float
    y: float
    floor: bool
    title: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """Loss against full precision under one variant."""

    saturation: Saturation
    marks: tuple[Mark, ...]
    correlation: str
    interval: str
    left_out: str


@dataclass(frozen=True, kw_only=True)
class ScatterPanel:
    """One measure under every variant, on one scale.

    Attributes:
        ticks: Of the loss, as (place in per cent from above, label).
        across: Of full precision, as (place in per cent, label).
        numbers: A row a group: its name, full precision with the number of pairs, the loss under each variant.
    """

    label: str
    where: str
    floor: str
    ticks: tuple[tuple[float, str], ...]
    across: tuple[tuple[float, str], ...]
    zero: float
    scatters: tuple[Scatter, ...]
    numbers: tuple[tuple[str, str, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class BottleneckRow:
    """One variant (or, with `variant` "", all of a task): correlations with their intervals, and counts of items.

    Attributes:
        over: Correlation over groups (or variants), and its interval.
        items: The same over items.
        lost: Of the items that lost the first measure, how many lost the second.
        kept: Of those that kept it.
    """

    variant: str
    gate: str
    over: tuple[str, str]
    items: tuple[str, str]
    lost: str
    kept: str


@dataclass(frozen=True, kw_only=True)
class BottleneckTable:
    """Losses of two measures under every variant."""

    heading: str
    where: str
    rows: tuple[BottleneckRow, ...]


def scatter_panels(saturations: Iterable[Saturation]) -> tuple[ScatterPanel, ...]:
    """Return a panel for every (model, task, analysis, primary measure), in their order."""
    groups: dict[tuple[str, str, str, str], list[Saturation]] = {}
    for one in saturations:
        if one.measure.primary:
            groups.setdefault((one.model, one.task, one.analysis, one.measure.name), []).append(one)
    several = len({model for model, *_ in groups}) > 1
    return tuple(_panel(members, several=several) for members in groups.values())


def _panel(members: Sequence[Saturation], *, several: bool) -> ScatterPanel:
    first = members[0]
    # A variant that failed the gate does not set the scale.
    sound = [one for one in members if one.gate != "failed"] or list(members)
    low, high = padded([0.0, *(point.loss for one in sound for point in one.points)])

    def down(loss: float) -> float:
        return round(min(100.0, max(0.0, 100 * (high - loss) / (high - low))), 2)

    known = {one.variant: {point.group: point for point in one.points} for one in members}
    numbers = []
    for group in sorted({group for points in known.values() for group in points}):
        own = [known[one.variant].get(group) for one in members]
        full = max((point for point in own if point is not None), key=lambda point: point.pairs)
        losses = tuple("" if point is None else difference(point.loss, "rate") for point in own)
        numbers.append((group or "(none)", f"{amount(full.full, 'rate')} (n {full.pairs:,})", losses))
    where = f"{first.task} · {first.model}" if several else first.task
    return ScatterPanel(
        label=f"{first.analysis}: {first.measure.name.replace('_', ' ')}",
        where=where,
        floor=f"{100 * first.floor:g} %",
        ticks=tuple((down(tick), change_label(tick, "rate")) for tick in round_numbers(low, high)),
        across=tuple((_across(share), f"{100 * share:g}") for share in (0, 0.25, 0.5, 0.75, 1)),
        zero=down(0.0),
        scatters=tuple(_scatter(one, down) for one in members),
        numbers=tuple(numbers),
    )


def _across(share: float) -> float:
    return round(_EDGE + (100 - 2 * _EDGE) * share, 2)


def _scatter(one: Saturation, down: Callable[[float], float]) -> Scatter:
    most = max((point for point in one.points if point.loss > 0), key=lambda point: point.loss, default=None)
    marks = [
        Mark(
            x=_across(point.full),
            y=down(point.loss),
            floor=point.floor,
            title=f"{point.group or '(none)'}: {amount(point.full, 'rate')} under full precision, "
            f"{difference(-point.loss, 'rate')} points under {one.variant}, n = {point.pairs:,}",
            name=point.group if point is most and down(point.loss) > 0 else "",
        )
        for point in one.points
    ]
    text, interval = correlation_words(one.correlation, "accuracy", "loss", "relation")
    left = one.left_out
    return Scatter(
        saturation=one,
        marks=tuple(marks),
        correlation=text,
        interval=interval,
        left_out=f"{counted(len(left), 'relation')} below the floor left out: {', '.join(left)}" if left else "",
    )


def correlation_words(c: Correlation, first: str, second: str, one: str) -> tuple[str, str]:
    """Return a correlation with what it rests on, and its interval; or why there is none."""
    if c.constant:
        return _CONSTANT[c.constant].format(first=first, second=second, one=one), ""
    interval = "" if math.isnan(c.low) else f"[{_two(c.low)}, {_two(c.high)}]"
    return f"{_two(c.estimate)} ({c.kind}, {counted(c.n, one)})", interval


def _two(value: float) -> str:
    text = f"{abs(value):.2f}"
    return f"{MINUS}{text}" if value < 0 and text != "0.00" else text


def bottleneck_tables(found: Iterable[Bottleneck]) -> tuple[BottleneckTable, ...]:
    """Return a table for every (model, task, pair of measures), one row a variant, all variants last."""
    every = list(found)
    several = len({one.model for one in every if one.model}) > 1
    tables: dict[tuple[str, ...], dict[tuple[str, str], dict[str, Bottleneck]]] = {}
    for one in every:
        place = (one.task, one.model if several else "", *one.first, *one.second)
        tables.setdefault(place, {}).setdefault((one.variant, one.gate), {})[one.level] = one
    return tuple(
        BottleneckTable(
            heading=f"{first.replace('_', ' ')} and {second.replace('_', ' ')}",
            where=" · ".join([task, *([model] if model else []), *dict.fromkeys((analysis, other))]),
            rows=tuple(_bottleneck_row(place, levels) for place, levels in variants.items()),
        )
        for (task, model, analysis, first, other, second), variants in tables.items()
    )


def _bottleneck_row(place: tuple[str, str], levels: Mapping[str, Bottleneck]) -> BottleneckRow:
    items, over = levels.get("items"), levels.get("variants") or levels.get("groups")
    unit = "variant" if "variants" in levels else "group"
    words = [
        ("", "") if one is None else correlation_words(one.correlation, "the first loss", "the second", word)
        for one, word in ((over, unit), (items, "item"))
    ]
    lost, kept = ("", "")
    if items is not None and items.lost and items.kept:
        lost, kept = (f"{second:,} of {first:,}" for first, second in (items.lost, items.kept))
    return BottleneckRow(variant=place[0], gate=place[1], over=words[0], items=words[1], lost=lost, kept=kept)
