"""TwoHopFact: chains of two facts and their parts (Yang et al. 2024); 45,595 chains of 52 types, CC BY 4.0."""

from __future__ import annotations

import ast
from functools import lru_cache

from compressed_lens.errors import DataError, StudyError
from compressed_lens.tasks.base import Content, Item, Selection, TaskSource
from compressed_lens.tasks.locate import choose_files, locate_data
from compressed_lens.tasks.rows import Row, collect, column_names, read_rows

_HUB = "soheeyang/TwoHopFact"
# Hop to (column of the prompt, entity that answers it).
_HOPS = {
    "composed": ("r2(r1(e1)).prompt", "e3"),
    "first": ("r1(e1).prompt", "e2"),
    "second": ("r2(e2).prompt", "e3"),
}
_ENTITIES = ("e1", "e2", "e3")
_ANSWERS = ("e2", "e3")
_TYPE = ("fact_comp_type", "fact_composition_type")


@lru_cache(maxsize=1 << 16)
def aliases(text: str) -> tuple[str, ...] | None:
    """Return the names in a cell such as "(('USA', 'United States'),)"; None when it is not of that form."""
    try:
        value = ast.literal_eval(text) if text else ()
    except (ValueError, SyntaxError):
        return None
    if not isinstance(value, tuple | list):
        return None
    groups = [g if isinstance(g, tuple | list) else (g,) for g in value]
    return tuple(str(name).strip() for group in groups for name in group if str(name).strip())


def read(selection: Selection) -> Content:
    """Read chains; the option `hop` says which of the three prompts is asked: composed, first or second.

    All prompts of a chain (substitutions and cut subjects too) are in `extra["prompts"]`, its entities
    and the aliases of the last two in `extra["e1"]` to `extra["e3"]` and `extra["aliases"]`.
    """
    hop = selection.options["hop"]
    if hop not in _HOPS:
        raise StudyError(f"The option hop cannot be '{hop}'.", fix=f"One of: {', '.join(_HOPS)}.")
    if selection.fields or selection.labels or selection.values:
        raise StudyError("TwoHopFact takes no `fields` and no `labels`.", fix="Leave them out.")
    prompt, answer = _HOPS[hop]
    place = locate_data(selection.path, hub=_HUB, home=f"https://huggingface.co/datasets/{_HUB}")
    files = choose_files(place, selection.split)
    rows = read_rows(files)
    names = column_names(rows)
    missing = [c for c in (*(c for c, _ in _HOPS.values()), *(f"{e}.value" for e in _ENTITIES)) if c not in names]
    if missing:
        raise DataError(
            f"{files[0]} has no column '{missing[0]}'; its columns: {', '.join(names[:30])}.",
            fix="Give the data set in its authors' form.",
        )
    kind = next((name for name in _TYPE if name in names), "")
    prompts = [name for name in names if name.endswith("prompt")]

    def make(row: Row) -> Item | str:
        entities = {e: row.text(f"{e}.value") for e in _ENTITIES}
        known = {e: aliases(row.text(f"{e}.aliases")) for e in _ANSWERS}
        for what, text in {prompt: row.text(prompt), **{f"{e}.value": v for e, v in entities.items()}}.items():
            if not text:
                return f"empty {what}"
        for entity, found in known.items():
            if found is None:
                return f"unreadable {entity}.aliases"
        named = {e: list(dict.fromkeys((entities[e], *(known[e] or ())))) for e in _ANSWERS}
        return Item(
            id=row.text("uid") or f"row-{row.number}",
            fields={"prompt": row.text(prompt)},
            answers=tuple(named[answer]),
            group=row.text(kind),
            extra={
                **entities,
                "aliases": named,
                "prompts": {name: row.text(name) for name in prompts},
                "subject": entities["e2" if hop == "second" else "e1"],
                "object": entities[answer],
                "hop": hop,
            },
        )

    items, rejected = collect(rows, make)
    return Content(items=items, rejected=rejected)


TWO_HOP_FACT = TaskSource(kind="recall", read=read, options={"hop": "composed"})
