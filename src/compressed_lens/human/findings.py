"""What the analysis of a human study found: one frame a table, and the file that keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from compressed_lens.errors import RunError

if TYPE_CHECKING:
    import polars as pl

Method = Literal["linear", "clustered", "ordinal"]

FILE = "analysis.json"
POOLED = "all models"
ALL_TASKS = "all tasks"
TOGETHER = "all dimensions"
HEADLINE: Method = "linear"
"""The method whose verdicts are shown first; docs/human-analysis.md says why."""

_FORMAT = 1
_COUNTS = frozenset(
    {"ratings", "raters", "texts", "items", "checks", "failed", "judged", "same_text", "needed", "rated"}
)
_FLAGS = frozenset({"finished", "excluded", "straight", "converged", "same_sign"})
_TEXTS = frozenset(
    {
        *("kind", "dimension", "model", "variant", "task", "analysis", "rater", "judge", "method", "unit", "verdict"),
        *("leaning", "level", "data", "left_out", "what", "direction"),
    }
)

_PLACE = ("kind", "dimension")
_CELL = (*_PLACE, "model", "variant", "task")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "counts": (*_CELL, "ratings", "raters", "texts", "share_1", "share_2", "share_3", "share_4", "share_5"),
    "means": (*_CELL, "ratings", "raters", "texts", "mean", "low", "high"),
    "differences": (
        *(*_PLACE, "model", "variant", "method", "unit", "ratings", "raters", "texts", "items"),
        *("estimate", "low", "high", "p", "p_adjusted", "verdict", "leaning", "converged"),
    ),
    "agreement": (*_PLACE, "level", "raters", "texts", "ratings", "alpha", "low", "high", "published"),
    "sensitivity": (*_PLACE, "variant", "data", "left_out", "raters", "ratings", "estimate", "low", "high", "verdict"),
    "raters": (
        *("rater", "texts", "finished", "checks", "failed", "excluded", "seconds", "mean", "spread", "commonest"),
        "straight",
    ),
    "matches": ("kind", "model", "variant", "task", "analysis", "texts", "judged", "same_text"),
    "judges": (
        *("kind", "task", "analysis", "dimension", "judge", "texts", "items", "spearman", "low", "high", "p"),
        *("kendall", "difference", "bound", "verdict", "needed"),
    ),
    "estimates": (
        *("model", "variant", "task", "analysis", "dimension", "judge", "what", "items", "rated", "judge_mean"),
        *("people_mean", "estimate", "low", "high", "bias", "weight", "gain"),
    ),
    "shifts": (
        *("kind", "dimension", "analysis", "judge", "model", "variant", "texts", "items", "people", "people_low"),
        *("people_high", "shift", "low", "high", "same_sign", "direction"),
    ),
}
"""Columns of each table; docs/human-analysis.md says what they hold."""


@dataclass(frozen=True, kw_only=True)
class HumanAnalysis:
    """What people said, as tables (columns: `COLUMNS`), and the settings it depends on.

    Attributes:
        margin: The difference that would matter, in points.
        exclude: "failed-checks" or "none": whose ratings the tables leave out.
        bound: Correlation with people from which on a judge is trusted.
        counts: Ratings of each cell, and the share of each point.
        means: Mean of each cell with a 95 % interval.
        differences: Each variant less full precision, by three methods.
        agreement: Krippendorff's alpha.
        sensitivity: The pooled differences on other choices of ratings.
        raters: One row a rater, by code.
        matches: How many of the texts people rated have a judge's rating, by cell.
        judges: Each judge against people on the same texts.
        estimates: What people would say of all items, from their ratings and a judge's.
        shifts: What a variant changed, for people and for each judge, on the same texts.
    """

    margin: float
    exclude: str
    bound: float
    counts: pl.DataFrame
    means: pl.DataFrame
    differences: pl.DataFrame
    agreement: pl.DataFrame
    sensitivity: pl.DataFrame
    raters: pl.DataFrame
    matches: pl.DataFrame
    judges: pl.DataFrame
    estimates: pl.DataFrame
    shifts: pl.DataFrame

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """Return every table by name, in the order they are read."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in COLUMNS}

    def to_json(self) -> str:
        """Return everything as JSON; NaN does not occur, a missing number is null."""
        tables = {name: frame.to_dict(as_series=False) for name, frame in self.tables().items()}
        told = {"format": _FORMAT, "margin": self.margin, "exclude": self.exclude, "bound": self.bound}
        return json.dumps({**told, "tables": tables}, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> HumanAnalysis:
        """Return what `to_json` wrote.

        Raises:
            RunError: It is no analysis, one of another version, or a table lacks a column.
        """
        import polars as pl

        try:
            told = json.loads(text)
            if told["format"] != _FORMAT:
                raise RunError(f"The analysis has format {told['format']}, not {_FORMAT}.", fix=_AGAIN)
            tables = {name: _read(told["tables"][name], columns) for name, columns in COLUMNS.items()}
            return cls(margin=told["margin"], exclude=told["exclude"], bound=told["bound"], **tables)
        except (ValueError, TypeError, KeyError, pl.exceptions.PolarsError) as error:
            raise RunError(f"The analysis of the human study is damaged: {error}.", fix=_AGAIN) from error


_AGAIN = "Make it anew with `clens human analyze`."


def read_analyses(run_folder: Path) -> Mapping[str, HumanAnalysis | str]:
    """Return the analysis of every human study of a run that has one, by the study's name.

    In place of one that cannot be read stands why: a report of all else is made all the same.
    """
    found: dict[str, HumanAnalysis | str] = {}
    for path in sorted(run_folder.glob(f"human/*/{FILE}")):
        try:
            found[path.parent.name] = HumanAnalysis.from_json(path.read_text(encoding="utf-8"))
        except RunError as error:
            found[path.parent.name] = str(error)
        except (OSError, UnicodeDecodeError) as error:
            found[path.parent.name] = f"The analysis of the human study cannot be read: {error}. {_AGAIN}"
    return found


def frame(table: str, rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Return rows as the frame of a table of `COLUMNS`; NaN becomes null."""
    import polars as pl

    made = pl.DataFrame(list(rows), schema={name: _kind(name) for name in COLUMNS[table]}, orient="row")
    return made.with_columns(pl.col(pl.Float64).fill_nan(None))


def _read(columns: Mapping[str, list[Any]], names: Sequence[str]) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame({name: pl.Series(columns[name], dtype=_kind(name)) for name in names})


def _kind(column: str) -> type[pl.DataType]:
    import polars as pl

    if column in _TEXTS:
        return pl.String
    if column in _FLAGS:
        return pl.Boolean
    return pl.Int64 if column in _COUNTS else pl.Float64
