"""What `clens compare` says about several runs, or about pairs of variants."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from compressed_lens.cli.comparisons import export
from compressed_lens.cli.output import show, show_table
from compressed_lens.errors import StudyError

if TYPE_CHECKING:
    from compressed_lens.comparison.runs import PairedCell, Place, RunComparison

_REPRODUCED = ("same model", "same recipe")


def compare_runs(
    folders: Sequence[Path],
    pairs: Sequence[str],
    *,
    everything: bool,
    csv: Path | None,
    parquet: Path | None,
    latex: Path | None,
) -> None:
    """Put runs side by side, print what may be compared and what differs, and write the tables asked for.

    Raises:
        RunError: A folder holds no run, or a table cannot be written.
        DataError: A pair names a variant that is not there.
        StudyError: A pair is not written as FIRST=SECOND.
    """
    from compressed_lens.comparison.runs import side_by_side
    from compressed_lens.comparison.runs_frames import checks_frame, differences_frame, records_frame
    from compressed_lens.report.run_data import RunData

    compared = side_by_side([RunData.read(folder) for folder in folders], [parsed_pair(pair) for pair in pairs])
    show("Runs")
    show_table(
        ["", "folder", "study", "last session"],
        [
            (letter, folder, name, datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%d %H:%M") if began else "")
            for letter, folder, name, began in compared.runs
        ],
    )
    _show_checks(compared)
    _show_records(compared)
    _show_differences(compared, everything=everything)
    tables = {
        "checks": checks_frame(compared),
        "records": records_frame(compared),
        "differences": differences_frame(compared),
    }
    export(tables, csv=csv, parquet=parquet, latex=latex)


def parsed_pair(text: str) -> tuple[Place, Place]:
    """Read "model/variant=model/variant"; a model may be left out where a run has one only.

    Raises:
        StudyError: It is not written so.
    """
    first, equals, second = text.partition("=")
    if not (equals and first and second) or "=" in second:
        raise StudyError(f"'{text}' is no pair of variants.", fix="Write FIRST=SECOND, each VARIANT or MODEL/VARIANT.")
    (mine, _, mine_name), (theirs, _, theirs_name) = first.rpartition("/"), second.rpartition("/")
    return (mine, mine_name), (theirs, theirs_name)


def _show_checks(compared: RunComparison) -> None:
    show("\nMay they be compared? (cells by the result of each check)")
    counts: dict[str, dict[str, int]] = {}
    told: dict[tuple[str, str, str], list[str]] = {}
    for cell in compared.cells:
        for check in cell.checks:
            line = counts.setdefault(check.name, {"passed": 0, "warning": 0, "refused": 0})
            line[check.result] += 1
            if check.result != "passed":
                told.setdefault((check.result, check.name, check.detail), []).append(_where(cell))
        for metric, why in cell.left_out:
            told.setdefault(("refused", f"metric {metric}", f"{why[:1].upper()}{why[1:]}."), []).append(_where(cell))
    for one in compared.alone:
        place = f"{one.run}:{one.model}/{one.variant} {one.task} {one.analysis}".rstrip()
        told.setdefault(("refused", "partner", f"{one.why[:1].upper()}{one.why[1:]}."), []).append(place)
    show_table(
        ["check", "passed", "warning", "refused"], [(name, *results.values()) for name, results in counts.items()]
    )
    if told:
        show("\nWhy not, and with which reservations")
        rows = [
            (result, check, detail, where[0] + (f" and {len(where) - 1} more" if len(where) > 1 else ""))
            for (result, check, detail), where in sorted(told.items(), key=lambda pair: pair[0][0])
        ]
        show_table(["result", "check", "detail", "where"], rows)
    refused = sum(bool(cell.refused) for cell in compared.cells)
    show(f"\n{len(compared.cells) - refused} pairs of cells are compared, {refused} are refused, "
         f"{len(compared.alone)} cells or variants have no partner.")  # fmt: skip


def _where(cell: PairedCell) -> str:
    return f"{cell.first.series.task} {cell.first.series.analysis} ({cell.first.name}, {cell.second.name})"


def _show_records(compared: RunComparison) -> None:
    again = [cell for cell in compared.cells if cell.records is not None and cell.relation in _REPRODUCED]
    if not again:
        return
    show("\nThe same again? (records of what should be the same; close: numbers within 1e-4)")
    exact = [cell for cell in again if cell.records is not None and cell.records.same == cell.records.shared]
    shared = sum(cell.records.shared for cell in exact if cell.records is not None)
    show(
        f"{len(exact)} of {len(again)} pairs of cells agree in all of their records, to the last digit "
        f"({shared} records)."
    )
    rows = [
        (
            *(cell.first.name, cell.second.name, cell.first.series.task, cell.first.series.analysis),
            *(found.shared, found.same, found.close, found.different, found.missing, ", ".join(found.unlike)),
        )
        for cell in again
        if (found := cell.records) is not None and found.same < found.shared
    ]
    if rows:
        heads = ["first", "second", "task", "analysis", "records", "same", "close", "different", "missing", "what"]
        show_table(heads, rows)


def _show_differences(compared: RunComparison, *, everything: bool) -> None:
    from compressed_lens.report.formatting import DASH, amount, bounds, difference, p_value

    rows, same = [], 0
    for cell in compared.cells:
        identical = (
            cell.relation == "same model" and cell.records is not None and cell.records.same == cell.records.shared
        )
        for mine, figure in zip(cell.baseline, cell.differences, strict=True):
            unit, paired = figure.measure.unit, figure.paired
            if not everything and not figure.measure.primary:
                continue
            if identical or paired is None:
                same += 1
                continue
            rows.append(
                (
                    *(cell.first.name, cell.second.name, figure.task, figure.analysis, figure.measure.name),
                    *(amount(mine.own.estimate, unit), amount(figure.own.estimate, unit)),
                    f"{difference(paired.estimate, unit)} {bounds(paired.low, paired.high, unit)}".strip(),
                    *(paired.n, p_value(figure.p_adjusted) or DASH),
                    figure.verdict + (f", leaning {figure.leaning}" if figure.leaning else ""),
                )
            )
    if rows:
        show("\nSecond against first, paired by item (rates in points; Holm over the measures of a pair of variants)")
        heads = ["first", "second", "task", "analysis", "metric", "first", "second", "difference [95 %]", "n", "p"]
        show_table([*heads, "second is"], rows)
    if same:
        show(f"\n{same} measures of cells whose records are all the same are not listed: no difference on any item.")
