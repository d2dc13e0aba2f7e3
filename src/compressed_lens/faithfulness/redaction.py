"""Hiding words of a text: which words an answer lists, where they stand, and what a redacted text is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compressed_lens.explanations.extraction import Extracted, classify_edit
from compressed_lens.explanations.parsing import mentions, words

Which = Literal["all", "first"]
RedactionOutcome = Literal[
    "ok",
    "rewritten",
    "nothing_redacted",
    "everything_redacted",
    "unchanged",
    "refused",
    "unparsable",
    "empty",
    "truncated",
]
_SEPARATOR = re.compile(r"[,;\n]")
_AND = re.compile(r"\s*\b(?:and|or)\b\s*", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[-*\u2022]+|\d+[.)])\s+")
_HEADING = re.compile(r"^[^,;\n:]{0,60}\b(?:words?|answer|list)\b[^,;\n:]{0,40}:\s*", re.IGNORECASE)
_EDGE = " \t\"'`\u2018\u2019\u201c\u201d.!?:()[]<>*_"


@dataclass(frozen=True, kw_only=True)
class Redacted:
    """A text with words hidden.

    Attributes:
        text: The text with masks.
        found: Phrases that stand in the text.
        missing: Phrases that do not.
    """

    text: str
    found: tuple[str, ...]
    missing: tuple[str, ...]


def listed_words(answer: str, *, original: str) -> tuple[str, ...]:
    """Return the words or phrases an answer lists, each once, in order.

    They may be separated by commas, semicolons or line breaks, with a heading ("The words are:"), bullets, numbers and
    quotes around them. "and" separates too, unless the phrase with it stands in the original.
    """
    plain = _HEADING.sub("", answer.strip())
    parts = [_BULLET.sub("", part).strip(_EDGE) for part in _SEPARATOR.split(plain)]
    singles = (p.strip(_EDGE) for part in parts for p in ([part] if mentions(original, part) else _AND.split(part)))
    named: dict[str, str] = {}
    for part in singles:
        if words(part):
            named.setdefault(" ".join(words(part)), part)
    return tuple(named.values())


def hide(text: str, phrases: Sequence[str], *, mask: str, which: Which = "all") -> Redacted:
    """Return `text` with `phrases` replaced by `mask`: whole words, in any case; longer phrases first.

    A phrase of several words is one mask, whatever blanks and punctuation stand between its words. With `which` "first"
    only its first occurrence is hidden.
    """
    spans: list[tuple[int, int]] = []
    found: list[str] = []
    for phrase in sorted(phrases, key=lambda p: -len(words(p))):
        occurrences = _occurrences(text, phrase)
        found += [phrase] if occurrences else []
        for start, end in occurrences[: 1 if which == "first" else None]:
            if all(end <= a or start >= b for a, b in spans):
                spans.append((start, end))
    hidden = text
    for start, end in sorted(spans, reverse=True):
        hidden = hidden[:start] + mask + hidden[end:]
    return Redacted(
        text=hidden,
        found=tuple(phrase for phrase in phrases if phrase in found),
        missing=tuple(phrase for phrase in phrases if phrase not in found),
    )


def _occurrences(text: str, phrase: str) -> list[tuple[int, int]]:
    parts = [re.escape(word).replace("'", "['\u2019]") for word in words(phrase)]
    inner = r"[^\w\n]+".join(parts)
    return [m.span() for m in re.finditer(rf"(?<!\w){inner}(?!\w)", text, re.IGNORECASE)] if parts else []


def visible(text: str, mask: str) -> list[str]:
    """Return the words of `text` that are no mask; [redacted] and REDACTED are masks as well."""
    core = re.escape(mask.strip("[]"))
    return words(re.sub(rf"\[\s*(?i:{core})\s*\]|\b{core}\b", " ", text))


def redacted_share(original: str, text: str, mask: str) -> float:
    """Return the share of the original's words that can no longer be read in `text` (0 to 1).

    Words are counted with repetition; their places do not matter, and words that `text` adds do not count.
    """
    before = Counter(words(original))
    left = before & Counter(visible(text, mask))
    return 1 - left.total() / before.total() if before else 0.0


def classify_redaction(extracted: Extracted, answer: str, *, original: str, mask: str) -> RedactionOutcome:
    """Return what kind of redaction an answer holds.

    "refused", "unparsable", "empty", "truncated" and "unchanged" as for edits (see `extraction.classify_edit`); then
    "nothing_redacted" (no mask), "everything_redacted" (no other word), "rewritten" (the words left are not words of
    the original in their order), "ok".

    Args:
        extracted: What `extraction.extract_edit` read.
        answer: The raw answer.
        original: The text that was to be redacted.
        mask: What hidden words are to be replaced by.
    """
    text = extracted.text or ""
    edit = classify_edit(extracted, answer, original=original)
    # A text of nothing but masks may look like a loop or like an addition; whether it is one does not matter here.
    if edit in {"refused", "unparsable", "empty", "truncated", "unchanged"}:
        return edit
    left = visible(text, mask)
    if len(left) == len(words(text)):
        return "nothing_redacted"
    if not left:
        return "everything_redacted"
    rest = iter(words(original))
    return "ok" if all(word in rest for word in left) else "rewritten"
