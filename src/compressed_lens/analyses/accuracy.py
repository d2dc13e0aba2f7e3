"""Task accuracy: the model's label against the gold label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from compressed_lens.analyses.base import Metric, Record, Steps
from compressed_lens.analyses.labels import Normalize, choose
from compressed_lens.analyses.settings import at_least_one, one_of
from compressed_lens.explanations import prompting
from compressed_lens.explanations.parsing import find_label
from compressed_lens.lm.protocol import Generate, Generation, Score, Scores
from compressed_lens.tasks.base import Item, Task, TaskKind


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Ask for one label an item.

    Values: `prediction` (None when unparsed), `gold`, `correct`, `unparsed`; with `mode` "score" also
    `log_probabilities` and `probabilities` by label, `gold_probability`, `margin`; with "generate" the `answer`.

    Attributes:
        mode: "score": the label with the highest log-probability. "generate": greedy text, then parsing.
        normalize: Score of a label: the "sum" of its tokens' log-probabilities, or their "mean".
        max_new_tokens: Longest generated answer, in tokens.
    """

    name: ClassVar[str] = "accuracy"
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
        Metric(
            name="gold_probability",
            value="gold_probability",
            direction="higher",
            unit="rate",
            summary="Mean probability of the right label among the labels",
            on_failure=0.0,
        ),
        Metric(
            name="margin",
            value="margin",
            direction="higher",
            unit="nats",
            summary="Mean score of the right label minus the best other label",
        ),
        Metric(
            name="unparsed",
            value="unparsed",
            direction="lower",
            unit="rate",
            summary="Share of answers in which no single label was found",
            on_failure=1.0,
        ),
    )

    mode: Literal["score", "generate"] = "score"
    normalize: Normalize = "sum"
    max_new_tokens: int = 32

    def __post_init__(self) -> None:
        one_of("mode", self.mode, ("score", "generate"))
        one_of("normalize", self.normalize, ("sum", "mean"))
        at_least_one("max_new_tokens", self.max_new_tokens)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for the label of `item` once."""
        prompt, labels, gold = prompting.classify(task, item), task.labels_of(item), item.answers[0]
        if self.mode == "generate":
            answers = yield [Generate(prompt=prompt, max_new_tokens=self.max_new_tokens)]
            answer = cast(Generation, answers[0])
            label = find_label(answer.text, labels)
            return Record(
                values={
                    "prediction": label,
                    "gold": gold,
                    "correct": label == gold,
                    "unparsed": label is None,
                    "answer": answer.text,
                }
            )
        scored = yield [Score(prompt=prompt, continuations=labels)]
        choice = choose(labels, cast(Scores, scored[0]), self.normalize)
        if choice is None:
            return Record(values={"prediction": None, "gold": gold}, failed="a label has no finite log-probability")
        return Record(
            values={
                "prediction": choice.prediction,
                "gold": gold,
                "correct": choice.prediction == gold,
                "unparsed": False,
                "log_probabilities": choice.log_probabilities,
                "probabilities": choice.probabilities,
                "gold_probability": choice.probabilities[gold],
                "margin": choice.margin(gold),
            }
        )
