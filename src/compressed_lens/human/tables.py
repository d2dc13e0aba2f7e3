"""Tables of a human study's database, the same in SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

FORMAT = 1
"""Version of the tables; `meta` holds the one that a database was made with."""

metadata = MetaData()

_REAL: Double[float] = Double().with_variant(REAL, "sqlite")  # strict tables know no other name


def _table(name: str, *parts: Column[object] | ForeignKeyConstraint | UniqueConstraint) -> Table:
    return Table(name, metadata, *parts, sqlite_strict=True)


def _text(name: str, **settings: bool) -> Column[object]:
    return Column(name, Text, nullable=settings.get("nullable", False), primary_key=settings.get("primary_key", False))


def _rater() -> Column[object]:
    return Column("rater", Text, ForeignKey("raters.rater"), nullable=False, index=True)


meta = _table("meta", _text("key", primary_key=True), _text("value"))
"""Format, questionnaire (JSON) and the digest of the open link."""

texts = _table("texts", _text("text", primary_key=True), _text("cell"), _text("kind"), _text("shown"))
"""What is rated, by an id that tells nothing; `shown` is JSON."""

raters = _table(
    "raters",
    _text("rater", primary_key=True),
    _text("step"),
    _text("language"),
    Column("attempts", Integer, nullable=False, default=0),
    # Of the person: all of these are emptied at withdrawal. `generation` counts the people who had the place.
    Column("code", Text, unique=True),
    _text("comment"),
    Column("opened", _REAL),
    Column("consented", _REAL),
    Column("finished", _REAL),
    Column("generation", Integer, nullable=False, default=1),
)

places = _table(
    "places",
    Column("rater", Text, ForeignKey("raters.rater"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("text", Text, ForeignKey("texts.text")),
    _text("expected", nullable=True),
)
"""Each rater's pages in order, from 1. An attention check has no text but expected points (JSON)."""

links = _table("links", _text("digest", primary_key=True), _rater())
"""Personal links, as digests."""

sessions = _table("sessions", _text("digest", primary_key=True), _rater(), Column("touched", _REAL, nullable=False))

ratings = _table(
    "ratings",
    Column("rater", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    _text("points"),
    _text("comment"),
    Column("seconds", _REAL, nullable=False),
    Column("revisions", Integer, nullable=False),
    Column("saved", _REAL, nullable=False),
    ForeignKeyConstraint(["rater", "position"], ["places.rater", "places.position"]),
)
"""The answer of a page as it stands."""

submissions = _table(
    "submissions",
    Column("id", Integer, primary_key=True),
    _rater(),
    _text("form"),
    _text("step"),
    Column("position", Integer),
    _text("points"),
    _text("comment"),
    Column("seconds", _REAL, nullable=False),
    Column("at", _REAL, nullable=False),
    UniqueConstraint("rater", "form"),
)
"""Every form that was accepted, one after another; rows are only added, until the rater withdraws."""

incidents = _table(
    "incidents",
    Column("id", Integer, primary_key=True),
    Column("at", _REAL, nullable=False),
    _text("what"),
    _text("detail"),
)
