"""Published tables of metrics, as the ranking reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compressed_lens.comparison.ranking import LONG
from compressed_lens.errors import DataError

if TYPE_CHECKING:
    import polars as pl


def published(
    frame: pl.DataFrame, *, lower: Sequence[str] | None = None, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return a published table (a row a model and precision, a column a metric) as `ranking` wants it.

    Args:
        frame: First column the model, second the precision or variant, the others numbers.
        lower: Columns in which lower is better; None: those whose name says so (`lower_is_better`).
        columns: Columns to rank by; None: all.

    Raises:
        DataError: The table has no numbers, or a column that was named is not in it.
    """
    import polars as pl

    names = frame.columns
    measured = [name for name in names[2:] if frame[name].dtype.is_numeric()]
    if not measured:
        raise DataError(
            "The table has no column of numbers after its first two.", fix="It needs model, variant, then metrics."
        )
    for name in [*(lower or ()), *(columns or ())]:
        if name not in measured:
            raise DataError(f"The table has no column of numbers '{name}'.", fix=f"It has: {', '.join(measured)}.")
    kept = [name for name in measured if columns is None or name in columns]
    down = {name for name in kept if (lower_is_better(name) if lower is None else name in lower)}
    rows = [
        (str(row[names[0]]), str(row[names[1]]), name, "lower" if name in down else "higher", row[name])
        for row in frame.iter_rows(named=True)
        for name in kept
    ]
    kinds: dict[str, type[pl.DataType]] = dict.fromkeys(LONG, pl.String)
    return pl.DataFrame(rows, schema={**kinds, "value": pl.Float64}, orient="row")


_LOWER_WORDS = frozenset("distance edit edits entropy error errors failed kl loss perplexity ppl ts unparsed".split())


def lower_is_better(column: str) -> bool:
    """Guess from a column's name whether lower is better: it has a word such as ppl, ts, distance, loss or error."""
    words = "".join(c if c.isalnum() else " " for c in column.lower()).split()
    return not _LOWER_WORDS.isdisjoint(words)
