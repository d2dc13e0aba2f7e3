"""Reading an edited text out of an answer, and naming what went wrong with it. Failures are outcomes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from compressed_lens.explanations.edits import relative_to_longer
from compressed_lens.explanations.parsing import longest_run, loops, refuses, words

EditOutcome = Literal["ok", "unparsable", "refused", "empty", "unchanged", "appended", "truncated", "repetitive"]
EDIT_OUTCOMES: tuple[EditOutcome, ...] = (
    "ok",
    "refused",
    "unparsable",
    "empty",
    "truncated",
    "repetitive",
    "unchanged",
    "appended",
)

# Only the tag of the prompt is looked for, so that markup in the text itself (<br />) is left alone.
_OPEN = re.compile(r"(?:<|&lt;)\s*new\s*(?:>|&gt;)", re.IGNORECASE)
_CLOSE = re.compile(r"(?:<|&lt;)\s*(?:[/\\]\s*new\s*(?:>|&gt;|(?=\s*$))|new\s*/\s*(?:>|&gt;))", re.IGNORECASE)
_CUT_CLOSE = re.compile(r"(?:<|&lt;)\s*[/\\]?\s*(?:n|ne|new)?\s*$", re.IGNORECASE)
_FENCE = re.compile(r"\A\s*```[\w-]*\s*\n?(.*?)\n?\s*```\s*\Z", re.DOTALL)
_HEADING = re.compile(
    r"\A(?:(?:sure|okay|ok|certainly|of course)\b[,.!:]?\s*)?"
    r"(?:here(?:'s| is| are)\b[^:\n]{0,80}"
    r"|(?:the\s+)?(?:new|edited|revised|modified|counterfactual)\s+"
    r"(?:text|version|sentence|statement|review|article|document|question|premise|hypothesis))\s*:\s*",
    re.IGNORECASE,
)
_QUOTES = (('"', '"'), ("\u201c", "\u201d"), ("'", "'"), ("`", "`"), ("**", "**"))
_ECHO = "and"  # what stands between the tags when a model repeats "between <new> and </new>"
_LOOP_WORDS = 6
_NEAR = 0.5


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What was read from an answer.

    Attributes:
        text: The edited text, tidied; None where none could be read.
        complete: Whether its end is known: a closing tag, or an answer that ended by itself.
    """

    text: str | None
    complete: bool


def extract_edit(answer: str, *, original: str, field: str, finished: bool) -> Extracted:
    """Return the edited text in an answer that should hold it between <new> and </new>.

    The last complete pair of tags that holds a word decides, in any case and across line breaks. Without one: what
    follows the (last) opening tag that holds a word, what stands before a lone closing tag, or, without any tag, the
    whole answer if it is one paragraph that keeps at least half of the original. Headings, fences and enclosing quotes
    that the original has not are removed.

    Args:
        answer: The raw answer.
        original: The text that was to be edited.
        field: Its name, which models like to repeat in front ("Hypothesis: ...").
        finished: Whether the model ended by itself.
    """
    opened = list(_OPEN.finditer(answer))
    closed = list(_CLOSE.finditer(answer))

    def tidied(piece: str) -> str:
        text = tidy(piece, original=original, field=field)
        return text if "\n" in original else " ".join(text.split())

    pairs = []
    last = 0
    for close in closed:
        before = [o.end() for o in opened if last < o.end() <= close.start()]
        if before:
            pairs.append(tidied(answer[before[-1] : close.start()]))
            last = close.end()
    worded = [text for text in pairs if words(text) and text.casefold() != _ECHO]
    if worded:
        return Extracted(text=worded[-1], complete=True)
    left_open = [tidied(_CUT_CLOSE.sub("", piece)) for piece in _OPEN.split(answer[last:])[1:]]
    named = [piece for piece in left_open if words(piece)]
    if named or (opened and not pairs):
        return Extracted(text=named[-1] if named else "", complete=finished)
    if pairs:
        return Extracted(text=None if _ECHO in map(str.casefold, pairs) else "", complete=True)
    if closed:
        return Extracted(text=tidied(answer[: closed[0].start()]), complete=True)
    text = tidy(answer, original=original, field=field)
    if not words(text):
        return Extracted(text="", complete=finished)
    is_safe = ("\n" not in text or "\n" in original) and relative_to_longer(original, text) <= _NEAR
    return Extracted(text=text if is_safe else None, complete=finished)


def tidy(text: str, *, original: str, field: str) -> str:
    """Return `text` without fence, heading, the field's name, enclosing quotes, surplus blanks and empty lines.

    Nothing is removed that the original has itself.
    """
    fenced = _FENCE.match(text)
    plain = (fenced[1] if fenced else text).strip()
    named = re.compile(rf"\A{re.escape(field.replace('_', ' '))}\s*:\s*", re.IGNORECASE)
    for heading in (_HEADING, named):
        if not heading.match(original):
            plain = heading.sub("", plain)
    for left, right in _QUOTES:
        inner = plain[len(left) : len(plain) - len(right)]
        is_quoted = len(plain) > len(left) + len(right) and plain.startswith(left) and plain.endswith(right)
        if is_quoted and left not in inner and not original.strip().startswith(left):
            plain = inner.strip()
    return "\n".join(" ".join(line.split()) for line in plain.splitlines() if line.strip())


def classify_edit(extracted: Extracted, answer: str, *, original: str) -> EditOutcome:
    """Return what kind of edit an answer holds; "ok" is the only usable one.

    In this order: "refused" (declines instead of editing), "unparsable" (no tag and not safely readable), "empty" (no
    word), "truncated" (token limit before the closing tag), "repetitive" (at least half of it is one piece said three
    times or more in a row, which the original is not), "unchanged" (the same words; case and punctuation aside),
    "appended" (the original is kept whole and words only added before or after it), "ok".

    Args:
        extracted: What `extract_edit` read.
        answer: The raw answer.
        original: The text that was to be edited.
    """
    text = extracted.text
    before, after = words(original), words(text or "")
    # A review may well begin with "I'm sorry"; a refusal keeps nothing of the original.
    declined = refuses(text if text and after else answer.strip())
    is_far = not after or relative_to_longer(original, text or "") > _NEAR
    checks: tuple[tuple[EditOutcome, bool], ...] = (
        ("refused", declined and is_far and not refuses(original)),
        ("unparsable", text is None),
        ("empty", not after),
        ("truncated", not extracted.complete),
        ("repetitive", loops(after, _LOOP_WORDS) and not loops(before, _LOOP_WORDS)),
        ("unchanged", after == before),
        ("appended", 0 < len(before) < len(after) and longest_run(before, after) == len(before)),
    )
    return next((outcome for outcome, holds in checks if holds), "ok")
