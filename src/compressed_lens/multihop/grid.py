"""Grids of states that patching runs over: settings, success by state, and what a prompt of its own must not say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from compressed_lens.errors import StudyError

NAMED: tuple[str, ...] = ("all", "early")


def states(setting: str, value: object) -> None:
    """Check that `value` says which states are meant: "all", "early", or numbers of at least 0.

    Raises:
        StudyError: It does not.
    """
    if isinstance(value, str) and value in NAMED:
        return
    whole = isinstance(value, tuple) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value)
    if not value or not whole:
        raise StudyError(
            f"The setting {setting} cannot be {value!r}.", fix=f"One of: {', '.join(NAMED)}; or a list of layers."
        )


def on_axis(count: int, hits: Iterable[tuple[int, bool]]) -> list[float | None]:
    """Return for each of `count` states whether anything hit there (1.0 or 0.0); None for one that was not tried."""
    found: list[float | None] = [None] * count
    for state, hit in hits:
        found[state] = max(found[state] or 0.0, float(hit))
    return found


def share(hits: Sequence[bool]) -> float | None:
    """Return the share of hits; None where nothing was tried."""
    return sum(hits) / len(hits) if hits else None


def apart(own: bool | None, control: bool | None) -> int | None:
    """Return 1, 0 or -1: success minus success of the control; None where either is missing."""
    return None if own is None or control is None else int(own) - int(control)
