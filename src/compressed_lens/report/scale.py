"""Scales of drawings: ranges with a margin, round numbers in them, and how these are written."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compressed_lens.report.formatting import MINUS

_MARGIN = 0.06
_TICKS = 4
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_HUNDRED = 100
_BEND = 0.9
_NARROW = 12
_MOST = 6


def padded(ends: Sequence[float]) -> tuple[float, float]:
    """Return the range of some numbers with a margin; one number alone gets a range of two around it."""
    low, high = min(ends), max(ends)
    if low == high:
        low, high = low - 1, high + 1
    margin = (high - low) * _MARGIN
    return low - margin, high + margin


def round_numbers(low: float, high: float, *, about: int = _TICKS) -> list[float]:
    """Return `about` as many round numbers between `low` and `high`, zero among them where it lies there."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * s for s in _STEPS if power * s >= rough * (1 - 1e-9))
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def padded_bent(low: float, high: float, *, knee: float) -> tuple[float, float]:
    """Return a range with a margin as it looks on a bent scale."""
    first, last = (math.asinh(end / knee) for end in (low, high))
    room = _MARGIN * (last - first)
    return knee * math.sinh(first - room), knee * math.sinh(last + room)


class Bent:
    """A scale that is even up to about `knee` on both sides of zero and ever denser beyond: asinh(value / knee).

    A difference within its margin and one of fifty margins can both be read from it.
    """

    def __init__(self, low: float, high: float, knee: float) -> None:
        self._knee = knee
        self._low, self._high = math.asinh(low / knee), math.asinh(high / knee)

    def __call__(self, value: float) -> float:
        """Return the place of a value, in per cent of the range; beyond it below 0 or above 100."""
        return 100 * (math.asinh(value / self._knee) - self._low) / (self._high - self._low)

    def round_numbers(self, *, gap: float) -> list[float]:
        """Return zero and round numbers on both sides that lie at least `gap` per cent apart."""
        most = self._knee * math.sinh(max(abs(self._low), abs(self._high)))
        powers = range(math.floor(math.log10(self._knee)), math.floor(math.log10(most)) + 1)
        sizes = [
            step * 10.0**power for power in powers for step in (1, 2, 5) if step * 10.0**power >= self._knee * _BEND
        ]
        found = [0.0]
        for value in (sign * size for size in sizes for sign in (-1, 1)):
            place = self(value)
            if 0 <= place <= _HUNDRED and all(abs(place - self(other)) >= gap for other in found):
                found.append(value)
        return sorted(found)


def log_numbers(low: float, high: float) -> list[float]:
    """Return a few round numbers between two positive ones for a logarithmic scale."""
    if high / low < _NARROW:
        return [value for value in round_numbers(low, high) if value > 0]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(found) <= _MOST:
            break
    return found


def places(first: int, count: int, *, about: int) -> list[int]:
    """Return about as many of the whole numbers `first`, `first` + 1, ... (`count` of them), at even steps."""
    rough = max(1.0, count / about)
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * s for s in (1, 2, 5, 10) if power * s >= rough)
    return [place for place in range(first, first + count) if place % step == 0]


def value_label(value: float, unit: str) -> str:
    """Write a round number of a value's scale: rates in per cent."""
    shown = f"{abs(value) * (_HUNDRED if unit == 'rate' else 1):.6g}"
    return (MINUS if value < 0 and shown != "0" else "") + shown


def change_label(value: float, unit: str) -> str:
    """Write a round number of a difference's scale, with its sign: rates in percentage points."""
    shown = value_label(value, unit)
    return f"+{shown}" if value > 0 and shown != "0" else shown
