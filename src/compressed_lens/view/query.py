"""Which rows of a series a query leaves, in which order; `templates/explorer_source.js` does the same in the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compressed_lens.report.items import CHANGED, FAILED, GAINED, LOST, Items
from compressed_lens.terminal import visible

Show = Literal["all", "lost", "gained", "changed", "failed"]
_BITS: Mapping[Show, int] = {"changed": CHANGED, "failed": FAILED, "lost": LOST, "gained": GAINED}


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is asked of a series; every part narrows, and "" or "all" leaves everything.

    Attributes:
        variant: Name of a variant; "" for any of them.
        show: Items that flipped for the worse or for the better (in any yes/no measure, or, with `measure`, whose
            value became worse or better), that have other words, or that failed.
        measure: Name of a measure; the items with the largest loss come first (largest change where it has no good
            side). "" keeps the order of the task.
        group: Name of a group.
        reason: A reason of failure, under the variant or under full precision.
        search: Text to be found in any text, the id or the group, whatever the case.
    """

    variant: str = ""
    show: Show = "all"
    measure: str = ""
    group: str = ""
    reason: str = ""
    search: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The answer.

    Attributes:
        rows: Indices into the rows of the series, in order.
        counts: How many rows each choice of `show` would leave.
        marks: For every row of the series, the sum of what happened under the chosen variants (`report.items`).
        change: For every row, the change by which it is sorted; NaN where there is none; None without a measure.
    """

    rows: NDArray[np.intp]
    counts: Mapping[Show, int]
    marks: NDArray[np.uint8]
    change: NDArray[np.float64] | None


def find(items: Items, query: Query, texts: Sequence[str]) -> Found:
    """Answer a query.

    Args:
        items: The series.
        query: What is asked.
        texts: All texts of each row, in lower case.

    Raises:
        KeyError: The series has no such variant or measure.
    """
    series = items.series
    picked = _picked(items, query.variant)
    base = np.ones(len(series.rows), dtype=bool)
    if query.group:
        base &= np.array([visible(group) == query.group for group in series.groups], dtype=bool)
    if query.reason:
        sides = {*picked, *(() if items.reference is None else (items.reference,))}
        outcomes = [series.outcomes[items.variants[place]] for place in sides]
        base &= np.array(
            [
                any(o is not None and o.failed is not None and visible(o.failed) == query.reason for o in row)
                for row in zip(*outcomes, strict=True)
            ],
            dtype=bool,
        )
    if query.search:
        word = query.search.lower()
        base &= np.array([word in text for text in texts], dtype=bool)
    marks = np.bitwise_or.reduce(items.marks[picked], axis=0)
    change = None
    if query.measure:
        marks, change = _measured(items, query.measure, picked, marks)
    counts: dict[Show, int] = {"all": int(base.sum())}
    for name, bit in _BITS.items():
        counts[name] = int((base & (marks & bit > 0)).sum())
    rows = np.flatnonzero(base if query.show == "all" else base & (marks & _BITS[query.show] > 0))
    if change is not None:
        rows = rows[np.argsort(change[rows], kind="stable")]  # NaN comes last
    return Found(rows=rows, counts=counts, marks=marks, change=change)


def _picked(items: Items, variant: str) -> list[int]:
    if variant:
        return [{name: place for place, name in enumerate(items.variants)}[variant]]
    return [place for place in range(len(items.variants)) if place != items.reference]


def _measured(
    items: Items, name: str, picked: Sequence[int], marks: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return marks with worse and better in this measure alone, and each row's worst change (largest, if none is)."""
    measure = {one.name: one for one in items.series.measures}[name]
    changes = np.array([items.change(measure, place) for place in picked]).reshape(len(picked), -1)
    marks = marks & ~np.uint8(LOST | GAINED)
    marks |= np.where((changes < 0).any(axis=0), LOST, 0).astype(np.uint8)
    marks |= np.where((changes > 0).any(axis=0), GAINED, 0).astype(np.uint8)
    sizes = -np.abs(changes) if measure.direction == "neither" else changes
    worst: NDArray[np.float64] = np.where(np.isnan(sizes), np.inf, sizes).min(axis=0, initial=np.inf)
    return marks, np.where(np.isinf(worst), np.nan, worst)
