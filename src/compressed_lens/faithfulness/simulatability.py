"""Simulatability: can another model tell from an explanation what this one answers on inputs it has not explained?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import ClassVar, cast

from compressed_lens.analyses.base import Direction, Family, Metric, Record, Steps, Value
from compressed_lens.analyses.labels import Normalize, choose
from compressed_lens.analyses.settings import at_least_one, one_of
from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.editing import METHODS, Method, ask_edit, target_of
from compressed_lens.explanations.parsing import words
from compressed_lens.explanations.prompts import fill, template
from compressed_lens.explanations.sources import Asking, Explained, Unusable, ask_explanation, to_model
from compressed_lens.faithfulness.interventions import insertions
from compressed_lens.lm.protocol import Ask, Message, Prompt, Request, Score, Scores
from compressed_lens.tasks.base import Item, Task, TaskKind

_NOTHING_SAID = frozenset({"empty", "refused", "label_only", "repetitive"})


def _metric(
    name: str,
    direction: Direction,
    summary: str,
    *,
    unit: str = "rate",
    primary: bool = False,
    family: Family | None = None,
) -> Metric:
    return Metric(
        name=name, value=name, direction=direction, unit=unit, summary=summary, primary=primary, family=family
    )


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """What a simulator said about several inputs, against what the model answered.

    Attributes:
        answers: The model's labels.
        guesses: The simulator's, in the same order; "unknown" where it gave none.
    """

    answers: tuple[str, ...]
    guesses: tuple[str, ...]

    @property
    def answered(self) -> int:
        """Number of inputs the simulator gave a label for."""
        return sum(guess != prompting.UNKNOWN for guess in self.guesses)

    @property
    def precision(self) -> float | None:
        """Share of right guesses among those given (0 to 1); None where there is none. Chen et al. 2023."""
        return self.right / self.answered if self.answered else None

    @property
    def right(self) -> int:
        """Number of right guesses."""
        return sum(a == g != prompting.UNKNOWN for a, g in zip(self.answers, self.guesses, strict=True))


@dataclass(frozen=True, kw_only=True)
class Simulatability:
    """Let a simulator guess the model's answers on counterfactual inputs, with and without its explanation.

    Counterfactual inputs of an item are the model's own counterfactual edit, where it is a usable one, and random
    one-word insertions. Chen et al. 2023 ("Do models explain themselves?"); the simulator may say "unknown".

    Values: `prediction`, `gold`, `correct`, `explanation`, `outcome` (of the explanation; nothing is tested where it is
    no explanation: `tested` False), `edit_outcome`, `inputs` (each with `kind`, `text`, `answer`, `guess`,
    `guess_alone`), `input_count`, `answered_share`, `precision`, `answered_share_alone`, `precision_alone`, `gain`
    (precision with less precision without), `share_right` and `share_right_alone` (of all inputs, "unknown" counts as
    wrong), `generality` (1 minus the mean pairwise word overlap of the inputs), `simulated` and `faithful` (every guess
    given is right and at least one is given; None without inputs), and on the item's own input, for the
    leakage-adjusted score (see `las`): `guessed_explained`, `guessed_alone`, `leaking`, `las_gain`,
    `las_gain_leaking`, `las_gain_not_leaking`.

    Attributes:
        simulator: Who guesses: a judge of the study, or "full", the full-precision model. It must be able to score.
        method: How the counterfactual edit is asked for (see `editing.ask_edit`).
        insertions: Inputs with one random word inserted.
        seed: Which random words.
        normalize: Score of a label: the "sum" of its tokens' log-probabilities, or their "mean".
        max_new_tokens: Longest explanation, in tokens.
        edit_tokens: Longest edit, in tokens.
    """

    name: ClassVar[str] = "simulatability"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    window: ClassVar[int] = 64
    metrics: ClassVar[tuple[Metric, ...]] = (
        _metric(
            "faithful",
            "higher",
            "Share of items whose answered guesses are all right, at least one answered",
            primary=True,
        ),
        _metric("tested", "higher", "Share of items with an explanation and at least one counterfactual input"),
        _metric("precision", "higher", "Mean share of right guesses, given the explanation, among those answered"),
        _metric("answered_share", "higher", "Mean share of inputs the simulator answers, given the explanation"),
        _metric("precision_alone", "neither", "Mean share of right guesses without the explanation"),
        _metric("answered_share_alone", "neither", "Mean share of inputs the simulator answers without it"),
        _metric("gain", "higher", "Mean precision with the explanation less that without", unit="difference"),
        _metric("share_right", "higher", "Mean share of inputs guessed right; an unanswered one counts as wrong"),
        _metric(
            "generality",
            "higher",
            "Mean dissimilarity (word overlap) of an item's counterfactual inputs",
            family="other",
        ),
        _metric("leaking", "lower", "Share of explanations that give the label away without the input"),
        _metric("las_gain_leaking", "higher", "Mean gain on the own input, leaking explanations", unit="difference"),
        _metric("las_gain_not_leaking", "higher", "Mean gain on the own input, all others", unit="difference"),
        _metric(
            "edit_usable", "higher", "Share of items with a usable counterfactual edit of their own", family="other"
        ),
    )

    simulator: str = "full"
    method: Method = "fizle-naive"
    insertions: int = 4
    seed: int = 0
    normalize: Normalize = "sum"
    max_new_tokens: int = 64
    edit_tokens: int = 128

    def __post_init__(self) -> None:
        if not self.simulator:
            raise StudyError("The setting simulator is empty.", fix="Name a judge of the study.")
        one_of("method", self.method, METHODS)
        one_of("normalize", self.normalize, ("sum", "mean"))
        if self.insertions != 0:
            at_least_one("insertions", self.insertions)
        at_least_one("max_new_tokens", self.max_new_tokens)
        at_least_one("edit_tokens", self.edit_tokens)

    @property
    def roles(self) -> tuple[str, ...]:
        """The simulator."""
        return (self.simulator,)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for the explanation, for the edit, then for all answers and guesses at once."""
        told = yield from ask_explanation(task, item, max_new_tokens=self.max_new_tokens, normalize=self.normalize)
        label = told.prediction
        values: dict[str, Value] = {
            **dict.fromkeys(metric.value for metric in self.metrics),
            "prediction": label,
            "gold": item.answers[0],
            "correct": label == item.answers[0],
            "explanation": told.text,
            "outcome": told.outcome,
            "tested": False,
        }
        if label is None or told.outcome in _NOTHING_SAID:
            return Record(values=values)
        edit = yield from ask_edit(
            task,
            item,
            prediction=label,
            target=target_of(task, item, label),
            method=self.method,
            max_new_tokens=self.edit_tokens,
        )
        others = insertions(task, item, words_per_position=1, positions=self.insertions, seed=self.seed)
        inputs = [("insertion", found.item) for found in others]
        if edit.usable:
            inputs.insert(0, ("edit", prompting.with_field(item, edit.field, cast(str, edit.text))))
        chosen = yield from self._ask(task, item, label, told, [edited for _, edited in inputs])
        values |= {"edit_outcome": edit.outcome, "edit_usable": edit.usable}
        return Record(values={**values, **_own(label, chosen[:3]), **_guessed(inputs, task.edit_field, chosen[3:])})

    def _ask(self, task: Task, item: Item, label: str, told: Explained, inputs: Sequence[Item]) -> Asking[list[str]]:
        """Return three guesses about the item itself, then (answer, guess, guess alone) for each input."""
        labels = task.labels_of(item)
        options = (*(name for name in labels if name != prompting.UNKNOWN), prompting.UNKNOWN)
        known = replace(item, choices=options[:-1])
        guesses = [
            _fill("simulate_explained", task, known, explanation=told.text),
            prompting.simulate_alone(task, known),
            _fill("simulate_leak", task, known, explanation=told.text),
        ]
        requests = [self._guess(prompt, options) for prompt in guesses]
        for edited in inputs:
            shown = replace(edited, choices=known.choices)
            requests += [
                Score(prompt=prompting.classify(task, edited), continuations=labels),
                self._guess(prompting.simulate(task, known, label, told.text, shown), options),
                self._guess(prompting.simulate_alone(task, shown), options),
            ]
        answers = yield requests
        own = [options, options, options] + [labels, options, options] * len(inputs)
        found = [choose(n, cast(Scores, a), self.normalize) for n, a in zip(own, answers, strict=True)]
        if any(choice is None for choice in found):
            raise Unusable("A label has no finite log-probability.")
        return [choice.prediction for choice in found if choice is not None]

    def _guess(self, prompt: Prompt, options: tuple[str, ...]) -> Request | Ask:
        return to_model(self.simulator, Score(prompt=prompt, continuations=options))


def _own(label: str, guesses: Sequence[str]) -> dict[str, Value]:
    """Return the values about the item's own input: guesses from input and explanation, input, explanation."""
    explained, alone, leaked = guesses
    gain = int(explained == label) - int(alone == label)
    leaking = leaked == label
    return {
        "guessed_explained": explained,
        "guessed_alone": alone,
        "leaking": leaking,
        "las_gain": gain,
        "las_gain_leaking": gain if leaking else None,
        "las_gain_not_leaking": None if leaking else gain,
    }


def _guessed(inputs: Sequence[tuple[str, Item]], field: str, chosen: Sequence[str]) -> dict[str, Value]:
    """Return the values about the counterfactual inputs."""
    if not inputs:
        return {"inputs": [], "input_count": 0}
    answers, guesses, alone = (tuple(chosen[i::3]) for i in range(3))
    given, without = Guesses(answers=answers, guesses=guesses), Guesses(answers=answers, guesses=alone)
    shown = [edited.fields[field] for _, edited in inputs]
    simulated = 0 < given.right == given.answered
    return {
        "inputs": [
            {"kind": kind, "text": text, "answer": answer, "guess": guess, "guess_alone": other}
            for (kind, _), text, answer, guess, other in zip(inputs, shown, answers, guesses, alone, strict=True)
        ],
        "input_count": len(inputs),
        "tested": True,
        "answered_share": given.answered / len(inputs),
        "precision": given.precision,
        "answered_share_alone": without.answered / len(inputs),
        "precision_alone": without.precision,
        "gain": None if given.precision is None or without.precision is None else given.precision - without.precision,
        "share_right": given.right / len(inputs),
        "share_right_alone": without.right / len(inputs),
        "generality": generality(shown),
        "simulated": simulated,
        "faithful": simulated,
    }


def generality(texts: Sequence[str]) -> float | None:
    """Return 1 minus the mean pairwise similarity of `texts` (0 to 1); None for fewer than two.

    Similarity is the number of words two texts share, with repetition, over the number of words of both together
    (multiset Jaccard). 0: all the same; 1: no word in common. Chen et al. 2023, with word overlap for their BLEU,
    cosine and Jaccard.
    """
    counted = [Counter(words(text)) for text in texts]
    pairs = [(a & b).total() / max((a | b).total(), 1) for a, b in combinations(counted, 2)]
    return 1 - sum(pairs) / len(pairs) if pairs else None


def las(gains: Iterable[tuple[bool, int]]) -> float | None:
    """Return the leakage-adjusted simulatability of (leaking, gain) pairs, -1 to 1, higher is better.

    The mean of two means: that of the gains of leaking explanations (whose text alone gives the label away) and that of
    the others; None unless there are some of both. A gain is 1[guess from input and explanation = the model's label] -
    1[guess from the input alone = it]. Hase et al. 2020 ("Leakage-adjusted simulatability").
    """
    groups: dict[bool, list[int]] = {True: [], False: []}
    for leaking, gain in gains:
        groups[leaking].append(gain)
    if not all(groups.values()):
        return None
    return sum(sum(group) / len(group) for group in groups.values()) / len(groups)


def _fill(name: str, task: Task, item: Item, *, explanation: str) -> Prompt:
    text = fill(
        template(name),
        instruction=task.instruction,
        input=prompting.shown(item),
        explanation=explanation,
        labels=", ".join(task.labels_of(item)),
    )
    return Prompt(messages=(Message(role="user", content=text),))
