"""Longer texts of a questionnaire: paragraphs, lists, headings and bold words, and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

_BOLD = re.compile(r"\*\*(.+?)\*\*")
Span = tuple[str, bool]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A paragraph or heading (one line) or a list (a line an entry); a line is spans of (text, bold)."""

    kind: Literal["paragraph", "heading", "list"]
    lines: tuple[tuple[Span, ...], ...]


@lru_cache(maxsize=512)
def blocks(text: str) -> tuple[Block, ...]:
    """Split a text: a blank line parts blocks; `# ` begins a heading, `- ` each entry of a list, **bold** is bold."""
    return tuple(_block(part.strip()) for part in re.split(r"\n\s*\n", text) if part.strip())


def _block(text: str) -> Block:
    if text.startswith("# ") and "\n" not in text:
        return Block(kind="heading", lines=(_spans(text.removeprefix("# ")),))
    if text.startswith("- "):
        entries = re.split(r"\n- ", text.removeprefix("- "))
        return Block(kind="list", lines=tuple(_spans(entry) for entry in entries))
    return Block(kind="paragraph", lines=(_spans(text),))


def _spans(text: str) -> tuple[Span, ...]:
    parts = _BOLD.split(" ".join(text.split()))
    return tuple((part, n % 2 == 1) for n, part in enumerate(parts) if part)
