"""Chains of two facts with prompts of our own wording: the parts every chain has, and the source `relations-twohop`.

The chains are composed by rule from the LRE relations (Hernandez et al. 2023): e1 -r1-> e2 -r2-> e3 wherever an object
of one relation is the subject of another. They stand in for TwoHopFact where there is no network. The relations come as
sentences, so the noun phrases that make a two-hop prompt are written here.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressed_lens.errors import DataError, StudyError
from compressed_lens.ids import digest
from compressed_lens.tasks.base import Content, Item, Selection, TaskSource
from compressed_lens.tasks.locate import choose_files, locate_data
from compressed_lens.tasks.relations import read_relation, unescape
from compressed_lens.tasks.rows import Row, collect, column_names, read_rows

_COLUMNS = ("r1", "r2", "e1", "e2", "e3")
_HOME = "https://github.com/evandez/relations"


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How a relation is said; "{}" is the subject.

    Attributes:
        statement: Completion prompt, answered by the object. Where the subject can stand inside it, it does, so that a
            descriptive mention is followed by something.
        phrase: Noun phrase for the object, ending in the subject: "the country that is home to {}". "" for a relation
            that is never the first hop.
        others: Noun phrases of the same kind of thing that do not give the object: relation substitutes. The kind is
            kept (a country for a country), so that only the relation differs.
        nobody: Noun phrase in place of a subject, which names no one.
    """

    statement: str
    phrase: str = ""
    others: tuple[str, ...] = ()
    nobody: str


WORDINGS: Mapping[str, Wording] = {
    "landmark_in_country": Wording(
        statement="{} is in the country of",
        phrase="the country that is home to {}",
        others=("the country farthest from {}", "the country that has never heard of {}"),
        nobody="a certain place",
    ),
    "food_from_country": Wording(
        statement="The country of origin of {} is",
        phrase="the country of origin of {}",
        others=("the country that has never tasted {}", "the country that banned {}"),
        nobody="a certain dish",
    ),
    "product_by_company": Wording(
        statement="{} was created by the company",
        phrase="the company that created {}",
        others=("the company that never sold {}", "the company that lost the market to {}"),
        nobody="a certain product",
    ),
    "superhero_archnemesis": Wording(
        statement="The superhero archnemesis of {} is",
        phrase="the superhero archnemesis of {}",
        others=("the sidekick of {}", "the closest ally of {}"),
        nobody="a certain superhero",
    ),
    "country_capital_city": Wording(statement="The capital city of {} is", nobody="a certain country"),
    "country_currency": Wording(statement="The official currency of {} is the", nobody="a certain country"),
    "country_language": Wording(statement="People in {} speak", nobody="a certain country"),
    "country_largest_city": Wording(statement="The largest city in {} is", nobody="a certain country"),
    "company_ceo": Wording(statement="The CEO of {} is", nobody="a certain company"),
    "company_hq": Wording(statement="The headquarters of {} are in the city of", nobody="a certain company"),
    "superhero_person": Wording(statement="The secret identity of {} is", nobody="a certain superhero"),
}

_ABOUT_A_COUNTRY = ("country_capital_city", "country_currency", "country_language", "country_largest_city")
PAIRS: Mapping[str, tuple[str, ...]] = {
    "landmark_in_country": _ABOUT_A_COUNTRY,
    "food_from_country": _ABOUT_A_COUNTRY,
    "product_by_company": ("company_ceo", "company_hq"),
    "superhero_archnemesis": ("superhero_person",),
}

# The data name things without their article. Names that end in one of these take it, and so do "University of ...".
_WITH_ARTICLE = frozenset(
    "Netherlands Philippines Kingdom States Anthem Accountant Basin Bastille Circuit Constituency Council Cup "
    "Field Foundation Fortress Ground Growler Institute Islands Line Massacre Mountains Museum "
    "Nationalgalerie Network People Pixel Prize Quarter Raion Range River Shoe Specification Stratolifter "
    "Superfortress Territory Tool Voivodeship Workers district franchise iPod people regiopolis shuffle "
    "viaduct".split()
)
_WITH_ARTICLE_OF = frozenset("Bay Canton Church College Gulf Hospital Institute Isle Museum Shire University".split())


def named(entity: str) -> str:
    """Return an entity as it stands in a sentence: with its article where it takes one."""
    if entity.lower().startswith("the "):
        return entity
    whole = re.split(r" of | for |, ", entity, maxsplit=1)
    last = whole[0].rsplit(maxsplit=1)[-1]
    takes = last in _WITH_ARTICLE or (len(whole) > 1 and last in _WITH_ARTICLE_OF)
    return f"the {entity}" if takes else entity


def filled(template: str, text: str) -> tuple[str, str]:
    """Return `template` with `text` for "{}" and a capital first letter, and `text` as it then stands in it."""
    start = template.index("{}")
    prompt = template.replace("{}", text, 1)
    if not prompt[1:2].isupper():  # "iPod" stays
        prompt = prompt[:1].upper() + prompt[1:]
    return prompt, prompt[start : start + len(text)]


def chosen(identity: str, purpose: str, options: Sequence[str]) -> str | None:
    """Return one of `options`, drawn by a digest of the item's identity; None when there is none."""
    return options[int(digest([identity, purpose]), 16) % len(options)] if options else None


def chain(
    *,
    entities: tuple[str, str, str],
    relations: tuple[str, str],
    aliases: tuple[Sequence[str], Sequence[str]],
    first: str,
    second: str,
    statement: str,
    phrase: str,
    entity: str | None,
    relation: str | None,
    without_e1: Sequence[str],
) -> tuple[str, dict[str, Any]]:
    """Return the composed prompt of a chain, and the parts every chain has, for `Item.extra["chain"]`.

    Args:
        entities: e1, e2, e3.
        relations: Names of r1 and r2.
        aliases: Accepted names of e2 and of e3, each with the name itself.
        first: Prompt answered by e2.
        second: Prompt about e2, answered by e3.
        statement: Completion prompt of r2, "{}" for what it is about.
        phrase: Descriptive mention of e2.
        entity: Descriptive mention with another e1 and another bridge; None where there is none.
        relation: Descriptive mention with another relation of e1; None where there is none.
        without_e1: Mentions from which e1 is left out.
    """
    prompt, mention = filled(statement, phrase)

    def substituted(other: str | None) -> dict[str, str] | None:
        return None if other is None else dict(zip(("prompt", "mention"), filled(statement, other), strict=True))

    return prompt, {
        **dict(zip(("e1", "e2", "e3"), entities, strict=True)),
        "e2_aliases": list(aliases[0]),
        "e3_aliases": list(aliases[1]),
        "first": first,
        "second": second,
        "mention": mention,
        "entity": substituted(entity),
        "relation": substituted(relation),
        "without_e1": [filled(statement, other)[0] for other in without_e1],
        "first_relation": relations[0],
        "second_relation": relations[1],
    }


def read(selection: Selection) -> Content:
    """Read chains, one item a row; one that stands twice is numbered.

    From a table with the columns r1, r2, e1, e2, e3; or from the folder of the LRE relations, where every chain of
    `PAIRS` is composed: 2,334.
    """
    if selection.fields or selection.labels or selection.values:
        raise StudyError("Chains of relations take no `fields` and no `labels`.", fix="Leave them out.")
    place = locate_data(selection.path, home=_HOME)
    relations = {file.stem: file for file in sorted(place.rglob("*.json")) if file.stem in WORDINGS}
    rows = _compose(relations) if relations else _table(place, selection.split)
    sound = [cells for row in rows if not isinstance(cells := _cells(row), str)]
    bridges: dict[tuple[str, str], set[str]] = defaultdict(set)
    for cells in sound:
        bridges[cells["r1"], cells["e1"]].add(cells["e2"])
    seen: Counter[str] = Counter()

    def make(row: Row) -> Item | str:
        cells = _cells(row)
        if isinstance(cells, str):
            return cells
        name = "{r1}>{r2}/{e1}/{e2}".format(**cells)
        seen[name] += 1
        identity = name if seen[name] == 1 else f"{name}#{seen[name]}"
        return _item(identity, cells, bridges)

    items, rejected = collect(rows, make)
    several = sum(len(found) > 1 for found in bridges.values())
    notes = "Chains composed by rule from the LRE relations; the wording of the prompts is this project's."
    if several:
        notes += f" {several} first entities have several bridges in the data; each chain accepts its own."
    return Content(items=items, rejected=rejected, notes=notes)


def _table(place: Path, split: str | None) -> list[Row]:
    files = choose_files(place, split)
    rows = read_rows(files)
    names = column_names(rows)
    missing = next((column for column in _COLUMNS if column not in names), None)
    if missing:
        raise DataError(
            f"{files[0]} has no column '{missing}'; its columns: {', '.join(names[:30])}.",
            fix=f"Give rows with {', '.join(_COLUMNS)}, or the folder of the LRE relations.",
        )
    return rows


def _compose(files: Mapping[str, Path]) -> list[Row]:
    """Join r1's objects with r2's subjects, letter for letter, where r2 has one object only and nothing goes round."""
    found = {name: read_relation(file) for name, file in files.items()}
    rows: list[Row] = []
    for r1, seconds in PAIRS.items():
        for r2 in seconds:
            if r1 not in found or r2 not in found:
                continue
            for e1, e2 in found[r1].pairs:
                objects = found[r2].answers.get(e2, ())
                if len(objects) == 1 and objects[0] not in (e1, e2):
                    values = dict(zip(_COLUMNS, (r1, r2, e1, e2, objects[0]), strict=True))
                    rows.append(Row(place=f"{r1}.json", number=len(rows) + 1, values=values))
    return rows


def _cells(row: Row) -> dict[str, str] | str:
    cells = {column: unescape(row.text(column)) for column in _COLUMNS}
    for column, text in cells.items():
        if not text:
            return f"empty {column}"
    for column in ("r1", "r2"):
        wording = WORDINGS.get(cells[column])
        if wording is None or (column == "r1" and not wording.phrase):
            return f"no wording for '{cells[column]}' as {column}"
    return cells


def _item(identity: str, cells: Mapping[str, str], bridges: Mapping[tuple[str, str], set[str]]) -> Item:
    first, second = WORDINGS[cells["r1"]], WORDINGS[cells["r2"]]
    own = bridges[cells["r1"], cells["e1"]]
    rivals = [e1 for (r1, e1), found in bridges.items() if r1 == cells["r1"] and not found & own]
    rival = chosen(identity, "entity", rivals)
    other = chosen(identity, "relation", first.others)
    names = {e: tuple(dict.fromkeys((cells[e], named(cells[e])))) for e in ("e2", "e3")}
    prompt, parts = chain(
        entities=(cells["e1"], cells["e2"], cells["e3"]),
        relations=(cells["r1"], cells["r2"]),
        aliases=(names["e2"], names["e3"]),
        first=filled(first.statement, named(cells["e1"]))[0],
        second=filled(second.statement, named(cells["e2"]))[0],
        statement=second.statement,
        phrase=first.phrase.replace("{}", named(cells["e1"])),
        entity=None if rival is None else first.phrase.replace("{}", named(rival)),
        relation=None if other is None else other.replace("{}", named(cells["e1"])),
        without_e1=(first.phrase.replace("{}", first.nobody), second.nobody),
    )
    return Item(
        id=identity,
        fields={"prompt": prompt},
        answers=names["e3"],
        group=f"{cells['r1']} > {cells['r2']}",
        extra={"subject": cells["e1"], "object": cells["e3"], "chain": parts},
    )


RELATIONS_TWOHOP = TaskSource(kind="chain", read=read)
