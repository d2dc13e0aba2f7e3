"""What one answer does to the database: the statements inside the transactions of the store."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from compressed_lens.human import tables
from compressed_lens.human.design import POINTS, Questionnaire

Saved = Literal["saved", "repeated", "conflict"]

_FORM_LENGTH = 200
_COMMENT_LENGTH = 10_000


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An answer of a rater that was gathered elsewhere; the parts are those of `HumanStore.save`."""

    rater: str
    position: int
    values: Mapping[str, int]
    comment: str
    seconds: float
    form: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer to one page, checked and as it is stored."""

    form: str
    step: str
    position: int | None
    points: str
    comment: str
    seconds: float


def answer(
    questionnaire: Questionnaire,
    *,
    position: int,
    values: Mapping[str, int],
    comment: str,
    seconds: float,
    form: str,
) -> Answer:
    """Check an answer against the questionnaire.

    Raises:
        ValueError: Not exactly its dimensions, a value that is no point of the scale, or no form.
    """
    names = [dimension.name for dimension in questionnaire.dimensions]
    if set(values) != set(names):
        raise ValueError(f"an answer rates exactly {', '.join(names)}")
    if any(type(value) is not int or value not in POINTS for value in values.values()):
        raise ValueError(f"a rating is a whole number from {POINTS[0]} to {POINTS[-1]}")
    check_form(form)
    if not math.isfinite(seconds):
        raise ValueError("seconds is a finite number")
    points = json.dumps({name: values[name] for name in names})
    # A clock that was set back must not cost a rating.
    return Answer(
        form=form, step="rating", position=position, points=points, comment=plain(comment), seconds=max(0.0, seconds)
    )


def check_form(form: str) -> None:
    """Raise ValueError unless `form` can be the id of a form."""
    if not form or len(form) > _FORM_LENGTH:
        raise ValueError(f"a form has an id of 1 to {_FORM_LENGTH} characters")


def plain(text: str) -> str:
    """Return what every database can hold of a text: no NUL, no half characters, at most 10,000 characters."""
    return text.replace("\0", "")[:_COMMENT_LENGTH].encode("utf-8", "replace").decode()


def locked(connection: Connection, rater: str) -> sa.Row[Any]:
    """Return a rater's row and let nobody else change it until the transaction ends; KeyError: no such rater."""
    row = connection.execute(sa.select(tables.raters).where(tables.raters.c.rater == rater).with_for_update()).first()
    if row is None:
        raise KeyError(rater)
    return row


def earlier(connection: Connection, rater: str, sent: Answer) -> Saved | None:
    """Say what sending a form again means; None where it was never accepted."""
    known = tables.submissions.c
    row = connection.execute(
        sa.select(known.step, known.position, known.points, known.comment).where(
            known.rater == rater, known.form == sent.form
        )
    ).first()
    if row is None:
        return None
    return "repeated" if tuple(row) == (sent.step, sent.position, sent.points, sent.comment) else "conflict"


def log(connection: Connection, rater: str, sent: Answer, *, at: float) -> None:
    """Append an accepted form to the log."""
    row = {"rater": rater, "form": sent.form, "step": sent.step, "position": sent.position, "points": sent.points}
    connection.execute(tables.submissions.insert().values(**row, comment=sent.comment, seconds=sent.seconds, at=at))


def record(connection: Connection, rater: str, sent: Answer, *, again: bool, at: float) -> None:
    """Append the answer of a page to the log and let it stand, for the first time or `again`."""
    log(connection, rater, sent, at=at)
    ratings = tables.ratings
    if again:
        connection.execute(
            ratings.update()
            .where(ratings.c.rater == rater, ratings.c.position == sent.position)
            .values(
                points=sent.points,
                comment=sent.comment,
                seconds=ratings.c.seconds + sent.seconds,
                revisions=ratings.c.revisions + 1,
                saved=at,
            )
        )
        return
    row = {"rater": rater, "position": sent.position, "points": sent.points, "comment": sent.comment}
    connection.execute(ratings.insert().values(**row, seconds=sent.seconds, revisions=0, saved=at))


def update(connection: Connection, rater: str, **values: Any) -> None:
    """Change columns of a rater."""
    connection.execute(tables.raters.update().where(tables.raters.c.rater == rater).values(**values))
