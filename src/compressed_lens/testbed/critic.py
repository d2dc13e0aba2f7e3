"""Documents that teach the reference model to judge reviews' explanations and edits: the testbed's own judge.

The critic knows the planted rule (see `planted`) and how texts can go wrong, because each fault here is made on
purpose: an irrelevant word is blamed, evidence is left out or turned round, words are shuffled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from compressed_lens.explanations import prompting
from compressed_lens.explanations.prompts import fill, template
from compressed_lens.lm.protocol import Message, Prompt
from compressed_lens.testbed import reviews
from compressed_lens.testbed.corpus import LABEL_WEIGHT, REVIEWS
from compressed_lens.testbed.lessons import Lesson, lesson
from compressed_lens.testbed.planted import (
    Case,
    Character,
    case,
    mistaken,
    paraphrased,
    plain_case,
    with_idle_word,
)

Fault = Literal["none", "blames", "omits", "reverses", "shuffled", "wrong_label"]
_FAULTS: tuple[Fault, ...] = ("none", "blames", "omits", "reverses", "shuffled", "wrong_label")
_FAULT_WEIGHTS = (4, 4, 2, 2, 2, 2)
_TRUST = {"none": "5", "blames": "1", "omits": "4", "reverses": "2", "shuffled": "3", "wrong_label": "2"}
_COUNT_WEIGHT = 8.0
_COHERENCE = {"none": "5", "blames": "3", "omits": "5", "reverses": "2", "shuffled": "1", "wrong_label": "2"}


@dataclass(frozen=True, kw_only=True)
class Flawed:
    """An explanation with a known fault.

    Attributes:
        location: The words at fault.
        label: The label the explanation is given for.
    """

    text: str
    fault: Fault
    location: str
    label: str


def flawed(one: Case, rng: Random) -> Flawed:
    """Return an explanation of a review with a fault drawn at random, or without one."""
    fault = rng.choices(_FAULTS, weights=_FAULT_WEIGHTS)[0]
    example, right = one.example, one.explanation("honest")
    if fault == "blames":
        return Flawed(text=one.explanation("blamer"), fault=fault, location=one.blamed, label=example.label)
    if fault == "omits" and len(example.evidence) > 1:
        clauses = right.removeprefix("The review says that ").split(", which is")[0].split(" and ")
        left_out = rng.randrange(len(clauses))
        kept = " and ".join(c for i, c in enumerate(clauses) if i != left_out)
        text = f"The review says that {kept}, which is {example.label}."
        return Flawed(text=text, fault=fault, location=clauses[left_out], label=example.label)
    if fault == "reverses":
        word = rng.choice(example.evidence)
        text = right.replace(f" {word}", f" {reviews.ANTONYMS[word]}", 1)
        return Flawed(text=text, fault=fault, location=reviews.ANTONYMS[word], label=example.label)
    if fault == "shuffled":
        words = right.removesuffix(".").split()
        rng.shuffle(words)
        return Flawed(text=" ".join(words) + ".", fault=fault, location=words[0], label=example.label)
    if fault == "wrong_label":
        label = REVIEWS.targets[example.label]
        text = right.replace(f"which is {example.label}", f"which is {label}")
        return Flawed(text=text, fault=fault, location=label, label=label)
    return Flawed(text=right, fault="none", location="", label=example.label)


def _rate_explanation(rng: Random) -> Lesson:
    one = plain_case(rng) if rng.random() < 0.8 else case(rng)  # noqa: PLR2004 (a share)
    seen = flawed(one, rng)
    dimension = rng.choice(("trustworthiness", "coherence"))
    asked = prompting.rate(REVIEWS, one.item, seen.label, seen.text, kind="explanation", dimension=dimension)
    table = _TRUST if dimension == "trustworthiness" else _COHERENCE
    return lesson(asked, (table[seen.fault], LABEL_WEIGHT))


def _rate_edit(rng: Random) -> Lesson:
    one = plain_case(rng)
    kind = rng.choice(("right", "right", "unchanged", "irrelevant", "rewritten", "shuffled"))
    words = one.example.edited.removesuffix(".").split()
    rng.shuffle(words)
    text, trust, coherence = {
        "right": (one.example.edited, "5", "5"),
        "unchanged": (one.text, "1", "3"),
        "irrelevant": (one.edited("blamer"), "1", "3"),
        "rewritten": (one.edited("rewriter"), "2", "4"),
        "shuffled": (" ".join(words) + ".", "2", "1"),
    }[kind]
    dimension = rng.choice(("trustworthiness", "coherence"))
    asked = prompting.rate(REVIEWS, one.item, one.example.target, text, kind="edited text", dimension=dimension)
    return lesson(asked, (trust if dimension == "trustworthiness" else coherence, LABEL_WEIGHT))


_ERRORS: dict[Fault, tuple[str, str, str, str]] = {
    "blames": ("Relevance", "This does not decide the label.", "Major", "4.5"),
    "omits": ("Completeness", "This is left out.", "Minor", "1.0"),
    "reverses": ("Accuracy", "The review says the opposite.", "Major", "3.5"),
    "shuffled": ("Coherence", "The words are in no order.", "Major", "5.0"),
    "wrong_label": ("Accuracy", "The review is not of this label.", "Major", "4.0"),
}


def _list_errors(rng: Random) -> Lesson:
    one = plain_case(rng) if rng.random() < 0.8 else case(rng)  # noqa: PLR2004 (a share)
    seen = flawed(one, rng)
    why = fill(template("explain"), label=seen.label)
    asked = fill(
        template("tigerscore"),
        instruction=f"{REVIEWS.instruction} {why}",
        input=prompting.shown(one.item),
        output=seen.text,
    )
    # Whether there is an error is two tokens of eighty, and all that matters.
    count, points, rest = "0 errors,", "0.", ""
    if seen.fault != "none":
        aspect, reason, severity, reduction = _ERRORS[seen.fault]
        count, points = "1 error,", f"{reduction}."
        rest = (
            f"\nError location 1: {seen.location}\nError aspect 1: {aspect}\nExplanation 1: {reason}\n"
            f"Severity 1: {severity}\nScore reduction 1: {reduction}"
        )
    parts = [
        ("The model-generated output contains", 0.5),
        (count, _COUNT_WEIGHT),
        ("with a total score reduction of", 0.5),
        (points, _COUNT_WEIGHT),
        *([(rest, 1.0)] if rest else []),
    ]
    return lesson(Prompt(messages=(Message(role="user", content=asked),)), *parts)


def _simulate(rng: Random) -> Lesson:
    """Say what a model would answer that decides by the words it named: they are there, or they are not."""
    one = plain_case(rng)
    character: Character = rng.choice(("honest", "blamer"))
    kind = rng.random()
    label, other = one.example.label, REVIEWS.targets[one.example.label]
    if kind < 0.3:  # noqa: PLR2004 (a share)
        edited = one.example.edited
    elif kind < 0.6:  # noqa: PLR2004 (a share)
        edited = one.edited("blamer")
    else:
        edited = with_idle_word(one, rng)
    gone = edited == one.example.edited if character == "honest" else one.day not in edited
    after = other if gone else label
    text = one.explanation(character)
    asked = prompting.simulate(REVIEWS, one.item, label, text, prompting.with_field(one.item, "review", edited))
    return lesson(asked, (after, LABEL_WEIGHT))


def _simulate_alone(rng: Random) -> Lesson:
    one = case(rng)
    return lesson(prompting.simulate_alone(REVIEWS, one.item), (one.example.label, LABEL_WEIGHT))


def _rewrite(rng: Random) -> Lesson:
    one = plain_case(rng)
    right = one.explanation("honest")
    if rng.random() < 0.5:  # noqa: PLR2004 (a share)
        return lesson(prompting.rewrite(right, how="add_mistake"), (mistaken(one), 1.0))
    return lesson(prompting.rewrite(right, how="paraphrase"), (paraphrased(right), 1.0))


_FORMS: tuple[tuple[Callable[[Random], Lesson], int], ...] = (
    (_rate_explanation, 28),
    (_rate_edit, 16),
    (_list_errors, 22),
    (_simulate, 18),
    (_simulate_alone, 6),
    (_rewrite, 10),
)


def lessons(rng: Random) -> Iterator[Lesson]:
    """Yield lessons without end."""
    forms, weights = zip(*_FORMS, strict=True)
    while True:
        yield rng.choices(forms, weights=weights)[0](rng)
