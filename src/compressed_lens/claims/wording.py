"""Numbers of the ledger as text."""

from __future__ import annotations

import math

_WHOLE = 1000
_POINTS = 100
_TINY = 5e-4


def told(value: float | None, unit: str = "", low: float | None = None, high: float | None = None) -> str:
    """Write a number with its interval and unit; "" where there is none. A rate is written in points."""
    if value is None or math.isnan(value):
        return ""
    scale, name = (_POINTS, "points") if unit == "rate" else (1, unit)
    text = _number(value * scale)
    if low is not None and high is not None and not math.isnan(low) and not math.isnan(high):
        text += f" [{_number(low * scale)}, {_number(high * scale)}]"
    return f"{text}{' ' if name and name != '%' else ''}{name}" if name != "%" else f"{text} %"


def _number(value: float) -> str:
    if abs(value) >= _WHOLE:
        return f"{value:,.0f}"
    if value == round(value):
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) > _TINY * 10 else f"{value:.1g}"
