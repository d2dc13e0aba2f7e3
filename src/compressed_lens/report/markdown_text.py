"""Markdown that shows foreign text as it is: escaping, names of variants, tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from compressed_lens.terminal import visible

_SPECIAL = re.compile(r"([\\`*_\[\]#|<>~$&])")


def escaped(text: str) -> str:
    """Return `text` so that Markdown shows it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(visible(text).split()))


def named(variant: str, gate: str) -> str:
    """Return a variant's name with how it stands at the gate."""
    flags: dict[str, str] = {"failed": " ✕ failed gate", "unavailable": " (unavailable)", "pending": " (not run yet)"}
    return escaped(variant) + flags.get(gate, "")


def table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table as lines, an empty one last."""
    names = list(head)
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]
