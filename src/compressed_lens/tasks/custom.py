"""One's own labelled texts: CSV, TSV, JSON, JSONL or Parquet with a field mapping."""

from __future__ import annotations

from compressed_lens.errors import DataError, StudyError
from compressed_lens.tasks.base import Content, Item, Selection, TaskSource
from compressed_lens.tasks.classification import Columns, label_of, read_table
from compressed_lens.tasks.locate import choose_files, locate_data
from compressed_lens.tasks.rows import Row, collect, column_names, read_rows

_RESERVED = ("label", "id", "explanation")
_MOST_LABELS = 50


def _labels(selection: Selection, cells: list[str]) -> tuple[str, ...]:
    if selection.labels or selection.values:
        return selection.labels or tuple(dict.fromkeys(selection.values.values()))
    found = tuple(sorted({cell for cell in cells if cell}))
    if all(cell.lstrip("-").isdigit() for cell in found):
        raise DataError(
            f"The labels are numbers ({', '.join(found[:10])}).", fix="Give their names in `labels`, that of 0 first."
        )
    if not 1 < len(found) <= _MOST_LABELS:
        raise DataError(
            f"The label column has {len(found)} different values.", fix="Correct `fields`, or give `labels`."
        )
    return found


def read(selection: Selection) -> Content:
    """Read a table of labelled texts.

    `fields` maps each name shown to the model to its column, in display order, and the reserved names
    `label` (needed), `id` and `explanation` to theirs. `labels` gives names (numbers in the data then
    count from 0) or maps values to names; without it the values found are the labels, sorted.
    Option `edit_field`: field a counterfactual edits; default the last one shown.

    Raises:
        StudyError: The mapping lacks a text or the label.
        DataError: Data or columns are missing or malformed, or the labels cannot be told.
    """
    if selection.path is None:
        raise StudyError("A custom task needs a `path`.", fix="Give a CSV, JSONL or Parquet file.")
    shown = {name: (column,) for name, column in selection.fields.items() if name not in _RESERVED}
    if not shown or "label" not in selection.fields:
        place = locate_data(selection.path)
        names = ", ".join(column_names(read_rows(choose_files(place, selection.split))))
        raise StudyError(
            f"A custom task needs `fields` with at least one text and `label`; the columns are: {names}.",
            fix="For instance fields: {text: COLUMN, label: COLUMN}.",
        )
    edited = selection.options["edit_field"] or list(shown)[-1]
    if edited not in shown:
        raise StudyError(f"The option edit_field cannot be '{edited}'.", fix=f"One of: {', '.join(shown)}.")
    table = read_table(selection, Columns(fields=shown))
    labels = _labels(selection, [row.text(table.label) for row in table.rows if not row.damage])

    def make(row: Row) -> Item | str:
        fields = table.texts(row)
        if isinstance(fields, str):
            return fields
        label = label_of(row.text(table.label), labels, selection.values)
        if label is None:
            return f"unknown label '{row.text(table.label)}'"
        return Item(id=table.identity(row), fields=fields, answers=(label,), references=table.explanations(row))

    items, rejected = collect(table.rows, make)
    return Content(items=items, rejected=rejected, labels=labels, edit_field=edited)


CUSTOM = TaskSource(
    kind="classification",
    read=read,
    instruction="Read the text and decide which label fits.",
    options={"edit_field": ""},
)
