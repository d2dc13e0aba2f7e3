r"""LRE relations: one-hop facts in 47 relations, 26 of them factual (Hernandez et al. 2023).

A known defect is handled: two pairs hold doubly escaped text (a literal backslash-u), which is decoded.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compressed_lens.errors import DataError, StudyError
from compressed_lens.registry import nearest
from compressed_lens.tasks.base import Content, Item, Selection, TaskSource
from compressed_lens.tasks.locate import locate_data
from compressed_lens.tasks.rows import load_json, read_text

_TEMPLATES = {"completion": "prompt_templates", "question": "prompt_templates_zs"}
_ACCEPT = ("own", "any")
_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_HOME = "https://github.com/evandez/relations"


@dataclass(frozen=True, kw_only=True)
class Relation:
    """One relation file.

    Attributes:
        name: File name without suffix, e.g. "person_mother".
        domain: "factual", "commonsense", "linguistic" or "bias".
        templates: Prompt templates with "{}" for the subject, by style.
        pairs: Cleaned (subject, object) pairs, in the order of the file; "" where one is missing.
        decoded: Pairs that held doubly escaped text.
        trimmed: Number of pairs that held surrounding blanks.
    """

    name: str
    domain: str
    templates: Mapping[str, tuple[str, ...]]
    pairs: tuple[tuple[str, str], ...]
    decoded: tuple[str, ...] = ()
    trimmed: int = 0
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def unescape(text: str) -> str:
    r"""Return `text` with literal backslash-u sequences decoded ("Bogot\\u00e1" gives "Bogotá")."""
    return _ESCAPED.sub(lambda match: str(json.loads(f'"{match.group()}"')), text)


def _cell(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def read_relation(file: Path) -> Relation:
    """Read one relation file.

    Raises:
        DataError: It is malformed, or lacks samples or templates.
    """
    data = load_json(file, read_text(file))
    samples = data.get("samples") if isinstance(data, dict) else None
    templates = {style: data.get(key) for style, key in _TEMPLATES.items()} if isinstance(data, dict) else {}
    if not isinstance(samples, list) or not all(isinstance(s, dict) for s in samples):
        raise DataError(f"{file} has no list of objects 'samples'.", fix="Give relation files of the LRE data.")
    if not all(isinstance(t, list) and all("{}" in str(x) for x in t) for t in templates.values()):
        raise DataError(f"{file} lacks prompt templates with '{{}}' for the subject.", fix=f"Get it from {_HOME}.")
    raw = [(_cell(s.get("subject")), _cell(s.get("object"))) for s in samples]
    plain = [(unescape(a), unescape(b)) for a, b in raw]
    pairs = tuple((a.strip(), b.strip()) for a, b in plain)
    answers: dict[str, dict[str, None]] = defaultdict(dict)
    for subject, obj in pairs:
        answers[subject][obj] = None
    properties = data.get("properties")
    domain = properties.get("relation_type") if isinstance(properties, dict) else None
    return Relation(
        name=file.stem,
        domain=str(domain or file.parent.name),
        templates={style: tuple(map(str, t)) for style, t in templates.items() if isinstance(t, list)},
        pairs=pairs,
        decoded=tuple(f"{a} / {b}" for (a, b), before in zip(plain, raw, strict=True) if (a, b) != before),
        trimmed=sum(after != before for after, before in zip(pairs, plain, strict=True)),
        answers={subject: tuple(objects) for subject, objects in answers.items()},
    )


def _chosen(place: Path, options: Mapping[str, Any]) -> list[Relation]:
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*.json") if not p.name.startswith("."))
    if not files:
        raise DataError(f"'{place}' holds no relation file (.json).", fix=f"Get the data from {_HOME}.")
    relations = [read_relation(file) for file in files]
    domains = sorted({r.domain for r in relations})
    if options["domain"] not in {*domains, "all"}:
        raise StudyError(
            f"There is no domain '{options['domain']}'.",
            fix=nearest(str(options["domain"]), domains) or f"Domains: {', '.join(domains)}, all.",
        )
    relations = [r for r in relations if options["domain"] in {r.domain, "all"}]
    wanted = options["relations"]
    names = [r.name for r in relations]
    for name in wanted:
        if name not in names:
            raise StudyError(f"There is no relation '{name}'.", fix=nearest(name, names) or f"One of: {names}.")
    return [r for r in relations if not wanted or r.name in wanted]


def _check(selection: Selection) -> None:
    options = selection.options
    for given, word in ((selection.fields, "fields"), (selection.labels or selection.values, "labels")):
        if given:
            raise StudyError(f"The LRE data take no `{word}`.", fix=f"Leave `{word}` out.")
    for key, valid in (("style", tuple(_TEMPLATES)), ("accept", _ACCEPT)):
        if options[key] not in valid:
            raise StudyError(f"The option {key} cannot be '{options[key]}'.", fix=f"One of: {', '.join(valid)}.")
    template = options["template"]
    if not isinstance(template, int) or isinstance(template, bool) or template < 0:
        raise StudyError(f"The option template cannot be '{template}'.", fix="Give a number from 0.")
    if isinstance(options["relations"], str):
        raise StudyError("The option relations is a list of names.", fix=f"Write [{options['relations']}].")


def read(selection: Selection) -> Content:
    """Read the relations of a folder (any depth) or of one file.

    Options: `domain` (factual; or commonsense, linguistic, bias, all), `relations` (names; all),
    `style` (completion or question templates), `template` (index; a relation with fewer uses its last),
    `accept`: "own" takes only the pair's own object as right, "any" every object the data give for the
    same subject and relation.

    One item a pair, so the factual domain gives 9,696; pairs that stand twice are kept and numbered.
    """
    _check(selection)
    options = selection.options
    items: list[Item] = []
    rejected: list[tuple[str, str]] = []
    seen: Counter[str] = Counter()
    relations = _chosen(locate_data(selection.path, home=_HOME), options)
    for relation in relations:
        templates = relation.templates[options["style"]]
        template = templates[min(options["template"], len(templates) - 1)]
        others = [other for other in templates if other != template]
        for subject, obj in relation.pairs:
            name = f"{relation.name}/{subject}/{obj}"
            if not subject or not obj:
                rejected.append((name, "empty subject" if not subject else "empty object"))
                continue
            seen[name] += 1
            also = (o for o in relation.answers[subject] if o != obj) if options["accept"] == "any" else ()
            items.append(
                Item(
                    id=name if seen[name] == 1 else f"{name}#{seen[name]}",
                    fields={"prompt": template.replace("{}", subject).strip()},
                    answers=(obj, *also),
                    group=relation.name,
                    extra={
                        "subject": subject,
                        "object": obj,
                        "domain": relation.domain,
                        "template": template,
                        "paraphrases": [other.replace("{}", subject).strip() for other in others],
                    },
                )
            )
    return Content(
        items=tuple(items),
        rejected=tuple(rejected),
        notes=_notes(relations, options, sum(n - 1 for n in seen.values())),
    )


def _notes(relations: list[Relation], options: Mapping[str, Any], repeats: int) -> str:
    style, index = options["style"], options["template"]
    fewer = [r.name for r in relations if len(r.templates[style]) <= index]
    decoded = [pair for r in relations for pair in r.decoded]
    trimmed = sum(r.trimmed for r in relations)
    said = [
        f"{len(decoded)} pairs held doubly escaped text and were decoded ({'; '.join(decoded)})." if decoded else "",
        f"{trimmed} pairs held surrounding blanks, which were removed." if trimmed else "",
        f"{repeats} pairs repeat an earlier one and are kept." if repeats else "",
        f"Relations with no {style} template {index} use their last: {', '.join(fewer)}." if fewer else "",
    ]
    return " ".join(s for s in said if s)


LRE = TaskSource(
    kind="recall",
    read=read,
    options={"domain": "factual", "relations": (), "style": "completion", "template": 0, "accept": "own"},
)
