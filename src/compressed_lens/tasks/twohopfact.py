"""TwoHopFact: chains of two facts and their parts (Yang et al. 2024); 45,595 chains of 52 types, CC BY 4.0.

SOCRATES (Yang et al. 2024, arXiv 2411.16679) has the same form and is read by its path.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

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
_SUBSTITUTED = {"entity": "r2(r1(e1'))", "relation": "r2(r1'(e1))"}
_WITHOUT_E1 = ("r2(r1(e1.null)).prompt", "r2(e2.null).prompt")
_CUT = ".subject_cut.prompt"
_QUOTES = "'\"”’»"
_POSSESSIVE = ("'s", "’s")
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


def mention(prompt: str, *, cut: str, lead: str, tail: str = "", subject: str = "") -> str | None:
    """Return the descriptive mention in `prompt`, word for word; its last occurrence is the one meant.

    Args:
        prompt: The composed prompt.
        cut: The prompt up to the end of the mention, as the authors give it; "" where they do not.
        lead: What stands before the mention, "" when that is not known; the mention then starts with the prompt.
        tail: What stands after the mention, where there is no cut.
        subject: The mention's last words, where there is neither cut nor tail.

    Returns:
        None when the end of the mention cannot be told.
    """
    if cut and prompt.startswith(cut):
        end = len(cut)
    elif tail and prompt.endswith(tail):
        end = len(prompt) - len(tail)
    elif subject and subject in prompt:
        end = prompt.rindex(subject) + len(subject)
        if prompt[end : end + 2] in _POSSESSIVE:
            return None
        end += prompt[end : end + 1] in _QUOTES and end < len(prompt)
    else:
        return None
    start = len(lead) if lead and len(lead) < end and prompt.startswith(lead) else 0
    found = prompt[start:end]
    return found if prompt.rindex(found) == start else prompt[:end]


def _parts(row: Row, entities: Mapping[str, str], named: Mapping[str, list[str]]) -> dict[str, Any] | str:
    composed, second = row.text(_HOPS["composed"][0]), row.text(_HOPS["second"][0])
    lead = second[: max(second.find(entities["e2"]), 0)]
    own = mention(composed, cut=row.text("r2(r1(e1))" + _CUT), lead=lead, subject=entities["e1"])
    if own is None:
        return "the composed prompt does not begin with its subject cut, nor name e1"
    tail = composed[composed.rindex(own) + len(own) :]

    def substituted(name: str) -> dict[str, str] | None:
        prompt = row.text(f"{name}.prompt")
        found = mention(prompt, cut=row.text(name + _CUT), lead=lead, tail=tail) if prompt else None
        return None if found is None else {"prompt": prompt, "mention": found}

    return {
        **entities,
        "e2_aliases": named["e2"],
        "e3_aliases": named["e3"],
        "first": row.text(_HOPS["first"][0]),
        "second": second,
        "mention": own,
        **{what: substituted(name) for what, name in _SUBSTITUTED.items()},
        "without_e1": [text for column in _WITHOUT_E1 if (text := row.text(column))],
        "first_relation": "",
        "second_relation": "",
    }


def read(selection: Selection) -> Content:
    """Read chains; the option `hop` says which of the three prompts is asked: composed, first or second.

    With the composed prompt the task is one of chains, and `extra["chain"]` has the parts; with one of the others it is
    one of single facts. All prompts of a chain are in `extra["prompts"]`, its entities and the aliases of the last two
    in `extra["e1"]` to `extra["e3"]` and `extra["aliases"]`.
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
        asked = [column for column, _ in _HOPS.values()] if hop == "composed" else [prompt]
        empty = next((c for c in (*asked, *(f"{e}.value" for e in _ENTITIES)) if not row.text(c)), None)
        if empty:
            return f"empty {empty}"
        for entity, found in known.items():
            if found is None:
                return f"unreadable {entity}.aliases"
        named = {e: list(dict.fromkeys((entities[e], *(known[e] or ())))) for e in _ANSWERS}
        parts = _parts(row, entities, named) if hop == "composed" else {}
        if isinstance(parts, str):
            return parts
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
                **({"chain": parts} if parts else {}),
            },
        )

    items, rejected = collect(rows, make)
    return Content(items=items, rejected=rejected, kind="chain" if hop == "composed" else "recall")


TWO_HOP_FACT = TaskSource(kind="chain", read=read, options={"hop": "composed"})
