"""Outcome classes: what happened to every item of an analysis, in counts that add up to the items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from compressed_lens.comparison.series import Series

_VALUE = "outcome"


@dataclass(frozen=True, kw_only=True)
class OutcomeTable:
    """How often each outcome of one analysis on one task came up, by variant.

    Attributes:
        classes: Names of the outcomes, in order of their first occurrence; "failed" and "not recorded" last, and
            "no outcome" for records without the value `outcome`.
        counts: For each variant, one count a class; they add up to `items`.
        items: Records the study asks for.
    """

    model: str
    task: str
    analysis: str
    classes: tuple[str, ...]
    counts: tuple[tuple[str, tuple[int, ...]], ...]
    items: int


def outcome_tables(series: Iterable[Series]) -> tuple[OutcomeTable, ...]:
    """Return a table for every series whose records name their outcome (a text under `outcome`)."""
    return tuple(table for one in series if (table := _table(one)) is not None)


def _table(series: Series) -> OutcomeTable | None:
    items = max([len(series.rows), *series.planned.values()], default=0)
    tables: dict[str, Counter[str]] = {}
    for variant, outcomes in series.outcomes.items():
        recorded = [outcome for outcome in outcomes if outcome is not None]
        named = [str(o.values.get(_VALUE) or "no outcome") for o in recorded if o.failed is None]
        failed = sum(o.failed is not None for o in recorded)
        tables[variant] = Counter([*named, *["failed"] * failed, *["not recorded"] * (items - len(recorded))])
        assert sum(tables[variant].values()) == items, "the outcomes of an analysis do not add up to its items"
    seen = dict.fromkeys(name for table in tables.values() for name in table)
    own = [name for name in seen if name not in {"no outcome", "failed", "not recorded"}]
    if not own:
        return None
    classes = (*own, *(name for name in ("no outcome", "failed", "not recorded") if name in seen))
    return OutcomeTable(
        model=series.model,
        task=series.task,
        analysis=series.analysis,
        classes=classes,
        counts=tuple((variant, tuple(table[name] for name in classes)) for variant, table in tables.items()),
        items=items,
    )
