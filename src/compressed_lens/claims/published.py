"""The published numbers, and the arithmetic that claims share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from statistics import fmean
from typing import TYPE_CHECKING

from compressed_lens.comparison import lower_is_better
from compressed_lens.comparison.series import FULL
from compressed_lens.errors import DataError
from compressed_lens.statistics import Interval, rate_interval

if TYPE_CHECKING:
    import polars as pl

TABLE_ONE = "self_explanations_table1"
JUDGES = "self_explanations_table5_judges"
RECALL = "lre_recall"
TWO_HOPS = "twohopfact"
RELATIONS = "lre_relations"
TABLES = (TABLE_ONE, JUDGES, RECALL, TWO_HOPS, RELATIONS)
SOURCES: Mapping[str, str] = {
    TABLE_ONE: "arXiv 2601.00282v1, Table 1 (CC BY 4.0)",
    JUDGES: "arXiv 2601.00282v1, Table 5 (CC BY 4.0)",
    RECALL: "arXiv 2505.13963v3, as read in notes on it",
    TWO_HOPS: "arXiv 2505.13963v3, as read in notes on it",
    RELATIONS: "counted in the data, github.com/evandez/relations",
}
TINY = 1e-9
ROUNDING = 0.005
EDIT_ITEMS = 500
RECALL_ITEMS = 9_696


@dataclass(frozen=True, kw_only=True)
class Change:
    """A quantized cell beside the full-precision one of the same model and column.

    Attributes:
        gain: Difference turned so that positive is better, in the column's unit.
    """

    model: str
    variant: str
    column: str
    full: float
    value: float
    gain: float

    @property
    def relative(self) -> float:
        """Gain in per cent of the size of the full-precision cell."""
        return 100 * self.gain / abs(self.full)

    @property
    def sign(self) -> int:
        """1 better, -1 worse, 0 the same."""
        return 0 if abs(self.gain) < TINY else 1 if self.gain > 0 else -1


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """Why single cells are not to be taken at their word; an empty name stands for all."""

    table: str
    model: str
    variant: str
    column: str
    mark: str
    doubt: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """The published tables as they are in the package: model, precision, then numbers."""

    frames: Mapping[str, pl.DataFrame]
    digests: Mapping[str, str]
    doubts: tuple[Doubt, ...]

    @classmethod
    def load(cls) -> Published:
        """Read the tables of the package."""
        import polars as pl

        folder = files("compressed_lens.claims").joinpath("tables")
        contents = {name: folder.joinpath(f"{name}.csv").read_bytes() for name in TABLES}
        doubts = pl.read_csv(folder.joinpath("doubts.csv").read_bytes()).fill_null("")
        return cls(
            frames={name: pl.read_csv(content) for name, content in contents.items()},
            digests={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
            doubts=tuple(Doubt(**row) for row in doubts.iter_rows(named=True)),
        )

    @cached_property
    def table_one(self) -> tuple[Change, ...]:
        """Every quantized cell of Table 1 of 2601.00282."""
        return self._changes(TABLE_ONE)

    @cached_property
    def judges(self) -> tuple[Change, ...]:
        """Every quantized cell of its Table 5."""
        return self._changes(JUDGES)

    @cached_property
    def two_hops(self) -> tuple[Change, ...]:
        """Every quantized cell of the table of TwoHopFact, in points of per cent."""
        return self._changes(TWO_HOPS)

    @cached_property
    def recall(self) -> tuple[Change, ...]:
        """Every quantized cell of the table of LRE, in points of per cent."""
        rows = self.frames[RECALL].iter_rows(named=True)
        return tuple(
            Change(model=row["model"], variant=name, column="recall", full=row[FULL], value=value,
                   gain=value - row[FULL])
            for row in rows
            for name, value in row.items()
            if name not in {"model", FULL} and value is not None
        )  # fmt: skip

    def cell(self, table: str, model: str, variant: str, column: str) -> float:
        """Return one cell of a table whose rows are a model and a precision.

        Raises:
            DataError: There is no such cell.
        """
        frame = self.frames[table]
        found = frame.filter((frame[frame.columns[0]] == model) & (frame[frame.columns[1]] == variant))
        if found.is_empty() or column not in frame.columns:
            raise DataError(f"{table} has no cell of {model}, {variant}, {column}.", fix="Look at the CSV file.")
        return float(found[column].item())

    def _changes(self, table: str) -> tuple[Change, ...]:
        frame = self.frames[table]
        first, second, *columns = frame.columns
        full = {row[first]: row for row in frame.iter_rows(named=True) if row[second] == FULL}
        return tuple(
            Change(
                model=row[first],
                variant=row[second],
                column=column,
                full=full[row[first]][column],
                value=row[column],
                gain=(row[column] - full[row[first]][column]) * (-1 if lower_is_better(column) else 1),
            )
            for row in frame.iter_rows(named=True)
            if row[second] != FULL
            for column in columns
        )


def select(changes: Iterable[Change], *, columns: Sequence[str] = (), ends: str = "") -> tuple[Change, ...]:
    """Return the changes of the named columns (all where none is named) whose name ends so."""
    return tuple(c for c in changes if (not columns or c.column in columns) and c.column.endswith(ends))


def signs(changes: Sequence[Change]) -> tuple[int, int, int]:
    """Count better, worse and same cells."""
    found = [change.sign for change in changes]
    return found.count(1), found.count(-1), found.count(0)


def mean_gain(changes: Iterable[Change]) -> float:
    """Mean gain in the columns' own unit; NaN of nothing."""
    gains = [change.gain for change in changes]
    return fmean(gains) if gains else math.nan


def rate_of(percent: float, items: int) -> Interval:
    """Wilson's 95 % interval of a rate printed in per cent, its count the nearest whole number of `items`."""
    return rate_interval(round(percent / 100 * items), items)


def unpaired_difference(first: Interval, second: Interval) -> Interval:
    """95 % interval of `second - first` for two rates, as if their items were different ones.

    The published cells share their items, which the tables do not let us use: where the answers go together, as they
    do between a model and its quantized copy, the true interval is narrower, so this one is conservative.

    Source: Newcombe 1998, Statistics in Medicine 17:873, method 10 (square-and-add of two Wilson intervals).
    """
    estimate = second.estimate - first.estimate
    down = math.hypot(second.estimate - second.low, first.high - first.estimate)
    up = math.hypot(second.high - second.estimate, first.estimate - first.low)
    return Interval(
        estimate=estimate,
        low=estimate - down,
        high=estimate + up,
        n=first.n + second.n,
        dropped=0,
        units=first.n + second.n,
        confidence=first.confidence,
        method="newcombe",
    )


def percent_difference(first: float, second: float, items: int) -> Interval:
    """Interval of `second - first` for two rates printed in per cent, in points; unpaired, thus conservative."""
    found = unpaired_difference(rate_of(first, items), rate_of(second, items))
    return replace(found, estimate=second - first, low=100 * found.low, high=100 * found.high)
