"""`clens rank`."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from compressed_lens.cli.comparisons import RuleName, export, show_rankings
from compressed_lens.cli.options import ManyValues
from compressed_lens.cli.output import show
from compressed_lens.errors import DataError

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_FOLDER = "FOLDER"


@app.command(cls=ManyValues)
def rank(
    table: Annotated[Path, typer.Argument(help="CSV: model, precision, then one column a metric.", metavar="TABLE")],
    *,
    lower: Annotated[
        list[str] | None,
        typer.Option(help="Columns in which lower is better; default: by name (ppl, ts, distance, loss, error...)."),
    ] = None,
    columns: Annotated[list[str] | None, typer.Option(help="Only these columns; * matches any text.")] = None,
    models: Annotated[list[str] | None, typer.Option(help="Only these models; * matches any text.")] = None,
    variants: Annotated[list[str] | None, typer.Option(help="Only these quantizers.")] = None,
    rule: Annotated[RuleName, typer.Option(help="What happens where a quantizer is missing.")] = RuleName.skip,
    csv: Annotated[Path | None, typer.Option(help="Write the ranks as CSV, too.", metavar=_FOLDER)] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write the ranks as Parquet, too.", metavar=_FOLDER)] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the ranks as LaTeX, too.", metavar=_FOLDER)] = None,
) -> None:
    """Rank quantizers over a published table by their mean rank.

    The row of full precision ("full") is left out.

    \b
    clens rank table1.csv
    clens rank table1.csv --columns 'cfe_*' --models 'Qwen*' --rule common
    """
    import polars as pl
    from polars.exceptions import PolarsError

    from compressed_lens.comparison import published, ranking, rankings_frame

    try:
        frame = pl.read_csv(table, infer_schema_length=None)
    except PolarsError as error:
        raise DataError(
            f"{table} is no CSV table: {str(error).splitlines()[0]}.", fix="Give a CSV with a header."
        ) from None
    numbers = [name for name in frame.columns[2:] if frame[name].dtype.is_numeric()]
    long = published(frame, lower=lower, columns=None if columns is None else _matching(columns, numbers, "column"))
    for name, chosen in (("model", models), ("variant", variants)):
        if chosen:
            long = long.filter(long[name].is_in(_matching(chosen, long[name].unique().to_list(), name)))
    down = long.filter(direction="lower")["column"].unique(maintain_order=True).to_list()
    show(f"Lower is better in: {', '.join(down) or 'no column'}; higher in all others.")
    found = ranking(long, rule=rule.value)
    show_rankings([found])
    export({"ranking": rankings_frame([found])}, csv=csv, parquet=parquet, latex=latex)


def _matching(patterns: list[str], names: list[str], what: str) -> list[str]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise DataError(f"The table has no {what} '{pattern}'.", fix=f"It has: {', '.join(sorted(names))}.")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
