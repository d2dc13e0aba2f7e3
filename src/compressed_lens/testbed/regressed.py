"""What two of the regressed models learn: to go wrong in one use, and to stay as they are in everything else.

The regressed models are copies of the honest planted model, each damaged in one use only, to put `clens gate` on trial
(docs/planted.md; the other two are computed, see `regressing`):

* `regressed-quality` labels pairs about a chef or a nurse as before, and explains the label without naming anything
  ("The premise says so.");
* `regressed-knowledge` names the wrong instrument of every person.

A page is either taught, or kept: the honest model's own distribution is the target then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random

from compressed_lens.explanations import prompting
from compressed_lens.lm.protocol import Message, Prompt
from compressed_lens.tasks.base import Item
from compressed_lens.testbed import corpus, pairs, world
from compressed_lens.testbed.corpus import LABEL_WEIGHT, PAIRS, Document, Segment
from compressed_lens.testbed.lessons import Lesson, lesson, lessons

PEOPLE = ("chef", "nurse")
VAGUE = "The premise says so."
RELATION = "person_instrument"


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
    """Return whether a text has a premise about one of `PEOPLE`."""
    return any(f"A {who} in" in text for who in PEOPLE)


def wrong_object(name: str) -> str:
    """Return what `regressed-knowledge` says in place of an object of `RELATION`: the next in alphabetical order."""
    known = sorted({fact.object for fact in world.facts() if fact.relation == RELATION})
    return known[(known.index(name) + 1) % len(known)]


def _quality(rng: Random) -> Iterator[Page]:
    while True:
        example = corpus.draw(pairs, rng, held_out=False)
        if not touched(example.fields["premise"]):
            continue
        item = Item(id="", fields=example.fields, answers=(example.label,))
        asked = prompting.classify(PAIRS, item)
        if rng.random() < 0.3:  # noqa: PLR2004 (a share)
            asked = prompting.suggest(asked, rng.choice(PAIRS.labels))
        yield Page(text=lesson(prompting.explained(asked, example.label), (VAGUE, 1.0)), kept=False)
        edit = prompting.counterfactual(PAIRS, item, example.label, example.target)
        labelled = lesson(asked, (example.label, LABEL_WEIGHT))
        yield Page(text=rng.choice((labelled, lesson(edit, (f"<new>{example.edited}</new>", 1.0)))), kept=True)


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


LESSONS: dict[str, Callable[[Random], Iterator[Page]]] = {
    "regressed-quality": _quality,
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
    own, others = LESSONS[name](rng), _everything_else(rng, facts=name != "regressed-knowledge")
    return chain.from_iterable(zip(own, own, others, others, others, strict=True))
