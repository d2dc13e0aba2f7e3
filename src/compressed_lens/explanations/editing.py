"""How a model is asked to edit a text so that its label changes, and what comes of it.

FIZLE naive and guided (Bhattacharjee et al. 2024), ZeroCF and FitCF (arXiv 2501.00777), with the model's own
attributions and its own verdict on the demonstrations.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from compressed_lens.explanations import prompting
from compressed_lens.explanations.attributed import Ranking, ask_words
from compressed_lens.explanations.extraction import EditOutcome, classify_edit, extract_edit
from compressed_lens.explanations.sources import Asking, Unusable, ask_label, to_model, together
from compressed_lens.lm.protocol import Generate, Generation, Prompt
from compressed_lens.tasks.base import Item, Task

Method = Literal["fizle-naive", "fizle-guided", "zerocf", "fitcf"]
METHODS: tuple[Method, ...] = ("fizle-naive", "fizle-guided", "zerocf", "fitcf")
Targets = Literal["map", "random"]
TARGETS: tuple[Targets, ...] = ("map", "random")

_WORDS_TOKENS = 64


@dataclass(frozen=True, kw_only=True)
class Edited:
    """An item's text after a model edited it.

    Attributes:
        prediction: Label before the edit.
        target: Label the edit should reach.
        field: The field that was edited.
        text: Its new text; None where nothing could be extracted.
        outcome: What kind of edit it is (see `extraction.classify_edit`); "ok" is the only usable one.
        original: Its text before.
        words: Words named first, by the model (fizle-guided) or by its attributions (zerocf, fitcf); else "".
        demonstrations: Number of verified edits shown before (fitcf); else 0.
        prompt: The conversation the edit answers.
        answer: The raw answer.
    """

    prediction: str
    target: str
    field: str
    text: str | None
    outcome: EditOutcome
    original: str
    words: str
    demonstrations: int
    prompt: Prompt
    answer: Generation

    @property
    def usable(self) -> bool:
        """Whether there is an edit without fault."""
        return self.outcome == "ok"


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A request for an edit, before it is sent."""

    prompt: Prompt
    words: str = ""
    demonstrations: int = 0


def target_of(task: Task, item: Item, prediction: str, *, how: Targets = "map", seed: int = 0) -> str:
    """Return the label an edit of an item should reach.

    Args:
        task: The task.
        item: The item.
        prediction: Label of the unedited item.
        how: "map": what the task's target map says; without an entry, the label that follows in the list. "random": a
            label drawn by `seed` and the item's id; models with the same prediction get the same target.
        seed: Of the draw.

    Raises:
        Unusable: The item has no other label.
    """
    labels = task.labels_of(item)
    others = [label for label in labels if label != prediction]
    if not others:
        raise Unusable("The item has no other label to edit towards.")
    if how == "random":
        return next(n for n in random.Random(f"{seed}|{item.id}").sample(labels, len(labels)) if n != prediction)
    target = task.targets.get(prediction)
    if target in others:
        return target
    return labels[(labels.index(prediction) + 1) % len(labels)] if prediction in labels else others[0]


def ask_edit(
    task: Task,
    item: Item,
    *,
    prediction: str,
    target: str,
    method: Method = "fizle-naive",
    field: str | None = None,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
    to: str = "self",
    ranking: Ranking | None = None,
    demonstrations: int = 2,
    pool: int = 8,
) -> Asking[Edited]:
    """Ask a model to edit an item so that its label becomes `target`.

    Args:
        task: The task.
        item: The item.
        prediction: The label to be changed.
        target: The label to be reached.
        method: "fizle-naive": one request. "fizle-guided": the model first lists the words that lead to the label, then
            edits in the same conversation. "zerocf": the words come from an attribution method on the same model.
            "fitcf": as zerocf, after verified zerocf edits of other items.
        field: The field to edit; None for the task's own. All others stay as they are.
        max_new_tokens: Longest answer, in tokens; it must hold the whole new text.
        temperature: Of the generated texts.
        seed: Which draw, and which pool of demonstrations.
        to: Whom to ask; attributions, labels and edits alike.
        ranking: How words are ranked (zerocf, fitcf).
        demonstrations: Most edits shown before (fitcf).
        pool: Number of items of the task that demonstrations are looked for among (fitcf); the same for every item.

    Raises:
        Unusable: The item has no such field, or a label has no finite log-probability.
    """
    field = field or task.edit_field
    if field not in item.fields:
        raise Unusable(f"The item has no field '{field}' to edit.")
    task = replace(task, edit_field=field)
    ranking = ranking or Ranking()
    if method == "fizle-naive":
        draft = _Draft(prompt=prompting.counterfactual(task, item, prediction, target))
    elif method == "fizle-guided":
        first = Generate(
            prompt=prompting.counterfactual_words(task, item, prediction),
            max_new_tokens=_WORDS_TOKENS,
            temperature=temperature,
            seed=seed,
        )
        (listed,) = yield [to_model(to, first)]
        words = cast(Generation, listed).text.strip()
        prompt = prompting.counterfactual_guided(task, item, prediction, words, target)
        draft = _Draft(prompt=prompt, words=words)
    elif method == "zerocf":
        draft = yield from _attributed(task, item, prediction, target, ranking=ranking, to=to)
    else:
        others = [other for other in pool_of(task, size=pool, seed=seed) if other.id != item.id]
        parts = [_verified(task, other, ranking=ranking, max_new_tokens=max_new_tokens, to=to) for other in others]
        found = yield from together(parts)
        shots = [(edit.prompt, edit.text) for edit in found if edit and edit.text][:demonstrations]
        draft = yield from _attributed(task, item, prediction, target, ranking=ranking, to=to, shots=shots)
    request = Generate(prompt=draft.prompt, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    (answered,) = yield [to_model(to, request)]
    answer = cast(Generation, answered)
    original = item.fields[field]
    extracted = extract_edit(answer.text, original=original, field=field, finished=answer.finished)
    return Edited(
        prediction=prediction,
        target=target,
        field=field,
        text=extracted.text,
        outcome=classify_edit(extracted, answer.text, original=original),
        original=original,
        words=draft.words,
        demonstrations=draft.demonstrations,
        prompt=draft.prompt,
        answer=answer,
    )


def pool_of(task: Task, *, size: int, seed: int) -> tuple[Item, ...]:
    """Return `size` items of the task drawn by `seed`, fewer where it has fewer; the same for every item."""
    return tuple(random.Random(seed).sample(task.items, min(size, len(task.items))))


def _attributed(
    task: Task,
    item: Item,
    prediction: str,
    target: str,
    *,
    ranking: Ranking,
    to: str,
    shots: Sequence[tuple[Prompt, str]] = (),
) -> Asking[_Draft]:
    found = yield from ask_words(task, item, label=prediction, field=task.edit_field, ranking=ranking, to=to)
    words = ", ".join(found)
    prompt = prompting.counterfactual_attributed(task, item, prediction, words, target, demonstrations=shots)
    return _Draft(prompt=prompt, words=words, demonstrations=len(shots))


def _verified(task: Task, item: Item, *, ranking: Ranking, max_new_tokens: int, to: str) -> Asking[Edited | None]:
    """Ask for a greedy zerocf edit of another item; None unless it is without fault and reaches its target."""
    try:
        choice = yield from ask_label(task, item, to=to)
        edit = yield from ask_edit(
            task,
            item,
            prediction=choice.prediction,
            target=target_of(task, item, choice.prediction),
            method="zerocf",
            max_new_tokens=max_new_tokens,
            to=to,
            ranking=ranking,
        )
        if not edit.usable:
            return None
        after = yield from ask_label(task, prompting.with_field(item, edit.field, cast(str, edit.text)), to=to)
    except Unusable:
        return None
    return edit if after.prediction == edit.target else None
