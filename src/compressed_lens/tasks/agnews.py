"""AG News: the topic of a news text (Zhang et al. 2015). Read at run time only; the data may not be copied."""

from __future__ import annotations

from collections.abc import Sequence

from compressed_lens.errors import DataError
from compressed_lens.tasks.base import Content, Selection, TaskSource
from compressed_lens.tasks.classification import Columns, Table, read_labelled
from compressed_lens.tasks.rows import Row

LABELS = ("World", "Sports", "Business", "Sci/Tech")
# FIZLE's map (Bhattacharjee et al. 2024).
TARGETS = {"World": "Business", "Business": "Sports", "Sports": "World", "Sci/Tech": "Sports"}

_HUB = "fancyzhx/ag_news"
_HOME = "https://huggingface.co/datasets/fancyzhx/ag_news"
_LABEL = ("label", "class index", "class_index")
_TEXT = Columns(fields={"text": ("text",)}, label=_LABEL)
_PARTS = Columns(fields={"title": ("title",), "description": ("description",)}, label=_LABEL)


def _first_label(table: Table) -> int:
    """Return 1 for the authors' numbering (1 to 4) and 0 for the hub's (0 to 3)."""
    numbers = {row.text(table.label) for row in table.rows} & {"0", "4"}
    if numbers == {"0", "4"}:
        raise DataError("AG News labels run from 0 to 4, but there are four topics.", fix="Correct the label column.")
    return 1 if numbers == {"4"} or (not numbers and "class" in table.label.lower()) else 0


def _layout(names: Sequence[str]) -> Columns:
    return _PARTS if "title" in names and "text" not in names else _TEXT


def _texts(table: Table, row: Row) -> dict[str, str] | str:
    parts = table.texts(row)
    return {"text": " ".join(parts.values())} if isinstance(parts, dict) else parts


def read(selection: Selection) -> Content:
    """Read AG News in the hub's form (text, label 0-3) or its authors' (Class Index 1-4, Title, Description)."""
    return read_labelled(selection, _layout, LABELS, hub=_HUB, home=_HOME, first=_first_label, texts=_texts)


AG_NEWS = TaskSource(
    kind="classification",
    read=read,
    labels=LABELS,
    instruction="Decide which topic the news text is about.",
    edit_field="text",
    targets=TARGETS,
)
