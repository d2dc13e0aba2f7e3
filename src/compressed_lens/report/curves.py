"""Layer curves as geometry: lines and bands in per cent of width and height, and the numbers beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from compressed_lens.comparison import VariantCurve
from compressed_lens.comparison.series import FULL, Gate
from compressed_lens.report.formatting import (
    DASH,
    amount,
    bounds,
    difference,
    difference_unit,
    identifier,
)
from compressed_lens.report.scale import change_label, padded, places, round_numbers, value_label
from compressed_lens.statistics import Interval

_LABELS = 8
_EDGE = 2.0
_BOX = 100.0
_MOST_RANGE = 1.0
FEW_CURVES = 12

Place = Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One variant in a chart.

    Attributes:
        key: Number of the variant, which picks colour and dashes; 0 is full precision.
        path: The means as an SVG path in a box of 100 x 100; broken where a layer has none, "" where all have none.
        band: The interval as closed areas in the same box.
        mark: Where the largest loss lies, in the same box; None where none is shown, or it lies outside.
    """

    variant: str
    gate: Gate
    key: int
    path: str
    band: str
    mark: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines over the same layers; ticks are (place in per cent, label)."""

    title: str
    ticks: tuple[tuple[float, str], ...]
    zero: float | None
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class WorstRow:
    """Where one variant loses most."""

    curve: VariantCurve
    key: int
    worst: str
    difference: str
    interval: str
    again: str
    counts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CurvePanel:
    """One declared curve under every variant: its means, its differences to full precision, and their numbers.

    Attributes:
        axis: What the places are, and their labels as (place in per cent, number).
        changes: None where there is no difference to draw.
        numbers: A row a place: its number, then a value (and difference) of each variant.
    """

    anchor: str
    label: str
    where: str
    summary: str
    direction: str
    unit: str
    axis: tuple[str, tuple[tuple[float, str], ...]]
    means: Chart
    changes: Chart | None
    rows: tuple[WorstRow, ...]
    numbers: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class CurveGroup:
    """The curves of one analysis on one task; `open` says whether the page shows them at once."""

    title: str
    open: bool
    panels: tuple[CurvePanel, ...]


def curve_groups(panels: Sequence[CurvePanel]) -> tuple[CurveGroup, ...]:
    """Group panels by where they belong; with more than `FEW_CURVES` of them, only the first group is open."""
    groups: dict[str, list[CurvePanel]] = {}
    for panel in panels:
        groups.setdefault(panel.where, []).append(panel)
    return tuple(
        CurveGroup(title=where, open=len(panels) <= FEW_CURVES or not n, panels=tuple(own))
        for n, (where, own) in enumerate(groups.items())
    )


def curve_panels(curves: Iterable[VariantCurve]) -> tuple[CurvePanel, ...]:
    """Return a panel for every (model, task, analysis, curve), in their order."""
    groups: dict[tuple[str, str, str, str], list[VariantCurve]] = {}
    for one in curves:
        groups.setdefault((one.model, one.task, one.analysis, one.curve.name), []).append(one)
    several = len({model for model, *_ in groups}) > 1
    return tuple(_panel(members, several=several) for members in groups.values())


def _panel(members: Sequence[VariantCurve], *, several: bool) -> CurvePanel:
    first, curve = members[0], members[0].curve
    members = sorted(members, key=lambda one: one.variant != FULL)
    keys = {one.variant: n if members[0].variant == FULL else n + 1 for n, one in enumerate(members)}
    count = len(first.own)

    def across(position: int) -> float:
        return 50.0 if count == 1 else round(_EDGE + (100 - 2 * _EDGE) * position / (count - 1), 2)

    labels = places(curve.first, count, about=_LABELS)
    compared = [one for one in members if one.paired is not None]
    name = curve.name.replace("_", " ")
    where = f"{first.task} · {first.analysis}"
    return CurvePanel(
        anchor="c-" + identifier(first.model, first.task, first.analysis, curve.name),
        label=name,
        where=f"{where} · {first.model}" if several else where,
        summary=curve.summary,
        direction={"higher": "higher is better", "lower": "lower is better", "neither": ""}[curve.direction],
        unit=curve.unit,
        axis=(curve.axis, tuple((across(label - curve.first), str(label)) for label in labels)),
        means=_chart(
            [(one, one.own) for one in members],
            keys,
            across,
            title=f"{name} by {curve.axis}. {'. '.join(_told(one) for one in members)}.",
            label=lambda value: value_label(value, curve.unit),
        ),
        changes=_chart(
            [(one, one.paired or ()) for one in compared],
            keys,
            across,
            title=f"Difference of {name} to full precision by {curve.axis}, in {difference_unit(curve.unit)}. "
            f"{'. '.join(_told_change(one) for one in compared)}.",
            label=lambda value: change_label(value, curve.unit),
            zero=True,
        )
        if compared
        else None,
        rows=tuple(_worst_row(one, keys[one.variant]) for one in members),
        numbers=tuple((str(curve.first + n), tuple(_number(one, n) for one in members)) for n in range(count)),
    )


def _chart(
    members: Sequence[tuple[VariantCurve, Sequence[Interval]]],
    keys: dict[str, int],
    across: Callable[[int], float],
    *,
    title: str,
    label: Callable[[float], str],
    zero: bool = False,
) -> Chart:
    # A variant that failed the gate does not set the scale, or it would flatten the others.
    sound = [values for one, values in members if one.gate != "failed"] or [values for _, values in members]
    means = [one.estimate for values in sound for one in values if not math.isnan(one.estimate)]
    ends = [end for values in sound for one in values for end in (one.low, one.high) if not math.isnan(end)]
    middle = [*means, *([0.0] if zero else [])] or [0.0]
    # Nor does the band of a layer with few values: it may add at most as much again as the means span.
    reach = _MOST_RANGE * (max(middle) - min(middle))
    ends = [min(max(end, min(middle) - reach), max(middle) + reach) for end in ends]
    low, high = padded([*middle, *ends])

    def down(value: float) -> float:
        return round(100 * (high - value) / (high - low), 2)

    return Chart(
        title=title,
        ticks=tuple((down(tick), label(tick)) for tick in round_numbers(low, high)),
        zero=down(0.0) if zero else None,
        lines=tuple(_line(one, values, keys[one.variant], across, down, marked=zero) for one, values in members),
    )


def _line(
    one: VariantCurve,
    values: Sequence[Interval],
    key: int,
    across: Callable[[int], float],
    down: Place,
    *,
    marked: bool,
) -> Line:
    path, band = [], []
    for run in _runs([value.estimate for value in values]):
        points = [(across(n), down(values[n].estimate)) for n in run]
        # A lone point is a line without length, which round ends make a dot.
        path.append("M" + "L".join(f"{x:g} {y:g}" for x, y in (points if len(points) > 1 else points * 2)))
    for run in _runs([value.low + value.high for value in values]):
        upper = [f"{across(n):g} {down(values[n].high):g}" for n in run]
        lower = [f"{across(n):g} {down(values[n].low):g}" for n in reversed(run)]
        band.append("M" + "L".join([*upper, *lower]) + "Z")
    worst = one.worst if marked else None
    mark = None if worst is None else (across(worst), down(values[worst].estimate))
    shown = mark is not None and worst is not None and values[worst].excludes_zero and 0 <= mark[1] <= _BOX
    return Line(
        variant=one.variant,
        gate=one.gate,
        key=key,
        path="".join(path),
        band="".join(band),
        mark=mark if shown else None,
    )


def _runs(values: Sequence[float]) -> list[list[int]]:
    """Return the positions of numbers, each unbroken run of them apart."""
    runs: list[list[int]] = []
    for n, value in enumerate(values):
        if math.isnan(value):
            continue
        if runs and runs[-1][-1] == n - 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return runs


def _told(one: VariantCurve) -> str:
    known = [(n, value.estimate) for n, value in enumerate(one.own) if not math.isnan(value.estimate)]
    state = " (failed the integrity gate)" if one.gate == "failed" else ""
    if not known:
        return f"{one.variant}{state}: no values"
    least, most = min(known, key=lambda pair: pair[1]), max(known, key=lambda pair: pair[1])
    ends = (f"{amount(value, one.curve.unit)} at {one.curve.first + n}" for n, value in (least, most))
    return f"{one.variant}{state}: {' to '.join(ends)}"


def _told_change(one: VariantCurve) -> str:
    row = _worst_row(one, 0)
    return f"{one.variant}: {f'largest at {row.worst}, {row.difference} {row.interval}' if row.worst else 'no loss'}"


def _worst_row(one: VariantCurve, key: int) -> WorstRow:
    unit, worst = one.curve.unit, one.worst
    paired = None if worst is None or one.paired is None else one.paired[worst]
    most = max(value.n for value in one.own)
    counts = [f"n {most:,}"] + [
        f"{word} {count:,}" for word, count in (("failed", one.failed), ("without the curve", one.without)) if count
    ]
    return WorstRow(
        curve=one,
        key=key,
        worst="" if worst is None else f"{one.curve.axis} {one.curve.first + worst}",
        difference="" if paired is None else difference(paired.estimate, unit),
        interval="" if paired is None else bounds(paired.low, paired.high, unit),
        again="" if math.isnan(one.again) else f"{100 * one.again:.0f} %",
        counts=tuple(counts),
    )


def _number(one: VariantCurve, position: int) -> str:
    own = one.own[position]
    if math.isnan(own.estimate):
        return DASH
    paired = one.paired[position] if one.paired else None
    text = amount(own.estimate, one.curve.unit)
    return text if paired is None or not paired.n else f"{text} ({difference(paired.estimate, one.curve.unit)})"
