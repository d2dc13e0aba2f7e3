"""ParaRel: one-hop facts of 39 relations, each in many wordings (Elazar et al. 2021)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from compressed_lens.errors import DataError, StudyError
from compressed_lens.registry import nearest
from compressed_lens.tasks.base import Content, Item, Selection, TaskSource
from compressed_lens.tasks.locate import locate_data
from compressed_lens.tasks.rows import Row, read_rows

_HOME = "https://github.com/yanaiela/pararel"
_PATTERNS = ("first", "all")
_SUBJECT, _OBJECT = "[X]", "[Y]"


def completion(pattern: str) -> str | None:
    """Return the part of a pattern before its object; None unless the object ends it, a full stop aside.

    A causal model can only be asked for what comes last: "[X] works for [Y] ." gives "[X] works for".
    """
    head = pattern.rstrip().removesuffix(".").rstrip()
    if not head.endswith(_OBJECT) or _SUBJECT not in head or head.count(_OBJECT) > 1:
        return None
    return " ".join(head.removesuffix(_OBJECT).split())


def read(selection: Selection) -> Content:
    """Read facts and patterns, in the authors' folders or as `facts.jsonl` and `patterns.jsonl` of one folder.

    Options: `patterns`: "first" makes one item a fact, with the first pattern that ends in its object; "all" one a
    fact and such pattern. `relations`: which (Wikidata names such as "P36"); all by default. The other wordings of an
    item's fact are in `extra["paraphrases"]`. A fact whose relation has no such pattern is rejected.
    """
    options = selection.options
    if options["patterns"] not in _PATTERNS:
        raise StudyError(
            f"The option patterns cannot be '{options['patterns']}'.", fix=f"One of: {', '.join(_PATTERNS)}."
        )
    if isinstance(options["relations"], str):
        raise StudyError("The option relations is a list of names.", fix=f"Write [{options['relations']}].")
    if selection.fields or selection.labels or selection.values:
        raise StudyError("ParaRel takes no `fields` and no `labels`.", fix="Leave them out.")
    place = locate_data(selection.path, home=_HOME)
    facts, patterns = _files(place)
    wordings = _wordings(patterns)
    wanted = set(options["relations"])
    unknown = next((name for name in wanted if name not in wordings), None)
    if unknown is not None:
        raise StudyError(
            f"There is no relation '{unknown}'.", fix=nearest(unknown, wordings) or f"One of: {', '.join(wordings)}."
        )
    items: list[Item] = []
    rejected: list[tuple[str, str]] = []
    for row, relation in _facts(facts):
        if wanted and relation not in wanted:
            continue
        made = row.damage or _items(row, relation, wordings, every=options["patterns"] == "all")
        if isinstance(made, str):
            rejected.append((row.place, made))
        else:
            items.extend(made)
    count = sum(len(found) for found in wordings.values())
    notes = f"{count} patterns that end in their object are used."
    return Content(items=tuple(items), rejected=tuple(rejected), notes=notes)


def _files(place: Path) -> tuple[list[Path], list[Path]]:
    found = sorted(place.rglob("*.jsonl")) if place.is_dir() else []
    facts = [f for f in found if f.parent.name == "trex_lms_vocab"] or [f for f in found if f.stem == "facts"]
    patterns = [f for f in found if f.parent.name == "graphs_json"] or [f for f in found if f.stem == "patterns"]
    if not facts or not patterns:
        raise DataError(
            f"'{place}' holds no facts.jsonl and patterns.jsonl, nor the authors' trex_lms_vocab and graphs_json.",
            fix=f"Give the folder of the data; get it from {_HOME}.",
        )
    return facts, patterns


def _facts(files: list[Path]) -> list[tuple[Row, str]]:
    return [(row, row.text("relation") or file.stem) for file in files for row in read_rows([file])]


def _wordings(files: list[Path]) -> dict[str, list[str]]:
    """Return the usable beginnings of every relation's patterns, in order, each once."""
    raw: dict[str, list[str]] = defaultdict(list)
    for file in files:
        for row in read_rows([file]):
            listed = row.values.get("patterns")
            patterns = [p.get("pattern") for p in listed if isinstance(p, dict)] if isinstance(listed, list) else []
            raw[row.text("relation") or file.stem] += [str(p) for p in patterns or [row.text("pattern")] if p]
    found = {relation: [completion(pattern) for pattern in patterns] for relation, patterns in raw.items()}
    return {relation: list(dict.fromkeys(c for c in heads if c)) for relation, heads in found.items()}


def _items(row: Row, relation: str, wordings: dict[str, list[str]], *, every: bool) -> list[Item] | str:
    subject, value = row.text("sub_label"), row.text("obj_label")
    if not subject or not value:
        return "empty sub_label" if not subject else "empty obj_label"
    heads = wordings.get(relation)
    if not heads:
        return f"no pattern of {relation} ends in its object"
    prompts = [head.replace(_SUBJECT, subject) for head in heads]
    identity = f"{relation}/{row.text('uuid') or row.number}"
    return [
        Item(
            id=f"{identity}/{number}" if every else identity,
            fields={"prompt": prompt},
            answers=(value,),
            group=relation,
            extra={
                "subject": subject,
                "object": value,
                "pattern": heads[number - 1] + f" {_OBJECT}",
                "paraphrases": [other for other in prompts if other != prompt],
            },
        )
        for number, prompt in enumerate(prompts if every else prompts[:1], start=1)
    ]


PARAREL = TaskSource(kind="recall", read=read, options={"patterns": "first", "relations": ()})
