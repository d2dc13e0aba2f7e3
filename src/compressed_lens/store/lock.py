"""One writer a run folder: a lock the operating system drops when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from compressed_lens.errors import RunError


class RunLock:
    """Holds the folder's `lock` file from creation to `release`.

    The file stays behind and says who held it last; only the operating system's lock counts, so a
    killed process never leaves a run locked.

    Raises:
        RunError: Another process holds it; the message names its process id and host.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(
                f"Cannot write to the run folder {folder}: {error.strerror}.",
                fix="Give a folder you may write to with --out.",
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = self._holder()
            os.close(self._descriptor)
            raise RunError(
                f"The run folder {folder} is in use by {holder}.",
                fix="Wait for it to finish, or give another folder with --out.",
            ) from error
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat()}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(note).encode(), 0)

    def _holder(self) -> str:
        try:
            note = json.loads(os.pread(self._descriptor, 4096, 0))
            return f"process {note['pid']} on {note['host']} since {note['since'][:19]}Z"
        except (ValueError, KeyError, TypeError):
            return "another process"

    def release(self) -> None:
        """Let the next process in; calling it twice does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
