"""CounterFact: facts with a false rival object (Meng et al. 2022); 21,919 records, read at run time only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressed_lens.errors import StudyError
from compressed_lens.tasks.base import Content, Item, Selection, TaskSource
from compressed_lens.tasks.locate import choose_files, locate_data
from compressed_lens.tasks.rows import Row, read_rows

_HOME = "https://rome.baulab.info/data"
_LISTS = {"paraphrase": "paraphrase_prompts", "neighborhood": "neighborhood_prompts"}
_PROMPTS = ("rewrite", *_LISTS)


def read(selection: Selection) -> Content:
    """Read CounterFact in its authors' form: a JSON list of records with `requested_rewrite` and lists of prompts.

    The option `prompts` says what is asked: "rewrite", the fact itself; "paraphrase", other wordings of it after a
    sentence that does not matter; "neighborhood", other subjects of the same relation and object. `choices` of every
    item are the true object and its false rival, so that ranking them gives how often the false one is likelier.
    """
    wanted = selection.options["prompts"]
    if wanted not in _PROMPTS:
        raise StudyError(f"The option prompts cannot be '{wanted}'.", fix=f"One of: {', '.join(_PROMPTS)}.")
    if selection.fields or selection.labels or selection.values:
        raise StudyError("CounterFact takes no `fields` and no `labels`.", fix="Leave them out.")
    items: list[Item] = []
    rejected: list[tuple[str, str]] = []
    for row in read_rows(choose_files(locate_data(selection.path, home=_HOME), selection.split)):
        made = row.damage or _items(row, wanted)
        if isinstance(made, str):
            rejected.append((row.place, made))
        else:
            items.extend(made)
    return Content(items=tuple(items), rejected=tuple(rejected), notes=f"CounterFact, {wanted} prompts.")


def _text(record: Mapping[str, Any], *path: str) -> str:
    value: Any = record
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value.strip() if isinstance(value, str) else ""


def _items(row: Row, wanted: str) -> list[Item] | str:
    rewrite = row.values.get("requested_rewrite")
    if not isinstance(rewrite, Mapping):
        return "no requested_rewrite"
    template, subject = _text(rewrite, "prompt"), _text(rewrite, "subject")
    true, new = _text(rewrite, "target_true", "str"), _text(rewrite, "target_new", "str")
    for what, text in (("prompt", template), ("subject", subject), ("target_true", true), ("target_new", new)):
        if not text:
            return f"empty {what}"
    if "{}" not in template:
        return "the prompt has no '{}' for the subject"
    if true.casefold() == new.casefold():
        return "the true and the new object are the same"
    own = template.replace("{}", subject).strip()
    lists = {name: _prompts(row.values.get(column)) for name, column in _LISTS.items()}
    prompts = [own] if wanted == "rewrite" else lists[wanted]
    if not prompts:
        return f"no {wanted} prompt"
    identity = row.text("case_id") or f"row-{row.number}"
    return [
        Item(
            id=identity if wanted == "rewrite" else f"{identity}/{wanted}/{number}",
            fields={"prompt": prompt},
            answers=(true,),
            choices=(true, new),
            group=_text(rewrite, "relation_id"),
            extra={
                # A neighbour's prompt is about another subject, which the records do not name.
                **({} if wanted == "neighborhood" else {"subject": subject}),
                "object": true,
                "rival": new,
                "paraphrases": lists["paraphrase"] if wanted == "rewrite" else [],
            },
        )
        for number, prompt in enumerate(prompts, start=1)
    ]


def _prompts(value: object) -> list[str]:
    found = value if isinstance(value, list) else []
    return [text.strip() for text in found if isinstance(text, str) and text.strip()]


COUNTERFACT = TaskSource(kind="recall", read=read, options={"prompts": "rewrite"})
