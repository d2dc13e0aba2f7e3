"""Tables of a run's database, one script a version; `PRAGMA user_version` says how many have been applied."""

from __future__ import annotations

# "clen" in ASCII: tells our files from any other SQLite file.
APPLICATION_ID = 0x636C656E

# Append a script to change the tables; never edit one that was released.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        """CREATE TABLE sessions(
            session INTEGER PRIMARY KEY, started REAL NOT NULL, environment TEXT NOT NULL) STRICT""",
        """CREATE TABLE tasks(
            task TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, kind TEXT NOT NULL, items INTEGER NOT NULL,
            info TEXT NOT NULL) STRICT, WITHOUT ROWID""",
        """CREATE TABLE items(
            fingerprint TEXT NOT NULL, item TEXT NOT NULL, position INTEGER NOT NULL, content TEXT NOT NULL,
            PRIMARY KEY (fingerprint, item)) STRICT, WITHOUT ROWID""",
        # The names of the present study's variants, and what each was found to be.
        """CREATE TABLE variants(
            model TEXT NOT NULL, variant TEXT NOT NULL, position INTEGER NOT NULL, status TEXT NOT NULL,
            reason TEXT NOT NULL, build TEXT, PRIMARY KEY (model, variant)) STRICT, WITHOUT ROWID""",
        # Facts about a variant by what it was made from, so that a renamed or returning one need not be loaded.
        """CREATE TABLE builds(
            build TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, recipe TEXT NOT NULL, audit TEXT,
            integrity TEXT NOT NULL, bytes_on_disk INTEGER NOT NULL, memory_bytes INTEGER NOT NULL, loaded TEXT NOT NULL
            ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE work(
            session INTEGER NOT NULL, build TEXT NOT NULL, amounts TEXT NOT NULL,
            PRIMARY KEY (session, build)) STRICT, WITHOUT ROWID""",
        """CREATE TABLE cells(
            cell TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, task_fingerprint TEXT NOT NULL, method TEXT NOT NULL,
            settings TEXT NOT NULL, seed INTEGER NOT NULL, items INTEGER NOT NULL, metrics TEXT NOT NULL
            ) STRICT, WITHOUT ROWID""",
        # The names of the present study, and the cell that each of its places has led to (NULL: not known yet).
        """CREATE TABLE grid(
            model TEXT NOT NULL, variant TEXT NOT NULL, task TEXT NOT NULL, analysis TEXT NOT NULL,
            position INTEGER NOT NULL, items INTEGER NOT NULL, cell TEXT,
            PRIMARY KEY (model, variant, task, analysis)) STRICT, WITHOUT ROWID""",
        """CREATE TABLE records(
            cell TEXT NOT NULL, item TEXT NOT NULL, repeat INTEGER NOT NULL, grp TEXT NOT NULL, failed TEXT,
            "values" TEXT NOT NULL, created REAL NOT NULL,
            PRIMARY KEY (cell, item, repeat)) STRICT, WITHOUT ROWID""",
        "CREATE TABLE responses(key TEXT PRIMARY KEY, response TEXT NOT NULL) STRICT, WITHOUT ROWID",
    ),
    # What the report draws of a cell's records beyond its metrics.
    ("ALTER TABLE cells ADD COLUMN pictures TEXT NOT NULL DEFAULT '[]'",),
)

# Readers understand tables from this version on; a writer brings older ones up to date.
OLDEST_READABLE = 1

TABLES = frozenset(
    {"meta", "sessions", "tasks", "items", "variants", "builds", "work", "cells", "grid", "records", "responses"}
)
