"""Hop tables as mosaics: rectangles whose areas are counts, and the counts as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from compressed_lens.comparison import HopTable
from compressed_lens.comparison.mosaic import COMBINATIONS
from compressed_lens.report.formatting import amount, counted

_WIDE, _TALL = 9.0, 11.0


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A tile of a mosaic: place and size in per cent of the drawing, and its count where there is room for it."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, kw_only=True)
class MosaicFigure:
    """One variant's mosaic: columns are the first value, rows in them the second, halves of these the third."""

    table: HopTable
    tiles: tuple[Tile, ...]
    title: str
    composed: str
    without: str
    rest: str


@dataclass(frozen=True, kw_only=True)
class MosaicPanel:
    """One declared mosaic under every variant.

    Attributes:
        rows: Marks of a combination, and its count under each variant.
    """

    anchor: str
    label: str
    where: str
    summary: str
    labels: tuple[str, str, str]
    figures: tuple[MosaicFigure, ...]
    rows: tuple[tuple[tuple[bool, bool, bool], tuple[int, ...]], ...]


def mosaic_panels(tables: Iterable[HopTable]) -> tuple[MosaicPanel, ...]:
    """Return a panel for every (model, task, analysis, mosaic), in their order."""
    groups: dict[tuple[str, str, str, str], list[HopTable]] = {}
    for table in tables:
        groups.setdefault((table.model, table.task, table.analysis, table.mosaic.name), []).append(table)
    several = len({model for model, *_ in groups}) > 1
    return tuple(
        MosaicPanel(
            anchor=f"h-{n}",
            label=name.replace("_", " "),
            where=f"{task} · {analysis} · {model}" if several else f"{task} · {analysis}",
            summary=members[0].mosaic.summary,
            labels=members[0].mosaic.labels,
            figures=tuple(_figure(table) for table in members),
            rows=tuple((c, tuple(t.counts[k] for t in members)) for k, c in enumerate(COMBINATIONS)),
        )
        for n, ((model, task, analysis, name), members) in enumerate(groups.items())
    )


def combination_text(combination: tuple[bool, bool, bool], labels: tuple[str, str, str]) -> str:
    """Write a combination in words: "first hop ✓, second hop ✗, two-hop ✗"."""
    return ", ".join(f"{label} {'✓' if right else '✗'}" for label, right in zip(labels, combination, strict=True))


def outside_text(table: HopTable) -> str:
    """Return how many items are in no tile, and why; "" where all are."""
    counts = (
        ("not applicable", table.not_applicable),
        ("failed", table.failed),
        ("not recorded", table.unrecorded),
    )
    return ", ".join(f"{name} {count:,}" for name, count in counts if count)


def _figure(table: HopTable) -> MosaicFigure:
    told = "; ".join(
        f"{combination_text(c, table.mosaic.labels)}: {count}"
        for c, count in zip(COMBINATIONS, table.counts, strict=True)
        if count
    )
    state = ", failed the integrity gate" if table.gate == "failed" else ""
    return MosaicFigure(
        table=table,
        tiles=_tiles(table),
        title=f"{table.variant}{state}: {told or 'no item'}; of {counted(table.items, 'item')}",
        composed="" if math.isnan(table.composed) else amount(table.composed, "rate"),
        without="" if math.isnan(table.without_hops) else amount(table.without_hops, "rate"),
        rest=outside_text(table),
    )


def _tiles(table: HopTable) -> tuple[Tile, ...]:
    counts = dict(zip(COMBINATIONS, table.counts, strict=True))
    tiles: list[Tile] = []
    x = 0.0
    for first in (True, False):
        column = sum(count for c, count in counts.items() if c[0] == first)
        width = 100 * column / table.total if table.total else 0.0
        y = 0.0
        for second in (True, False):
            row = sum(count for c, count in counts.items() if c[:2] == (first, second))
            height = 100 * row / column if column else 0.0
            start = x
            for third in (True, False):
                count = counts[first, second, third]
                part = width * count / row if row else 0.0
                if count:
                    room = part >= _WIDE and height >= _TALL
                    tiles.append(
                        Tile(
                            kind=("right" if third else "wrong") + ("" if first and second else "-broken"),
                            x=round(start, 2),
                            y=round(y, 2),
                            width=round(part, 2),
                            height=round(height, 2),
                            text=f"{count:,}" if room else "",
                        )
                    )
                start += part
            y += height
        x += width
    return tuple(tiles)
