"""How numbers and foreign text are written for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MINUS = "\u2212"
DASH = "\u2013"
_TENTH = 0.1
_SMALLEST = 0.001
_HUNDRED = 100
_THOUSAND = 1000


def clipped(text: str, limit: int) -> str:
    """Return `text`, or its first `limit` characters and how many more there are."""
    return text if len(text) <= limit else f"{text[:limit]} … [{len(text) - limit:,} more characters]"


def number(value: float | None, *, digits: int = 3) -> str:
    """Write a number with `digits` significant digits, at least to the unit; an en dash for None and NaN."""
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    size = abs(value)
    if size >= _THOUSAND:
        text = f"{size:,.0f}"
    elif size == 0:
        text = "0"
    else:
        decimals = max(0, digits - 1 - math.floor(math.log10(size)))
        text = f"{size:.{min(decimals, 6)}f}"
    return f"{MINUS}{text}" if value < 0 else text


def amount(value: float, unit: str) -> str:
    """Write a metric's value: rates in per cent, anything else as a number (its unit stands in the heading)."""
    if unit != "rate":
        return number(value)
    return DASH if math.isnan(value) else f"{value * _HUNDRED:.1f} %"


def difference(value: float, unit: str, *, sign: bool = True) -> str:
    """Write a difference: rates in percentage points, with more than one decimal where that would say 0.0."""
    if math.isnan(value):
        return DASH
    points = abs(value) * _HUNDRED
    decimals = ".1g" if _SMALLEST <= points < _TENTH / 2 else ".1f"
    text = format(points, decimals) if unit == "rate" else number(abs(value))
    if not sign or not text.strip("0."):
        return text
    return f"{MINUS if value < 0 else '+'}{text}"


def signed(value: float) -> str:
    """Write a correlation or another number of -1 to 1, with two decimals."""
    return f"{MINUS if value < 0 else ''}{abs(value):.2f}"


def bounds(low: float, high: float, unit: str) -> str:
    """Write the bounds of a difference as "[low, high]", or an empty string where there is no interval."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"[{difference(low, unit)}, {difference(high, unit)}]"


def value_bounds(low: float, high: float, unit: str) -> str:
    """Write the bounds of a value as "[low, high]", or an empty string where there is no interval."""
    if math.isnan(low) or math.isnan(high):
        return ""
    if unit == "rate":
        return f"[{low * _HUNDRED:.1f}, {high * _HUNDRED:.1f}]"
    return f"[{number(low)}, {number(high)}]"


def difference_unit(unit: str) -> str:
    """Name the unit a difference is written in."""
    return "points" if unit == "rate" else unit


def p_value(value: float | None) -> str:
    """Write a p value; never as zero."""
    smallest = 0.001
    if value is None or math.isnan(value):
        return ""
    return f"< {smallest}" if value < smallest else f"{value:.3f}"


def size(count: float | None) -> str:
    """Write a number of bytes in decimal units, as disks and papers do."""
    if count is None or math.isnan(count):
        return DASH
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < _THOUSAND or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{number(value)} {unit}"
        value /= _THOUSAND
    return DASH


def settings_text(settings: Mapping[str, Any]) -> str:
    """Write settings as "key value, key value"; nested ones as JSON-like text, empty ones left out."""
    parts = []
    for key, value in settings.items():
        if value is None or value in ("", {}, []):
            continue
        shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        parts.append(f"{key.replace('_', ' ')} {shown}")
    return ", ".join(parts)


def counted(count: int, singular: str, plural: str = "") -> str:
    """Write a count with its noun: "1 item", "2 items"."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def listed(names: list[str]) -> str:
    """Join names as in a sentence: "a", "a and b", "a, b and c"."""
    if len(names) < 2:  # noqa: PLR2004
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def identifier(*parts: str) -> str:
    """Join names to an id for an element of a page; other names, another id."""
    return "--".join("".join(c if c.isalnum() or c in "_.-" else f"~{ord(c):x}" for c in part) for part in parts)
