"""Size and speed against what is kept: one chart a use and cost, with the front of variants that nothing beats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.series import FULL, Gate, Variant
from compressed_lens.comparison.uses import USES, UseVerdict
from compressed_lens.report.formatting import DASH, MINUS, listed, number, size
from compressed_lens.report.headline import Labels, anchor_of
from compressed_lens.report.labels import Spot, placed
from compressed_lens.report.scale import Bent, change_label, log_numbers, padded_bent

Kind = Literal["full", "front", "dominated", "failed", "placebo"]

Ticks = tuple[tuple[float, str], ...]
"""Places in per cent, and what stands there."""
WIDTH, HEIGHT = 300.0, 190.0
"""Smallest size of a drawing in pixels: labels that do not collide in it do not in a wider one."""
_ENDS = (-1.5, 1.5)
_GAP = 11.0
_FOOT = 100.0
_FAR = 100.0
_ROOM = 0.09


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One variant in one use: its worst confirmatory measure, in margins of that measure.

    Attributes:
        worth: Mean paired difference in margins, positive for a gain: 0 as full precision, -1 a loss of the margin.
        low: Lower end of that measure's 95 % interval, in margins.
        high: Its upper end.
        figure: The measure; None for full precision itself.
    """

    variant: str
    gate: Gate
    placebo: bool
    worth: float
    low: float
    high: float
    figure: Figure | None


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One variant in a chart; places are per cent of the drawing.

    Attributes:
        front: Whether it lies on the front.
        top: Upper end of its interval, cut at the edge; None without one.
        beyond: Whether it lies below the drawing, and so on its edge.
        label: Where its name stands, in pixels from the mark; None where it has none.
    """

    variant: str
    kind: Kind
    front: bool
    x: float
    y: float
    top: float | None
    bottom: float | None
    beyond: bool
    label: Spot | None
    title: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One use against one cost.

    Attributes:
        front: The front as an SVG path in a box of 100 x 100; "" with fewer than two variants on it.
        title: The chart in a sentence.
    """

    use: str
    cost: str
    better: Literal["left", "right"]
    x_ticks: Ticks
    y_ticks: Ticks
    zero: float
    band: tuple[float, float]
    front: str
    marks: tuple[Mark, ...]
    title: str


@dataclass(frozen=True, kw_only=True)
class ParetoCell:
    """One use of one variant in the table: worst measure in margins, its name, and on which fronts the variant lies."""

    text: str
    interval: str
    measure: str
    anchor: str
    fronts: str


@dataclass(frozen=True, kw_only=True)
class ParetoRow:
    """One variant in the table."""

    variant: str
    gate: Gate
    costs: tuple[str, ...]
    cells: tuple[ParetoCell, ...]


@dataclass(frozen=True, kw_only=True)
class Pareto:
    """The charts of one model, and all of it as a table."""

    model: str
    uses: tuple[str, ...]
    costs: tuple[str, ...]
    charts: tuple[Chart, ...]
    rows: tuple[ParetoRow, ...]


@dataclass(frozen=True, kw_only=True)
class _Cost:
    name: str
    short: str
    better: Literal["left", "right"]
    of: Callable[[Variant], float | None]
    told: Callable[[float], str]
    tick: Callable[[float], str]


def tokens_per_second(variant: Variant) -> float | None:
    """Return how many tokens a second went through the model in this run; None where that was not measured."""
    seconds = variant.speed.get("seconds") or 0
    return variant.speed.get("executed_tokens", 0) / seconds if seconds > 0 else None


def _short_size(count: float) -> str:
    """Write a round number of bytes without idle zeros."""
    value, unit = size(count).split()
    return f"{float(value):g} {unit}"


_COSTS = (
    _Cost(name="size on disk", short="size", better="left", of=lambda v: v.bytes_on_disk, told=size, tick=_short_size),
    _Cost(name="tokens per second", short="speed", better="right", of=tokens_per_second, told=number, tick=number),
)


def front(points: Sequence[tuple[float, float]], *, better: Literal["left", "right"]) -> tuple[bool, ...]:
    """Return which points (cost, worth) nothing beats: no other is as good in both and better in one.

    Args:
        points: Worth is good when large.
        better: Whether a small ("left") or a large cost is good.
    """
    sign = -1 if better == "left" else 1
    turned = [(sign * cost, worth) for cost, worth in points]
    return tuple(
        not any(a >= cost and b >= worth and (a, b) != (cost, worth) for a, b in turned) for cost, worth in turned
    )


def standings(verdicts: Sequence[UseVerdict]) -> tuple[Standing, ...]:
    """Return the worst confirmatory measure of every variant in one use of one model, full precision first."""
    found = [
        Standing(variant=FULL, gate="reference", placebo=False, worth=0.0, low=math.nan, high=math.nan, figure=None)
    ]
    for verdict in verdicts:
        measured = [f for f in verdict.figures if f.margin and f.paired is not None and not math.isnan(f.loss)]
        if measured:
            found.append(_standing(verdict, max(measured, key=lambda f: f.loss / (f.margin or 1.0))))
    return tuple(found)


def _standing(verdict: UseVerdict, figure: Figure) -> Standing:
    assert figure.paired is not None and figure.margin
    sign = -1 if figure.measure.direction == "lower" else 1
    ends = sorted(sign * end / figure.margin for end in (figure.paired.low, figure.paired.high))
    return Standing(
        variant=verdict.variant,
        gate=verdict.gate,
        placebo=verdict.placebo,
        worth=-figure.loss / figure.margin,
        low=ends[0],
        high=ends[1],
        figure=figure,
    )


def paretos(verdicts: Sequence[UseVerdict], variants: Sequence[Variant], labels: Labels) -> tuple[Pareto, ...]:
    """Return the charts of every model: each measured use against size on disk and against speed."""
    found = []
    for model in dict.fromkeys(variant.model for variant in variants):
        own = [variant for variant in variants if variant.model == model]
        uses = {
            name: standings([v for v in verdicts if v.model == model and v.use == use]) for use, name in USES.items()
        }
        uses = {name: rows for name, rows in uses.items() if len(rows) > 1}
        costs = [c for c in _COSTS if sum(c.of(v) is not None for v in own) > 1]
        if uses and costs:
            found.append(_pareto(model, own, uses, costs, labels))
    return tuple(found)


def _pareto(
    model: str,
    variants: Sequence[Variant],
    uses: dict[str, tuple[Standing, ...]],
    costs: Sequence[_Cost],
    labels: Labels,
) -> Pareto:
    charts = [chart for use, rows in uses.items() for c in costs if (chart := _chart(use, rows, c, variants, labels))]
    on = {(chart.use, mark.variant, chart.cost) for chart in charts for mark in chart.marks if mark.front}
    known = {use: {row.variant: row for row in rows} for use, rows in uses.items()}
    rows = tuple(
        ParetoRow(
            variant=v.name,
            gate=v.gate,
            costs=tuple(DASH if (cost := c.of(v)) is None else c.told(cost) for c in costs),
            cells=tuple(
                _cell(known[use].get(v.name), labels, [c.short for c in costs if (use, v.name, c.name) in on])
                for use in uses
            ),
        )
        for v in variants
    )
    return Pareto(model=model, uses=tuple(uses), costs=tuple(c.name for c in costs), charts=tuple(charts), rows=rows)


def _cell(row: Standing | None, labels: Labels, fronts: Sequence[str]) -> ParetoCell:
    told = f"front: {listed(list(fronts))}" if fronts else ""
    if row is None or row.figure is None:
        return ParetoCell(text=DASH if row is None else "0", interval="", measure="", anchor="", fronts=told)
    interval = "" if math.isnan(row.low) else f"[{_margins(row.low)}, {_margins(row.high)}]"
    anchor, measure = anchor_of(row.figure), labels.place(row.figure)
    return ParetoCell(text=_margins(row.worth), interval=interval, measure=measure, anchor=anchor, fronts=told)


def _margins(value: float) -> str:
    """Write a number of margins with its sign."""
    shown = number(abs(value), digits=2)
    return shown if not shown.strip("0.") else f"{MINUS if value < 0 else '+'}{shown}"


def _chart(
    use: str, rows: Sequence[Standing], cost: _Cost, variants: Sequence[Variant], labels: Labels
) -> Chart | None:
    costs = {v.name: found for v in variants if (found := cost.of(v))}
    drawn = [row for row in rows if row.variant in costs]
    candidates = [row for row in drawn if row.gate in {"passed", "reference"} and not row.placebo]
    if len(candidates) < 2:  # noqa: PLR2004 (one point has no front)
        return None
    best = front([(costs[row.variant], row.worth) for row in candidates], better=cost.better)
    kinds: dict[str, Kind] = {
        row.variant: "front" if on else "dominated" for row, on in zip(candidates, best, strict=True)
    }
    x_of, x_ticks = _across([costs[row.variant] for row in drawn], cost.tick)
    y_of, y_ticks = _upright([end for row in candidates for end in (row.worth, row.low, row.high)])
    marks = []
    for row in drawn:
        kind = kinds.get(row.variant, "placebo" if row.placebo and row.gate == "passed" else "failed")
        y = y_of(row.worth)
        told = f"{row.variant}: {cost.told(costs[row.variant])}"
        if row.figure is not None:
            told += f"; {_margins(row.worth)} margins at worst ({labels.place(row.figure)})"
        ranged = not math.isnan(row.low) and kind != "placebo" and y <= _FOOT
        marks.append(
            Mark(
                variant=row.variant,
                kind="full" if row.figure is None else kind,
                front=kind == "front",
                x=x_of(costs[row.variant]),
                y=min(y, _FOOT),
                top=max(y_of(row.high), 0.0) if ranged else None,
                bottom=min(y_of(row.low), _FOOT) if ranged else None,
                beyond=y > _FOOT,
                label=None,
                title=told + {"failed": "; failed the integrity gate", "placebo": "; placebo"}.get(kind, ""),
            )
        )
    on_front = sorted((mark for mark in marks if mark.front), key=lambda mark: mark.x)
    title = f"{use.capitalize()} against {cost.name}. On the front: {listed([m.variant for m in on_front])}"
    beaten = [name for name, kind in kinds.items() if kind == "dominated"]
    title += f"; beaten: {listed(beaten)}." if beaten else "."
    return Chart(
        use=use,
        cost=cost.name,
        better=cost.better,
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        zero=y_of(0.0),
        band=(y_of(1.0), y_of(-1.0)),
        front=staircase([(m.x, m.y) for m in on_front], cost.better),
        marks=_labelled(marks),
        title=title,
    )


def _across(costs: Sequence[float], told: Callable[[float], str]) -> tuple[Callable[[float], float], Ticks]:
    """Return a logarithmic scale over costs and its round numbers."""
    low, high = math.log(min(costs)), math.log(max(costs))
    if high - low < math.log(1.2):
        low, high = low - math.log(1.1), high + math.log(1.1)
    low, high = low - _ROOM * (high - low), high + _ROOM * (high - low)

    def place(cost: float) -> float:
        return round(100 * (math.log(cost) - low) / (high - low), 1)

    return place, tuple((place(tick), told(tick)) for tick in log_numbers(math.exp(low), math.exp(high)))


def _upright(values: Sequence[float]) -> tuple[Callable[[float], float], Ticks]:
    """Return a scale of margins, one margin of loss and of gain always on it, and its round numbers."""
    ends = [max(-_FAR, min(_FAR, value)) for value in (*values, *_ENDS) if not math.isnan(value)]
    scale = Bent(*padded_bent(min(ends), max(ends), knee=1.0), knee=1.0)

    def place(value: float) -> float:
        return round(100 - scale(value), 1)

    return place, tuple((place(tick), change_label(tick, "")) for tick in scale.round_numbers(gap=_GAP))


def staircase(points: Sequence[tuple[float, float]], better: Literal["left", "right"]) -> str:
    """Return the front as a staircase: at any cost the worth of the best variant that costs no more."""
    if len(points) < 2:  # noqa: PLR2004
        return ""
    steps = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for x, y in points[1:]:
        steps.append(f"H{x:g}V{y:g}" if better == "left" else f"V{y:g}H{x:g}")
    return "".join(steps)


def _labelled(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """Give every mark its name where it covers no other mark or name; placebos stay without one."""
    spots = [(m.x * WIDTH / 100, m.y * HEIGHT / 100) for m in marks]
    named = [n for n, mark in enumerate(marks) if mark.kind != "placebo"]
    places = placed(spots, {n: marks[n].variant for n in named}, WIDTH, HEIGHT)
    return tuple(replace(mark, label=places.get(n)) for n, mark in enumerate(marks))
