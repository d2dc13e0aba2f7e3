"""Rows of data files, each with its place, whatever the format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressed_lens.errors import DataError
from compressed_lens.registry import nearest
from compressed_lens.tasks.base import Item

_CELL_LIMIT = 1 << 28


@dataclass(frozen=True, kw_only=True)
class Row:
    """One record of a file.

    Attributes:
        place: "file.csv:12" (line) for text formats, "file.parquet#12" (record, from 1) for others.
        number: Position among the records of all files, from 1.
        values: Column to cell.
        damage: Why the record as a whole is unusable; "" when it is sound.
    """

    place: str
    number: int
    values: Mapping[str, Any]
    damage: str = ""

    def text(self, column: str) -> str:
        """Return a cell as stripped text; "" when it is absent or empty."""
        value = self.values.get(column)
        return "" if value is None else str(value).strip()


def read_rows(files: Sequence[Path]) -> list[Row]:
    """Return the records of CSV, TSV, JSON, JSON lines or Parquet files, in order.

    Raises:
        DataError: A file is missing, empty, not UTF-8, or malformed; the message has the file and the line.
    """
    rows: list[Row] = []
    for file in files:
        for place, values, damage in _records(file):
            rows.append(Row(place=place, number=len(rows) + 1, values=values, damage=damage))
    if not rows:
        raise DataError(f"{', '.join(map(str, files))}: there is no row of data.", fix="Give a file that has rows.")
    return rows


def _records(file: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        return _parquet(file)
    if suffix in {".csv", ".tsv"}:
        return _csv(file, "\t" if suffix == ".tsv" else ",")
    if suffix in {".jsonl", ".ndjson"}:
        return _json_lines(file)
    if suffix == ".json":
        return _json(file)
    raise DataError(f"{file}: '{suffix or 'no suffix'}' is not a known data format.", fix="Use CSV, JSONL or Parquet.")


def read_text(file: Path) -> str:
    """Return a UTF-8 file's text, without a byte order mark.

    Raises:
        DataError: The file cannot be read, is empty, or is not UTF-8.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}).", fix="Correct the `path` of the task.") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}, line {line}: not UTF-8 text.", fix="Save the file as UTF-8.") from error
    if not text.strip():
        raise DataError(f"{file} is empty.", fix="Give a file that has rows.")
    return text


def _csv(file: Path, delimiter: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    reader = csv.reader(io.StringIO(read_text(file), newline=""), delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(_CELL_LIMIT)
    try:
        header = [name.strip() for name in next(reader)]
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise DataError(f"{file}, line 1: the column '{twice[0]}' stands twice.", fix="Rename one of them.")
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                damage = "" if len(cells) == len(header) else f"{len(cells)} cells under {len(header)} columns"
                yield f"{file.name}:{line}", dict(zip(header, cells, strict=False)), damage
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: {error}.", fix="Correct the quoting of that line.") from error
    finally:
        csv.field_size_limit(limit)


def _json_lines(file: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    # Split at newlines only: str.splitlines would also cut at separators that JSON allows inside a string.
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if line.strip():
            yield f"{file.name}:{number}", _object(file, number, line), ""


def _object(file: Path, number: int, line: str) -> dict[str, Any]:
    value = load_json(file, line, first_line=number)
    if not isinstance(value, dict):
        raise DataError(
            f"{file}, line {number}: a {type(value).__name__}, not an object.", fix='Write one {"key": value} a line.'
        )
    return value


def load_json(file: Path, text: str, *, first_line: int = 1) -> Any:
    """Return parsed JSON.

    Raises:
        DataError: It is malformed; the message has the file and the line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise DataError(f"{file}, line {line}: not JSON ({error.msg}).", fix="Correct or remove that line.") from error


def _json(file: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    value = load_json(file, read_text(file))
    if not isinstance(value, list):
        raise DataError(f"{file} is not a list of objects.", fix="Write [{...}, {...}], or one object a line as JSONL.")
    for number, record in enumerate(value, start=1):
        sound = isinstance(record, dict)
        yield f"{file.name}#{number}", record if sound else {}, "" if sound else f"a {type(record).__name__}"


def _parquet(file: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    import polars

    try:
        frame = polars.read_parquet(file)
    except (OSError, polars.exceptions.PolarsError) as error:
        raise DataError(f"{file} is not a readable Parquet file.", fix="Download or write it again.") from error
    for number, record in enumerate(frame.iter_rows(named=True), start=1):
        yield f"{file.name}#{number}", record, ""


def column_names(rows: Sequence[Row]) -> list[str]:
    """Return every column any row has, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.values))


def find_column(columns: Sequence[str], known: Sequence[str], *, given: str | None, what: str, file: str) -> str:
    """Return the column that holds `what`.

    Args:
        columns: Columns there are.
        known: Names under which it is known, best first; capitals do not matter.
        given: The user's choice, which must exist exactly.
        what: Our name for it.
        file: Where, for the message.

    Raises:
        DataError: There is no such column.
    """
    if given is None:
        lower = {name.lower(): name for name in reversed(columns)}
        found = next((lower[name.lower()] for name in known if name.lower() in lower), None)
    else:
        found = given if given in columns else None
    if found is None:
        wanted = given or known[0]
        raise DataError(
            f"{file} has no column '{wanted}' for '{what}'; its columns: {', '.join(columns)}.",
            fix=nearest(wanted, columns) or f"Name it in `fields`, for instance fields: {{{what}: COLUMN}}.",
        )
    return found


def collect(
    rows: Iterable[Row], make: Callable[[Row], Item | str]
) -> tuple[tuple[Item, ...], tuple[tuple[str, str], ...]]:
    """Return (items, rejected rows) where `make` turns a row into an item or into the reason why not."""
    items: list[Item] = []
    rejected: list[tuple[str, str]] = []
    for row in rows:
        made = row.damage or make(row)
        if isinstance(made, str):
            rejected.append((row.place, made))
        else:
            items.append(made)
    return tuple(items), tuple(rejected)
