"""Scales of drawings: ranges with a margin, round numbers in them, and how these are written."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compressed_lens.report.formatting import MINUS

_MARGIN = 0.06
_TICKS = 4
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_HUNDRED = 100
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
