"""Opening a run's SQLite file, and every way in which that can go wrong as one sentence."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compressed_lens.errors import RunError
from compressed_lens.store.schema import APPLICATION_ID, MIGRATIONS, OLDEST_READABLE, TABLES

FILE = "run.sqlite"
_OLDEST_SQLITE = (3, 37)
_BUSY_MS = 30_000
_NEW_FOLDER = "Restore the folder from a copy, or run the study again into a new folder with --out."


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an SQLite error into a RunError about `path`; nothing is swallowed."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None) or 0
        primary = code & 0xFF
        if primary == sqlite3.SQLITE_FULL:
            raise RunError(
                f"The disk that holds {path} is full.", fix="Free some space, then `clens resume`."
            ) from error
        if primary in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR}:
            raise RunError(
                f"Cannot use {path}: {error}.", fix="Check that disk and permissions allow it, then `clens resume`."
            ) from error
        if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise RunError(f"{path} is locked by another program.", fix="Close it, then `clens resume`.") from error
        if primary == sqlite3.SQLITE_CONSTRAINT:
            raise RunError(f"{path} holds that already ({error}).", fix="Please report this: it is a bug.") from error
        raise RunError(f"{path} is not a readable run database ({error}).", fix=_NEW_FOLDER) from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit everything inside, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk has rolled it back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def connect_writing(path: Path) -> sqlite3.Connection:
    """Open or create the database for the one writer (who holds the lock), and bring its tables up to date.

    Raises:
        RunError: Damaged, foreign or newer file; folder not writable; disk full.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise RunError(
            f"Python was built with SQLite {sqlite3.sqlite_version}; runs need 3.37 or later.",
            fix="Use a newer build of Python.",
        )
    with explained(path):
        connection = sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None)
    try:
        with explained(path):
            version = _recognise(connection, path, empty_is_fine=True)
            connection.execute("PRAGMA journal_mode = WAL")
            # WAL with NORMAL survives the death of the process; a power cut may roll back the last commits, never more.
            connection.execute("PRAGMA synchronous = NORMAL")
            if version < len(MIGRATIONS):
                with transaction(connection):
                    for script in MIGRATIONS[version:]:
                        for statement in script:
                            connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        _check_tables(connection, path)
        if problem != "ok":
            raise RunError(f"{path} is damaged: {problem}.", fix=_NEW_FOLDER)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reading(path: Path) -> sqlite3.Connection:
    """Open the database for reading; a writer may be at work at the same time.

    Raises:
        RunError: No run there, or a damaged, foreign, newer or far older file.
    """
    if not path.is_file():
        raise RunError(
            f"There is no run in {path.parent}.", fix="Give the folder that `clens run` printed; it holds run.sqlite."
        )
    connection = _open_read_only(path)
    try:
        with explained(path):
            version = _recognise(connection, path, empty_is_fine=False)
        if version < OLDEST_READABLE:
            raise RunError(
                f"{path} was written by an older version of compressed-lens.",
                fix="`clens resume` brings it up to date.",
            )
        _check_tables(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_read_only(path: Path) -> sqlite3.Connection:
    uri = path.resolve().as_uri()
    with explained(path):
        connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=_BUSY_MS / 1000, isolation_level=None)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError:
            connection.close()
            if path.with_name(FILE + "-wal").exists():
                raise
            # WAL mode wants to create side files; in a folder that cannot be written nobody else writes either.
            connection = sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, isolation_level=None)
        except sqlite3.Error:
            connection.close()
            raise
    return connection


def _recognise(connection: sqlite3.Connection, path: Path, *, empty_is_fine: bool) -> int:
    """Return the version of the tables; 0 for a file without any."""
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    objects: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION_ID and not (empty_is_fine and objects == 0 and application == 0):
        raise RunError(f"{path} was not written by compressed-lens.", fix="Give another folder with --out.")
    if version > len(MIGRATIONS):
        raise RunError(
            f"{path} has tables of version {version}; this compressed-lens knows {len(MIGRATIONS)}.",
            fix="Upgrade compressed-lens.",
        )
    return version


def _check_tables(connection: sqlite3.Connection, path: Path) -> None:
    with explained(path):
        found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    missing = sorted(TABLES - found)
    if missing:
        raise RunError(f"{path} lacks the table '{missing[0]}'.", fix=_NEW_FOLDER)
