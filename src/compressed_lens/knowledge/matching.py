"""When a continuation counts as right: the rules of the papers, as pure functions of texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Literal

Match = Literal["start", "word", "anywhere"]
MATCHES: tuple[Match, ...] = ("start", "word", "anywhere")

_PUNCTUATION = re.compile(r"[.,;:!?()\[\]\"“”\n]")
_ARTICLE = re.compile(r"\b(?:the|an|a)\b(?=\s)")
_SPACED_INITIALS = re.compile(r"(?<=\b[A-Z])\. (?=[A-Z]\.)")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).strip().casefold())


def _begins(said: str, answer: str, *, word: bool) -> bool:
    return bool(answer) and said.startswith(answer) and not (word and said[len(answer) :][:1].isalnum())


def first_place(said: str, answers: Iterable[str]) -> int | None:
    """Return where the first of `answers` to stand in `said` as whole words starts; None where none does.

    Both are compared as they are; empty answers stand nowhere.
    """
    found = (re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", said) for answer in answers if answer)
    return min((match.start() for match in found if match), default=None)


def recalled(continuation: str, answers: Iterable[str], *, match: Match = "start") -> bool:
    """Return whether a continuation gives an accepted answer, whatever the case.

    Args:
        continuation: What the model wrote.
        answers: Accepted answers; empty ones are ignored.
        match: "start": the stripped continuation starts with an answer (Yang et al. 2024). "word": and the answer ends
            there as a word, so that "Parisian" is not "Paris". "anywhere": an answer of more than one character stands
            anywhere in it as whole words (after Biran et al. 2024, who take any substring).
    """
    said = _folded(continuation)
    named = [_folded(answer) for answer in answers]
    if match == "anywhere":
        return first_place(said, (answer for answer in named if len(answer) > 1)) is not None
    return any(_begins(said, answer, word=match == "word") for answer in named)


def first_token_right(token: str, answers: Sequence[str]) -> bool | None:
    """Return whether the first generated token, stripped, is a non-empty prefix of an accepted answer.

    None when the token is nothing but spaces (some tokenizers split them off), which says nothing yet.
    This is the rule of the LRE authors (`is_nontrivial_prefix`).
    """
    said = _folded(token)
    if not said:
        return None if token and not token.strip(" ") else False
    return any(_folded(answer).startswith(said) for answer in answers)


def prediction(continuation: str, candidates: Sequence[str], *, match: Match = "start") -> str:
    """Return what a continuation says: the candidate it gives, the longest if several, else its first phrase.

    The phrase ends at punctuation or a line's end and is in lower case, so that "Paris, of course" and "Paris." agree.
    """
    given = [c for c in candidates if recalled(continuation, (c,), match=match)]
    if given:
        return max(given, key=len)
    return _PUNCTUATION.split(_folded(continuation), maxsplit=1)[0].strip()


def consistency(predictions: Sequence[str]) -> float | None:
    """Return the share of pairs of wordings with equal predictions (ParaRel, Elazar et al. 2021, section 4).

    0 to 1; None with fewer than two.
    """
    pairs = list(combinations(predictions, 2))
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None


def normalized(text: str) -> str:
    """Return a text as SOCRATES compares it: lower case, no accents, articles or punctuation, single spaces."""
    plain = _SPACED_INITIALS.sub(".", text.strip()).casefold()
    letters = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    words = "".join(c if c.isalnum() or c.isspace() else " " for c in _ARTICLE.sub("", letters))
    return " ".join(words.split())
