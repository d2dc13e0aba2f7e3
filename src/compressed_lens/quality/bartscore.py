"""BARTScore: how likely a sequence-to-sequence model finds an explanation given a text, and a text given it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from compressed_lens.analyses.base import Metric, Record, Steps, Value
from compressed_lens.analyses.settings import one_of
from compressed_lens.explanations import prompting
from compressed_lens.explanations.sources import Unusable, to_model
from compressed_lens.lm.protocol import Prompt, Response, Trace, Traced
from compressed_lens.quality.texts import UNSCORED, ExplanationScore
from compressed_lens.tasks.base import Item, Task, TaskKind


def _score(name: str, summary: str, *, primary: bool = False) -> Metric:
    return Metric(name=name, value=name, direction="higher", unit="nats", summary=summary, primary=primary)


@dataclass(frozen=True, kw_only=True)
class BartScore(ExplanationScore):
    """Score each explanation with a sequence-to-sequence model (Yuan et al. 2021, arXiv 2106.11520).

    score(x -> y) is the mean log-probability, in nats, of the tokens of y (end token included) given x: at most 0,
    higher is better. Only scores by the same scorer can be compared.

    Values: those of `texts.Written`; `source_to_text`, from the item as it was shown (faithfulness);
    `reference_to_text` (precision) and `text_to_reference` (recall), with the reference explanations of the item;
    `bartscore`, the mean of the last two, and `bartscore_sum`, their sum; `references`, how many there are. A text that
    is not scored has no scores, and an item without references has none of those with references.

    The settings that are not listed here are those of `texts.ExplanationScore`.

    Attributes:
        scorer: Name of the judge of the study that scores: a sequence-to-sequence model.
        references: Over several references, in each direction: the "mean" or the "max".
    """

    name: ClassVar[str] = "bartscore"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        _score("bartscore", "BARTScore, mean of reference -> text and text -> reference", primary=True),
        _score("bartscore_sum", "BARTScore, sum of reference -> text and text -> reference"),
        _score("source_to_text", "BARTScore of the explanation given the item"),
        _score("reference_to_text", "BARTScore of the explanation given a reference explanation (precision)"),
        _score("text_to_reference", "BARTScore of a reference explanation given the explanation (recall)"),
        UNSCORED,
    )

    scorer: str = "bartscore"
    references: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("references", self.references, ("mean", "max"))

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for an explanation, then for every direction at once."""
        written = yield from self.ask_text(task, item)
        nothing: dict[str, Value] = dict.fromkeys(m.value for m in self.metrics)
        values: dict[str, Value] = {**nothing, **written.values, "references": len(item.references)}
        if written.text is None:
            return Record(values=values)
        to_text = [(source, written.text) for source in (prompting.shown(item), *item.references)]
        to_references = [(written.text, reference) for reference in item.references]
        answers = yield [
            to_model(self.scorer, Trace(prompt=Prompt(text=source), continuation=target))
            for source, target in (*to_text, *to_references)
        ]
        scores = [mean_log_probability(answer) for answer in answers]
        precision = self._combined(scores[1 : len(to_text)])
        recall = self._combined(scores[len(to_text) :])
        both = None if precision is None or recall is None else precision + recall
        values |= {
            "source_to_text": scores[0],
            "reference_to_text": precision,
            "text_to_reference": recall,
            "bartscore": None if both is None else both / 2,
            "bartscore_sum": both,
        }
        return Record(values=values)

    def _combined(self, scores: Sequence[float]) -> float | None:
        if not scores:
            return None
        return max(scores) if self.references == "max" else math.fsum(scores) / len(scores)


def mean_log_probability(answer: Response) -> float:
    """Return the mean log-probability of a traced text's tokens, in nats.

    Raises:
        Unusable: There is no token, or one has no finite log-probability.
    """
    values = cast(Traced, answer).log_probabilities
    if not values or not all(math.isfinite(value) for value in values):
        raise Unusable("The scorer gives a token of the text no finite log-probability.")
    return math.fsum(values) / len(values)
