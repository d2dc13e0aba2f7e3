"""Reading what a model wrote: labels, explanations, and what went wrong with them. Failures are outcomes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

Outcome = Literal["ok", "empty", "refused", "label_only", "repetitive", "copied", "truncated"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "empty", "refused", "label_only", "repetitive", "copied", "truncated")

_CURLY = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})
_WORD = re.compile(r"\w+(?:'\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_CUE = re.compile(r"\b(?:label|answer|prediction|verdict|category|topic)\b[\"'*_`\s]*(?::|=|\bis\b)", re.IGNORECASE)
_NEGATION = re.compile(
    r"(?:\b(?:not|no|never|neither|nor|cannot|without|rather than|instead of)\b|n't\b)"
    r"(?:\s+[\w'\"*`]+){0,2}[\s\"'*`]*$",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[,.;:!?\n]|\b(?:but|so|because|hence|thus|therefore)\b", re.IGNORECASE)
_PREFIX = re.compile(r"^[\s*_#>`]*(?:explanation|reason|answer|because)\s*[:=][\s*_]*", re.IGNORECASE)
_LABEL_PART = re.compile(r"[\s*_]*\blabel\b[\s*_]*[:=][\s*_]*", re.IGNORECASE)
_REFUSAL = re.compile(
    r"(?:i\s*(?:'m|am)\s+(?:sorry|unable|not able|not allowed)\b"
    r"|sorry,"
    r"|i\s+(?:cannot|can't|can not|won't|will not)\s+"
    r"(?:help|assist|provide|explain|answer|comply|fulfil|continue|do that|give)\b"
    r"|as an? (?:ai|language model|artificial)\b)",
    re.IGNORECASE,
)
_FILLER = frozenset("the a an label answer is of this that it its because prediction class category so".split())
_QUOTES = (('"', '"'), ("'", "'"), ("`", "`"), ("**", "**"))
_COPIED_SHARE = 0.9
_COPIED_WORDS = 4
_LOOP_TIMES = 3
_LOOP_SHARE = 0.5
_LOOP_WORDS = 6
_LOOP_CHARACTERS = 12


def words(text: str) -> list[str]:
    """Return the words of `text`, lower case, punctuation dropped; "don't" is one word."""
    return _WORD.findall(text.translate(_CURLY).casefold())


def mentions(text: str, phrase: str) -> bool:
    """Return whether `phrase` stands in `text` as whole words, whatever the case, spacing and punctuation."""
    return _run_at(words(text), words(phrase))


def _run_at(where: Sequence[str], what: Sequence[str]) -> bool:
    size = len(what)
    return size > 0 and any(list(where[i : i + size]) == list(what) for i in range(len(where) - size + 1))


def _pattern(labels: Sequence[str]) -> re.Pattern[str]:
    # Longest first, so that "not entailment" is never read as "entailment"; blanks, hyphens and underscores alike.
    ordered = sorted(labels, key=len, reverse=True)
    forms = (r"[\s_-]+".join(map(re.escape, re.split(r"[\s_-]+", label.translate(_CURLY)))) for label in ordered)
    return re.compile("|".join(rf"(?<!\w)({form})(?!\w)" for form in forms), re.IGNORECASE)


def _asserted(text: str, labels: Sequence[str], pattern: re.Pattern[str]) -> set[str]:
    """Return the labels `text` mentions at least once without negating them."""
    ordered = sorted(labels, key=len, reverse=True)
    found = set()
    for match in pattern.finditer(text):
        clause = _CLAUSE_END.split(text[: match.start()])[-1]
        if not _NEGATION.search(clause):
            found.add(ordered[(match.lastindex or 1) - 1])
    return found


def find_label(text: str, labels: Sequence[str]) -> str | None:
    """Return the one label an answer gives, or None when it gives none or more than one.

    Looked at in turn: the sentence after the last cue ("Label:", "the answer is"), the first sentence,
    the whole text; the first of these that asserts exactly one label decides. A mention counts as whole
    words in any case; one that follows a negation in its clause ("not neutral", "rather than neutral") does not count.
    """
    plain = text.translate(_CURLY).strip()
    pattern = _pattern(labels)
    cues = [m.end() for m in _CUE.finditer(plain)]
    parts = [_first_sentence(plain[cues[-1] :])] if cues else []
    for part in (*parts, _first_sentence(plain), plain):
        found = _asserted(part, labels, pattern)
        if len(found) == 1:
            return found.pop()
    return None


def _first_sentence(text: str) -> str:
    return next((s for s in _SENTENCE_END.split(text.strip()) if s.strip()), "")


def refuses(text: str) -> bool:
    """Return whether `text` begins with a refusal ("I'm sorry, ...", "I cannot help...")."""
    return _REFUSAL.match(text.translate(_CURLY)) is not None


def clean(text: str) -> str:
    """Return an explanation without its heading ("Explanation:"), enclosing quotes and surplus blanks."""
    plain = " ".join(_PREFIX.sub("", text).split())
    for left, right in _QUOTES:
        inner = plain[len(left) : -len(right)]
        if len(plain) > len(left) + len(right) and plain.startswith(left) and plain.endswith(right):
            plain = inner.strip() if left not in inner else plain
    return plain


def split_answer(text: str) -> tuple[str, str | None]:
    """Return (explanation, text after "Label:") of an answer "Explanation: ... Label: ..."; None without a label part.

    The last "Label:" counts, and an explanation after it ("Label: x Explanation: y") is taken from there.
    """
    found = list(_LABEL_PART.finditer(text))
    if not found:
        return clean(text), None
    before, after = text[: found[-1].start()], text[found[-1].end() :]
    label, _, late = after.partition("Explanation:")
    return clean(before) or clean(late), label.strip()


def classify_explanation(text: str, *, labels: Sequence[str], inputs: Iterable[str], finished: bool) -> Outcome:
    """Return what kind of explanation a cleaned text is; "ok" is the only usable one.

    In this order: "empty" (no word), "repetitive" (at least half of it is one piece said three times or more in
    a row), "refused", "label_only" (nothing but the label and filler), "copied" (nine tenths or more are one
    stretch of an input), "truncated" (cut off at the token limit), "ok".

    Args:
        text: A cleaned explanation.
        labels: Labels of the item.
        inputs: Texts the model was shown.
        finished: Whether the model ended by itself.
    """
    said = words(text)
    symbols = [c for c in text if not c.isspace()]
    checks: tuple[tuple[Outcome, bool], ...] = (
        ("repetitive", loops(said, _LOOP_WORDS) or (len(said) < _LOOP_WORDS and loops(symbols, _LOOP_CHARACTERS))),
        ("empty", not said),
        ("refused", refuses(text)),
        ("label_only", not set(said) - _FILLER - {w for label in labels for w in words(label)}),
        ("copied", any(_copied(said, words(shown)) for shown in inputs)),
        ("truncated", not finished),
    )
    return next((outcome for outcome, holds in checks if holds), "ok")


def loops(pieces: Sequence[str], least: int) -> bool:
    """Return whether at least half of `pieces`, and at least `least`, are one cycle repeated three times or more."""
    size = len(pieces)
    for period in range(1, size // _LOOP_TIMES + 1):
        run = best = 0
        for i in range(period, size):
            run = run + 1 if pieces[i] == pieces[i - period] else 0
            best = max(best, run)
        stretch = best + period
        if best and stretch >= max(least, _LOOP_TIMES * period, _LOOP_SHARE * size):
            return True
    return False


def longest_run(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest stretch of pieces that stands in both, in order and without gaps."""
    best = 0
    before = [0] * (len(b) + 1)
    for x in a:
        now = [0] * (len(b) + 1)
        for j, y in enumerate(b, start=1):
            now[j] = before[j - 1] + 1 if x == y else 0
        best = max(best, *now)
        before = now
    return best


def _copied(said: Sequence[str], shown: Sequence[str]) -> bool:
    if len(said) < _COPIED_WORDS:
        return list(said) == list(shown)
    return longest_run(said, shown) >= _COPIED_SHARE * len(said)
