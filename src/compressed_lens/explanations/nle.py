"""Natural language explanations: the model labels an item and says why, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressed_lens.analyses.base import Direction, Metric, Record, Steps, Value
from compressed_lens.analyses.labels import Normalize
from compressed_lens.analyses.settings import at_least_one, at_least_zero, one_of
from compressed_lens.explanations.overlap import reference_overlap
from compressed_lens.explanations.parsing import OUTCOMES, mentions, words
from compressed_lens.explanations.sources import STYLES, Style, ask_explanation
from compressed_lens.tasks.base import Item, Task, TaskKind


def _rate(
    name: str, direction: Direction, summary: str, on_failure: float | None = None, *, primary: bool = False
) -> Metric:
    return Metric(
        name=name,
        value=name,
        direction=direction,
        unit="rate",
        summary=summary,
        on_failure=on_failure,
        primary=primary,
    )


@dataclass(frozen=True, kw_only=True)
class NaturalLanguageExplanation:
    """Label an item, then explain the label (or the other way round).

    Values: `prediction`, `gold`, `correct`, `unparsed`, `explanation`, `outcome` (see
    `parsing.classify_explanation`) and one truth value for each outcome, `words`, `tokens`, `confidence`
    (probability of the prediction among the labels; None where the label is parsed), `reference_overlap`,
    and, where the item's evidence is known, `names_evidence` (all of it) and `names_any_evidence`.

    Attributes:
        style: "predict-then-explain": the label by log-probability, then a second turn asks why.
            "explain-then-predict" and "zero-shot-cot": one answer with both, parsed.
        normalize: Score of a label: the "sum" of its tokens' log-probabilities, or their "mean".
        max_new_tokens: Longest answer, in tokens.
        temperature: 0 is greedy; above it the text is drawn. Labels that are scored are always greedy.
        seed: Which draw.
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
            family="task",
        ),
        Metric(
            name="usable",
            value="usable",
            direction="higher",
            unit="rate",
            summary="Share of explanations with none of the faults below",
            on_failure=0.0,
            primary=True,
        ),
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
        _rate("reference_overlap", "higher", "Mean ROUGE-L F1 with the closest reference explanation", primary=True),
        _rate(
            "names_evidence", "higher", "Share of explanations that name every word of the true evidence", primary=True
        ),
        _rate("names_any_evidence", "higher", "Share of explanations that name a word of the true evidence"),
    )

    style: Style = "predict-then-explain"
    normalize: Normalize = "sum"
    max_new_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("style", self.style, STYLES)
        one_of("normalize", self.normalize, ("sum", "mean"))
        at_least_one("max_new_tokens", self.max_new_tokens)
        at_least_zero("temperature", self.temperature)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for a label and its explanation."""
        told = yield from ask_explanation(
            task,
            item,
            style=self.style,
            normalize=self.normalize,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=self.seed,
        )
        label, text = told.prediction, told.text
        evidence = item.extra.get("evidence") or ()
        named = [mentions(text, str(word)) for word in evidence]
        values: dict[str, Value] = {
            "prediction": label,
            "gold": item.answers[0],
            "correct": label == item.answers[0],
            "unparsed": label is None,
            "confidence": told.probabilities.get(label) if label is not None else None,
            "explanation": text,
            "outcome": told.outcome,
            "usable": told.outcome == "ok",
            **{name: told.outcome == name for name in OUTCOMES if name != "ok"},
            "words": len(words(text)),
            "tokens": told.answer.tokens,
            "reference_overlap": reference_overlap(text, item.references),
            "names_evidence": all(named) if named else None,
            "names_any_evidence": any(named) if named else None,
        }
        return Record(values=values)
