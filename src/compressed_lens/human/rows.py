"""What the store gives out, and the queries that read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from compressed_lens.human import tables
from compressed_lens.human.design import Kind, Shown

Step = Literal[
    "consent", "instructions", "comprehension", "rating", "comments", "done", "declined", "excluded", "withdrawn"
]

ANSWERING: tuple[Step, ...] = ("rating", "comments")
"""Steps at which pages may be answered, again too."""


@dataclass(frozen=True, kw_only=True)
class Rater:
    """A place in the design and the person who fills it.

    Attributes:
        id: Such as `R01`.
        step: How far the person is on the way through.
        language: Language of the pages.
        attempts: Times the comprehension check was answered.
        answered: Pages answered, attention checks among them, of `pages`.
        pages: Pages of this place.
        code: Code that a recruitment platform gave, or nothing.
        comment: The comment at the end.
        opened: Seconds since 1970 of the first visit, None before.
        consented: The same of the consent.
        finished: The same of the end.
        generation: How many people have had the place: 1, and one more for each who withdrew.
    """

    id: str
    step: Step
    language: str
    attempts: int
    answered: int
    pages: int
    code: str
    comment: str
    opened: float | None
    consented: float | None
    finished: float | None
    generation: int = 1


@dataclass(frozen=True, kw_only=True)
class Page:
    """One position of a rater's order: a text, or an attention check (`shown` None) with the points to choose.

    `values`, `comment` and `revisions` are what was saved: {}, "" and 0 before that.
    """

    position: int
    shown: Shown | None
    expected: Mapping[str, int] | None
    values: Mapping[str, int]
    comment: str
    revisions: int


RATINGS = pl.Schema(
    {
        "rater": pl.String,
        "position": pl.Int64,
        "text": pl.String,
        "cell": pl.String,
        "kind": pl.String,
        "values": pl.String,
        "comment": pl.String,
        "seconds": pl.Float64,
        "revisions": pl.Int64,
        "saved": pl.Float64,
        "check": pl.Boolean,
        "expected": pl.String,
        "passed": pl.Boolean,
    }
)
"""Columns of the frame of ratings."""

_PLACES, _TEXTS, _RATINGS = tables.places, tables.texts, tables.ratings
_GIVEN = sa.and_(_RATINGS.c.rater == _PLACES.c.rater, _RATINGS.c.position == _PLACES.c.position)


def read_raters(connection: Connection, rater: str | None = None) -> tuple[Rater, ...]:
    """Return every rater in order, or the one named; KeyError where there is no such one."""
    raters = tables.raters
    answered = sa.select(sa.func.count()).where(_RATINGS.c.rater == raters.c.rater).scalar_subquery()
    pages = sa.select(sa.func.count()).where(_PLACES.c.rater == raters.c.rater).scalar_subquery()
    query = sa.select(raters, answered.label("answered"), pages.label("pages")).order_by(raters.c.rater)
    if rater is not None:
        query = query.where(raters.c.rater == rater)
    found = tuple(
        Rater(
            id=row.rater,
            step=row.step,
            language=row.language,
            attempts=row.attempts,
            answered=row.answered,
            pages=row.pages,
            code=row.code or "",
            comment=row.comment,
            opened=row.opened,
            consented=row.consented,
            finished=row.finished,
            generation=row.generation,
        )
        for row in connection.execute(query)
    )
    if rater is not None and not found:
        raise KeyError(rater)
    return found


@dataclass(frozen=True, kw_only=True)
class Place:
    """How a rater stands to one page: whether it exists and has an answer, and which pages lack one.

    Attributes:
        position: Which page.
        exists: Whether the rater has such a page.
        answered: Whether it has an answer.
        first: First position without an answer, None where all have one.
        lacking: Pages without an answer.
        texts_lacking: Those of them that are no attention checks.
    """

    position: int
    exists: bool
    answered: bool
    first: int | None
    lacking: int
    texts_lacking: int

    @property
    def open(self) -> bool:
        """Whether the rater may see the page: it exists, and every page before it has an answer."""
        return self.exists and (self.first is None or self.position <= self.first)


def read_place(connection: Connection, rater: str, position: int) -> Place:
    """Return how a rater stands to one page."""
    own, answered = _PLACES.c.rater == rater, _RATINGS.c.position.is_not(None)
    here = _PLACES.c.position == position
    row = connection.execute(
        sa.select(
            sa.func.count(sa.case((here, 1))),
            sa.func.count(sa.case((here & answered, 1))),
            sa.func.min(sa.case((~answered, _PLACES.c.position))),
            sa.func.count(sa.case((~answered, 1))),
            sa.func.count(sa.case((~answered & _PLACES.c.text.is_not(None), 1))),
        )
        .select_from(_PLACES.outerjoin(_RATINGS, _GIVEN))
        .where(own)
    ).one()
    return Place(
        position=position,
        exists=row[0] > 0,
        answered=row[1] > 0,
        first=row[2],
        lacking=row[3],
        texts_lacking=row[4],
    )


def read_page(connection: Connection, rater: str, position: int) -> Page:
    """Return one page; KeyError where there is none."""
    row = connection.execute(
        sa.select(_TEXTS.c.shown, _PLACES.c.expected, _RATINGS.c.points, _RATINGS.c.comment, _RATINGS.c.revisions)
        .select_from(_PLACES.outerjoin(_TEXTS, _TEXTS.c.text == _PLACES.c.text).outerjoin(_RATINGS, _GIVEN))
        .where(_PLACES.c.rater == rater, _PLACES.c.position == position)
    ).first()
    if row is None:
        raise KeyError(position)
    return Page(
        position=position,
        shown=None if row.shown is None else Shown.model_validate_json(row.shown),
        expected=None if row.expected is None else json.loads(row.expected),
        values={} if row.points is None else json.loads(row.points),
        comment=row.comment or "",
        revisions=row.revisions or 0,
    )


def wanted(connection: Connection) -> dict[tuple[str, Kind], int]:
    """Return how many places each cell has."""
    found = connection.execute(
        sa.select(_TEXTS.c.cell, _TEXTS.c.kind, sa.func.count())
        .select_from(_PLACES.join(_TEXTS, _TEXTS.c.text == _PLACES.c.text))
        .group_by(_TEXTS.c.cell, _TEXTS.c.kind)
        .order_by(_TEXTS.c.cell)
    )
    return {(cell, kind): count for cell, kind, count in found}


def all_ratings(connection: Connection) -> pl.DataFrame:
    """Return every page that was answered, by rater and position."""
    found = connection.execute(
        sa.select(
            _RATINGS.c.rater,
            _RATINGS.c.position,
            _PLACES.c.text,
            _TEXTS.c.cell,
            _TEXTS.c.kind,
            _RATINGS.c.points.label("values"),
            _RATINGS.c.comment,
            _RATINGS.c.seconds,
            _RATINGS.c.revisions,
            _RATINGS.c.saved,
            _PLACES.c.text.is_(None).label("check"),
            _PLACES.c.expected,
        )
        .select_from(_RATINGS.join(_PLACES, _GIVEN).outerjoin(_TEXTS, _TEXTS.c.text == _PLACES.c.text))
        .order_by(_RATINGS.c.rater, _RATINGS.c.position)
    )
    rows = [
        {**row, "passed": json.loads(row["values"]) == json.loads(row["expected"]) if row["check"] else None}
        for row in map(dict, found.mappings())
    ]
    return pl.DataFrame(rows, schema=RATINGS)
