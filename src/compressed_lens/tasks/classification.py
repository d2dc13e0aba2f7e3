"""What labelled data sets have in common: columns under several names, labels as words or numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from compressed_lens.errors import StudyError
from compressed_lens.registry import nearest
from compressed_lens.tasks.base import Content, Item, Selection
from compressed_lens.tasks.locate import choose_files, locate_data
from compressed_lens.tasks.rows import Row, collect, column_names, find_column, read_rows


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where a data set keeps its parts: each under one of several known column names, best first.

    Attributes:
        fields: Our field name to its known columns, in display order.
        label: Known columns of the label.
        id: Known columns of the row's identity; without one the row's number is used.
        references: Columns of explanations; those that exist are used.
    """

    fields: Mapping[str, tuple[str, ...]]
    label: tuple[str, ...] = ("label", "gold_label")
    id: tuple[str, ...] = ("id", "idx")
    references: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows of a data set and the columns found in it."""

    rows: Sequence[Row]
    fields: Mapping[str, str]
    label: str
    id: str = ""
    references: tuple[str, ...] = ()

    def texts(self, row: Row) -> dict[str, str] | str:
        """Return the row's fields, or the reason why it has none."""
        found = {name: row.text(column) for name, column in self.fields.items()}
        empty = [name for name, text in found.items() if not text]
        return f"empty {' and '.join(empty)}" if empty else found

    def identity(self, row: Row) -> str:
        """Return the row's id: its own where there is one, else its number."""
        return row.text(self.id) if self.id and row.text(self.id) else f"row-{row.number}"

    def explanations(self, row: Row) -> tuple[str, ...]:
        """Return the row's explanations that are not empty."""
        return tuple(text for text in (row.text(column) for column in self.references) if text)


Layout = Columns | Callable[[Sequence[str]], Columns]


def read_table(selection: Selection, layout: Layout, *, hub: str = "", home: str = "") -> Table:
    """Find and read a data set, and find its columns.

    `layout` says where the parts are, or chooses by the lower-case column names there are.

    Raises:
        DataError: Data or a column are missing, or a file is malformed.
        StudyError: `selection.fields` names a field the data set does not have.
    """
    files = choose_files(locate_data(selection.path, hub=hub, home=home), selection.split)
    rows = read_rows(files)
    names = column_names(rows)
    columns = layout if isinstance(layout, Columns) else layout([name.lower() for name in names])
    given = selection.fields
    valid = [*columns.fields, "label", "id", "explanation"]
    for name in selection.fields:
        if name not in valid:
            raise StudyError(
                f"There is no field '{name}' to map.", fix=nearest(name, valid) or f"Fields: {', '.join(valid)}."
            )
    place = str(files[0])

    def find(what: str, known: Sequence[str]) -> str:
        return find_column(names, known, given=given.get(what), what=what, file=place)

    lower = {name.lower() for name in names}
    has_id = "id" in given or any(name.lower() in lower for name in columns.id)
    told = [given["explanation"]] if "explanation" in given else []
    return Table(
        rows=rows,
        fields={name: find(name, known) for name, known in columns.fields.items()},
        label=find("label", columns.label),
        id=find("id", columns.id) if has_id else "",
        references=tuple(find("explanation", (name,)) for name in told or columns.references if told or name in names),
    )


def label_of(value: str, labels: Sequence[str], values: Mapping[str, str], first: int = 0) -> str | None:
    """Return the label a cell stands for, or None.

    Args:
        value: The cell, as text.
        labels: Label names.
        values: The user's reading of the cells, which goes before every other.
        first: Number of the first label where labels are numbers.
    """
    if values:
        return values.get(value)
    by_name = {label.lower(): label for label in labels}
    if value.lower() in by_name:
        return by_name[value.lower()]
    try:
        position = float(value) - first
    except ValueError:
        return None
    whole = position.is_integer() and 0 <= position < len(labels)
    return labels[int(position)] if whole else None


def check_values(values: Mapping[str, str], labels: Sequence[str]) -> None:
    """Check that a user's mapping leads to labels that exist.

    Raises:
        StudyError: It does not.
    """
    for label in values.values():
        if label not in labels:
            raise StudyError(
                f"`labels` maps to '{label}', which is not a label of this task.",
                fix=nearest(label, labels) or f"Labels: {', '.join(labels)}.",
            )


def read_labelled(
    selection: Selection,
    layout: Layout,
    labels: tuple[str, ...],
    *,
    hub: str = "",
    home: str = "",
    first: Callable[[Table], int] | None = None,
    texts: Callable[[Table, Row], dict[str, str] | str] | None = None,
    notes: str = "",
) -> Content:
    """Read a data set with fixed labels, one item a row.

    Args:
        selection: What the study asks.
        layout: Where the data set keeps its parts.
        labels: Label names in the order of their numbers.
        hub: The data set's hub id.
        home: Where a person gets the data.
        first: Tells the number of the first label from the table; default 0.
        texts: Makes the fields of a row; default: the cells as they are.
        notes: What a reader of the report should know.
    """
    check_values(selection.values, labels)
    table = read_table(selection, layout, hub=hub, home=home)
    start = first(table) if first else 0

    def make(row: Row) -> Item | str:
        fields = texts(table, row) if texts else table.texts(row)
        if isinstance(fields, str):
            return fields
        label = label_of(row.text(table.label), labels, selection.values, start)
        if label is None:
            return f"unknown label '{row.text(table.label)}'"
        return Item(id=table.identity(row), fields=fields, answers=(label,), references=table.explanations(row))

    items, rejected = collect(table.rows, make)
    return Content(items=items, rejected=rejected, notes=notes)
