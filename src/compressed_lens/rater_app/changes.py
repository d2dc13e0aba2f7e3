"""Which words an edit changed, for showing them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

_TOKEN = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]|\s+")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a text; `changed` if the other text does not have it at this place."""

    text: str
    changed: bool


@lru_cache(maxsize=4096)
def changes(original: str, edited: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Return both texts in pieces, those marked that are not in the other; the pieces of a text make it up exactly.

    Words and punctuation marks are compared as they stand, blanks are not: a run of changed words is one piece with
    the blanks between them.
    """
    before, after = _TOKEN.findall(original), _TOKEN.findall(edited)
    words = [[n for n, token in enumerate(tokens) if not token.isspace()] for tokens in (before, after)]
    matcher = SequenceMatcher(None, [before[n] for n in words[0]], [after[n] for n in words[1]], autojunk=False)
    kept: tuple[set[int], set[int]] = (set(), set())
    for match in matcher.get_matching_blocks():
        kept[0].update(words[0][match.a : match.a + match.size])
        kept[1].update(words[1][match.b : match.b + match.size])
    return tuple(_pieces(before, kept[0])), tuple(_pieces(after, kept[1]))


def _pieces(tokens: Sequence[str], kept: set[int]) -> Iterator[Piece]:
    """Join neighbours; a blank is changed only between two changed words."""

    def changed(n: int) -> bool:
        if not tokens[n].isspace():
            return n not in kept
        return 0 < n < len(tokens) - 1 and n - 1 not in kept and n + 1 not in kept

    start = 0
    for n in range(1, len(tokens) + 1):
        if n == len(tokens) or changed(n) != changed(start):
            yield Piece(text="".join(tokens[start:n]), changed=changed(start))
            start = n
