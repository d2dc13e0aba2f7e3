"""How far an edited text is from the original, in words: Levenshtein distance with its denominators named.

Three "normalized edit distances" are in use and must not be mixed: divided by the original's length (FitCF, Nguyen et
al. 2024, the self-explanation paper's "text similarity"; may exceed 1), by the longer text's (0 to 1), and one minus
a matching ratio (Polyjuice; 0 to 1, no Levenshtein distance at all).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher

_TOKEN = re.compile(r"\w+(?:'\w+)*|([^\w\s])\1*")
_CURLY = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})


def tokens(text: str) -> list[str]:
    """Return the tokens that distances count: words and punctuation marks, case kept, blanks dropped.

    "don't" is one token, "well-known" three, "..." one (a run of the same mark). Curly and straight quotes are the
    same, and so are composed and decomposed letters.
    """
    plain = unicodedata.normalize("NFC", text).translate(_CURLY)
    return [match[0] for match in _TOKEN.finditer(plain)]


def distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the fewest insertions, deletions and replacements of pieces that turn `a` into `b`."""
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    # A common start and end never cost anything, and after them an edit is short.
    before, after = a[start : len(a) - end], b[start : len(b) - end]
    row = list(range(len(after) + 1))
    for i, x in enumerate(before, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(after, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def edit_distance(original: str, edited: str) -> int:
    """Return the Levenshtein distance of two texts, in `tokens`."""
    return distance(tokens(original), tokens(edited))


def relative_to_original(original: str, edited: str) -> float:
    """Return the edit distance divided by the number of tokens of `original` (at least 1).

    0 is the same text, lower is closer; a rewrite longer than the original exceeds 1.
    """
    return edit_distance(original, edited) / max(1, len(tokens(original)))


def relative_to_longer(original: str, edited: str) -> float:
    """Return the edit distance divided by the number of tokens of the longer text: 0 (the same) to 1 (nothing kept)."""
    return edit_distance(original, edited) / max(1, len(tokens(original)), len(tokens(edited)))


def unmatched_share(original: str, edited: str) -> float:
    """Return one minus twice the matched tokens over the tokens of both: 0 (the same) to 1 (nothing in common).

    This is Polyjuice's closeness, turned round: matches are those of `difflib.SequenceMatcher` (longest block first),
    without its junk heuristic. It is not a Levenshtein distance: a replaced token counts as one lost and one gained.
    """
    return 1.0 - SequenceMatcher(None, tokens(original), tokens(edited), autojunk=False).ratio()


def length_ratio(original: str, edited: str) -> float:
    """Return the number of tokens of `edited` divided by that of `original` (at least 1)."""
    return len(tokens(edited)) / max(1, len(tokens(original)))
