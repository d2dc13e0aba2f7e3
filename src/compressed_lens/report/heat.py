"""The heat maps of the overview: measures by variants, shaded by the size of the difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.series import Gate
from compressed_lens.report.formatting import DASH, amount, bounds, counted, difference, difference_unit
from compressed_lens.report.headline import Labels, anchor_of
from compressed_lens.report.panels import FAMILY_TITLES, FEW_PANELS, family_place, grouped, words

_POINTS = (0.01, 0.05, 0.15, 0.3)
_MARGINS = (0.5, 1.0, 3.0, 10.0)
_DEVIATIONS = (0.1, 0.3, 0.6, 1.2)


@dataclass(frozen=True, kw_only=True)
class HeatCell:
    """One field of the heat map.

    Attributes:
        level: Its shade, 0 to 4.
        kind: Its colour family: worse, better, neither, own (full precision's own value), none (no comparison).
        title: All of it in a sentence.
    """

    figure: Figure
    level: int
    kind: str
    text: str
    title: str


@dataclass(frozen=True, kw_only=True)
class HeatRow:
    """One measure under every variant; `where` names its place where the part does not."""

    label: str
    where: str
    unit: str
    anchor: str
    cells: tuple[HeatCell, ...]


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Measures (rows) by variants (columns) of one model.

    Attributes:
        title: What the rows are; "" where they are all there is.
        folded: Whether the page shows it on request only.
        parts: (heading, small heading, rows).
    """

    model: str
    title: str
    folded: bool
    variants: tuple[tuple[str, Gate], ...]
    parts: tuple[tuple[str, str, tuple[HeatRow, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The heat maps of a run.

    Attributes:
        never: Rates that are zero on every item under every variant, and therefore have no row.
    """

    maps: tuple[HeatMap, ...]
    never: tuple[str, ...]


def heat_maps(figures: Sequence[Figure]) -> Overview:
    """Return the heat maps of a run: one a model, by task and analysis.

    With more than `FEW_PANELS` measures, a model's first map holds the primary ones by family, and folded ones hold
    the others of each family.
    """
    labels = Labels(figures)
    maps: list[HeatMap] = []
    never = []
    groups = []
    for group in grouped(figures):
        first = group[0]
        if first.measure.unit == "rate" and all(f.own.estimate == 0 for f in group if f.own.n):
            never.append(labels.place(first))
        else:
            groups.append(group)
    models = list(dict.fromkeys(group[0].model for group in groups))
    for model in models:
        own = [group for group in groups if group[0].model == model]
        if len(groups) <= FEW_PANELS * len(models):
            maps.append(_map(own, labels, title="", of=lambda first: (first.task, first.analysis)))
            continue
        primary = [group for group in own if group[0].measure.primary]
        primary.sort(key=lambda group: family_place(group[0].measure.family))
        maps.append(_map(primary, labels, title="Primary measures", of=lambda f: (FAMILY_TITLES[f.measure.family], "")))
        for family in FAMILY_TITLES:
            rest = [g for g in own if not g[0].measure.primary and g[0].measure.family == family]
            title = f"{FAMILY_TITLES[family]}: {counted(len(rest), 'exploratory measure')}"
            if rest:
                maps.append(_map(rest, labels, title=title, of=lambda f: (f.task, f.analysis), folded=True))
    return Overview(maps=tuple(maps), never=tuple(never))


def _map(
    groups: Sequence[Sequence[Figure]],
    labels: Labels,
    *,
    title: str,
    of: Callable[[Figure], tuple[str, str]],
    folded: bool = False,
) -> HeatMap:
    variants = tuple(dict.fromkeys((figure.variant, figure.gate) for group in groups for figure in group))
    parts: dict[tuple[str, str], list[HeatRow]] = {}
    for group in groups:
        first = group[0]
        heading = of(first)
        cells = {figure.variant: figure for figure in group}
        row = HeatRow(
            label=labels.measure(first),
            where="" if heading == (first.task, first.analysis) else f"{first.analysis}, {first.task}",
            unit=difference_unit(first.measure.unit),
            anchor=anchor_of(first),
            cells=tuple(_heat_cell(cells[name]) for name, _ in variants if name in cells),
        )
        parts.setdefault(heading, []).append(row)
    told = tuple((heading, small, tuple(rows)) for (heading, small), rows in parts.items())
    return HeatMap(model=groups[0][0].model, title=title, folded=folded, variants=variants, parts=told)


def _heat_cell(figure: Figure) -> HeatCell:
    measure, paired = figure.measure, figure.paired
    title = f"{figure.variant}: {words(figure)}"
    if figure.verdict == "reference":
        text = amount(figure.own.estimate, measure.unit)
        return HeatCell(figure=figure, level=0, kind="own", text=text, title=title)
    if paired is None or not paired.n:
        return HeatCell(figure=figure, level=0, kind="none", text=DASH, title=title)
    told = f"{difference(paired.estimate, measure.unit)} {difference_unit(measure.unit)}"
    title += f"; {told} {bounds(paired.low, paired.high, measure.unit)}, n = {paired.n}"
    good = (paired.estimate > 0) == (measure.direction == "higher")
    return HeatCell(
        figure=figure,
        level=_level(figure, abs(paired.estimate)),
        kind="neither" if measure.direction == "neither" else "better" if good else "worse",
        text=difference(paired.estimate, measure.unit),
        title=title,
    )


def _level(figure: Figure, size: float) -> int:
    """Return the shade of a difference: in margins where the measure has one, else in standard deviations."""
    unit, steps = (figure.margin, _MARGINS) if figure.margin is not None else (figure.spread, _DEVIATIONS)
    if math.isnan(unit) or unit == 0:
        return int(size > 0)  # The same on every item under full precision: there is no scale.
    return sum(size / unit >= step for step in steps)


def heat_note() -> str:
    """Say what the colours of the heat map mean."""
    margins = ", ".join(f"{step:g}" for step in _MARGINS)
    deviations = ", ".join(f"{step:g}" for step in _DEVIATIONS)
    return (
        f"Shades change at {margins} margins; for measures without a good direction, which have no margin, at "
        f"{deviations} standard deviations of the full-precision values."
    )


def loss_level(loss: float) -> int:
    """Return the shade of a rate's change, 0 to 4."""
    return sum(abs(loss) >= step for step in _POINTS)
