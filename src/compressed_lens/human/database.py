"""Reaching the database of a human study, and every way in which that can go wrong as one sentence."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url

from compressed_lens.errors import DependencyError, RunError, StudyError
from compressed_lens.human import tables

FILE = "ratings.sqlite"
ENVIRONMENT = "CLENS_HUMAN_DATABASE"

_BUSY_SECONDS = 30
_PATIENCE_MS = 1_000
_CONNECT_SECONDS = 10
_ADVISORY_LOCK = 0x636C6875  # `clhu` in ASCII
_DRIVER = "postgresql+psycopg"
_POOL = 10


def database_url(folder: Path, database: str | None = None) -> str:
    """Return the URL of a human study's database.

    Args:
        folder: The study's folder, such as RUN/human/main.
        database: A URL that goes before; default: $CLENS_HUMAN_DATABASE, then the file `ratings.sqlite` in the folder.
    """
    return database or os.environ.get(ENVIRONMENT) or sqlite_url(folder / FILE)


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file."""
    return URL.create("sqlite", database=str(path.absolute())).render_as_string(hide_password=False)


class Database:
    """An SQLite file or a PostgreSQL database, for any number of threads; transactions that write exclude each other.

    SQLite: WAL with synchronous FULL, so that what was acknowledged survives a power cut, too; deleted content is
    overwritten. In both, a transaction is all or nothing.

    Args:
        url: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`.
        new: Make the SQLite file, readable for its owner only, where there is none.

    Raises:
        StudyError: Not a URL, or of another kind of database.
        DependencyError: PostgreSQL without its driver.
        RunError: No such file, or one that is not an SQLite database.
    """

    def __init__(self, url: str, *, new: bool = False) -> None:
        parsed = _parse(url)
        self._writing: AbstractContextManager[object]
        if parsed.get_backend_name() == "sqlite":
            path = Path(parsed.database or "").absolute()
            self.name = str(path)
            self._connect = partial(_connect, path)
            with self._explained():
                _prepare(path, new=new)
            self._engine = _sqlite(self._connect)
            # SQLite lets one write and has the others ask again and again; in a queue of our own nobody starves.
            self._writing = threading.Lock()
        else:
            self.name = f"the PostgreSQL database '{parsed.database}' on {parsed.host or 'this machine'}"
            self._engine = _postgresql(parsed)
            self._writing = nullcontext()
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._writer = self._engine.execution_options(writes=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection to read with."""
        with self._explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Commit everything inside, or nothing."""
        with self._explained(), self._writing, self._writer.begin() as connection:
            yield connection

    @contextmanager
    def creating(self) -> Iterator[Connection]:
        """Commit everything inside, or nothing, while no other process makes tables here."""
        with self.writing() as connection:
            if not self.is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            yield connection

    def forget(self) -> None:
        """Take what was deleted out of SQLite's log as well, unless another process is reading it just now."""
        if self.is_sqlite:
            with self._explained(), self._writing, _closing(self._connect()) as connection:
                connection.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an error of the database into a RunError without statement, values or password."""
        try:
            yield
        except (sa.exc.DBAPIError, sqlite3.Error) as error:
            origin = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            if isinstance(origin, sqlite3.Error):
                raise _sqlite_problem(self.name, origin) from error
            raise _postgresql_problem(self.name, origin) from error
        except sa.exc.TimeoutError as error:
            raise RunError(f"{self.name} has no free connection.", fix="Try again in a moment.") from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError as error:
        raise StudyError("The address of the database is not a URL.", fix=_FORMS) from error
    backend = parsed.drivername.partition("+")[0]
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername=_DRIVER)
    if parsed.drivername != "sqlite" or parsed.query or parsed.database in {None, "", ":memory:"}:
        raise StudyError(f"Ratings cannot be kept in a database of the kind '{parsed.drivername}'.", fix=_FORMS)
    return parsed


_FORMS = "Give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME."


def _prepare(path: Path, *, new: bool) -> None:
    """Make the file where it is wanted, and check it; one with other tables than ours is not touched."""
    if new:
        _make(path)
    elif not path.is_file():
        raise RunError(f"There are no ratings at {path}.", fix="Make a human study with `clens human create RUN`.")
    with _closing(_connect(path)) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not names or names >= set(tables.metadata.tables):
            connection.execute("PRAGMA journal_mode = WAL")
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise RunError(f"{path} is damaged: {' '.join(problem.split())}.", fix="Restore it from a copy.")


def _make(path: Path) -> None:
    """Make an empty file that its owner alone can read; a file that is there stays, and an empty one is closed up."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(descriptor).st_size == 0:
            os.fchmod(descriptor, 0o600)
        os.close(descriptor)
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}.", fix="Check disk and permissions.") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,  # BEGIN is ours, below
        check_same_thread=False,
    )
    for setting in ("foreign_keys = ON", "synchronous = FULL", "secure_delete = ON"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def _sqlite(connect: Callable[[], sqlite3.Connection]) -> Engine:
    engine = sa.create_engine(
        "sqlite://", creator=connect, poolclass=sa.QueuePool, pool_size=_POOL, hide_parameters=True
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def _closing(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        yield connection
    finally:
        connection.close()


def _postgresql(url: URL) -> Engine:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            "A PostgreSQL database needs the library psycopg.", fix='Run: pip install "compressed-lens[postgres]"'
        ) from error
    settings = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_SECONDS}
    return sa.create_engine(
        url,
        connect_args=settings,
        pool_size=_POOL,
        pool_pre_ping=True,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
    )


def _sqlite_problem(name: str, error: sqlite3.Error) -> RunError:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return RunError(f"The disk that holds {name} is full.", fix="Free some space; what was saved is safe.")
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR}:
        return RunError(f"Cannot use {name}: {error}.", fix="Check that disk and permissions allow writing.")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return RunError(f"{name} is locked by another program.", fix="Close it, then try again.")
    if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
        return RunError(f"{name} is not a readable database of ratings ({error}).", fix="Restore it from a copy.")
    return RunError(f"{name} refused what was asked ({error}).", fix="Please report this: it is a bug.")


def _postgresql_problem(name: str, error: BaseException | None) -> RunError:
    state = getattr(error, "sqlstate", None)
    said = " ".join(str(error).split())
    if state is None or state[:2] in {"08", "28", "3D", "57"}:
        return RunError(f"Cannot reach {name}: {said}.", fix="Check the URL, and that the server runs.")
    if state[:2] == "53":
        return RunError(f"{name} is out of resources: {said}.", fix="Free some; what was saved is safe.")
    if state == "42501":
        return RunError(f"{name} does not let its user do that: {said}.", fix="Grant it the rights to its tables.")
    return RunError(f"{name} refused what was asked ({said}).", fix="Please report this: it is a bug.")
