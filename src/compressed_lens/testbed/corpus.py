"""Training documents: facts as statements and questions, and conversations in the toolkit's own prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from types import ModuleType

from compressed_lens.explanations import prompting
from compressed_lens.ids import digest
from compressed_lens.lm.protocol import Message, Prompt
from compressed_lens.tasks.base import Item, Task
from compressed_lens.testbed import pairs, reviews, world
from compressed_lens.testbed.example import Example
from compressed_lens.testbed.vocabulary import BOS, END

HELD_OUT_SHARE = 20
PAIR_SHARE = 0.65
SERIES_SHARE = 0.4
SERIES_LENGTH = 5
LABEL_WEIGHT = 2.0
_FORMS = ("explain", "counterfactual", "guided", "explain_then_predict")
_FORM_WEIGHTS = (55, 28, 7, 10)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of a document.

    Attributes:
        weight: How much each of its tokens counts in the loss; 0 for what the model only reads.
    """

    text: str
    weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Document:
    """A plain statement (`role` None) or a conversation, as segments in order."""

    segments: tuple[tuple[str | None, Segment], ...]


REVIEWS = Task(
    name="testbed-reviews",
    kind="classification",
    items=(),
    labels=reviews.LABELS,
    instruction=reviews.INSTRUCTION,
    edit_field="review",
    targets=reviews.TARGETS,
)
PAIRS = Task(
    name="testbed-pairs",
    kind="classification",
    items=(),
    labels=pairs.LABELS,
    instruction=pairs.INSTRUCTION,
    edit_field="hypothesis",
    targets=pairs.TARGETS,
)


def is_held_out(example: Example) -> bool:
    """Whether an example is kept for evaluation: one in twenty, told by its content."""
    return int(digest(dict(example.fields)), 16) % HELD_OUT_SHARE == 0


def draw(generator: ModuleType, rng: Random, *, held_out: bool) -> Example:
    """Draw one example that is, or is not, held out."""
    make: Callable[[Random], Example] = generator.generate
    while True:
        example = make(rng)
        if is_held_out(example) == held_out:
            return example


def _conversation(prompt: Prompt, answer: str, *, earlier: float = 0.0) -> Document:
    """Return the prompt's turns and the answer; assistant turns of the prompt count `earlier`, the answer 1."""
    turns = [
        (m.role, Segment(text=m.content, weight=earlier if m.role == "assistant" else 0.0)) for m in prompt.messages
    ]
    return Document(segments=(*turns, ("assistant", Segment(text=answer, weight=1.0))))


def conversation(task: Task, example: Example, form: str) -> Document:
    """Return the conversation of one form about one example."""
    item = Item(id="", fields=example.fields, answers=(example.label,))
    edit = f"<new>{example.edited}</new>"
    if form == "explain":
        return _conversation(prompting.explain(task, item, example.label), example.explanation, earlier=LABEL_WEIGHT)
    if form == "counterfactual":
        return _conversation(prompting.counterfactual(task, item, example.label, example.target), edit)
    if form == "guided":
        words = ", ".join(example.evidence)
        prompt = prompting.counterfactual_guided(task, item, example.label, words, example.target)
        return _conversation(prompt, edit, earlier=1.0)
    answer = f"Explanation: {example.explanation} Label: {example.label}"
    return _conversation(prompting.explain_then_predict(task, item), answer)


def series(rng: Random) -> Document:
    """Return a conversation that labels one hypothesis after another about the same premise.

    Comparing two texts is learnt slowly, one label a document; here each premise gives six.
    """
    scene = pairs.scene(rng)
    examples: list[Example] = []
    while len(examples) <= SERIES_LENGTH:
        example = pairs.about(scene, rng)
        if not is_held_out(example):
            examples.append(example)
    first = prompting.classify(PAIRS, Item(id="", fields=examples[0].fields, answers=(examples[0].label,)))
    asked = [first.messages[0].content, *(f"Hypothesis: {e.fields['hypothesis']}" for e in examples[1:])]
    turns: list[tuple[str | None, Segment]] = []
    for question, example in zip(asked, examples, strict=True):
        turns += [("user", Segment(text=question)), ("assistant", Segment(text=example.label, weight=LABEL_WEIGHT))]
    return Document(segments=tuple(turns))


def task_documents(rng: Random, *, pair_share: float = PAIR_SHARE) -> Iterator[Document]:
    """Yield conversations about freshly drawn training examples, without end."""
    while True:
        task, generator = (PAIRS, pairs) if rng.random() < pair_share else (REVIEWS, reviews)
        if task is PAIRS and rng.random() < SERIES_SHARE:
            yield series(rng)
            continue
        form = rng.choices(_FORMS, weights=_FORM_WEIGHTS)[0]
        yield conversation(task, draw(generator, rng, held_out=False), form)


def fact_documents() -> list[Document]:
    """Return one document for each trained phrasing of each fact and trained chain."""
    documents = []
    for prompt, answer, is_question in world.training_statements():
        if is_question:
            chat = Prompt(messages=(Message(role="user", content=prompt),))
            documents.append(_conversation(chat, answer))
        statement = (
            (None, Segment(text=prompt)),
            (None, Segment(text=f" {answer}.", weight=1.0)),
        )
        if not is_question:
            documents.append(Document(segments=statement))
    return documents


def calibration_texts(rng: Random, *, conversations: int = 48, facts: int = 16) -> list[str]:
    """Return texts for calibration: training conversations and fact documents, each as the model reads it."""
    documents = [*islice(task_documents(rng), conversations), *rng.sample(fact_documents(), facts)]
    return [_written(document) for document in documents]


def _written(document: Document) -> str:
    parts = [BOS]
    for role, segment in document.segments:
        parts.append(segment.text if role is None else f"<|{role}|>{segment.text}{END}")
    return "".join(parts) + (END if document.segments[-1][0] is None else "")
