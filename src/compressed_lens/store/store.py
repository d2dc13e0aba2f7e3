"""Reading and writing one run folder."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from compressed_lens.errors import RunError
from compressed_lens.store import frames
from compressed_lens.store.database import FILE, connect_reading, connect_writing, explained, transaction
from compressed_lens.store.lock import RunLock
from compressed_lens.store.responses import Responses
from compressed_lens.study.schema import Study

if TYPE_CHECKING:
    import polars

VariantStatus = Literal["pending", "unavailable", "passed", "marked", "refused"]


class Outcome(Protocol):
    """What `write_record` needs of a record; `analyses.base.Record` is one."""

    @property
    def values(self) -> Mapping[str, Any]:
        """Named results."""

    @property
    def failed(self) -> str | None:
        """Reason, when there is no usable outcome."""


class Store:
    """The database of one run. One process may write, any number may read meanwhile.

    Every write is its own transaction: once a call has returned, `kill -9` cannot undo it.
    Build one with `create` or `open`, and close it (or use it in a `with` statement).
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: RunLock | None) -> None:
        self.folder = folder
        self.path = folder / FILE
        self._connection = connection
        self._lock = lock
        self.responses = Responses(connection, self.path)

    @classmethod
    def create(cls, folder: Path, study: Study) -> Self:
        """Open `folder` for writing, made if need be, and set it to `study`.

        Finished cells of an earlier form of the study stay; they are used again where the new study
        leads to the same cell, and are hidden where it does not.

        Raises:
            RunError: The folder cannot be written, is in use, or holds something else.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"\0" * 65536)
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            raise RunError(
                f"Cannot write to the run folder {folder}: {error.strerror}.",
                fix="Give a folder you may write to with --out.",
            ) from error
        store = cls._writing(folder)
        try:
            store._set_study(study)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open(cls, folder: Path, *, write: bool = False) -> Self:
        """Open an existing run.

        Raises:
            RunError: No run there, a damaged or foreign file, or (writing) the folder is in use.
        """
        reading = connect_reading(folder / FILE) if not write else None
        if reading is not None:
            return cls(folder, reading, None)
        if not (folder / FILE).is_file():
            raise RunError(
                f"There is no run in {folder}.", fix="Give the folder that `clens run` printed; it holds run.sqlite."
            )
        return cls._writing(folder)

    @classmethod
    def _writing(cls, folder: Path) -> Self:
        lock = RunLock(folder)
        try:
            return cls(folder, connect_writing(folder / FILE), lock)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Close the file and let the next writer in."""
        self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with explained(self.path):
            return self._connection.execute(query, parameters).fetchall()

    def _write(self, query: str, rows: Iterable[Sequence[Any]]) -> None:
        with explained(self.path), transaction(self._connection):
            self._connection.executemany(query, rows)

    # What was asked.

    @property
    def study(self) -> Study:
        """The study as it was last run in this folder."""
        rows = self._rows("SELECT value FROM meta WHERE key = 'study'")
        if not rows:
            raise RunError(f"{self.path} holds no study.", fix="Run the study again into this folder.")
        try:
            return Study.model_validate_json(rows[0][0])
        except ValueError as error:
            raise RunError(
                f"{self.path} holds a study that this version of compressed-lens cannot read.",
                fix="Run the study again into this folder; what it holds is used again.",
            ) from error

    def _set_study(self, study: Study) -> None:
        text = study.model_dump_json()
        if self._rows("SELECT 1 FROM meta WHERE key = 'study' AND value = ?", (text,)):
            return
        with explained(self.path), transaction(self._connection):
            # The places of the new study point nowhere until it is known which cells they lead to.
            for table in ("grid", "variants", "tasks"):
                self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 (names are ours)
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('study', ?)", (text,))

    def begin_session(self, environment: Mapping[str, Any]) -> int:
        """Note that a process starts to work on the run, and on what; returns the session's number."""
        with explained(self.path):
            cursor = self._connection.execute(
                "INSERT INTO sessions(started, environment) VALUES (?, ?)", (time.time(), to_json(environment))
            )
        return int(cursor.lastrowid or 0)

    def put_environment(self, session: int, environment: Mapping[str, Any]) -> None:
        """Replace the environment of a session, once more of it is known."""
        self._write("UPDATE sessions SET environment = ? WHERE session = ?", [(to_json(environment), session)])

    def put_task(
        self, task: str, *, fingerprint: str, kind: str, info: Mapping[str, Any], items: Sequence[tuple[str, Any]]
    ) -> None:
        """Note a task of the study with the content of its items, in order, as (id, content)."""
        with explained(self.path), transaction(self._connection):
            self._connection.execute(
                "INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, ?)",
                (task, fingerprint, kind, len(items), to_json(info)),
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO items VALUES (?, ?, ?, ?)",
                [(fingerprint, plain(item), n, to_json(content)) for n, (item, content) in enumerate(items)],
            )

    def put_grid(self, places: Iterable[tuple[str, str, str, str, int]]) -> None:
        """Set the places of the study, in order, as (model, variant, task, analysis, items); known cells stay."""
        with explained(self.path), transaction(self._connection):
            self._connection.executemany(
                """INSERT INTO grid(model, variant, task, analysis, position, items) VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET position = excluded.position, items = excluded.items""",
                [(*place[:4], position, place[4]) for position, place in enumerate(places)],
            )

    def put_variant(
        self,
        model: str,
        variant: str,
        *,
        position: int,
        status: VariantStatus,
        reason: str = "",
        build: str | None = None,
    ) -> None:
        """Note how far a variant got.

        `passed`, `marked` (failed the gate, scored all the same), `refused` (failed the gate, not scored),
        `unavailable` (could not be made), or `pending`.
        """
        row = (model, variant, position, status, plain(reason), build)
        self._write("INSERT OR REPLACE INTO variants VALUES (?, ?, ?, ?, ?, ?)", [row])

    def put_build(
        self,
        build: str,
        *,
        fingerprint: str,
        recipe: Mapping[str, Any],
        audit: Mapping[str, Any] | None,
        integrity: Mapping[str, Any],
        bytes_on_disk: int,
        memory_bytes: int,
        loaded: Mapping[str, Any],
    ) -> None:
        """Note what was found about a variant, under the digest of all it was made from."""
        told = None if audit is None else to_json(audit)
        row = (
            build,
            fingerprint,
            to_json(recipe),
            told,
            to_json(integrity),
            bytes_on_disk,
            memory_bytes,
            to_json(loaded),
        )
        self._write("INSERT OR REPLACE INTO builds VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [row])

    def build(self, build: str) -> dict[str, Any] | None:
        """Return `fingerprint` and `integrity` of a variant that was loaded and checked before, or None."""
        rows = self._rows("SELECT fingerprint, integrity FROM builds WHERE build = ?", (build,))
        return {"fingerprint": rows[0][0], "integrity": json.loads(rows[0][1])} if rows else None

    def put_cell(
        self,
        cell: str,
        place: tuple[str, str, str, str],
        *,
        fingerprint: str,
        task_fingerprint: str,
        method: str,
        settings: Mapping[str, Any],
        seed: int,
        items: int,
        metrics: Sequence[Mapping[str, Any]],
        pictures: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Note that `place` (model, variant, task, analysis) leads to `cell`."""
        asked = (to_json(settings), seed, items, to_json(metrics), to_json(pictures))
        with explained(self.path), transaction(self._connection):
            self._connection.execute(
                "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (cell, fingerprint, task_fingerprint, method, *asked),
            )
            self._connection.execute(
                "UPDATE grid SET cell = ? WHERE model = ? AND variant = ? AND task = ? AND analysis = ?", (cell, *place)
            )

    def put_work(self, session: int, build: str, amounts: Mapping[str, float]) -> None:
        """Set what one session has spent on a variant so far; sessions add up in the variants frame."""
        self._write("INSERT OR REPLACE INTO work VALUES (?, ?, ?)", [(session, build, to_json(amounts))])

    # What came out.

    def write_record(self, cell: str, item: str, repeat: int, record: Outcome, *, group: str = "") -> None:
        """Commit one outcome. A value that is NaN or infinite makes the record a failed one.

        Raises:
            RunError: The outcome is there already, or the disk refused it.
        """
        values, failed = dict(record.values), record.failed
        broken = sorted(name for name, value in values.items() if not _finite(value))
        if broken:
            values = {name: None if name in broken else value for name, value in values.items()}
            failed = failed or f"value '{broken[0]}' is not a finite number"
        reason = None if failed is None else plain(failed)
        row = (cell, plain(item), repeat, plain(group), reason, to_json(values), time.time())
        self._write("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", [row])

    def done(self, cell: str) -> set[tuple[str, int]]:
        """Return (item, repeat) of every record of `cell`, failed ones included."""
        return {
            (item, repeat) for item, repeat in self._rows("SELECT item, repeat FROM records WHERE cell = ?", (cell,))
        }

    def environments(self) -> list[dict[str, Any]]:
        """Return the environment of every session, oldest first."""
        return [
            {"session": session, "started": started, **json.loads(text)}
            for session, started, text in self._rows(
                "SELECT session, started, environment FROM sessions ORDER BY session"
            )
        ]

    def last_change(self) -> float:
        """Return when the last record was written or the last session began, in seconds since 1970; 0 for neither."""
        rows = self._rows("SELECT max(created) FROM records UNION ALL SELECT max(started) FROM sessions")
        return max((when or 0.0 for (when,) in rows), default=0.0)

    def records_frame(self, place: tuple[str, str, str] | None = None) -> polars.DataFrame:
        """Return the study's records, or those of one (model, task, analysis); columns in docs/runs.md."""
        return frames.records(self._rows, place)

    def cells(self) -> polars.DataFrame:
        """Return the study's cells, finished or not; columns in docs/runs.md."""
        return frames.cells(self._rows)

    def variants_frame(self) -> polars.DataFrame:
        """Return the study's variants; columns in docs/runs.md."""
        return frames.variants(self._rows)

    def tasks_frame(self) -> polars.DataFrame:
        """Return the study's tasks; columns in docs/runs.md."""
        return frames.tasks(self._rows)

    def items_frame(self) -> polars.DataFrame:
        """Return the items of the study's tasks; columns in docs/runs.md."""
        return frames.items(self._rows)


def to_json(value: Any) -> str:
    """Return JSON with sorted keys, every text in it `plain`."""
    return json.dumps(_plain_parts(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain_parts(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {plain(str(key)): _plain_parts(part) for key, part in value.items()}
    return [_plain_parts(part) for part in value] if isinstance(value, list | tuple) else value


def plain(text: str) -> str:
    """Return `text` with what UTF-8 cannot hold written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(_finite(part) for part in value.values())
    if isinstance(value, list | tuple):
        return all(_finite(part) for part in value)
    return True
