"""Runs side by side as people read them: reasons, differences with their intervals, and one self-contained page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from compressed_lens.comparison.comparable import Result
from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.runs import PairedCell, RunComparison
from compressed_lens.report.formatting import DASH, amount, bounds, difference, p_value
from compressed_lens.report.rendering import environment, style
from compressed_lens.report.words import symbol, words

_REPRODUCED = ("same model", "same recipe")
_ROOM = 1.08


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why something is not compared, or with which reservation.

    Attributes:
        where: The cells it holds for.
    """

    result: Result
    check: str
    detail: str
    where: tuple[str, ...]

    @property
    def places(self) -> str:
        """The first cell it holds for, and how many more."""
        more = f" and {len(self.where) - 1} more" if len(self.where) > 1 else ""
        return f"{self.where[0]}{more}"


@dataclass(frozen=True, kw_only=True)
class DifferenceRow:
    """One measure of a pair of cells.

    Attributes:
        band: Where the margin's band begins and how wide it is, per cent of the drawing; None without a margin.
        line: The same of the interval; None without one.
        dot: Where the estimate is; zero is at 50.
    """

    first: str
    second: str
    task: str
    figure: Figure
    values: tuple[str, str]
    change: str
    p: str
    words: str
    symbol: str
    band: tuple[float, float] | None
    line: tuple[float, float] | None
    dot: float


def check_counts(compared: RunComparison) -> dict[str, dict[Result, int]]:
    """Return how many pairs of cells pass each check, are warned of, and are refused."""
    counts: dict[str, dict[Result, int]] = {}
    for cell in compared.cells:
        for check in cell.checks:
            counts.setdefault(check.name, {"passed": 0, "warning": 0, "refused": 0})[check.result] += 1
    return counts


def reasons(compared: RunComparison) -> tuple[Reason, ...]:
    """Return every refusal, and then every reservation, each once."""
    told: dict[tuple[Result, str, str], list[str]] = {}
    for cell in compared.cells:
        where = f"{cell.first.series.task} {cell.first.series.analysis} ({cell.first.name}, {cell.second.name})"
        for check in cell.checks:
            if check.result != "passed":
                told.setdefault((check.result, check.name, check.detail), []).append(where)
        for metric, why in cell.left_out:
            told.setdefault(("refused", f"metric {metric}", f"{why[:1].upper()}{why[1:]}."), []).append(where)
    for one in compared.alone:
        place = f"{one.run}:{one.model}/{one.variant} {one.task} {one.analysis}".rstrip()
        told.setdefault(("refused", "partner", f"{one.why[:1].upper()}{one.why[1:]}."), []).append(place)
    ordered = sorted(told.items(), key=lambda pair: pair[0][0])
    return tuple(Reason(result=r, check=c, detail=d, where=tuple(where)) for (r, c, d), where in ordered)


def summary(compared: RunComparison) -> str:
    """Say how many pairs of cells are compared."""
    refused = sum(bool(cell.refused) for cell in compared.cells)
    return (
        f"{len(compared.cells) - refused} pairs of cells are compared, {refused} are refused, "
        f"{len(compared.alone)} cells or variants have no partner."
    )


def again(compared: RunComparison) -> tuple[PairedCell, ...]:
    """Return the pairs that should be the same: same weights, or same recipe on other numerics."""
    return tuple(cell for cell in compared.cells if cell.records is not None and cell.relation in _REPRODUCED)


def agreement(cells: Sequence[PairedCell]) -> str:
    """Say how many pairs of cells agree in every record."""
    exact = [cell.records for cell in cells if cell.records is not None and cell.records.same == cell.records.shared]
    return (
        f"{len(exact)} of {len(cells)} pairs of cells agree in all of their records, to the last digit "
        f"({sum(found.shared for found in exact)} records)."
    )


def difference_rows(compared: RunComparison, *, everything: bool) -> tuple[tuple[DifferenceRow, ...], int]:
    """Return the measures that are told one by one, and how many are not because every record is the same.

    Args:
        compared: The runs side by side.
        everything: Secondary measures, too.
    """
    rows, same = [], 0
    for cell in compared.cells:
        identical = (
            cell.relation == "same model" and cell.records is not None and cell.records.same == cell.records.shared
        )
        for mine, figure in zip(cell.baseline, cell.differences, strict=True):
            if everything or figure.measure.primary:
                same += identical
                rows += [] if identical else [_row(cell, mine, figure)]
    return tuple(rows), same


def _row(cell: PairedCell, mine: Figure, figure: Figure) -> DifferenceRow:
    unit, paired = figure.measure.unit, figure.paired
    ends = (math.nan, math.nan, math.nan) if paired is None else (paired.low, paired.high, paired.estimate)
    width = _ROOM * max((abs(x) for x in (*ends, figure.margin or 0.0) if not math.isnan(x)), default=0.0) or 1.0
    low, high, estimate = ends
    return DifferenceRow(
        first=cell.first.name,
        second=cell.second.name,
        task=figure.task,
        figure=figure,
        values=(amount(mine.own.estimate, unit), amount(figure.own.estimate, unit)),
        change=DASH if math.isnan(estimate) else f"{difference(estimate, unit)} {bounds(low, high, unit)}".strip(),
        p=p_value(figure.p_adjusted) or DASH,
        words=words(figure),
        symbol=symbol(figure),
        band=None if figure.margin is None else (_place(-figure.margin, width), round(100 * figure.margin / width, 2)),
        line=None if math.isnan(low) else (_place(low, width), round(50 * (high - low) / width, 2)),
        dot=50.0 if math.isnan(estimate) else _place(estimate, width),
    )


def _place(value: float, width: float) -> float:
    return round(50 + 50 * value / width, 2)


def began(seconds: float) -> str:
    """Write when a session began, in UTC."""
    return DASH if math.isnan(seconds) else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def page(compared: RunComparison, *, everything: bool, footer: str) -> str:
    """Return the comparison as one HTML page: no script, no network, every foreign text escaped.

    Args:
        compared: The runs side by side.
        everything: Secondary measures, too.
        footer: What made the page, in one line.
    """
    rows, same = difference_rows(compared, everything=everything)
    return (
        environment()
        .get_template("side_by_side.html.j2")
        .render(
            style=style(),
            runs=[(letter, str(folder), name, began(when)) for letter, folder, name, when in compared.runs],
            summary=summary(compared),
            counts=check_counts(compared),
            reasons=reasons(compared),
            again=again(compared),
            agreement=agreement,
            rows=rows,
            same=same,
            footer=footer,
        )
    )
