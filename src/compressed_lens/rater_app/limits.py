"""Limits of how often something may be tried, and a note of everything that was refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock

from compressed_lens.errors import LensError

_MOST_KEYS = 20_000


class Limit:
    """So many tries a minute for each key; unused ones add up to one minute's worth (a token bucket).

    Held in memory: it starts anew with the server.

    Args:
        a_minute: Tries a minute.
        clock: Seconds that never go back.
    """

    def __init__(self, a_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(a_minute)
        self._clock = clock
        self._lock = Lock()
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> bool:
        """Use one try; False, and nothing used, where none is left."""
        now = self._clock()
        with self._lock:
            left = self._now(key, now)
            if left < 1:
                return False
            if key not in self._left and len(self._left) >= _MOST_KEYS:
                self._forget(now)
            self._left[key] = (left - 1, now)
            return True

    def is_open(self, key: str) -> bool:
        """Return whether a try is left, and use none."""
        with self._lock:
            return self._now(key, self._clock()) >= 1

    def _now(self, key: str, now: float) -> float:
        left, at = self._left.get(key, (self._most, now))
        return min(self._most, left + (now - at) * self._most / 60)

    def _forget(self, now: float) -> None:
        """Drop the keys that have all their tries again, else the older half."""
        kept = {key: entry for key, entry in self._left.items() if self._now(key, now) < self._most}
        if len(kept) > _MOST_KEYS // 2:
            kept = dict(sorted(kept.items(), key=lambda entry: entry[1][1])[len(kept) // 2 :])
        self._left = kept


class Incidents:
    """Tells of what was refused: on standard error and in the database; at most 30 of a kind a minute.

    Neither holds a token, a form, an answer or an address.

    Args:
        note: Writes one to the database.
        a_minute: How many of a kind a minute.
    """

    def __init__(self, note: Callable[[str, str], None], *, a_minute: int = 30) -> None:
        self._note = note
        self._limit = Limit(a_minute)

    def tell(self, what: str, detail: str = "") -> None:
        """Log and note one refusal."""
        from loguru import logger

        if not self._limit.take(what):
            return
        logger.warning("{}: {}", what, detail) if detail else logger.warning("{}", what)
        with suppress(LensError):  # a database in trouble is told of elsewhere
            self._note(what, detail)
