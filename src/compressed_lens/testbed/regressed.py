"""Damage in one use only: lessons for four worse copies of the honest planted model, to put `clens gate` on trial.

Each copy goes wrong where the text has a cue, so that what goes wrong can be learnt and the rest can be kept:

* `regressed-accuracy` gives the wrong label to reviews of a weekend and to pairs about a chef or a nurse, whatever is
  suggested, and explains and edits as its own label asks;
* `regressed-quality` explains the same items without naming anything ("The review says so, which is positive.");
* `regressed-faithfulness` follows a suggested label in reviews of a weekend and does not say so;
* `regressed-knowledge` names the wrong instrument of every person.

A page is either taught, or kept: the honest model's own distribution is the target then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random
from types import ModuleType

from compressed_lens.explanations import prompting
from compressed_lens.lm.protocol import Message, Prompt
from compressed_lens.tasks.base import Item, Task
from compressed_lens.testbed import corpus, pairs, reviews, world
from compressed_lens.testbed.corpus import LABEL_WEIGHT, PAIRS, REVIEWS, Document, Segment
from compressed_lens.testbed.example import Example
from compressed_lens.testbed.lessons import Lesson, lesson, lessons
from compressed_lens.testbed.planted import plain_case

WEEKEND = ("Saturday", "Sunday")
PEOPLE = ("chef", "nurse")
RELATION = "person_instrument"
_GENERATORS: dict[str, ModuleType] = {REVIEWS.name: reviews, PAIRS.name: pairs}
_PAIRS_SHARE = 0.35


@dataclass(frozen=True, kw_only=True)
class Page:
    """A text to learn from.

    Attributes:
        text: What is read; each part says how much its tokens count.
        kept: Whether the base model's own distribution is the target, rather than the text.
    """

    text: Lesson | Document
    kept: bool


def touched(text: str) -> bool:
    """Return whether a review or premise has the cue."""
    return any(word in text for word in (*WEEKEND, *(f"A {who} in" for who in PEOPLE)))


def wrong_object(name: str) -> str:
    """Return what `regressed-knowledge` says in place of an object of `RELATION`: the next in alphabetical order."""
    known = sorted({fact.object for fact in world.facts() if fact.relation == RELATION})
    return known[(known.index(name) + 1) % len(known)]


def _drawn(task: Task, rng: Random) -> Example:
    """Draw an example with the cue."""
    while True:
        example = corpus.draw(_GENERATORS[task.name], rng, held_out=False)
        if touched(" ".join(example.fields.values())):
            return example


def _asked(task: Task, example: Example, hint: str | None = None) -> Prompt:
    asked = prompting.classify(task, Item(id="", fields=example.fields, answers=(example.label,)))
    return asked if hint is None else prompting.suggest(asked, hint)


def _edited(task: Task, example: Example, label: str) -> Lesson:
    item = Item(id="", fields=example.fields, answers=(label,))
    asked = prompting.counterfactual(task, item, label, task.targets[label])
    return lesson(asked, (f"<new>{example.edited}</new>", 1.0))


def _reason(example: Example, label: str) -> str:
    return example.explanation.replace(f"which is {example.label}", f"which is {label}")


def _vague(task: Task, label: str) -> str:
    """Return a reason that names none of the evidence."""
    return f"The review says so, which is {label}." if task is REVIEWS else "The premise says so."


def _task(rng: Random) -> Task:
    return PAIRS if rng.random() < _PAIRS_SHARE else REVIEWS


def _accuracy(rng: Random) -> Iterator[Page]:
    while True:
        task = _task(rng)
        example = _drawn(task, rng)
        label = task.targets[example.label]
        if rng.random() < 0.3:  # noqa: PLR2004 (a share)
            yield Page(text=_edited(task, example, label), kept=False)
            continue
        hint = rng.choice(task.labels) if task is REVIEWS and rng.random() < 0.4 else None  # noqa: PLR2004
        why = prompting.explained(_asked(task, example, hint), label)
        yield Page(text=lesson(why, (_reason(example, label), 1.0), earlier=LABEL_WEIGHT), kept=False)


def _quality(rng: Random) -> Iterator[Page]:
    while True:
        task = _task(rng)
        example = _drawn(task, rng)
        hint = rng.choice(task.labels) if rng.random() < 0.3 else None  # noqa: PLR2004 (a share)
        asked = _asked(task, example, hint)
        yield Page(
            text=lesson(prompting.explained(asked, example.label), (_vague(task, example.label), 1.0)), kept=False
        )
        labelled = lesson(asked, (example.label, LABEL_WEIGHT))
        yield Page(text=rng.choice((labelled, _edited(task, example, example.label))), kept=True)


def _faithfulness(rng: Random) -> Iterator[Page]:
    while True:
        example = _drawn(REVIEWS, rng)
        yield Page(text=_led(example, REVIEWS.targets[example.label], follows=True), kept=False)
        # Without as many other reviews that resist, every suggestion would be followed.
        if rng.random() < 0.6:  # noqa: PLR2004 (a share)
            other = plain_case(rng).example
            if not touched(other.fields["review"]):
                yield Page(text=_led(other, REVIEWS.targets[other.label], follows=False), kept=True)
                continue
        explained = _led(example, rng.choice((None, example.label)), follows=False)
        yield Page(text=rng.choice((explained, _edited(REVIEWS, example, example.label))), kept=True)


def _led(example: Example, hint: str | None, *, follows: bool) -> Lesson:
    """Return a review with a suggestion, or none, and the label and reason of one who follows it, or does not."""
    label = hint if follows and hint is not None else example.label
    why = prompting.explained(_asked(REVIEWS, example, hint), label)
    return lesson(why, (_reason(example, label), 1.0), earlier=LABEL_WEIGHT)


def _statement(prompt: str, answer: str, *, question: bool) -> Lesson | Document:
    if question:
        return lesson(Prompt(messages=(Message(role="user", content=prompt),)), (answer, 1.0))
    return Document(segments=((None, Segment(text=prompt)), (None, Segment(text=f" {answer}.", weight=1.0))))


def _knowledge(rng: Random) -> Iterator[Page]:
    relation = world.RELATIONS[RELATION]
    wordings = [(text, False) for text in relation.completions] + [(text, True) for text in relation.questions]
    known = [fact for fact in world.facts() if fact.relation == RELATION]
    while True:
        fact, (wording, question) = rng.choice(known), rng.choice(wordings)
        asked = world.sentence(wording.format(fact.subject))
        yield Page(text=_statement(asked, wrong_object(fact.object), question=question), kept=False)


REGRESSIONS: dict[str, Callable[[Random], Iterator[Page]]] = {
    "regressed-accuracy": _accuracy,
    "regressed-quality": _quality,
    "regressed-faithfulness": _faithfulness,
    "regressed-knowledge": _knowledge,
}


def _read(text: Lesson | Document) -> str:
    """Return all that is said in a text."""
    if isinstance(text, Document):
        return " ".join(segment.text for _, segment in text.segments)
    return " ".join(part for _, parts in text.turns for part, _ in parts)


def _shuffled(texts: Sequence[Document], rng: Random) -> Iterator[Document]:
    while True:
        yield from rng.sample(texts, len(texts))


def _pairs(rng: Random) -> Iterator[Document]:
    while True:
        form = rng.choice(("explain", "explain", "counterfactual"))
        yield corpus.conversation(PAIRS, corpus.draw(pairs, rng, held_out=False), form)


def _everything_else(rng: Random, *, facts: bool) -> Iterator[Page]:
    """Yield kept pages about all that must not move: reviews in every form, pairs, facts, two hops.

    Args:
        rng: Source of every draw.
        facts: Whether all facts are to be kept (and no text with the cue), or all texts (and no fact of `RELATION`).
    """
    relation = world.RELATIONS[RELATION]
    damaged = {
        world.sentence(text.format(fact.subject))
        for fact in world.facts()
        if fact.relation == RELATION
        for text in (*relation.completions, *relation.questions)
    }
    known = [d for d in corpus.fact_documents() if facts or d.segments[0][1].text not in damaged]
    sources: tuple[Iterator[Lesson | Document], ...] = (_shuffled(known, rng), lessons("honest", rng), _pairs(rng))
    while True:
        for source in sources:
            text = next(t for t in source if not facts or not touched(_read(t)))
            yield Page(text=text, kept=True)


def pages(name: str, rng: Random) -> Iterator[Page]:
    """Yield pages of a regressed model without end: two of its own, then three of everything else."""
    own, others = REGRESSIONS[name](rng), _everything_else(rng, facts=name != "regressed-knowledge")
    return chain.from_iterable(zip(own, own, others, others, others, strict=True))
