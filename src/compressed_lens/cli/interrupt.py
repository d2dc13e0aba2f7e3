"""What Ctrl-C says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; the text says how to go on."""


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Turn a Ctrl-C inside the block into one that says how to resume the run in `folder`."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if not folder.exists():
            raise Interrupted("interrupted before anything was written.") from stop
        raise Interrupted(f"interrupted; every finished record is kept. Go on with: clens resume {folder}") from stop
