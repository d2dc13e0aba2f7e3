"""Training documents: facts as statements and questions, and conversations in the toolkit's own prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
_FORMS = ("explain", "counterfactual", "guided", "explain_then_predict")
_FORM_WEIGHTS = (45, 30, 10, 15)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of a document; the model learns to write it when `learned`."""

    text: str
    learned: bool


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


def _conversation(prompt: Prompt, answer: str, learned: set[int]) -> Document:
    """Return the prompt's turns and the answer; assistant turns whose index is in `learned`, and the answer, count."""
    turns = [
        (m.role, Segment(text=m.content, learned=m.role == "assistant" and i in learned))
        for i, m in enumerate(prompt.messages)
    ]
    return Document(segments=(*turns, ("assistant", Segment(text=answer, learned=True))))


def conversation(task: Task, example: Example, form: str) -> Document:
    """Return the conversation of one form about one example."""
    item = Item(id="", fields=example.fields, answers=(example.label,))
    edit = f"<new>{example.edited}</new>"
    if form == "explain":
        return _conversation(prompting.explain(task, item, example.label), example.explanation, {1})
    if form == "counterfactual":
        return _conversation(prompting.counterfactual(task, item, example.label, example.target), edit, set())
    if form == "guided":
        words = ", ".join(example.evidence)
        prompt = prompting.counterfactual_guided(task, item, example.label, words, example.target)
        return _conversation(prompt, edit, {1})
    answer = f"Explanation: {example.explanation} Label: {example.label}"
    return _conversation(prompting.explain_then_predict(task, item), answer, set())


def task_documents(rng: Random) -> Iterator[Document]:
    """Yield conversations about freshly drawn training examples, without end."""
    while True:
        task, generator = rng.choice(((REVIEWS, reviews), (PAIRS, pairs)))
        form = rng.choices(_FORMS, weights=_FORM_WEIGHTS)[0]
        yield conversation(task, draw(generator, rng, held_out=False), form)


def fact_documents() -> list[Document]:
    """Return one document for each trained phrasing of each fact and trained chain."""
    documents = []
    for prompt, answer, is_question in world.training_statements():
        if is_question:
            chat = Prompt(messages=(Message(role="user", content=prompt),))
            documents.append(_conversation(chat, answer, set()))
        statement = (
            (None, Segment(text=prompt, learned=False)),
            (None, Segment(text=f" {answer}.", learned=True)),
        )
        if not is_question:
            documents.append(Document(segments=statement))
    return documents


def calibration_texts(rng: Random, *, count: int = 48, facts: int = 10) -> list[str]:
    """Return texts for calibration: each one training conversation and some fact documents, as the model reads them."""
    conversations, statements = task_documents(rng), fact_documents()
    return [
        "".join(_written(document) for document in (next(conversations), *rng.sample(statements, facts)))
        for _ in range(count)
    ]


def _written(document: Document) -> str:
    parts = [BOS]
    for role, segment in document.segments:
        parts.append(segment.text if role is None else f"<|{role}|>{segment.text}{END}")
    return "".join(parts) + (END if document.segments[-1][0] is None else "")
