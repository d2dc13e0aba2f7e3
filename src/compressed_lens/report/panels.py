"""Forest plots and the heat map as geometry: positions in per cent of a width, classes for colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.series import Gate
from compressed_lens.report.formatting import (
    DASH,
    MINUS,
    amount,
    bounds,
    difference,
    difference_unit,
    p_value,
    value_bounds,
)
from compressed_lens.report.headline import Labels, anchor_of

_MARGIN = 0.06
_TICKS = 4
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_POINTS = (0.01, 0.05, 0.15, 0.3)
_DEVIATIONS = (0.1, 0.3, 0.6, 1.2)
_WORDS = {
    "worse": "worse",
    "better": "better",
    "different": "different",
    "perhaps worse": "perhaps worse",
    "perhaps better": "perhaps better",
    "perhaps different": "perhaps different",
    "unchanged": "same on every item",
    "not shown": "no difference shown",
    "not comparable": "nothing to compare",
    "reference": "full precision",
}


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """One variant in a forest plot.

    Attributes:
        x: Place of the estimate in per cent of the width; None where there is none.
        left: Place of the lower bound; None where there is no interval.
        right: Place of the upper bound.
        beyond: "left" or "right" when the estimate lies outside the drawing, which is then no measure of it.
    """

    figure: Figure
    value: str
    value_interval: str
    difference: str
    interval: str
    p: str
    words: str
    counts: tuple[str, ...]
    x: float | None
    left: float | None
    right: float | None
    beyond: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One measure on one task: its table and its forest plot."""

    anchor: str
    model: str
    task: str
    analysis: str
    label: str
    summary: str
    unit: str
    direction: str
    left_word: str
    right_word: str
    zero: float
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[ForestRow, ...]

    @property
    def quiet(self) -> bool:
        """Whether every item came out the same under every variant that has a comparison."""
        return all(row.figure.verdict in {"reference", "unchanged", "not comparable"} for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class HeatCell:
    """One field of the heat map: `level` -4 (much worse) to 4 (much better); `kind` picks the colour family."""

    figure: Figure
    level: int
    kind: str
    text: str
    title: str


@dataclass(frozen=True, kw_only=True)
class HeatRow:
    """One measure under every variant."""

    label: str
    unit: str
    anchor: str
    cells: tuple[HeatCell, ...]


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Measures (rows) by variants (columns) of one model.

    Attributes:
        parts: (task, analysis, rows), in the order of the study.
        never: Rates that are zero on every item under every variant, and therefore have no row.
    """

    model: str
    variants: tuple[tuple[str, Gate], ...]
    parts: tuple[tuple[str, str, tuple[HeatRow, ...]], ...]
    never: tuple[str, ...]


def grouped(figures: Iterable[Figure]) -> list[list[Figure]]:
    """Return figures by (model, task, analysis, measure), in their order; those without any value left out."""
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(anchor_of(figure), []).append(figure)
    return [group for group in groups.values() if any(figure.own.n for figure in group)]


def panels(figures: Sequence[Figure]) -> tuple[Panel, ...]:
    """Return a panel for every measure on every task that has a value under some variant."""
    labels = Labels(figures)
    return tuple(_panel(group, labels) for group in grouped(figures))


def absent(figures: Sequence[Figure]) -> tuple[str, ...]:
    """Name the measures that apply to no recorded item, as "measure on task"."""
    labels = Labels(figures)
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(anchor_of(figure), []).append(figure)
    return tuple(labels.place(group[0]) for group in groups.values() if not any(f.own.n for f in group))


def _panel(group: Sequence[Figure], labels: Labels) -> Panel:
    first = group[0]
    # A variant that failed the gate does not set the scale, or it would squeeze the others into a dot.
    sound = [f.paired for f in group if f.paired is not None and f.gate != "failed"]
    sound = [paired for paired in sound if paired.n] or [f.paired for f in group if f.paired is not None]
    ends = [0.0, *(end for paired in sound for end in (paired.estimate, paired.low, paired.high))]
    low, high = _range([end for end in ends if not math.isnan(end)])

    def place(value: float) -> float:
        return round(min(100.0, max(0.0, 100 * (value - low) / (high - low))), 2)

    unit = first.measure.unit
    worse_left = {"higher": ("worse", "better"), "lower": ("better", "worse"), "neither": ("less", "more")}
    left_word, right_word = worse_left[first.measure.direction]
    return Panel(
        anchor=anchor_of(first),
        model=first.model,
        task=first.task,
        analysis=first.analysis,
        label=labels.measure(first),
        summary=first.measure.summary,
        unit=difference_unit(unit),
        direction={"higher": "higher is better", "lower": "lower is better", "neither": ""}[first.measure.direction],
        left_word=left_word,
        right_word=right_word,
        zero=place(0.0),
        ticks=tuple((place(tick), _tick(tick, unit)) for tick in _ticks(low, high)),
        rows=tuple(_forest_row(figure, place) for figure in group),
    )


def _forest_row(figure: Figure, place: Callable[[float], float]) -> ForestRow:
    paired, unit = figure.paired, figure.measure.unit
    known = paired is not None and paired.n > 0
    ranged = known and paired is not None and not math.isnan(paired.low)
    told = difference(paired.estimate, unit) if known and paired is not None else ""
    interval = bounds(paired.low, paired.high, unit) if ranged and paired is not None else ""
    state = " · FAILED the integrity gate" if figure.gate == "failed" else ""
    title = f"{figure.variant}: {words(figure)}"
    if told:
        title += f"; {told} {difference_unit(unit)} {interval}, n = {paired.n if paired else 0}{state}"
    x = place(paired.estimate) if known and paired is not None else None
    return ForestRow(
        figure=figure,
        value=amount(figure.own.estimate, unit),
        value_interval=value_bounds(figure.own.low, figure.own.high, unit),
        difference=told,
        interval=interval,
        p=p_value(figure.p) if known else "",
        words=words(figure),
        counts=counts(figure),
        x=x,
        left=place(paired.low) if ranged and paired is not None else None,
        right=place(paired.high) if ranged and paired is not None else None,
        beyond={0.0: "left", 100.0: "right"}.get(-1.0 if x is None else x, ""),
        title=title,
    )


def words(figure: Figure) -> str:
    """Return what the comparison shows, in words."""
    if figure.gate == "unavailable":
        return "unavailable"
    if not figure.recorded:
        return "nothing recorded"
    return _WORDS[figure.verdict]


def counts(figure: Figure) -> tuple[str, ...]:
    """Return the counts that stand next to a value: n, and whatever else is not zero."""
    parts = [f"n {figure.own.n:,}"]
    if figure.failed:
        parts.append(f"failed {figure.failed:,}")
    if figure.unparsed:
        parts.append(f"unparsed {figure.unparsed:,}")
    without = figure.recorded - figure.own.n - (figure.failed if figure.measure.on_failure is None else 0)
    if without > 0:
        parts.append(f"not applicable {without:,}")
    if figure.recorded < figure.planned:
        parts.append(f"not recorded {figure.planned - figure.recorded:,}")
    if figure.paired is not None and 0 < figure.paired.n != figure.own.n:
        parts.append(f"pairs {figure.paired.n:,}")
    return tuple(parts)


def heat_maps(figures: Sequence[Figure]) -> tuple[HeatMap, ...]:
    """Return one heat map a model."""
    labels = Labels(figures)
    maps = []
    for model in dict.fromkeys(figure.model for figure in figures):
        own = [figure for figure in figures if figure.model == model]
        variants = dict.fromkeys((figure.variant, figure.gate) for figure in own)
        parts: dict[tuple[str, str], list[HeatRow]] = {}
        never = []
        for group in grouped(own):
            first = group[0]
            if first.measure.unit == "rate" and all(f.own.estimate == 0 for f in group if f.own.n):
                never.append(labels.place(first))
                continue
            cells = {figure.variant: figure for figure in group}
            row = HeatRow(
                label=labels.measure(first),
                unit=difference_unit(first.measure.unit),
                anchor=anchor_of(first),
                cells=tuple(_heat_cell(cells[name]) for name, _ in variants if name in cells),
            )
            parts.setdefault((first.task, first.analysis), []).append(row)
        told = tuple((task, analysis, tuple(rows)) for (task, analysis), rows in parts.items())
        maps.append(HeatMap(model=model, variants=tuple(variants), parts=told, never=tuple(never)))
    return tuple(maps)


def _heat_cell(figure: Figure) -> HeatCell:
    measure, paired = figure.measure, figure.paired
    title = f"{figure.variant}: {words(figure)}"
    if figure.verdict == "reference":
        return HeatCell(figure=figure, level=0, kind="own", text=amount(figure.own.estimate, measure.unit), title=title)
    if paired is None or not paired.n:
        return HeatCell(figure=figure, level=0, kind="none", text=DASH, title=title)
    title += f"; {difference(paired.estimate, measure.unit)} {difference_unit(measure.unit)}"
    title += f" {bounds(paired.low, paired.high, measure.unit)}, n = {paired.n}"
    scale = _POINTS if measure.unit == "rate" else _DEVIATIONS
    size = abs(paired.estimate) if measure.unit == "rate" else _ratio(abs(paired.estimate), figure.spread)
    level = sum(size >= step for step in scale)
    good = (paired.estimate > 0) == (measure.direction == "higher")
    kind = "neither" if measure.direction == "neither" else "better" if good else "worse"
    text = difference(paired.estimate, measure.unit)
    return HeatCell(figure=figure, level=level, kind=kind, text=text, title=title)


def _ratio(size: float, spread: float) -> float:
    if size == 0:
        return 0.0
    return size / spread if spread > 0 else math.inf


def _range(ends: Sequence[float]) -> tuple[float, float]:
    low, high = min(ends), max(ends)
    if low == high:
        low, high = low - 1, high + 1
    margin = (high - low) * _MARGIN
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers between `low` and `high`, zero among them."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * s for s in _STEPS if power * s >= rough * (1 - 1e-9))
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _tick(value: float, unit: str) -> str:
    shown = f"{abs(value) * (100 if unit == 'rate' else 1):.6g}"
    return shown if value == 0 else (MINUS if value < 0 else "+") + shown


def heat_note() -> str:
    """Say what the colours of the heat map mean."""
    points = ", ".join(f"{100 * step:g}" for step in _POINTS)
    deviations = ", ".join(f"{step:g}" for step in _DEVIATIONS)
    return (
        f"Shades change at {points} points for rates, and at {deviations} standard deviations of the "
        "full-precision values for other units."
    )


def loss_level(loss: float) -> int:
    """Return the shade of a rate's change, 0 to 4."""
    return sum(abs(loss) >= step for step in _POINTS)
