"""Names beside the marks of a drawing, where they cover neither marks nor each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

_CHARACTER, _LINE = 6.4, 13.0
_MARK = 6.0
_NEAR = 12.0
_RINGS = 12
_STEP = 9.0
_DIRECTIONS = 16

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Spot:
    """Where a name stands: offset of its anchor from the mark in pixels.

    Attributes:
        far: Whether it stands so far off that a line should lead to it.
    """

    dx: float
    dy: float
    anchor: Literal["start", "middle", "end"]
    far: bool


def placed(
    points: Sequence[tuple[float, float]], names: Mapping[int, str], width: float, height: float
) -> dict[int, Spot]:
    """Find a place for each name, close to its point, inside the drawing and free of marks and other names.

    Names are placed one by one, the most crowded point first. One for which there is no free place has none.

    Args:
        points: Every mark, in pixels from the upper left corner.
        names: Names by number of their point.
        width: Of the drawing, in pixels; in a wider drawing points only move apart.
        height: Of the drawing, in pixels.
    """
    taken: list[Box] = [(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in points]
    found: dict[int, Spot] = {}
    for n in sorted(names, key=lambda n: -_crowd(points, n)):
        x, y = points[n]
        long = _CHARACTER * len(names[n])
        for spot in _candidates():
            box = _box(x, y, spot, long)
            inside = box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height
            if inside and not any(_overlap(box, other) for other in taken):
                found[n] = spot
                taken.append(box)
                break
    return found


def _crowd(points: Sequence[tuple[float, float]], n: int) -> int:
    near = 4 * _LINE
    return sum(math.dist(points[n], other) < near for other in points)


def _candidates() -> Iterator[Spot]:
    for ring in range(_RINGS):
        radius = _NEAR + ring * _STEP
        for k in range(_DIRECTIONS):
            # Right, left, above, below and then what lies between them.
            turn = math.tau * (k % 4 / 4 + k // 4 / _DIRECTIONS)
            dx, dy = radius * math.cos(turn), radius * math.sin(turn)
            side: Literal["start", "middle", "end"] = "middle" if abs(dx) < radius / 2 else "start" if dx > 0 else "end"
            yield Spot(dx=round(dx, 1), dy=round(dy, 1), anchor=side, far=ring > 0)


def _box(x: float, y: float, spot: Spot, long: float) -> Box:
    left = x + spot.dx - {"start": 0.0, "middle": long / 2, "end": long}[spot.anchor]
    return left, y + spot.dy - _LINE / 2, left + long, y + spot.dy + _LINE / 2


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
