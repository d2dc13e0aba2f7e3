"""Forest plots and the heat map as geometry: positions in per cent of a width, classes for colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.outcomes import OutcomeTable
from compressed_lens.comparison.series import Gate
from compressed_lens.report.formatting import (
    amount,
    bounds,
    counted,
    difference,
    difference_unit,
    p_value,
    value_bounds,
)
from compressed_lens.report.headline import Labels, anchor_of
from compressed_lens.report.scale import Bent, change_label, padded, padded_bent, round_numbers
from compressed_lens.report.words import words as verdict_words

FEW_PANELS = 40
"""Up to this many panels the page shows all of them open, as one list; above, it groups and folds."""

FAMILY_TITLES = {
    "task": "Task performance",
    "knowledge": "Factual knowledge",
    "quality": "Quality of explanations",
    "faithfulness": "Faithfulness of explanations",
    "other": "Other measures",
}

_MARGINS = 8
_GAP = 13.0
SHOWN = frozenset({"worse", "better", "different"})


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """One variant in a forest plot.

    Attributes:
        mark: Kind of its mark (`mark`).
        x: Place of the estimate in per cent of the width; None where there is none.
        left: Place of the lower bound; None where there is no interval.
        right: Place of the upper bound.
        beyond: "left" or "right" when the estimate lies outside the drawing, which is then no measure of it.
        every: Whether it stands for every variant.
    """

    figure: Figure
    mark: str
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
    every: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One measure on one task: its table and its forest plot.

    Attributes:
        key: Short id of its drawing.
        zero: Place of no difference, in per cent of the width.
        margin: Left and right end of the band of differences that would not matter; None without a margin.
        floor: The same of the band that placebo variants reached; None without placebos.
        notes: Its good direction, margin and noise floor in words.
    """

    anchor: str
    key: str
    model: str
    task: str
    analysis: str
    label: str
    family: str
    primary: bool
    summary: str
    unit: str
    direction: str
    left_word: str
    right_word: str
    zero: float
    margin: tuple[float, float] | None
    floor: tuple[float, float] | None
    notes: tuple[str, ...]
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[ForestRow, ...]

    @property
    def confirmatory(self) -> bool:
        """Whether verdicts on uses rest on it."""
        return self.rows[0].figure.confirmatory

    @property
    def quiet(self) -> bool:
        """Whether every item came out the same under every variant that has a comparison."""
        return all(row.figure.same or row.figure.verdict in {"reference", "not comparable"} for row in self.rows)

    @property
    def told_rows(self) -> tuple[ForestRow, ...]:
        """Its rows, or full precision's and one more where all variants but full precision have the same figures."""
        others = [row for row in self.rows if row.figure.verdict != "reference"]
        told = {(row.value_interval, row.counts, row.difference, row.interval, row.words) for row in others}
        if len(others) > 1 and len(told) == 1 and self.quiet and all(r.figure.gate == "passed" for r in others):
            return (*(row for row in self.rows if row.figure.verdict == "reference"), replace(others[0], every=True))
        return self.rows

    @property
    def shown(self) -> bool:
        """Whether a difference is shown under some variant that passed the gate."""
        return any(row.figure.verdict in SHOWN and row.figure.gate != "failed" for row in self.rows)


def grouped(figures: Iterable[Figure]) -> list[list[Figure]]:
    """Return figures by (model, task, analysis, measure), in their order; those without any value left out."""
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(anchor_of(figure), []).append(figure)
    return [group for group in groups.values() if any(figure.own.n for figure in group)]


def panels(figures: Sequence[Figure]) -> tuple[Panel, ...]:
    """Return a panel for every measure on every task that has a value under some variant."""
    labels = Labels(figures)
    return tuple(_panel(group, labels, f"g{n}") for n, group in enumerate(grouped(figures)))


def family_place(family: str) -> int:
    """Return where a family stands in the page."""
    names = list(FAMILY_TITLES)
    return names.index(family) if family in names else len(names)


@dataclass(frozen=True, kw_only=True)
class OutcomeCounts:
    """Outcome classes of one analysis as they are shown: (variant, gate, counts), each row adding up to `items`."""

    items: int
    classes: tuple[str, ...]
    rows: tuple[tuple[str, Gate, tuple[int, ...]], ...]

    @classmethod
    def of(cls, table: OutcomeTable, gates: Mapping[tuple[str, str], Gate]) -> OutcomeCounts:
        """Return a table with how each variant stands at the gate."""
        rows = tuple((name, gates.get((table.model, name), "pending"), counts) for name, counts in table.counts)
        return cls(items=table.items, classes=table.classes, rows=rows)


@dataclass(frozen=True, kw_only=True)
class AnalysisPanels:
    """The panels of one analysis on one task, its outcome classes above them.

    Attributes:
        told: What its panels show, in a few words.
        open: Whether the page shows it at once.
        outcomes: Counts of its outcome classes; None where its records name none.
    """

    anchor: str
    title: str
    where: str
    told: str
    open: bool
    outcomes: OutcomeCounts | None
    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True)
class FamilyPanels:
    """The analyses of one family."""

    title: str
    analyses: tuple[AnalysisPanels, ...]


def families(
    panels: Sequence[Panel], outcomes: Iterable[OutcomeTable], gates: Mapping[tuple[str, str], Gate]
) -> tuple[FamilyPanels, ...]:
    """Group panels by the family of their analysis (that of its primary measure), task and analysis.

    With more than `FEW_PANELS` panels, analyses without a shown difference are folded.
    """
    several = len({panel.model for panel in panels}) > 1
    few = len(panels) <= FEW_PANELS
    tables = {(table.model, table.task, table.analysis): OutcomeCounts.of(table, gates) for table in outcomes}
    members: dict[tuple[str, str, str], list[Panel]] = {}
    for panel in panels:
        members.setdefault((panel.model, panel.task, panel.analysis), []).append(panel)
    found: dict[str, list[AnalysisPanels]] = {}
    for (model, task, analysis), own in members.items():
        family = next((panel.family for panel in own if panel.primary), own[0].family)
        shown = sum(panel.shown for panel in own)
        found.setdefault(family, []).append(
            AnalysisPanels(
                anchor="a-" + own[0].anchor[2:].rsplit("--", 1)[0],
                title=analysis,
                where=f"{task} · {model}" if several else task,
                told=f"{counted(len(own), 'measure')}, {shown or 'none'} with a difference shown",
                open=few or any(panel.shown for panel in own if panel.primary),
                outcomes=tables.get((model, task, analysis)),
                panels=tuple(sorted(own, key=lambda panel: not panel.primary)),
            )
        )
    order = sorted(found, key=family_place)
    return tuple(FamilyPanels(title=FAMILY_TITLES.get(name, name), analyses=tuple(found[name])) for name in order)


def absent(figures: Sequence[Figure]) -> tuple[str, ...]:
    """Name the measures that apply to no recorded item, as "measure on task"."""
    labels = Labels(figures)
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(anchor_of(figure), []).append(figure)
    return tuple(labels.place(group[0]) for group in groups.values() if not any(f.own.n for f in group))


def _panel(group: Sequence[Figure], labels: Labels, key: str) -> Panel:
    first = group[0]
    # A variant that failed the gate does not set the scale, or it would squeeze the others into a dot.
    sound = [f.paired for f in group if f.paired is not None and f.gate != "failed"]
    sound = [paired for paired in sound if paired.n] or [f.paired for f in group if f.paired is not None]
    floor = max((f.floor for f in group if f.floor is not None), default=None)
    bands = [end for size in (first.margin, floor) if size is not None for end in (-size, size)]
    ends = [0.0, *bands, *(end for paired in sound for end in (paired.estimate, paired.low, paired.high))]
    scale, ticks = scale_for([end for end in ends if not math.isnan(end)], first.margin)

    def place(value: float) -> float:
        return round(min(100.0, max(0.0, scale(value))), 1)

    def band(size: float | None) -> tuple[float, float] | None:
        return None if size is None else (place(-size), place(size))

    unit = first.measure.unit
    worse_left = {"higher": ("worse", "better"), "lower": ("better", "worse"), "neither": ("less", "more")}
    direction = {"higher": "higher is better", "lower": "lower is better", "neither": ""}[first.measure.direction]
    left_word, right_word = worse_left[first.measure.direction]
    return Panel(
        anchor=anchor_of(first),
        key=key,
        model=first.model,
        task=first.task,
        analysis=first.analysis,
        label=labels.measure(first),
        family=first.measure.family,
        primary=first.measure.primary,
        summary=first.measure.summary,
        unit=difference_unit(unit),
        direction=direction,
        left_word=left_word,
        right_word=right_word,
        zero=place(0.0),
        margin=band(first.margin),
        floor=band(floor),
        notes=_notes(direction, first.margin, floor, unit),
        ticks=tuple((place(tick), change_label(tick, unit)) for tick in ticks),
        rows=tuple(_forest_row(figure, place) for figure in group),
    )


def _forest_row(figure: Figure, place: Callable[[float], float]) -> ForestRow:
    paired, unit = figure.paired, figure.measure.unit
    known = paired is not None and paired.n > 0
    ranged = known and paired is not None and not math.isnan(paired.low)
    told = difference(paired.estimate, unit) if known and paired is not None else ""
    interval = bounds(paired.low, paired.high, unit) if ranged and paired is not None else ""
    x = place(paired.estimate) if known and paired is not None else None
    return ForestRow(
        figure=figure,
        mark=mark(figure),
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
    )


def scale_for(ends: Sequence[float], margin: float | None) -> tuple[Callable[[float], float], list[float]]:
    """Return a scale in per cent and its round numbers: bent where the margin would be too narrow to be seen."""
    if margin is not None and margin > 0 and max(map(abs, ends)) > _MARGINS * margin:
        low, high = padded_bent(min(ends), max(ends), knee=margin)
        bent = Bent(low, high, margin)
        return bent, bent.round_numbers(gap=_GAP)
    low, high = padded(ends)
    return lambda value: 100 * (value - low) / (high - low), round_numbers(low, high)


def _notes(direction: str, margin: float | None, floor: float | None, unit: str) -> tuple[str, ...]:
    bands = (("margin", margin), ("noise floor", floor))
    told = [
        f"{name} ±{difference(band, unit, sign=False)} {difference_unit(unit)}"
        for name, band in bands
        if band is not None
    ]
    return (*((direction,) if direction else ()), *told)


def mark(figure: Figure) -> str:
    """Return the kind of mark a figure gets: its verdict, "leaning worse" and so on, "failed", or "" for none."""
    if figure.verdict in {"reference", "not comparable"}:
        return ""
    if figure.gate == "failed":
        return "failed"
    return f"leaning {figure.leaning}" if figure.leaning else figure.verdict


def words(figure: Figure) -> str:
    """Return what the comparison shows, in words."""
    if figure.gate == "unavailable":
        return "unavailable"
    if not figure.recorded:
        return "nothing recorded"
    return verdict_words(figure) + (" (same on every item)" if figure.same else "")


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
