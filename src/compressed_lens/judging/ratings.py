"""Reading a rating from 1 to 5: the one a judge wrote, or the mean of what it would have written."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from compressed_lens.analyses.labels import choose
from compressed_lens.lm.protocol import Scores

RATINGS = ("1", "2", "3", "4", "5")

_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_THOUGHT_START = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_SCALE = re.compile(r"\b1\s*(?:-|\u2013|to|and|through)\s*5\b", re.IGNORECASE)
_OF_FIVE = re.compile(r"(?<=\d)[\s*_]*(?:/|out\s+of|of)[\s*_]*5\b(?!\.\d)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.,])-?\d+(?:[.,]\d+)?(?!\w)")
_CUE = re.compile(
    r"\b(?:rating|score|rate|answer|number)\b(?:\s+(?:would\s+be|is|of|as|it|this|a))*[\s*_\"'`:=]*"
    r"(-?\d+(?:[.,]\d+)?)(?!\w)",
    re.IGNORECASE,
)
_RANGE = re.compile(r"\d\s*(?:-|\u2013|,|/|to|or|and)\s*\d", re.IGNORECASE)
_OPENING = re.compile(r"[\s*_\"'`(\[#>]*(-?\d+(?:[.,]\d+)?)(?!\w)")
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A rating as the mean over what a judge would write.

    Attributes:
        rating: Sum of k p(k), from 1 to 5; p is the judge's distribution among the five ratings.
        probabilities: p(1) to p(5); sums to 1.
        mass: Probability that the judge writes any of the five at all, from 0 to 1; all else rests on this share.
    """

    rating: float
    probabilities: tuple[float, ...]
    mass: float


def expected_rating(scores: Scores) -> Expected | None:
    """Return what the scores of `RATINGS` say; None where one of them is not a finite number.

    Source: G-Eval (Liu et al. 2023, section 2.3).
    """
    choice = choose(RATINGS, scores)
    if choice is None:
        return None
    shares = tuple(choice.probabilities[rating] for rating in RATINGS)
    return Expected(
        rating=sum(k * share for k, share in enumerate(shares, start=1)),
        probabilities=shares,
        mass=min(1.0, sum(math.exp(value) for value in scores.log_probabilities)),
    )


def parse_rating(text: str) -> int | None:
    """Return the one whole number from 1 to 5 that an answer gives; None where it gives none, or several.

    What a reasoning model thought is left out, and so are "from 1 to 5" and the "/5" of "4/5". Then, in turn: the
    number the answer opens with; the number after "rating", "score"..., where all such agree; the only number there
    is; the answer as a word ("Four."). Ranges, lists, fractions and numbers beyond the scale are no rating.
    """
    said = _THOUGHT.sub(" ", text)
    said = _THOUGHT_END.split(said)[-1]
    if _THOUGHT_START.search(said):
        return None
    said = _OF_FIVE.sub(" ", _SCALE.sub(" ", said)).strip()
    opening = _OPENING.match(said)
    if opening:
        return None if _RANGE.match(said, opening.start(1)) else _whole(opening[1])
    found = {m[1] for m in _CUE.finditer(said) if not _RANGE.match(said, m.start(1))}
    found = found or set(_NUMBER.findall(said))
    if found:
        values = {_whole(number) for number in found}
        return values.pop() if len(values) == 1 else None
    return _WORDS.get(said.strip(" .!*_\"'").casefold())


def _whole(number: str) -> int | None:
    value = float(number.replace(",", "."))
    return int(value) if value in range(1, len(RATINGS) + 1) else None
