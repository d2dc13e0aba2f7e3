"""Pieces of an item's shown texts, and the item with some of them masked. No model and no tokenizer is involved.

A piece is a word as it stands between blanks, with the punctuation that clings to it; in scripts without blanks a
character. So the pieces of an item are the same for every model and variant, and their contributions can be compared.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace

from compressed_lens.faithfulness.partition import Cluster, agglomerate
from compressed_lens.tasks.base import Item

MASKED = "..."

_RUN = re.compile(r"\S+")
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u2019\u201d)\]]*$")
_CLAUSE_END = re.compile(r"[,;:\u2013\u2014\u3001\uff0c\uff1b\uff1a][\"'\u2019\u201d)\]]*$")
_WITHIN_WORD, _BLANK, _CLAUSE, _SENTENCE, _FIELD = range(5)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of a field: `text` stands at `start` to `stop` (half-open, in characters)."""

    field: str
    start: int
    stop: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """An item with its shown texts in pieces.

    Attributes:
        item: The item.
        pieces: All pieces, field by field, in order; empty when no field holds a word.
        tree: Clusters of pieces: words before clauses before sentences before fields (see `partition.agglomerate`).
    """

    item: Item
    pieces: tuple[Piece, ...]
    tree: Cluster

    def show(self, mask: int) -> Item:
        """Return the item with only the pieces in `mask` (bit j: piece j); every masked run becomes one "...".

        With all pieces shown it is the item itself. Blanks between two shown pieces stay as they are, those within a
        masked run go with it. Nothing but the fields is touched.
        """
        fields = dict(self.item.fields)
        for name, text in self.item.fields.items():
            own = [(piece, bool(mask >> j & 1)) for j, piece in enumerate(self.pieces) if piece.field == name]
            if all(is_shown for _, is_shown in own):
                continue
            parts: list[str] = []
            end, hidden = 0, False
            for piece, is_shown in own:
                if is_shown or not hidden:
                    parts += [text[end : piece.start], piece.text if is_shown else MASKED]
                end, hidden = piece.stop, not is_shown
            fields[name] = "".join(parts) + text[end:]
        return replace(self.item, fields=fields)


def pieces_of(item: Item) -> Pieces:
    """Return the pieces of the fields of `item`."""
    pieces = tuple(
        Piece(field=name, start=run.start() + start, stop=run.start() + stop, text=run[0][start:stop])
        for name, text in item.fields.items()
        for run in _RUN.finditer(text)
        for start, stop in _split(run[0])
    )
    gaps = [_gap(item, left, right) for left, right in zip(pieces, pieces[1:], strict=False)]
    return Pieces(item=item, pieces=pieces, tree=agglomerate(gaps) if pieces else Cluster(bits=0))


def _split(run: str) -> list[tuple[int, int]]:
    """Return the spans of the pieces of a run without blanks: all of it, but wide characters one by one."""
    starts = [0]
    for i in range(1, len(run)):
        wide = any(_is_wide(c) for c in run[i - 1 : i + 1])
        if wide and unicodedata.category(run[i])[0] not in "PM":
            starts.append(i)
    return list(zip(starts, [*starts[1:], len(run)], strict=True))


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _gap(item: Item, left: Piece, right: Piece) -> int:
    """Return how strong the gap between two neighbours is, from within a word to between fields."""
    if left.field != right.field:
        return _FIELD
    between = item.fields[left.field][left.stop : right.start]
    if _SENTENCE_END.search(left.text) or "\n" in between:
        return _SENTENCE
    if _CLAUSE_END.search(left.text):
        return _CLAUSE
    return _BLANK if between else _WITHIN_WORD
