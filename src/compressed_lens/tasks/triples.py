"""One's own facts: subject, relation and object in CSV, TSV, JSON, JSONL or Parquet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

from compressed_lens.errors import StudyError
from compressed_lens.tasks.base import Content, Item, Selection, TaskSource
from compressed_lens.tasks.locate import choose_files, locate_data
from compressed_lens.tasks.rows import Row, collect, column_names, find_column, read_rows

_NEEDED = ("subject", "relation", "object")
_OPTIONAL = ("aliases", "prompt", "id")


def read(selection: Selection) -> Content:
    """Read a table of facts.

    Columns (or what `fields` maps to them): `subject`, `relation`, `object`; optionally `aliases` (further names of the
    object: a list, or text with "|" between them), `prompt` (the statement to be completed) and `id`. A row without a
    prompt takes the one its relation has in the option `templates`: relation to one template, or a list whose further
    ones become paraphrases, "{}" for the subject.

    Raises:
        StudyError: A template has no "{}", or there are neither prompts nor templates.
        DataError: Data or columns are missing or malformed.
    """
    if selection.path is None:
        raise StudyError("A task of triples needs a `path`.", fix="Give a CSV, JSONL or Parquet file.")
    if selection.labels or selection.values:
        raise StudyError("Triples take no `labels`.", fix="Leave them out.")
    templates = _templates(selection.options["templates"])
    files = choose_files(locate_data(selection.path), selection.split)
    rows = read_rows(files)
    names = column_names(rows)
    place = str(files[0])
    columns = {
        what: find_column(names, (what,), given=selection.fields.get(what), what=what, file=place)
        for what in (*_NEEDED, *(o for o in _OPTIONAL if o in selection.fields or o in names))
    }
    if not templates and "prompt" not in columns:
        raise StudyError(
            "Triples need a column `prompt` or the option `templates`.",
            fix='For instance options: {templates: {capital: "The capital of {} is"}}.',
        )
    seen: Counter[str] = Counter()

    def cell(row: Row, what: str) -> str:
        return row.text(columns[what]) if what in columns else ""

    def make(row: Row) -> Item | str:
        texts = {what: cell(row, what) for what in _NEEDED}
        for what, text in texts.items():
            if not text:
                return f"empty {what}"
        wordings = [t.replace("{}", texts["subject"]).strip() for t in templates.get(texts["relation"], ())]
        prompts = list(dict.fromkeys(p for p in (cell(row, "prompt"), *wordings) if p))
        if not prompts:
            return f"no prompt, and no template for the relation '{texts['relation']}'"
        name = "{relation}/{subject}/{object}".format(**texts)
        seen[name] += 1
        return Item(
            id=cell(row, "id") or (name if seen[name] == 1 else f"{name}#{seen[name]}"),
            fields={"prompt": prompts[0]},
            answers=tuple(dict.fromkeys((texts["object"], *_aliases(row.values.get(columns.get("aliases", "")))))),
            group=texts["relation"],
            extra={"subject": texts["subject"], "object": texts["object"], "paraphrases": prompts[1:]},
        )

    items, rejected = collect(rows, make)
    return Content(items=items, rejected=rejected)


def _templates(given: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(given, Mapping):
        raise StudyError("The option templates is not a mapping.", fix='Write {capital: "The capital of {} is"}.')
    found = {str(k): tuple(map(str, v)) if isinstance(v, list | tuple) else (str(v),) for k, v in given.items()}
    for relation, templates in found.items():
        for template in templates:
            if "{}" not in template:
                raise StudyError(
                    f"The template '{template}' of '{relation}' has no '{{}}'.", fix="Put {} where the subject goes."
                )
    return found


def _aliases(value: object) -> list[str]:
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = str(value)
    names = value.split("|") if isinstance(value, str) else value if isinstance(value, list) else []
    return [text for name in names if (text := str(name).strip())]


TRIPLES = TaskSource(kind="recall", read=read, options={"templates": {}})
