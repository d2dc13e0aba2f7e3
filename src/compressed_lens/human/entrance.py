"""How raters come in: personal links, the open link, sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from compressed_lens.human import answers, rows, tables
from compressed_lens.human.database import Database
from compressed_lens.human.design import Questionnaire
from compressed_lens.human.rows import Rater
from compressed_lens.human.tokens import digest, new_link_token, new_session_secret

_TOUCH_SECONDS = 60


class Entrance:
    """The part of the store that tells who somebody is; of every secret only a digest is kept.

    Args:
        database: The open database.
        questionnaire: What raters read; its `session_hours` end idle sessions.
        clock: Seconds since 1970.
    """

    def __init__(
        self, database: Database, questionnaire: Questionnaire, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.questionnaire = questionnaire
        self._database = database
        self._clock = clock

    def new_links(self, raters: Sequence[str] | None = None) -> dict[str, str]:
        """Make personal links, which are not kept and cannot be read again.

        Args:
            raters: Whose; their old links and sessions end. None: every rater who has no link.

        Returns:
            Token of each rater's link.
        """
        with self._database.writing() as connection:
            if raters is None:
                lacking = sa.select(tables.raters.c.rater).where(~_has_link()).order_by(tables.raters.c.rater)
                chosen: Sequence[str] = connection.scalars(lacking).all()
            else:
                chosen = list(dict.fromkeys(raters))
            made = {}
            for rater in chosen:
                row = answers.locked(connection, rater)
                for table in (tables.links, tables.sessions):
                    connection.execute(table.delete().where(table.c.rater == rater))
                if row.step == "withdrawn":
                    answers.update(connection, rater, step="consent")
                made[rater] = _add_link(connection, rater)
        return made

    def new_open_link(self) -> str:
        """Make the one link through which people join by themselves; the open link before it ends."""
        token = new_link_token()
        with self._database.writing() as connection:
            changed = connection.execute(
                tables.meta.update().where(tables.meta.c.key == "open_link").values(value=digest(token))
            )
            assert changed.rowcount == 1
        return token

    def rater_of_link(self, token: str) -> Rater | None:
        """Return whose personal link this is, None where it is nobody's; the first call is noted as `opened`."""
        of_link = sa.select(tables.links.c.rater).where(tables.links.c.digest == digest(token))
        with self._database.reading() as connection:
            name = connection.scalar(of_link)
            found = None if name is None else rows.read_raters(connection, name)[0]
        if found is None or found.opened is not None:
            return found
        with self._database.writing() as connection:
            raters = tables.raters
            connection.execute(
                raters.update()
                .where(raters.c.rater == found.id, raters.c.rater.in_(of_link), raters.c.opened.is_(None))
                .values(opened=self._clock())
            )
            return rows.read_raters(connection, found.id)[0]

    def join(self, open_token: str, code: str) -> tuple[Rater, str] | None:
        """Give the person with this code a place: the same one every time.

        A free place is one that nobody opened; places without a personal link are taken first.

        Args:
            open_token: Token of the open link.
            code: What the recruitment platform calls the person.

        Returns:
            The rater and a new personal token (earlier ones stay valid); None where no place is free.

        Raises:
            KeyError: That is not the open link.
            ValueError: The code is empty.
        """
        code = answers.plain(code)
        if not code:
            raise ValueError("a code has at least one character")
        meta, raters = tables.meta, tables.raters
        with self._database.writing() as connection:
            # The lock on this row lets people join one after another.
            known = connection.scalar(sa.select(meta.c.value).where(meta.c.key == "open_link").with_for_update())
            if known != digest(open_token):
                raise KeyError("open link")
            name = connection.scalar(sa.select(raters.c.rater).where(raters.c.code == code))
            if name is None:
                free = sa.select(raters.c.rater).where(raters.c.opened.is_(None), raters.c.code.is_(None))
                name = connection.scalar(free.order_by(_has_link(), raters.c.rater).limit(1).with_for_update())
                if name is None:
                    return None
                connection.execute(tables.links.delete().where(tables.links.c.rater == name))
                answers.update(connection, name, step="consent", code=code, opened=self._clock())
            token = _add_link(connection, name)
            return rows.read_raters(connection, name)[0], token

    # Sessions

    def open_session(self, rater: str) -> str:
        """Return the secret of a new session; others of the same rater go on."""
        secret = new_session_secret()
        with self._database.writing() as connection:
            answers.locked(connection, rater)
            connection.execute(
                tables.sessions.insert().values(digest=digest(secret), rater=rater, touched=self._clock())
            )
        return secret

    def rater_of_session(self, secret: str) -> Rater | None:
        """Return whose session this is; None where it is unknown, was ended, or had no page for `session_hours`."""
        sessions, now, key = tables.sessions, self._clock(), digest(secret)
        with self._database.reading() as connection:
            row = connection.execute(
                sa.select(sessions.c.rater, sessions.c.touched).where(sessions.c.digest == key)
            ).first()
            found = None if row is None else rows.read_raters(connection, row.rater)[0]
        if row is None:
            return None
        idle, allowed = now - row.touched, self.questionnaire.session_hours * 3600
        if idle > allowed:
            with self._database.writing() as connection:
                connection.execute(sessions.delete().where(sessions.c.touched < now - allowed))
            return None
        if idle > min(_TOUCH_SECONDS, allowed / 2):  # not at every page: each time is a write to the disk
            with self._database.writing() as connection:
                connection.execute(sessions.update().where(sessions.c.digest == key).values(touched=now))
        return found


def _has_link() -> sa.Exists:
    return sa.exists().where(tables.links.c.rater == tables.raters.c.rater)


def _add_link(connection: Connection, rater: str) -> str:
    token = new_link_token()
    connection.execute(tables.links.insert().values(digest=digest(token), rater=rater))
    return token
