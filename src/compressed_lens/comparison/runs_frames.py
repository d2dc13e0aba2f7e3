"""Runs side by side, as Polars frames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from compressed_lens.comparison.comparable import Check
from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.runs import Alone, PairedCell, RunComparison
from compressed_lens.comparison.series import or_none

if TYPE_CHECKING:
    import polars as pl


def checks_frame(compared: RunComparison) -> pl.DataFrame:
    """Return the checklists, one row a check of a pair of cells.

    Columns: `task, analysis`; `first_run, first_model, first_variant, second_run, second_model, second_variant`;
    `relation`; `check`, `result` ("passed", "warning", "refused"), `detail`. Cells without a partner have the check
    "partner", with the columns of the run that has none empty.
    """
    import polars as pl

    rows: list[tuple[object, ...]] = [
        (*_place(cell), cell.relation, check.name, check.result, check.detail)
        for cell in compared.cells
        for check in (*cell.checks, *(_metric_check(*one) for one in cell.left_out))
    ]
    rows += [_alone_row(one, compared.runs[0][0]) for one in compared.alone]
    names = (*_PLACE, "relation", "check", "result", "detail")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


_PLACE = (
    "task",
    "analysis",
    "first_run",
    "first_model",
    "first_variant",
    "second_run",
    "second_model",
    "second_variant",
)


def _place(cell: PairedCell) -> tuple[str, ...]:
    sides = [(side.run, side.variant.model, side.variant.name) for side in (cell.first, cell.second)]
    return cell.first.series.task, cell.first.series.analysis, *sides[0], *sides[1]


def _metric_check(metric: str, why: str) -> Check:
    return Check(name=f"metric {metric}", result="refused", detail=f"{why[:1].upper()}{why[1:]}.")


def _alone_row(one: Alone, first: str) -> tuple[object, ...]:
    side = (one.run, one.model, one.variant)
    sides = (*side, None, None, None) if one.run == first else (None, None, None, *side)
    return one.task, one.analysis, *sides, None, "partner", "refused", f"{one.why[:1].upper()}{one.why[1:]}."


def records_frame(compared: RunComparison) -> pl.DataFrame:
    """Return how far the records agree, one row a pair of cells that may be compared.

    Columns: as in `checks_frame` up to `relation`; the counts of `Records`; `unlike` and `one_sided` (names, joined).
    """
    import polars as pl

    counts = ("shared", "same", "close", "different", "missing", "only_first", "only_second")
    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys((*_PLACE, "relation"), pl.String),
        **dict.fromkeys(counts, pl.Int64),
        **dict.fromkeys(("unlike", "one_sided"), pl.String),
    }
    rows = [
        (
            *_place(cell),
            cell.relation,
            *(getattr(found, name) for name in counts),
            *map(", ".join, (found.unlike, found.one_sided)),
        )
        for cell in compared.cells
        if (found := cell.records) is not None
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def differences_frame(compared: RunComparison) -> pl.DataFrame:
    """Return the paired differences, one row a measure of a pair of cells that may be compared.

    Columns: as in `checks_frame` up to `relation`; `metric, family, unit, direction, confirmatory`; `first_value`,
    `second_value` (own means over the shared items), `difference, low, high, pairs, dropped, method` (second minus
    first, 95 % interval), `lost`, `gained`, `p`, `p_adjusted`, `margin`, `floor`, `verdict`, `leaning`, `needed`.
    """
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys((*_PLACE, "relation", "metric", "family", "unit", "direction"), pl.String),
        "confirmatory": pl.Boolean,
        **dict.fromkeys(("first_value", "second_value", "difference", "low", "high"), pl.Float64),
        **dict.fromkeys(("pairs", "dropped"), pl.Int64),
        "method": pl.String,
        **dict.fromkeys(("lost", "gained"), pl.Int64),
        **dict.fromkeys(("p", "p_adjusted", "margin", "floor"), pl.Float64),
        **dict.fromkeys(("verdict", "leaning"), pl.String),
        "needed": pl.Int64,
    }
    rows = [
        _difference_row(cell, mine, figure)
        for cell in compared.cells
        for mine, figure in zip(cell.baseline, cell.differences, strict=True)
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def _difference_row(cell: PairedCell, mine: Figure, figure: Figure) -> tuple[object, ...]:
    measure, paired = figure.measure, figure.paired
    ends = (paired.estimate, paired.low, paired.high) if paired else (math.nan,) * 3
    return (
        *(*_place(cell), cell.relation, measure.name, measure.family, measure.unit, measure.direction),
        *(figure.confirmatory, *map(or_none, (mine.own.estimate, figure.own.estimate, *ends))),
        *((paired.n, paired.dropped, paired.method) if paired else (None, None, None)),
        *(figure.lost, figure.gained, figure.p, figure.p_adjusted, figure.margin, figure.floor),
        *(figure.verdict, figure.leaning, figure.needed),
    )
