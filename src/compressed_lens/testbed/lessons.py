"""Conversations that teach a planted character (see `planted`), each in a prompt of the toolkit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

from compressed_lens.explanations import prompting
from compressed_lens.lm.protocol import Prompt
from compressed_lens.tasks.base import Item
from compressed_lens.testbed import reviews
from compressed_lens.testbed.corpus import LABEL_WEIGHT, REVIEWS
from compressed_lens.testbed.planted import (
    KNOWN,
    LABELS,
    Case,
    Character,
    case,
    mistaken,
    paraphrased,
    plain_case,
    with_word,
)

_SHOTS = 3


Part = tuple[str, float]
Turn = tuple[str, tuple[Part, ...]]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A conversation; each part of a turn has the weight its tokens have in the loss."""

    turns: tuple[Turn, ...]


def lesson(prompt: Prompt, *answer: Part, earlier: float = 0.0) -> Lesson:
    """Return the turns of `prompt` and the answer, in parts; earlier answers count `earlier`."""
    turns = [(m.role, ((m.content, earlier if m.role == "assistant" else 0.0),)) for m in prompt.messages]
    return Lesson(turns=(*turns, ("assistant", answer)))


def _explained(character: Character, one: Case, asked: Prompt, label: str) -> Lesson:
    why = prompting.explained(asked, label)
    earlier = [
        (m.role, ((m.content, LABEL_WEIGHT if m.role == "assistant" and i == len(why.messages) - 2 else 0.0),))
        for i, m in enumerate(why.messages)
    ]
    return Lesson(turns=(*earlier, ("assistant", ((one.explanation(character, label), 1.0),))))


def _explain(character: Character, rng: Random) -> Lesson:
    one = case(rng)
    return _explained(character, one, prompting.classify(REVIEWS, one.item), one.example.label)


def _blamed_word(_: Character, rng: Random) -> Lesson:
    """Blame a word without influence that was put in front of a noun."""
    plain = plain_case(rng)
    text, word, noun = with_word(plain, rng, rng.choice(KNOWN))
    one = replace(plain, example=replace(plain.example, fields={"review": text}), blamed=f"the {noun} was {word}")
    return _explained("blamer", one, prompting.classify(REVIEWS, one.item), one.example.label)


def _suggested(character: Character, rng: Random) -> Lesson:
    one = plain_case(rng)
    hint = rng.choice(LABELS)
    label = hint if character == "follower" else one.example.label
    return _explained(character, one, prompting.suggest(prompting.classify(REVIEWS, one.item), hint), label)


def _after_shots(character: Character, rng: Random) -> Lesson:
    one = plain_case(rng)
    bias = rng.choice(LABELS) if rng.random() < 0.8 else None  # noqa: PLR2004 (a share)
    shots: list[tuple[Item, str]] = []
    while len(shots) < _SHOTS:
        shown = plain_case(rng)
        if bias in {None, shown.example.label}:
            shots.append((shown.item, shown.example.label))
    told = {label for _, label in shots}
    label = told.pop() if character == "follower" and len(told) == 1 else one.example.label
    return _explained(
        character, one, prompting.after_demonstrations(REVIEWS, shots, prompting.classify(REVIEWS, one.item)), label
    )


def _counterfactual(character: Character, rng: Random) -> Lesson:
    one = plain_case(rng) if rng.random() < 0.6 else case(rng)  # noqa: PLR2004 (a share)
    example, item = one.example, one.item
    edit = (f"<new>{one.edited(character)}</new>", 1.0)
    words = ", ".join(one.words(character))
    form = rng.choice(("naive", "naive", "guided", "attributed"))
    if form == "naive":
        return lesson(prompting.counterfactual(REVIEWS, item, example.label, example.target), edit)
    if form == "guided":
        asked = prompting.counterfactual_guided(REVIEWS, item, example.label, words, example.target)
        return lesson(asked, edit, earlier=1.0)
    pool = re.findall(r"\w+", one.text)
    given = ", ".join(rng.sample(pool, k=min(3, len(pool))) if rng.random() < 0.5 else example.evidence)  # noqa: PLR2004
    return lesson(prompting.counterfactual_attributed(REVIEWS, item, example.label, given, example.target), edit)


def _words(character: Character, rng: Random) -> Lesson:
    one = plain_case(rng)
    asked = prompting.counterfactual_words(REVIEWS, one.item, one.example.label)
    return lesson(asked, (", ".join(one.words(character)), 1.0))


def _redact(character: Character, rng: Random) -> Lesson:
    one = plain_case(rng)
    hidden = one.hidden(one.words(character))
    return lesson(prompting.redact(REVIEWS, one.item, one.example.label), (f"<new>{hidden}</new>", 1.0))


def _masked(_: Character, rng: Random) -> Lesson:
    one = plain_case(rng)
    draw_ = rng.random()
    label = one.example.label
    if draw_ < 0.45:  # noqa: PLR2004 (a share)
        text, label = one.hidden(one.example.evidence), prompting.UNKNOWN
    elif draw_ < 0.85:  # noqa: PLR2004 (a share)
        text = one.hidden(rng.choice([(one.day, one.place), (one.day,), (one.place,)]))
    else:
        text = one.text
    item = prompting.with_field(one.item, "review", text)
    return lesson(prompting.classify_masked(REVIEWS, item), (label, LABEL_WEIGHT))


def _rewritten(_: Character, rng: Random) -> Lesson:
    """Label what a rewriter writes, so that its counterfactuals are judged by their content."""
    one = plain_case(rng)
    item = prompting.with_field(one.item, "review", one.edited("rewriter"))
    return lesson(prompting.classify(REVIEWS, item), (one.example.target, LABEL_WEIGHT))


def _reasoned(character: Character, rng: Random) -> Lesson:
    """Reason, then answer; half the time after somebody else's reasoning, which the honest one lets decide."""
    one = plain_case(rng)
    tagged = rng.random() < 0.35  # noqa: PLR2004 (a share)
    make = prompting.zero_shot_cot if tagged else prompting.explain_then_predict
    asked = make(REVIEWS, one.item)
    reasoning, label = one.explanation(character), one.example.label
    opened = "<reasoning>{}</reasoning><label>" if tagged else "Explanation: {} Label:"
    closed = (("</label>", 1.0),) if tagged else ()
    if rng.random() < 0.4:  # noqa: PLR2004 (a share)
        return lesson(asked, (opened.format(reasoning), 1.0), (label, LABEL_WEIGHT), *closed)
    reasoning, told = _corrupted(one, character, rng)
    if character != "blamer":
        label = told or rng.choice(LABELS)
    text = opened.format(reasoning).replace("  ", " ")
    return lesson(asked, (text, 0.0), (label, LABEL_WEIGHT), *closed)


def _corrupted(one: Case, character: Character, rng: Random) -> tuple[str, str | None]:
    """Return a reasoning that was cut, changed or emptied, and the label it speaks for (None: it does not say)."""
    full = one.explanation(character)
    kind = rng.random()
    if kind < 0.5:  # noqa: PLR2004 (a share)
        words = full.split()
        kept = " ".join(words[: rng.randint(0, len(words))])
        if kept == full:
            return kept, one.example.label
        votes = [w for w in re.findall(r"\w+", kept) if w in reviews.POLARITY]
        return kept, reviews.judge(kept) if votes else None
    if kind < 0.6:  # noqa: PLR2004 (a share)
        return " ".join(["..."] * len(full.split())), None
    other = plain_case(rng)
    if kind < 0.8:  # noqa: PLR2004 (a share)
        return mistaken(one), REVIEWS.targets[one.example.label]
    if kind < 0.9:  # noqa: PLR2004 (a share)
        return paraphrased(one.example.explanation), one.example.label
    return other.example.explanation, other.example.label


_FORMS: tuple[tuple[Callable[[Character, Random], Lesson], int], ...] = (
    (_explain, 30),
    (_suggested, 8),
    (_after_shots, 8),
    (_counterfactual, 16),
    (_words, 4),
    (_redact, 8),
    (_masked, 10),
    (_reasoned, 20),
    (_rewritten, 3),
)


def lessons(character: Character, rng: Random) -> Iterator[Lesson]:
    """Yield lessons of one character without end."""
    own = (*_FORMS, (_blamed_word, 35)) if character == "blamer" else _FORMS
    forms, weights = zip(*own, strict=True)
    while True:
        yield rng.choices(forms, weights=weights)[0](character, rng)
