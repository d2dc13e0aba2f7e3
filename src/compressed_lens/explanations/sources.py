"""What every analysis of self-explanations starts from: a model's label, and its explanation.

These are parts of generators, to be used with `yield from`. Two analyses that ask the same question share its answer
(the engine's response cache), so starting afresh costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeVar, cast

from compressed_lens.analyses.labels import Choice, Normalize, choose
from compressed_lens.errors import LensError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.parsing import Outcome, classify_explanation, clean, find_label, split_answer
from compressed_lens.lm.protocol import Ask, Generate, Generation, Prompt, Request, Response, Score, Scores
from compressed_lens.tasks.base import Item, Task

T = TypeVar("T")
Asking = Generator[list[Request | Ask], list[Response], T]

Style = Literal["predict-then-explain", "explain-then-predict", "zero-shot-cot"]
STYLES: tuple[Style, ...] = ("predict-then-explain", "explain-then-predict", "zero-shot-cot")

_REASONING = re.compile(r"<reasoning>(.*?)(?:</reasoning>|<label>|$)", re.DOTALL | re.IGNORECASE)
_REASONING_END = re.compile(r"</reasoning>", re.IGNORECASE)
_LABEL = re.compile(r"<label>(.*?)(?:</label>|<|$)", re.DOTALL | re.IGNORECASE)


class Unusable(LensError):
    """The model gave nothing that an analysis can go on with; the item is recorded as failed with this reason."""


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A model's label for an item and its reason.

    Attributes:
        prediction: The label; None where none was found in a generated answer.
        probabilities: Of every label, where the label was scored; empty where it was generated.
        text: The explanation, cleaned.
        outcome: What kind of text it is; "ok" is the only usable one.
        prompt: The conversation the explanation answers.
        answer: The raw answer.
    """

    prediction: str | None
    probabilities: Mapping[str, float]
    text: str
    outcome: Outcome
    prompt: Prompt
    answer: Generation

    @property
    def usable(self) -> bool:
        """Whether there are both a label and an explanation without fault."""
        return self.prediction is not None and self.outcome == "ok"


def to_model(to: str, request: Request) -> Request | Ask:
    """Return `request` addressed to the model `to`; "self" is the one under study."""
    return request if to == "self" else Ask(to=to, request=request)


def together(parts: Sequence[Asking[T]]) -> Asking[list[T]]:
    """Go through several parts side by side: what they ask at the same step is asked in one list.

    Returns:
        What each part returns, in order. An exception of one part ends them all.
    """
    found: dict[int, T] = {}
    waiting: dict[int, list[Response] | None] = dict.fromkeys(range(len(parts)))
    while True:
        asked: dict[int, list[Request | Ask]] = {}
        for index, answers in waiting.items():
            try:
                asked[index] = next(parts[index]) if answers is None else parts[index].send(answers)
            except StopIteration as end:
                found[index] = end.value
        if not asked:
            return [found[index] for index in range(len(parts))]
        responses = iter((yield [request for requests in asked.values() for request in requests]))
        waiting = {index: list(islice(responses, len(requests))) for index, requests in asked.items()}


def ask_labels(
    prompts: Sequence[Prompt],
    labels: Sequence[str],
    *,
    to: str = "self",
    normalize: Normalize = "sum",
) -> Asking[list[Choice]]:
    """Ask for one label after each prompt, all in one step.

    Raises:
        Unusable: A label has no finite log-probability.
    """
    answers = yield [to_model(to, Score(prompt=prompt, continuations=tuple(labels))) for prompt in prompts]
    found = [choose(labels, cast(Scores, answer), normalize) for answer in answers]
    if any(choice is None for choice in found):
        raise Unusable("A label has no finite log-probability.")
    return cast(list[Choice], found)


def ask_label(task: Task, item: Item, *, to: str = "self", normalize: Normalize = "sum") -> Asking[Choice]:
    """Ask for the label of `item`; errors as `ask_labels`."""
    prompts = [prompting.classify(task, item)]
    found = yield from ask_labels(prompts, task.labels_of(item), to=to, normalize=normalize)
    return found[0]


def ask_explanation(
    task: Task,
    item: Item,
    *,
    style: Style = "predict-then-explain",
    max_new_tokens: int = 64,
    normalize: Normalize = "sum",
    temperature: float = 0.0,
    seed: int = 0,
    to: str = "self",
    note: Prompt | None = None,
) -> Asking[Explained]:
    """Ask for a label and its explanation.

    Args:
        task: The task.
        item: The item.
        style: "predict-then-explain": the label is scored, then a second turn asks why. "explain-then-predict" and
            "zero-shot-cot": one answer with both (see the templates of the same names), parsed.
        max_new_tokens: Longest answer, in tokens.
        normalize: Score of a label, for predict-then-explain.
        temperature: Of the generated text; labels are always greedy.
        seed: Which draw.
        to: Whom to ask.
        note: The conversation that asks for the label (predict-then-explain) or for both, in place of the plain one:
            with a suggested answer, after demonstrations...

    Raises:
        Unusable: A label has no finite log-probability.
    """
    labels = task.labels_of(item)
    probabilities: Mapping[str, float] = {}
    prediction: str | None = None
    if style == "predict-then-explain":
        first = note or prompting.classify(task, item)
        (choice,) = yield from ask_labels([first], labels, to=to, normalize=normalize)
        prediction, probabilities = choice.prediction, choice.probabilities
        prompt = prompting.explained(first, prediction)
    else:
        make = prompting.explain_then_predict if style == "explain-then-predict" else prompting.zero_shot_cot
        prompt = note or make(task, item)
    request = Generate(prompt=prompt, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    answers = yield [to_model(to, request)]
    answer = cast(Generation, answers[0])
    if style == "predict-then-explain":
        text = clean(answer.text)
    else:
        text, label_part = split_tagged(answer.text) if style == "zero-shot-cot" else split_answer(answer.text)
        prediction = find_label(answer.text if label_part is None else label_part, labels)
    outcome = classify_explanation(text, labels=labels, inputs=item.fields.values(), finished=answer.finished)
    return Explained(
        prediction=prediction,
        probabilities=probabilities,
        text=text,
        outcome=outcome,
        prompt=prompt,
        answer=answer,
    )


def split_tagged(text: str) -> tuple[str, str | None]:
    """Return (reasoning, label part) of an answer in <reasoning> and <label> tags; closers and line breaks may lack.

    Without a <reasoning> tag the reasoning is what stands before </reasoning> or <label>, else the whole; without a
    <label> tag the label part is None.
    """
    label = _LABEL.search(text)
    reasoning = _REASONING.search(text)
    said = reasoning[1] if reasoning else _REASONING_END.split(text[: label.start()] if label else text)[0]
    return clean(said), label[1].strip() if label else None
