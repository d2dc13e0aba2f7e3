"""Transitions as they are shown: a 2 x 2 mosaic a variant for primary measures, and the counts as tables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from compressed_lens.comparison import Transition
from compressed_lens.report.formatting import DASH, amount, bounds, counted, difference, p_value, signed
from compressed_lens.report.mosaics import Tile
from compressed_lens.report.panels import FAMILY_TITLES, FEW_PANELS, family_place

_WIDE, _TALL = 14.0, 17.0


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One part of a stacked bar: kind, where it starts and how wide it is (per cent of the width), and its count."""

    kind: str
    x: float
    width: float
    count: int


@dataclass(frozen=True, kw_only=True)
class TransitionRow:
    """One variant's transitions of one metric; `every`: those of all variants, which are the same."""

    transition: Transition
    segments: tuple[Segment, ...]
    rest: str
    net: str
    interval: str
    forgotten: str
    regained: str
    churn: str
    kappa: str
    p: str
    p_adjusted: str
    every: bool = False


@dataclass(frozen=True, kw_only=True)
class Quarters:
    """Transitions of one variant as areas: columns are good and bad under full precision, upper tiles good now."""

    transition: Transition
    tiles: tuple[Tile, ...]
    caption: str
    title: str


@dataclass(frozen=True, kw_only=True)
class TransitionGroup:
    """One metric on one task under every variant."""

    anchor: str
    label: str
    where: str
    family: str
    primary: bool
    rows: tuple[TransitionRow, ...]

    @property
    def mosaics(self) -> tuple[Quarters, ...]:
        """A mosaic for every variant with pairs."""
        return tuple(_quarters(row) for row in self.rows if row.transition.pairs)

    @property
    def told_rows(self) -> tuple[TransitionRow, ...]:
        """Its rows, or the first one for all where nothing moved and the counts of all sound variants are the same."""
        moves = [row.transition for row in self.rows]
        counts = {(t.preserved, t.both_bad, row.rest, t.items) for t, row in zip(moves, self.rows, strict=True)}
        sound = all(t.gate == "passed" for t in moves)
        if len(self.rows) > 1 and len(counts) == 1 and sound and not self.moved:
            return (replace(self.rows[0], every=True),)
        return self.rows

    @property
    def moved(self) -> bool:
        """Whether any item moved under any variant."""
        return any(row.transition.lost or row.transition.gained for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class TransitionFamily:
    """The transitions of one family, primary metrics first; `open` says whether the page shows them at once."""

    title: str
    primary: bool
    open: bool
    groups: tuple[TransitionGroup, ...]


def transition_groups(transitions: Iterable[Transition]) -> tuple[TransitionGroup, ...]:
    """Group transitions by metric and task, in their order."""
    groups: dict[tuple[str, str, str, str], list[Transition]] = {}
    for t in transitions:
        groups.setdefault((t.model, t.task, t.analysis, t.measure.name), []).append(t)
    several = len({model for model, *_ in groups}) > 1
    return tuple(
        TransitionGroup(
            anchor=f"t-{n}",
            label=f"{analysis}: {name.replace('_', ' ')}",
            where=f"{task} · {model}" if several else task,
            family=members[0].measure.family,
            primary=members[0].measure.primary,
            rows=tuple(_transition_row(t) for t in members),
        )
        for n, ((model, task, analysis, name), members) in enumerate(groups.items())
    )


def transition_families(transitions: Iterable[Transition]) -> tuple[TransitionFamily, ...]:
    """Return the primary metrics' transitions by family, then all others."""
    groups = transition_groups(transitions)
    few = len(groups) <= FEW_PANELS
    primary: dict[str, list[TransitionGroup]] = {}
    for group in groups:
        if group.primary:
            primary.setdefault(group.family, []).append(group)
    found = [
        TransitionFamily(title=FAMILY_TITLES.get(name, name), primary=True, open=True, groups=tuple(primary[name]))
        for name in sorted(primary, key=family_place)
    ]
    rest = tuple(group for group in groups if not group.primary)
    if rest:
        found.append(
            TransitionFamily(
                title=counted(len(rest), "exploratory measure"), primary=False, open=few and not primary, groups=rest
            )
        )
    return tuple(found)


def _transition_row(t: Transition) -> TransitionRow:
    outside = (("not applicable", t.not_applicable), ("failed", t.failed), ("not recorded", t.unrecorded))
    rest = ", ".join(f"{name} {count:,}" for name, count in outside if count)
    segments, x = [], 0.0
    counts = (("preserved", t.preserved), ("lost", t.lost), ("gained", t.gained), ("both-bad", t.both_bad))
    for kind, count in counts:
        width = 100 * t.share(count) if t.pairs else 0.0
        if count:
            segments.append(Segment(kind=kind, x=round(x, 2), width=round(width, 2), count=count))
        x += width
    return TransitionRow(
        transition=t,
        segments=tuple(segments),
        rest=rest,
        net=difference(t.net.estimate, "rate") if t.pairs else "",
        interval=bounds(t.net.low, t.net.high, "rate"),
        forgotten=amount(t.forgetting, "rate"),
        regained=amount(t.regaining, "rate"),
        churn=amount(t.churn, "rate"),
        kappa=DASH if math.isnan(t.kappa) else signed(t.kappa),
        p=p_value(t.p),
        p_adjusted=p_value(t.p_adjusted),
    )


def _quarters(row: TransitionRow) -> Quarters:
    t = row.transition
    good = 100 * t.share(t.preserved + t.lost)
    tiles = []
    for x, width, upper, lower in (
        (0.0, good, ("preserved", t.preserved), ("lost", t.lost)),
        (good, 100 - good, ("gained", t.gained), ("both-bad", t.both_bad)),
    ):
        column, y = upper[1] + lower[1], 0.0
        for kind, count in (upper, lower):
            height = 100 * count / column if column else 0.0
            if count:
                text = f"{count:,}" if width >= _WIDE and height >= _TALL else ""
                tiles.append(
                    Tile(
                        kind=kind,
                        x=round(x, 1),
                        y=round(y, 1),
                        width=round(width, 1),
                        height=round(height, 1),
                        text=text,
                    )
                )
            y += height
    told = f"{t.variant}: preserved {t.preserved}, lost {t.lost}, gained {t.gained}, bad under both {t.both_bad}"
    return Quarters(
        transition=t,
        tiles=tuple(tiles),
        caption=f"{t.lost:,} lost, {t.gained:,} gained" if t.lost or t.gained else "nothing moved",
        title=f"{told}; of {counted(t.items, 'item')}" + (f" ({row.rest})" if row.rest else ""),
    )
