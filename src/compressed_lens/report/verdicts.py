"""The table of verdicts: variants by uses, placebo variants apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from compressed_lens.comparison.series import FULL, Gate, Variant
from compressed_lens.comparison.uses import USES, UseVerdict
from compressed_lens.report.formatting import bounds, difference, difference_unit, number, size
from compressed_lens.report.headline import Labels, anchor_of
from compressed_lens.report.words import SYMBOLS


@dataclass(frozen=True, kw_only=True)
class VerdictCell:
    """One use of one variant.

    Attributes:
        measure: The measure that decides, with its task; "" where none was measured.
        told: Its difference, interval and margin.
        more: What would decide an undecided use, or how many measures share its verdict.
        anchor: Id of the panel of the deciding measure.
    """

    use: str
    verdict: str
    symbol: str
    measure: str
    told: str
    more: str
    anchor: str


@dataclass(frozen=True, kw_only=True)
class VerdictRow:
    """One variant; `size` is what it takes on disk, and which share of full precision that is."""

    variant: str
    gate: Gate
    size: str
    cells: tuple[VerdictCell, ...]


@dataclass(frozen=True, kw_only=True)
class VerdictTable:
    """The verdicts on one model's variants.

    Attributes:
        uses: Names of the uses that were measured, one a column.
        unmeasured: Names of the others.
        rows: Candidates.
        placebos: Placebo variants: the yardstick.
    """

    model: str
    uses: tuple[str, ...]
    unmeasured: tuple[str, ...]
    rows: tuple[VerdictRow, ...]
    placebos: tuple[VerdictRow, ...]


def verdict_tables(
    verdicts: Sequence[UseVerdict], variants: Sequence[Variant], labels: Labels
) -> tuple[VerdictTable, ...]:
    """Return a table for every model that has a variant beside full precision."""
    known = {(variant.model, variant.name): variant for variant in variants}
    tables = []
    for model, group in groupby(verdicts, key=lambda verdict: verdict.model):
        own = list(group)
        measured = [use for use in USES if any(v.figures for v in own if v.use == use)]
        rows = [
            (cells[0].placebo, _row(known[model, variant], known.get((model, FULL)), cells, measured, labels))
            for variant, of_variant in groupby(own, key=lambda verdict: verdict.variant)
            if (cells := list(of_variant))
        ]
        tables.append(
            VerdictTable(
                model=model,
                uses=tuple(USES[use] for use in measured),
                unmeasured=tuple(name for use, name in USES.items() if use not in measured),
                rows=tuple(row for placebo, row in rows if not placebo),
                placebos=tuple(row for placebo, row in rows if placebo),
            )
        )
    return tuple(tables)


def _row(
    variant: Variant, full: Variant | None, verdicts: Sequence[UseVerdict], uses: Sequence[str], labels: Labels
) -> VerdictRow:
    disk = "" if variant.bytes_on_disk is None else size(variant.bytes_on_disk)
    if variant.bytes_on_disk and full is not None and full.bytes_on_disk:
        disk += f", × {number(variant.bytes_on_disk / full.bytes_on_disk, digits=2)}"
    cells = tuple(_cell(verdict, labels) for verdict in verdicts if verdict.use in uses)
    return VerdictRow(variant=variant.name, gate=variant.gate, size=disk, cells=cells)


def _cell(verdict: UseVerdict, labels: Labels) -> VerdictCell:
    first = verdict.figures[0] if verdict.figures else None
    told = measure = anchor = ""
    if first is not None and first.paired is not None:
        unit, measure, anchor = first.measure.unit, labels.place(first), anchor_of(first)
        told = f"{difference(first.paired.estimate, unit)} {bounds(first.paired.low, first.paired.high, unit)}"
        told += f" {difference_unit(unit)}"
        if first.margin is not None:
            told += f", margin {difference(first.margin, unit, sign=False)}"
    return VerdictCell(
        use=USES[verdict.use],
        verdict=verdict.verdict,
        symbol=SYMBOLS[verdict.verdict],
        measure=measure,
        told=told,
        more=_more(verdict),
        anchor=anchor,
    )


def _more(verdict: UseVerdict) -> str:
    if verdict.verdict == "undecided":
        leaning = verdict.figures[0].leaning
        told = f"leaning {leaning}; " if leaning else ""
        if verdict.more is None:
            return f"{told}no number of items would decide"
        return f"{told}about {number(verdict.more, digits=2)} × the items would decide"
    same = sum(figure.verdict == verdict.verdict for figure in verdict.figures)
    return f"{same} of {len(verdict.figures)} measures" if verdict.verdict == "worse" and same > 1 else ""
