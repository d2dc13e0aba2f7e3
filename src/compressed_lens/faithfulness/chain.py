"""A chain of thought in pieces: sentences or words, cuts after some of them, filler of the same length."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["sentence", "word"]

FEWEST_SENTENCES = 3
"""With fewer sentences than this a curve over sentences says next to nothing, and words are cut."""

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]*]*\s+")
_SHORTEST_SENTENCE = 2


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A chain of thought and where its pieces end.

    Attributes:
        text: The whole reasoning.
        unit: What a piece is.
        pieces: The pieces in order; joined by one blank each they are the text, blanks aside.
    """

    text: str
    unit: Unit
    pieces: tuple[str, ...]

    def kept(self, count: int) -> str:
        """Return the first `count` pieces; all of them give `text` itself."""
        return self.text if count >= len(self.pieces) else " ".join(self.pieces[:count])

    def with_piece(self, place: int, piece: str, *, rest: bool) -> str:
        """Return the pieces up to and with `place`, that one replaced by `piece`, with or without the rest."""
        after = self.pieces[place + 1 :] if rest else ()
        return " ".join((*self.pieces[:place], piece, *after))


def sentences(text: str) -> tuple[str, ...]:
    """Return the sentences of `text`.

    A sentence ends at ".", "!" or "?" before a blank. What would be a single word ("1.", "Dr.") belongs to the
    sentence after it.
    """
    found: list[str] = []
    waiting = ""
    start = 0
    for end in [m.end() for m in _SENTENCE_END.finditer(text)] + [len(text)]:
        part = text[start:end].strip()
        start = end
        whole = f"{waiting} {part}".strip()
        if len(whole.split()) < _SHORTEST_SENTENCE:
            waiting = whole
        else:
            found.append(whole)
            waiting = ""
    if waiting:
        found[-1:] = [f"{found[-1]} {waiting}"] if found else [waiting]
    return tuple(found)


def chain(text: str, unit: Unit) -> Chain:
    """Return `text` as a chain of `unit`; of words where there are fewer than `FEWEST_SENTENCES` sentences."""
    plain = " ".join(text.split())
    parts = sentences(plain)
    if unit == "sentence" and len(parts) >= FEWEST_SENTENCES:
        return Chain(text=plain, unit="sentence", pieces=parts)
    return Chain(text=plain, unit="word", pieces=tuple(plain.split()))


def in_sentences(text: str) -> Chain:
    """Return `text` as a chain of its sentences, however few."""
    plain = " ".join(text.split())
    return Chain(text=plain, unit="sentence", pieces=sentences(plain))


def cuts(size: int, points: int) -> tuple[int, ...]:
    """Return at most `points` counts of pieces, evenly spread over 0 to `size`, both ends among them."""
    steps = min(points - 1, size)
    return tuple(dict.fromkeys(round(i * size / steps) for i in range(steps + 1))) if steps else (0,)


def filler_of(filler: str, words: int) -> str:
    """Return reasoning that says nothing: `filler` once for every word it stands for."""
    return (filler * words).strip()


def first_third(text: str) -> str:
    """Return the first third of the words of `text`, rounded to the nearest, at least one word short of all."""
    said = text.split()
    return " ".join(said[: min(round(len(said) / 3), max(len(said) - 1, 0))])


def share_before(pieces: Sequence[str], count: int) -> float:
    """Return the share of the words of `pieces` that stand in the first `count` of them (0 to 1)."""
    sizes = [len(piece.split()) for piece in pieces]
    return sum(sizes[:count]) / sum(sizes) if sum(sizes) else 0.0
