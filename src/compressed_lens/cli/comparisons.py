"""What `compare` and `rank` share: rules, tables of ranks, and exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from compressed_lens.cli.output import progress_line, show, show_table
from compressed_lens.errors import RunError

if TYPE_CHECKING:
    import polars as pl

    from compressed_lens.comparison import Ranking


class RuleName(StrEnum):
    """What a ranking does where a quantizer is missing."""

    skip = "skip"
    common = "common"


def show_rankings(rankings: Sequence[Ranking]) -> None:
    """Print rankings, each with its rules."""
    from compressed_lens.report.comparisons import rank_bounds, ranking_note, ranking_rule

    show(f"Ranking: mean rank over (model, column) rows. {ranking_rule(rankings)}")
    for ranking in rankings:
        show(f"\n{ranking.family}: {ranking_note(ranking)}")
        rows = [(f"{one.mean_rank:.2f}", one.variant, rank_bounds(one), one.rows, one.first) for one in ranking.ranked]
        show_table(["mean rank", "variant", "95 %", "rows", "first in"], rows)


def export(tables: Mapping[str, pl.DataFrame], *, csv: Path | None, parquet: Path | None, latex: Path | None) -> None:
    """Write tables into the folders asked for, one file each; empty ones are left out.

    Raises:
        RunError: A folder cannot be written.
    """
    from compressed_lens.report.tex import frame_latex

    for name, frame in tables.items():
        if frame.is_empty():
            continue
        for folder, ending in ((csv, "csv"), (parquet, "parquet"), (latex, "tex")):
            if folder is None:
                continue
            path = folder / f"{name}.{ending}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if ending == "csv":
                    frame.write_csv(path)
                elif ending == "parquet":
                    frame.write_parquet(path)
                else:
                    path.write_text(frame_latex(frame), encoding="utf-8")
            except OSError as error:
                raise RunError(f"Cannot write {path}: {error.strerror}.", fix="Name another folder.") from error
            progress_line(f"wrote {path}")
