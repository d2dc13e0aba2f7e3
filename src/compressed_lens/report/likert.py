"""Bars of ratings from 1 to 5: the share of each point, the middles of the scale above each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressed_lens.human.design import POINTS
from compressed_lens.human.findings import ALL_TASKS, POOLED
from compressed_lens.report.formatting import MINUS

_MIDDLE = 3
_TELLING = 0.09

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One point's part of a bar: its place and width in per cent of the drawing, and its share where there is room."""

    point: int
    x: float
    width: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Bar:
    """How the points of one cell are spread, drawn so that the middles of the scale stand above each other.

    Attributes:
        middle: Where they stand, in per cent of the width.
    """

    variant: str
    where: str
    mean: str
    interval: str
    counts: str
    title: str
    shares: tuple[str, ...]
    middle: float
    segments: tuple[Segment, ...]


def bars(cells: Sequence[tuple[Row, Row]]) -> list[Bar]:
    """Return a bar for each (row of `counts`, row of `means`), all to one scale."""
    shares = [[float(count[f"share_{point}"]) for point in POINTS] for count, _ in cells]
    left = max((_below(one) for one in shares), default=0.0)
    right = max((1 - _below(one) for one in shares), default=0.0)
    return [_bar(*cell, one, left, left + right) for cell, one in zip(cells, shares, strict=True)]


def _below(shares: list[float]) -> float:
    """Return the part of a bar that stands left of the middle: half of the middle point is on either side."""
    return sum(shares[: _MIDDLE - 1]) + shares[_MIDDLE - 1] / 2


def _bar(count: Row, mean: Row, shares: list[float], left: float, whole: float) -> Bar:
    x, segments = left - _below(shares), []
    for point, share in zip(POINTS, shares, strict=True):
        text = f"{100 * share:.0f}" if share >= _TELLING else ""
        if share:
            width = round(100 * share / whole, 2)
            segments.append(Segment(point=point, x=round(100 * x / whole, 2), width=width, text=text))
        x += share
    pooled = count["model"] == POOLED and count["task"] == ALL_TASKS
    told = tuple(f"{100 * share:.0f} %" for share in shares)
    listed = ", ".join(f"{share} chose {point}" for point, share in zip(POINTS, told, strict=True))
    where = "" if pooled else f"{count['model']}, {count['task']}"
    return Bar(
        variant=count["variant"],
        where=where,
        mean=f"{mean['mean']:.2f}",
        interval=bounds(mean["low"], mean["high"]),
        counts=f"{count['ratings']:,} ratings · {count['raters']:,} raters · {count['texts']:,} texts",
        title=f"{count['variant']}{', ' + where if where else ''}: {listed}",
        shares=told,
        middle=round(100 * left / whole, 2),
        segments=tuple(segments),
    )


def bounds(low: float | None, high: float | None) -> str:
    """Write an interval to two decimals; nothing without one."""
    return "" if low is None or high is None else f"[{low:.2f}, {high:.2f}]".replace("-", MINUS)
