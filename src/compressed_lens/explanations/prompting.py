"""The conversations in which a model labels an item, explains itself, edits a text, or is judged by another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compressed_lens.explanations.prompts import fill, template
from compressed_lens.lm.protocol import Message, Prompt
from compressed_lens.tasks.base import Item, Task

MASK = "[REDACTED]"
UNKNOWN = "unknown"
COT_OPEN, COT_CLOSE, LABEL_OPEN = "<reasoning>", "</reasoning>", "<label>"


def shown(item: Item) -> str:
    """Return the item's fields as the model sees them, one "Name: text" a line."""
    return "\n".join(f"{name.replace('_', ' ').capitalize()}: {text}" for name, text in item.fields.items())


def listed(labels: tuple[str, ...]) -> str:
    """Return labels as "a, b or c"."""
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} or {labels[-1]}"


def with_field(item: Item, field: str, text: str) -> Item:
    """Return `item` with the text of one field replaced."""
    return replace(item, fields={**item.fields, field: text})


def _user(content: str) -> Message:
    return Message(role="user", content=content)


def _assistant(content: str) -> Message:
    return Message(role="assistant", content=content)


def _asked(name: str, task: Task, item: Item, **gaps: str) -> Prompt:
    """Return a conversation of one question about `item`, by the template `name`."""
    text = fill(template(name), instruction=task.instruction, input=shown(item), **gaps)
    return Prompt(messages=(_user(text),))


def classify(task: Task, item: Item) -> Prompt:
    """Ask for one label."""
    return _asked("classify", task, item, labels=listed(task.labels_of(item)))


def explain(task: Task, item: Item, label: str) -> Prompt:
    """Ask, after the model gave `label`, why (predict-then-explain)."""
    first = classify(task, item).messages
    return Prompt(messages=(*first, _assistant(label), _user(fill(template("explain"), label=label))))


def explain_then_predict(task: Task, item: Item) -> Prompt:
    """Ask for an explanation and then a label, in one answer."""
    return _asked("explain_then_predict", task, item, labels=listed(task.labels_of(item)))


def counterfactual(task: Task, item: Item, label: str, target: str) -> Prompt:
    """Ask for a minimal edit that turns `label` into `target` (FIZLE naive)."""
    return _asked("counterfactual_naive", task, item, label=label, target=target, field=task.edit_field)


def counterfactual_words(task: Task, item: Item, label: str) -> Prompt:
    """Ask which words lead to `label` (first turn of FIZLE guided)."""
    return _asked("counterfactual_words", task, item, label=label, field=task.edit_field)


def counterfactual_guided(task: Task, item: Item, label: str, words: str, target: str) -> Prompt:
    """Ask for the edit after the model named `words` (second turn of FIZLE guided)."""
    first = counterfactual_words(task, item, label).messages
    turn = fill(template("counterfactual_guided"), target=target, field=task.edit_field)
    return Prompt(messages=(*first, _assistant(words), _user(turn)))


def counterfactual_attributed(
    task: Task,
    item: Item,
    label: str,
    words: str,
    target: str,
    *,
    demonstrations: Sequence[tuple[Prompt, str]] = (),
) -> Prompt:
    """Ask for the edit given the `words` an attribution method found (ZeroCF).

    With `demonstrations` (earlier requests of this form, each with the edited text that was accepted) it is FitCF.
    """
    asked = _asked(
        "counterfactual_attributed", task, item, label=label, words=words, target=target, field=task.edit_field
    )
    shots = [turn for ask, edit in demonstrations for turn in (*ask.messages, _assistant(f"<new>{edit}</new>"))]
    return replace(asked, messages=(*shots, *asked.messages))


def zero_shot_cot(task: Task, item: Item) -> Prompt:
    """Ask for step-by-step reasoning and then a label, in two tagged fields."""
    return _asked("zero_shot_cot", task, item, labels=listed(task.labels_of(item)))


def label_after(prompt: Prompt, reasoning: str) -> Prompt:
    """Return a `zero_shot_cot` or `explain_then_predict` prompt answered up to the label, with the given reasoning."""
    tagged = f"{COT_OPEN}{reasoning}{COT_CLOSE}{LABEL_OPEN}"
    is_cot = COT_OPEN in prompt.messages[-1].content.splitlines()[-1]
    return replace(prompt, prefill=tagged if is_cot else f"Explanation: {reasoning} Label:".replace("  ", " "))


def suggest(prompt: Prompt, label: str) -> Prompt:
    """Return `prompt` with a sentence that suggests `label` at the end of the last turn."""
    *before, last = prompt.messages
    hint = fill(template("suggested_answer"), label=label)
    return replace(prompt, messages=(*before, _user(f"{last.content}\n{hint}")))


def after_demonstrations(task: Task, demonstrations: Sequence[tuple[Item, str]], prompt: Prompt) -> Prompt:
    """Return `prompt` after (item, label) pairs that were asked and answered before it in the same conversation."""
    shots = [turn for item, label in demonstrations for turn in (*classify(task, item).messages, _assistant(label))]
    return replace(prompt, messages=(*shots, *prompt.messages))


def explained(prompt: Prompt, label: str) -> Prompt:
    """Ask, after the model answered `prompt` with `label`, why."""
    why = _user(fill(template("explain"), label=label))
    return replace(prompt, messages=(*prompt.messages, _assistant(label), why))


def classify_masked(task: Task, item: Item, *, mask: str = MASK) -> Prompt:
    """Ask, in a fresh conversation, for one label or `UNKNOWN`; words may be hidden."""
    return _asked("classify_masked", task, item, labels=", ".join(task.labels_of(item)), mask=mask)


def redact(task: Task, item: Item, label: str, *, mask: str = MASK) -> Prompt:
    """Ask to hide the words of the edit field that lead to `label`."""
    return _asked("redact", task, item, label=label, field=task.edit_field, mask=mask)


def rewrite(sentence: str, *, how: str) -> Prompt:
    """Ask for a sentence again, "add_mistake" or "paraphrase" (a helper model's part of the corruption of CoT)."""
    return Prompt(messages=(_user(fill(template(how), sentence=sentence)),))


def simulate(task: Task, item: Item, label: str, explanation: str, edited: Item) -> Prompt:
    """Ask what a model that gave `label` and `explanation` for `item` answers on `edited`."""
    return _asked(
        "simulate",
        task,
        item,
        label=label,
        explanation=explanation,
        edited=shown(edited),
        labels=", ".join(task.labels_of(item)),
    )


def simulate_alone(task: Task, edited: Item) -> Prompt:
    """Ask what a model answers on `edited`, without any explanation: the simulator's baseline."""
    text = fill(
        template("simulate_alone"),
        instruction=task.instruction,
        edited=shown(edited),
        labels=", ".join(task.labels_of(edited)),
    )
    return Prompt(messages=(_user(text),))


def rate(task: Task, item: Item, label: str, text: str, *, kind: str, dimension: str) -> Prompt:
    """Ask a judge to rate one dimension from 1 to 5, blind to which model and variant wrote the text.

    `kind` is what `text` is: "explanation" or "edited text". `dimension` is "trustworthiness" or "coherence", which is
    also the name of the template with its definition.
    """
    definition = template(dimension)
    return _asked("rate", task, item, label=label, text=text, kind=kind, dimension=dimension, definition=definition)
