"""Making the tables of a human study, and telling whether a database holds them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.engine import Connection

from compressed_lens.errors import RunError
from compressed_lens.human import tables
from compressed_lens.human.design import Questionnaire, Shown

if TYPE_CHECKING:
    from compressed_lens.human.plan import Blinded

_WHAT = "compressed-lens human study"
_ELSEWHERE = "Name another database."
_COPY = "Restore it from a copy."


def make(connection: Connection, name: str, blinded: Blinded) -> None:
    """Make and fill the tables.

    Raises:
        RunError: Tables of these names are there already.
    """
    found = _tables(connection)
    if found and _is_ours(connection, found):
        raise RunError(f"There are ratings in {name} already.", fix=_ELSEWHERE)
    if found:
        raise RunError(f"There is a table '{min(found)}' of something else in {name}.", fix=_ELSEWHERE)
    tables.metadata.create_all(connection, checkfirst=False)
    facts = {
        "what": _WHAT,
        "format": str(tables.FORMAT),
        "questionnaire": blinded.questionnaire.model_dump_json(),
        "open_link": "",
    }
    connection.execute(tables.meta.insert(), [{"key": key, "value": value} for key, value in facts.items()])
    language = blinded.questionnaire.languages[0]
    texts = [
        {"text": text, "cell": cell, "kind": shown.kind, "shown": shown.model_dump_json()}
        for text, (cell, shown) in blinded.texts.items()
    ]
    raters = [{"rater": rater, "step": "consent", "language": language, "comment": ""} for rater in blinded.pages]
    places = [
        {
            "rater": rater,
            "position": page.position,
            "text": page.text,
            "expected": None if page.expected is None else json.dumps(dict(page.expected)),
        }
        for rater, pages in blinded.pages.items()
        for page in pages
    ]
    for table, rows in ((tables.texts, texts), (tables.raters, raters), (tables.places, places)):
        if rows:
            connection.execute(table.insert(), rows)


def contents(connection: Connection, questionnaire: Questionnaire) -> Blinded:
    """Return what `make` was given."""
    from compressed_lens.human.plan import Blinded, Planned

    texts, places = tables.texts, tables.places
    pages: dict[str, list[Planned]] = {}
    for row in connection.execute(sa.select(places).order_by(places.c.rater, places.c.position)):
        expected = None if row.expected is None else json.loads(row.expected)
        pages.setdefault(row.rater, []).append(Planned(position=row.position, text=row.text, expected=expected))
    return Blinded(
        questionnaire=questionnaire,
        texts={
            row.text: (row.cell, Shown.model_validate_json(row.shown))
            for row in connection.execute(sa.select(texts).order_by(texts.c.text))
        },
        pages={rater: tuple(planned) for rater, planned in pages.items()},
    )


def recognise(connection: Connection, name: str) -> Questionnaire:
    """Return the questionnaire of the study that is there.

    Raises:
        RunError: Nothing there, or tables that are damaged, foreign or newer.
    """
    found = _tables(connection)
    if not found:
        raise RunError(f"There is no human study in {name}.", fix="Make one with `clens human create RUN`.")
    if not _is_ours(connection, found):
        raise RunError(f"{name} was not written by compressed-lens.", fix=_ELSEWHERE)
    facts = {key: value for key, value in connection.execute(sa.select(tables.meta.c.key, tables.meta.c.value))}
    version = facts.get("format", "")
    if version.isdigit() and int(version) > tables.FORMAT:
        raise RunError(
            f"{name} has tables of version {version}; this compressed-lens knows {tables.FORMAT}.",
            fix="Upgrade compressed-lens.",
        )
    lacking = sorted(set(tables.metadata.tables) - found)
    if lacking:
        raise RunError(f"{name} lacks the table '{lacking[0]}'.", fix=_COPY)
    try:
        return Questionnaire.model_validate_json(facts.get("questionnaire", ""))
    except ValidationError as error:
        raise RunError(f"The questionnaire in {name} is damaged.", fix=_COPY) from error


def _tables(connection: Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names()) & set(tables.metadata.tables)


def _is_ours(connection: Connection, found: set[str]) -> bool:
    meta = tables.meta
    if meta.name not in found or not {"key", "value"} <= {
        column["name"] for column in sa.inspect(connection).get_columns(meta.name)
    }:
        return False
    return connection.scalar(sa.select(meta.c.value).where(meta.c.key == "what")) == _WHAT
