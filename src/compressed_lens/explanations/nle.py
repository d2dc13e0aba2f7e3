"""Natural language explanations: the model labels an item and says why, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from compressed_lens.analyses.base import Direction, Metric, Record, Steps, Value
from compressed_lens.analyses.labels import Normalize, choose
from compressed_lens.analyses.settings import at_least_one, one_of
from compressed_lens.explanations import prompting
from compressed_lens.explanations.overlap import reference_overlap
from compressed_lens.explanations.parsing import (
    OUTCOMES,
    classify_explanation,
    clean,
    find_label,
    mentions,
    split_answer,
    words,
)
from compressed_lens.lm.protocol import Generate, Generation, Score, Scores
from compressed_lens.tasks.base import Item, Task, TaskKind

Style = Literal["predict-then-explain", "explain-then-predict"]


def _rate(name: str, direction: Direction, summary: str, on_failure: float | None = None) -> Metric:
    return Metric(name=name, value=name, direction=direction, unit="rate", summary=summary, on_failure=on_failure)


@dataclass(frozen=True, kw_only=True)
class NaturalLanguageExplanation:
    """Label an item, then explain the label (or the other way round).

    Values: `prediction`, `gold`, `correct`, `unparsed`, `explanation`, `outcome` (see
    `parsing.classify_explanation`) and one truth value for each outcome, `words`, `tokens`, `confidence`
    (probability of the prediction among the labels; None for explain-then-predict), `reference_overlap`,
    and, where the item's evidence is known, `names_evidence` (all of it) and `names_any_evidence`.

    Attributes:
        style: "predict-then-explain": the label by log-probability, then a second turn asks why.
            "explain-then-predict": one answer with both, parsed.
        normalize: Score of a label: the "sum" of its tokens' log-probabilities, or their "mean".
        max_new_tokens: Longest answer, in tokens.
    """

    name: ClassVar[str] = "nle"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="accuracy",
            value="correct",
            direction="higher",
            unit="rate",
            summary="Share of items with the right label; an unparsed answer counts as wrong",
            on_failure=0.0,
        ),
        _rate("usable", "higher", "Share of explanations with none of the faults below", 0.0),
        _rate("empty", "lower", "Share of explanations without a word"),
        _rate("refused", "lower", "Share of answers that decline to explain"),
        _rate("label_only", "lower", "Share of explanations that only repeat the label"),
        _rate("repetitive", "lower", "Share of explanations caught in a loop"),
        _rate("copied", "lower", "Share of explanations that copy the input"),
        _rate("truncated", "lower", "Share of explanations cut off at the token limit"),
        _rate("unparsed", "lower", "Share of answers in which no single label was found", 1.0),
        Metric(
            name="words", value="words", direction="neither", unit="words", summary="Mean length of the explanation"
        ),
        _rate("reference_overlap", "higher", "Mean ROUGE-L F1 with the closest reference explanation"),
        _rate("names_evidence", "higher", "Share of explanations that name every word of the true evidence"),
        _rate("names_any_evidence", "higher", "Share of explanations that name a word of the true evidence"),
    )

    style: Style = "predict-then-explain"
    normalize: Normalize = "sum"
    max_new_tokens: int = 64

    def __post_init__(self) -> None:
        one_of("style", self.style, ("predict-then-explain", "explain-then-predict"))
        one_of("normalize", self.normalize, ("sum", "mean"))
        at_least_one("max_new_tokens", self.max_new_tokens)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for a label and its explanation."""
        labels, gold = task.labels_of(item), item.answers[0]
        if self.style == "explain-then-predict":
            answered = yield [
                Generate(prompt=prompting.explain_then_predict(task, item), max_new_tokens=self.max_new_tokens)
            ]
            answer = cast(Generation, answered[0])
            text, label_part = split_answer(answer.text)
            label = find_label(answer.text if label_part is None else label_part, labels)
            return _record(item, labels, text, answer, label=label, confidence=None)
        scored = yield [Score(prompt=prompting.classify(task, item), continuations=labels)]
        choice = choose(labels, cast(Scores, scored[0]), self.normalize)
        if choice is None:
            return Record(values={"prediction": None, "gold": gold}, failed="a label has no finite log-probability")
        label = choice.prediction
        answered = yield [Generate(prompt=prompting.explain(task, item, label), max_new_tokens=self.max_new_tokens)]
        answer = cast(Generation, answered[0])
        return _record(item, labels, clean(answer.text), answer, label=label, confidence=choice.probabilities[label])


def _record(
    item: Item,
    labels: tuple[str, ...],
    text: str,
    answer: Generation,
    *,
    label: str | None,
    confidence: float | None,
) -> Record:
    outcome = classify_explanation(text, labels=labels, inputs=item.fields.values(), finished=answer.finished)
    evidence = item.extra.get("evidence") or ()
    named = [mentions(text, str(word)) for word in evidence]
    values: dict[str, Value] = {
        "prediction": label,
        "gold": item.answers[0],
        "correct": label == item.answers[0],
        "unparsed": label is None,
        "confidence": confidence,
        "explanation": text,
        "outcome": outcome,
        "usable": outcome == "ok",
        **{name: outcome == name for name in OUTCOMES if name != "ok"},
        "words": len(words(text)),
        "tokens": answer.tokens,
        "reference_overlap": reference_overlap(text, item.references),
        "names_evidence": all(named) if named else None,
        "names_any_evidence": any(named) if named else None,
    }
    return Record(values=values)
