"""What `clens compare` says about several runs, or about pairs of variants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compressed_lens.cli.comparisons import export
from compressed_lens.cli.output import show, show_table, write
from compressed_lens.errors import StudyError

if TYPE_CHECKING:
    from compressed_lens.comparison.runs import Place, RunComparison


def compare_runs(
    folders: Sequence[Path],
    pairs: Sequence[str],
    *,
    everything: bool,
    csv: Path | None,
    parquet: Path | None,
    latex: Path | None,
    html: Path | None,
) -> None:
    """Put runs side by side, print what may be compared and what differs, and write the tables and the page asked for.

    Raises:
        RunError: A folder holds no run, or a file cannot be written.
        DataError: A pair names a variant that is not there.
        StudyError: A pair is not written as FIRST=SECOND.
    """
    from compressed_lens import __version__
    from compressed_lens.comparison.runs import side_by_side
    from compressed_lens.comparison.runs_frames import checks_frame, differences_frame, records_frame
    from compressed_lens.report.run_data import RunData
    from compressed_lens.report.side_by_side import page

    compared = side_by_side([RunData.read(folder) for folder in folders], [parsed_pair(pair) for pair in pairs])
    _show(compared, everything=everything)
    tables = {
        "checks": checks_frame(compared),
        "records": records_frame(compared),
        "differences": differences_frame(compared),
    }
    export(tables, csv=csv, parquet=parquet, latex=latex)
    if html is not None:
        text = page(compared, everything=everything, footer=f"Made by compressed-lens {__version__}.")
        write(html, text)


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


def _show(compared: RunComparison, *, everything: bool) -> None:
    from compressed_lens.report import side_by_side as told

    show("Runs")
    runs = [(letter, folder, name, told.began(when)) for letter, folder, name, when in compared.runs]
    show_table(["", "folder", "study", "last session"], runs)
    show("\nMay they be compared? (pairs of cells by the result of each check)")
    counts = told.check_counts(compared)
    show_table(["check", "passed", "warning", "refused"], [(name, *found.values()) for name, found in counts.items()])
    found = told.reasons(compared)
    if found:
        show("\nWhy not, and with which reservations")
        show_table(
            ["result", "check", "detail", "where"], [(one.result, one.check, one.detail, one.places) for one in found]
        )
    show(f"\n{told.summary(compared)}")
    again = told.again(compared)
    if again:
        show("\nThe same again? (records of what should be the same; close: numbers within 1e-4)")
        show(told.agreement(again))
        unlike = [
            (
                *(cell.first.name, cell.second.name, cell.first.series.task, cell.first.series.analysis),
                *(r.shared, r.same, r.close, r.different, r.missing, ", ".join(r.unlike)),
            )
            for cell in again
            if (r := cell.records) is not None and r.same < r.shared
        ]
        if unlike:
            heads = ["first", "second", "task", "analysis", "records", "same", "close", "different", "missing", "in"]
            show_table(heads, unlike)
    rows, same = told.difference_rows(compared, everything=everything)
    if rows:
        show("\nSecond against first, paired by item (rates in points; Holm over the measures of a pair of variants)")
        heads = ["first", "second", "task", "analysis", "metric", "first", "second", "difference [95 %]", "n", "p"]
        show_table(
            [*heads, "second is"],
            [
                (
                    *(row.first, row.second, row.task, row.figure.analysis, row.figure.measure.name, *row.values),
                    *(row.change, row.figure.paired.n if row.figure.paired else 0, row.p, row.words),
                )
                for row in rows
            ],
        )
    if same:
        show(f"\n{same} measures of cells whose records are all the same are not listed: no difference on any item.")
