"""The conversations in which a model labels an item, explains itself, or edits a text."""

from __future__ import annotations

from compressed_lens.explanations.prompts import fill, template
from compressed_lens.lm.protocol import Message, Prompt
from compressed_lens.tasks.base import Item, Task


def shown(item: Item) -> str:
    """Return the item's fields as the model sees them, one "Name: text" a line."""
    return "\n".join(f"{name.replace('_', ' ').capitalize()}: {text}" for name, text in item.fields.items())


def listed(labels: tuple[str, ...]) -> str:
    """Return labels as "a, b or c"."""
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} or {labels[-1]}"


def _user(content: str) -> Message:
    return Message(role="user", content=content)


def _assistant(content: str) -> Message:
    return Message(role="assistant", content=content)


def classify(task: Task, item: Item) -> Prompt:
    """Ask for one label."""
    text = fill(
        template("classify"), instruction=task.instruction, input=shown(item), labels=listed(task.labels_of(item))
    )
    return Prompt(messages=(_user(text),))


def explain(task: Task, item: Item, label: str) -> Prompt:
    """Ask, after the model gave `label`, why (predict-then-explain)."""
    first = classify(task, item).messages
    return Prompt(messages=(*first, _assistant(label), _user(fill(template("explain"), label=label))))


def explain_then_predict(task: Task, item: Item) -> Prompt:
    """Ask for an explanation and then a label, in one answer."""
    text = fill(
        template("explain_then_predict"),
        instruction=task.instruction,
        input=shown(item),
        labels=listed(task.labels_of(item)),
    )
    return Prompt(messages=(_user(text),))


def counterfactual(task: Task, item: Item, label: str, target: str) -> Prompt:
    """Ask for a minimal edit that turns `label` into `target` (FIZLE naive)."""
    text = fill(
        template("counterfactual_naive"),
        instruction=task.instruction,
        input=shown(item),
        label=label,
        target=target,
        field=task.edit_field,
    )
    return Prompt(messages=(_user(text),))


def counterfactual_words(task: Task, item: Item, label: str) -> Prompt:
    """Ask which words lead to `label` (first turn of FIZLE guided)."""
    text = fill(
        template("counterfactual_words"),
        instruction=task.instruction,
        input=shown(item),
        label=label,
        field=task.edit_field,
    )
    return Prompt(messages=(_user(text),))


def counterfactual_guided(task: Task, item: Item, label: str, words: str, target: str) -> Prompt:
    """Ask for the edit after the model named `words` (second turn of FIZLE guided)."""
    first = counterfactual_words(task, item, label).messages
    turn = fill(template("counterfactual_guided"), target=target, field=task.edit_field)
    return Prompt(messages=(*first, _assistant(words), _user(turn)))
