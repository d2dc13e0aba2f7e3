"""The database of a human study: who is how far, and every rating, saved once and for good."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from compressed_lens.human import answers, layout, rows, tables
from compressed_lens.human.answers import Entry, Saved
from compressed_lens.human.database import Database
from compressed_lens.human.design import Kind
from compressed_lens.human.entrance import Entrance
from compressed_lens.human.rows import ANSWERING, Page, Rater, Step

if TYPE_CHECKING:
    from compressed_lens.human.plan import Blinded

__all__ = ["Entry", "HumanStore", "Page", "Rater", "Saved", "Step"]

_INCIDENTS = 10_000
_WORDS = 200


class HumanStore(Entrance):
    """The ratings and raters of one human study; every call is one transaction, from any thread or process.

    Methods that name a rater raise KeyError where there is no such rater. Every method raises RunError where the
    database fails. `create` and `open` make one; use it as a context manager.
    """

    @classmethod
    def create(cls, url: str, blinded: Blinded, *, clock: Callable[[], float] = time.time) -> HumanStore:
        """Make the tables and fill them, or leave nothing behind.

        Raises:
            RunError: The database holds a study, or tables of the same names, already.
        """
        database = Database(url, new=True)
        try:
            with database.creating() as connection:
                layout.make(connection, database.name, blinded)
        except BaseException:
            database.close()
            raise
        return cls(database, blinded.questionnaire, clock=clock)

    @classmethod
    def open(cls, url: str, *, clock: Callable[[], float] = time.time) -> HumanStore:
        """Open the database of a human study.

        Raises:
            RunError: Nothing there, damaged, written by something else or a newer version, or out of reach.
        """
        database = Database(url)
        try:
            with database.reading() as connection:
                questionnaire = layout.recognise(connection, database.name)
        except BaseException:
            database.close()
            raise
        return cls(database, questionnaire, clock=clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection to the database."""
        self._database.close()

    def rater(self, rater: str) -> Rater:
        """Return a rater as of now."""
        with self._database.reading() as connection:
            return rows.read_raters(connection, rater)[0]

    def set_language(self, rater: str, language: str) -> None:
        """Show the pages in another language of the questionnaire; ValueError where it has no such language."""
        if language not in self.questionnaire.languages:
            raise ValueError(f"the questionnaire has no language '{language}'")
        with self._database.writing() as connection:
            answers.locked(connection, rater)
            answers.update(connection, rater, language=language)

    def move(self, rater: str, *, step: Step, to: Step) -> bool:
        """Move a rater on to another step; False, and nothing done, unless the present one is `step`."""
        now = self._clock()
        with self._database.writing() as connection:
            if answers.locked(connection, rater).step != step:
                return False
            values: dict[str, Any] = {"step": to}
            if step == "consent" and to != "declined":
                values["consented"] = now
            if to == "done":
                values["finished"] = now
            answers.update(connection, rater, **values)
        return True

    def attempt(self, rater: str, *, passed: bool, attempts: int) -> Step:
        """Count an answer to the comprehension check.

        Args:
            rater: Whose.
            passed: Whether every question was answered right.
            attempts: Attempts before this one, as the form knew them; where more were counted since (a double click),
                nothing is done.

        Returns:
            Where the rater is now: at "rating", again at "comprehension", or "excluded" after the last attempt.
        """
        with self._database.writing() as connection:
            row = answers.locked(connection, rater)
            step: Step = row.step
            if step != "comprehension" or row.attempts != attempts:
                return step
            if passed:
                step = "rating"
            elif attempts + 1 >= self.questionnaire.comprehension_attempts:
                step = "excluded"
            answers.update(connection, rater, step=step, attempts=attempts + 1)
        return step

    def page(self, rater: str, position: int) -> Page:
        """Return one page; KeyError where there is none, or it lies beyond the first unanswered one."""
        with self._database.reading() as connection:
            if not rows.read_place(connection, rater, position).open:
                raise KeyError(position)
            return rows.read_page(connection, rater, position)

    def first_unanswered(self, rater: str) -> int | None:
        """Return the first page without an answer, None where all are answered."""
        with self._database.reading() as connection:
            rows.read_raters(connection, rater)
            return rows.read_place(connection, rater, 1).first

    def save(
        self, rater: str, position: int, *, values: Mapping[str, int], comment: str, seconds: float, form: str
    ) -> Saved:
        """Save the answer of a page; when the call returns, no crash can undo it.

        Args:
            rater: Whose page.
            position: Which page, not beyond the first unanswered one.
            values: Point by dimension.
            comment: Of the rater; more than 10,000 characters are cut off.
            seconds: How long the form was open; those of all forms of a page add up.
            form: Id of the form that was rendered; it is accepted once.

        Returns:
            "saved": written, or written over (the earlier answer stays in the log). "repeated": this form was accepted
            with the same answer; nothing written. "conflict": it was accepted with another answer, or the rater may no
            longer answer; nothing written.

        Raises:
            KeyError: No such rater or page, or one beyond the first unanswered.
            ValueError: Not exactly the dimensions of the questionnaire, or not from 1 to 5.
        """
        sent = self._answer(position, values, comment, seconds, form)
        with self._database.writing() as connection:
            row = answers.locked(connection, rater)
            place = rows.read_place(connection, rater, position)
            known = answers.earlier(connection, rater, sent)
            if known is not None:
                return known
            if row.step not in ANSWERING:
                return "conflict"
            if not place.open:
                raise KeyError(position)
            now = self._clock()
            answers.record(connection, rater, sent, again=place.answered, at=now)
            if row.step == "rating" and place.lacking - (not place.answered) == 0:
                done = {"step": "comments"} if self.questionnaire.comments else {"step": "done", "finished": now}
                answers.update(connection, rater, **done)
        return "saved"

    def enter(self, entries: Sequence[Entry]) -> tuple[Saved, ...]:
        """Save answers that were gathered elsewhere, at any page and step; a page that has an answer keeps it.

        A rater counts as opened and consented, and as done once every text has an answer; attention checks may lack.

        Returns:
            For each "saved"; "repeated" where the page has this very answer; "conflict" where it has another one. With
            a conflict among them nothing is written.

        Raises:
            KeyError: No such rater or page.
            ValueError: As for `save`.
        """
        given = [
            (one.rater, self._answer(one.position, one.values, one.comment, one.seconds, one.form)) for one in entries
        ]
        with self._database.writing() as connection:
            done = tuple(self._enter(connection, rater, sent) for rater, sent in given)
            if "conflict" in done:
                connection.rollback()
        return done

    def _enter(self, connection: Connection, rater: str, sent: answers.Answer) -> Saved:
        position = sent.position
        assert position is not None
        row = answers.locked(connection, rater)
        page = rows.read_page(connection, rater, position)
        if page.values:
            same = dict(page.values) == json.loads(sent.points) and page.comment == sent.comment
            return "repeated" if same else "conflict"
        known = answers.earlier(connection, rater, sent)
        if known is not None:
            return known
        now = self._clock()
        answers.record(connection, rater, sent, again=False, at=now)
        done = rows.read_place(connection, rater, position).texts_lacking == 0
        answers.update(
            connection,
            rater,
            step="done" if done else "rating",
            opened=row.opened or now,
            consented=row.consented or now,
            finished=now if done else None,
        )
        return "saved"

    def finish(self, rater: str, *, comment: str, form: str) -> None:
        """End the study for a rater who has answered every page; nothing is done at any other step."""
        answers.check_form(form)
        now = self._clock()
        comment = answers.plain(comment)
        sent = answers.Answer(form=form, step="comments", position=None, points="", comment=comment, seconds=0)
        with self._database.writing() as connection:
            row = answers.locked(connection, rater)
            if row.step != "comments" or answers.earlier(connection, rater, sent) is not None:
                return
            answers.log(connection, rater, sent, at=now)
            answers.update(connection, rater, step="done", comment=comment, finished=now)

    def withdraw(self, rater: str) -> None:
        """Delete all that a person gave: ratings, comments, code, times, sessions and links; the place is free again.

        An incident says that the place was given back, and when.
        """
        with self._database.writing() as connection:
            row = answers.locked(connection, rater)
            for table in (tables.ratings, tables.submissions, tables.sessions, tables.links):
                connection.execute(table.delete().where(table.c.rater == rater))
            answers.update(
                connection,
                rater,
                step="withdrawn",
                language=self.questionnaire.languages[0],
                attempts=0,
                code=None,
                comment="",
                opened=None,
                consented=None,
                finished=None,
                generation=row.generation + 1,
            )
            self._note(connection, "withdrawn", rater)
        self._database.forget()

    def raters(self) -> tuple[Rater, ...]:
        """Return every rater in order."""
        with self._database.reading() as connection:
            return rows.read_raters(connection)

    def blinded(self) -> Blinded:
        """Return what the store was made with: every text as raters see it, and who rates which in what order."""
        with self._database.reading() as connection:
            return layout.contents(connection, self.questionnaire)

    def wanted(self) -> dict[tuple[str, Kind], int]:
        """Return how many ratings the design wants of each (cell code, kind); attention checks are in none."""
        with self._database.reading() as connection:
            return rows.wanted(connection)

    def ratings(self) -> pl.DataFrame:
        """Return one row an answered page, attention checks among them; its columns are `rows.RATINGS`."""
        with self._database.reading() as connection:
            return rows.all_ratings(connection)

    def note(self, what: str, detail: str = "") -> None:
        """Note an incident, without address or anything personal; the newest 10,000 are kept."""
        with self._database.writing() as connection:
            self._note(connection, what, detail)

    def incidents(self) -> tuple[tuple[float, str, str], ...]:
        """Return (seconds since 1970, what, detail) of every incident, the oldest first."""
        log = tables.incidents
        with self._database.reading() as connection:
            found = connection.execute(sa.select(log.c.at, log.c.what, log.c.detail).order_by(log.c.id))
            return tuple((at, what, detail) for at, what, detail in found)

    def _answer(
        self, position: int, values: Mapping[str, int], comment: str, seconds: float, form: str
    ) -> answers.Answer:
        return answers.answer(
            self.questionnaire, position=position, values=values, comment=comment, seconds=seconds, form=form
        )

    def _note(self, connection: Connection, what: str, detail: str) -> None:
        log = tables.incidents
        words = {"what": answers.plain(what)[:_WORDS], "detail": answers.plain(detail)[:_WORDS]}
        made = connection.execute(log.insert().values(at=self._clock(), **words)).inserted_primary_key
        assert made is not None
        connection.execute(log.delete().where(log.c.id <= made[0] - _INCIDENTS))
