"""ECQA: commonsense questions with five options and human explanations (Aggarwal et al. 2021)."""

from __future__ import annotations

from compressed_lens.errors import StudyError
from compressed_lens.tasks.base import Content, Item, Selection, TaskSource
from compressed_lens.tasks.classification import Columns, read_table
from compressed_lens.tasks.rows import Row, collect

_OPTIONS = tuple(f"q_op{n}" for n in range(1, 6))
_COLUMNS = Columns(
    fields={"question": ("q_text", "question")}, label=("q_ans", "answer"), id=("q_no", "id"), references=("taskB",)
)


def read(selection: Selection) -> Content:
    """Read ECQA; every item has its own five choices.

    Raises:
        StudyError: `labels` are given, but the options differ by item.
    """
    if selection.labels or selection.values:
        raise StudyError("ECQA takes no `labels`: its options differ by item.", fix="Leave `labels` out.")
    table = read_table(selection, _COLUMNS, hub="yangdong/ecqa", home="https://github.com/dair-iitd/ECQA-Dataset")

    def make(row: Row) -> Item | str:
        fields = table.texts(row)
        if isinstance(fields, str):
            return fields
        written = tuple(row.text(column) for column in _OPTIONS)
        choices = tuple(dict.fromkeys(written))
        answer = row.text(table.label)
        if not all(written):
            return f"empty option {written.index('') + 1}"
        if answer not in choices:
            return f"the answer '{answer}' is not an option"
        return Item(
            id=table.identity(row),
            fields=fields,
            answers=(answer,),
            choices=choices,
            references=table.explanations(row),
        )

    items, rejected = collect(table.rows, make)
    fewer = [item.id for item in items if len(item.choices) < len(_OPTIONS)]
    notes = f"{len(fewer)} questions list an option twice and have fewer choices: {', '.join(fewer)}." if fewer else ""
    return Content(items=items, rejected=rejected, notes=notes)


ECQA = TaskSource(
    kind="classification",
    read=read,
    instruction="Answer the question by choosing the best option.",
    edit_field="question",
)
