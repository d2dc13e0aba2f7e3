"""Answers of models, keyed by content, so that the same question is never paid for twice within a run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressed_lens.store.database import explained, transaction

_CHUNK = 500


class Responses:
    """A response cache on the run's database; keys are digests of model fingerprint, prompt and settings."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def get_many(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the known ones of `keys` with their response."""
        found: dict[str, dict[str, Any]] = {}
        with explained(self._path):
            for start in range(0, len(keys), _CHUNK):
                part = list(keys[start : start + _CHUNK])
                marks = ",".join("?" * len(part))
                query = f"SELECT key, response FROM responses WHERE key IN ({marks})"  # noqa: S608 (only marks)
                found.update((key, json.loads(text)) for key, text in self._connection.execute(query, part))
        return found

    def put_many(self, responses: Mapping[str, Mapping[str, Any]]) -> None:
        """Commit responses; one that is there already stays as it is."""
        with explained(self._path), transaction(self._connection):
            self._connection.executemany(
                "INSERT OR IGNORE INTO responses VALUES (?, ?)",
                [(key, json.dumps(response, allow_nan=False)) for key, response in responses.items()],
            )
