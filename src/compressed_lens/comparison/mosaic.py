"""Hop tables: how often each combination of three yes/no values came up under each variant."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from compressed_lens.analyses.base import Mosaic
from compressed_lens.comparison.series import Gate, Outcome, Series

if TYPE_CHECKING:
    import polars as pl

COMBINATIONS: tuple[tuple[bool, bool, bool], ...] = tuple(product((True, False), repeat=3))  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class HopTable:
    """The 2 x 2 x 2 table of one analysis under one variant.

    Attributes:
        counts: Items of each of `COMBINATIONS` (first, second, third value), in that order.
        not_applicable: Items that lack one of the three values.
        failed: Items whose record failed.
        unrecorded: Items not recorded (yet).
        items: Records the study asks for; all counts add up to it.
    """

    model: str
    task: str
    analysis: str
    mosaic: Mosaic
    variant: str
    gate: Gate
    counts: tuple[int, ...]
    not_applicable: int
    failed: int
    unrecorded: int
    items: int

    def __post_init__(self) -> None:
        outside = self.not_applicable + self.failed + self.unrecorded
        assert self.total + outside == self.items, "the counts of a hop table do not add up to its items"

    @property
    def total(self) -> int:
        """Items in the table."""
        return sum(self.counts)

    @property
    def composed(self) -> float:
        """Share of third values that are true where both others are, in 0..1; NaN where they never are."""
        right, wrong = self.counts[:2]
        return right / (right + wrong) if right + wrong else math.nan

    @property
    def without_hops(self) -> float:
        """Share of third values that are true though another is false, in 0..1; NaN where none is."""
        rest = self.counts[2:]
        return sum(rest[::2]) / sum(rest) if sum(rest) else math.nan


def hop_tables(series: Iterable[Series], gates: Mapping[tuple[str, str], Gate]) -> tuple[HopTable, ...]:
    """Count every declared mosaic of a run; variants that were never recorded are left out.

    Args:
        series: The run's outcomes, lined up.
        gates: How each (model, variant) stands.
    """
    return tuple(
        _table(one, mosaic, name, gates.get((one.model, name), "pending"))
        for one in series
        for mosaic in one.pictures
        if isinstance(mosaic, Mosaic)
        for name, outcomes in one.outcomes.items()
        if any(outcomes)
    )


def _table(series: Series, mosaic: Mosaic, variant: str, gate: Gate) -> HopTable:
    counts = Counter(_place(outcome, mosaic) for outcome in series.outcomes[variant])
    items = max(series.planned[variant], len(series.rows))
    return HopTable(
        model=series.model,
        task=series.task,
        analysis=series.analysis,
        mosaic=mosaic,
        variant=variant,
        gate=gate,
        counts=tuple(counts[combination] for combination in COMBINATIONS),
        not_applicable=counts["not applicable"],
        failed=counts["failed"],
        unrecorded=counts["unrecorded"] + items - len(series.rows),
        items=items,
    )


def _place(outcome: Outcome | None, mosaic: Mosaic) -> tuple[bool, ...] | str:
    if outcome is None:
        return "unrecorded"
    if outcome.failed is not None:
        return "failed"
    values = tuple(outcome.values.get(key) for key in mosaic.values)
    return values if all(isinstance(value, bool) for value in values) else "not applicable"  # type: ignore[return-value]


def hop_tables_frame(rows: Iterable[HopTable]) -> pl.DataFrame:
    """Return hop tables as a Polars frame, one row a (model, task, analysis, variant, combination).

    Columns: `model, task, analysis, mosaic, variant, gate`; `first, second, third` (values of the combination),
    `count`, `share` of the items in the table; `not_applicable, failed, unrecorded, items` of the variant.
    """
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("model", "task", "analysis", "mosaic", "variant", "gate"), pl.String),
        **dict.fromkeys(("first", "second", "third"), pl.Boolean),
        "count": pl.Int64,
        "share": pl.Float64,
        **dict.fromkeys(("not_applicable", "failed", "unrecorded", "items"), pl.Int64),
    }
    found = [
        (
            *(t.model, t.task, t.analysis, t.mosaic.name, t.variant, t.gate, *combination, count),
            *(count / t.total if t.total else None, t.not_applicable, t.failed, t.unrecorded, t.items),
        )
        for t in rows
        for combination, count in zip(COMBINATIONS, t.counts, strict=True)
    ]
    return pl.DataFrame(found, schema=schema, orient="row")
