"""Does a text mention a word or phrase: inflection, punctuation, several words, negation.

`parsing.mentions` is the stricter question, the same words in the same form; it is right for evidence that must be
named literally. Here a mention is any inflected form, as an explanation is free to put a word into its own sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from compressed_lens.faithfulness import words as wordlists

Negated = Literal["counts", "ignored"]
NEGATED: tuple[Negated, ...] = ("counts", "ignored")

_CURLY = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'"})
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_CLAUSE_END = re.compile(r"[,.;:!?()\n\u2013\u2014]|\s-\s")
_SPOKEN_END = frozenset("but so because hence thus therefore although though while since whereas yet".split())
_NEGATIONS = frozenset("not no never neither nor cannot without non none nothing hardly".split())
_PAIRED = frozenset({"neither", "nor"})
_COMPARED = {("rather", "than"), ("instead", "of")}
_NO_NEGATION = {
    ("not", "only"), ("not", "just"), ("not", "merely"), ("not", "simply"), ("not", "solely"),
    ("not", "least"), ("no", "doubt"), ("no", "wonder"), ("no", "question"), ("no", "less"), ("nothing", "but"),
}  # fmt: skip
_BETWEEN = 3

_SHORTEST = 3
_VOWEL = re.compile(r"[aeiouy]")
_CLOSED = re.compile(r"(?:[^aeiou]|qu)*[aeiou][^aeiouwxy]")
_ES_AFTER = ("s", "x", "z", "ch", "sh", "o")


@dataclass(frozen=True, kw_only=True)
class Mention:
    """What a text says of a phrase.

    Attributes:
        found: Whether the phrase stands in the text, negated or not.
        negated: Whether it stands there, and every time in the scope of a negation.
        place: Half-open character span of the first mention, one that is not negated where there is one.
    """

    found: bool
    negated: bool
    place: tuple[int, int] | None

    def counts(self, negated: Negated) -> bool:
        """Return whether this is a mention, where a negated one "counts" or is "ignored"."""
        return self.found and (negated == "counts" or not self.negated)


def mentioned(text: str, phrase: str) -> Mention:
    """Return whether `text` mentions `phrase`, in any inflected form of its words.

    Case, punctuation and the kind of quotes do not matter, hyphens and underscores are blanks, and a possessive 's is
    dropped. The words of a phrase must follow each other directly. A word inside another ("art" in "party") is none.

    Inflected forms are plural, third person, past, participles, comparative and superlative: by suffix rules (with
    doubled consonants, -y to -i-, silent -e) and the families of `words/irregular.txt`. Comparatives only of the
    adjectives of `words/adjectives.txt`, or "number" would be a form of "numb". Derived words ("quickly" of "quick",
    "teacher" of "teach") are other words. Forms decide, not meanings: "left" is a form of "leave" wherever it stands.

    A mention is negated when "not", "no", "never", "without", "neither", "nor", "cannot", "hardly", a word in -n't,
    "rather than" or "instead of" stands before it in the same clause with at most three words between; two of them
    undo each other. "Not only", "not just", "no doubt" and the like negate nothing. A denial behind the word ("rude
    plays no role") is not seen.

    Args:
        text: What is searched.
        phrase: One or more words; one without a letter or digit is never found.
    """
    wanted = [_stem(word) for _, word in _words(phrase)]
    plain = text.translate(_CURLY)
    said = list(_words(plain))
    size = len(wanted)
    first: tuple[int, int] | None = None
    for start in range(len(said) - size + 1 if size else 0):
        if not all(same_word(said[start + i][1], wanted[i]) for i in range(size)):
            continue
        place = (said[start][0], said[start + size - 1][0] + len(said[start + size - 1][1]))
        if not _is_negated(plain, said, start):
            return Mention(found=True, negated=False, place=place)
        first = first or place
    return Mention(found=first is not None, negated=first is not None, place=first)


def mentions_any(text: str, phrases: Iterable[str], *, negated: Negated = "counts") -> str | None:
    """Return the first of `phrases` that `text` mentions, None where it mentions none of them."""
    return next((phrase for phrase in phrases if mentioned(text, phrase).counts(negated)), None)


def same_word(first: str, second: str) -> bool:
    """Return whether two words, in any case, are forms of one word."""
    return not bases(first).isdisjoint(bases(second))


@lru_cache(65536)
def bases(word: str) -> frozenset[str]:
    """Return the base forms that `word` may be an inflected form of, itself included, lower case.

    Not all are words ("fall" gives "fal" as well); two real words meet in one only if they are forms of it.
    """
    word = _stem(word)
    known = _irregular().get(word)
    if known is not None:
        return known
    found = {word}
    for suffix, strip in (("ing", _participle), ("ed", _past), ("s", _plural)):
        if word.endswith(suffix):
            found.update(strip(word))
    found.update(base for base in _compared(word) if base in _gradable())
    return frozenset(base for base in found if base == word or len(base) >= _SHORTEST)


def _stem(word: str) -> str:
    plain = word.translate(_CURLY).casefold()
    return plain[:-2] if plain.endswith("'s") else plain


def _words(text: str) -> Iterable[tuple[int, str]]:
    # Each word where it begins; the text keeps its length, so places hold in the original.
    return ((match.start(), match.group()) for match in _WORD.finditer(text.translate(_CURLY)))


def _without_ending(stem: str) -> set[str]:
    """Return the bases of what stands before a suffix that begins with a vowel."""
    if not _VOWEL.search(stem):
        return set()
    found = {f"{stem}e"}
    # "hop" would have doubled its consonant: "hoping" is a form of "hope" alone.
    if not _CLOSED.fullmatch(stem):
        found.add(stem)
    if len(stem) > 1 and stem[-1] == stem[-2]:
        found.add(stem[:-1])
    if stem.endswith("ick"):
        found.add(stem[:-1])
    return found


def _participle(word: str) -> set[str]:
    stem = word[:-3]
    return _without_ending(stem) | ({f"{stem[:-1]}ie"} if stem.endswith("y") and len(stem) <= _SHORTEST else set())


def _past(word: str) -> set[str]:
    stem = word[:-2]
    return {f"{stem[:-1]}y", f"{stem}e"} if stem.endswith("i") else _without_ending(stem)


def _plural(word: str) -> set[str]:
    if word.endswith("ss"):
        return set()
    found = {word[:-1]}
    if word.endswith("es") and word[:-2].endswith(_ES_AFTER):
        found.add(word[:-2])
    if word.endswith("ies"):
        found = {f"{word[:-3]}y", word[:-1]}
    if word.endswith(("sses", "zzes")):
        found.add(word[:-3])
    return found


def _compared(word: str) -> set[str]:
    stem = word[:-2] if word.endswith("er") else word[:-3] if word.endswith("est") else ""
    return {f"{stem[:-1]}y"} if stem.endswith("i") else _without_ending(stem) if stem else set()


@cache
def _irregular() -> dict[str, frozenset[str]]:
    """Return the bases of every word of an irregular family."""
    found: dict[str, set[str]] = {}
    for family in wordlists.parse(wordlists.shipped("irregular"), default="")[""]:
        base, *forms = family.split()
        for form in (base, *forms):
            found.setdefault(form, {form}).add(base)
    return {word: frozenset(family) for word, family in found.items()}


@cache
def _gradable() -> frozenset[str]:
    return frozenset(wordlists.shipped("adjectives").split())


def _is_negated(text: str, said: list[tuple[int, str]], index: int) -> bool:
    """Return whether a negation reaches the word `index` of `said`, the words of `text` where they begin."""
    flips = between = 0
    for i in range(index - 1, -1, -1):
        place, word = said[i][0], said[i][1].casefold()
        if between > _BETWEEN or _CLAUSE_END.search(text, place + len(said[i][1]), said[i + 1][0]):
            break
        previous = said[i - 1][1].casefold() if i else ""
        # "Not because" denies a reason; any other "because" begins a clause of its own. "And" joins words or clauses.
        if (word in _SPOKEN_END and previous not in _NEGATIONS) or (word == "and" and i < index - 1):
            break
        if (word, said[i + 1][1].casefold()) in _NO_NEGATION:
            break
        if word in _NEGATIONS or word.endswith("n't") or (previous, word) in _COMPARED:
            flips += 1
            if word in _PAIRED:
                break
        elif word not in _SPOKEN_END:
            between += 1
    return flips % 2 == 1
