"""The same text under two models: does a variant write other explanations, or does it rely on other words?

The full-precision model's explanation is read by both models, so that what is compared does not depend on what the
variant would have written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from compressed_lens.analyses.base import Metric, Record, Steps, Value
from compressed_lens.explanations.sources import Unusable, ask_explanation, ask_label, to_model
from compressed_lens.faithfulness.cc_shap import Exploration, weak_share
from compressed_lens.faithfulness.contributions import account, ask_contributions, compare
from compressed_lens.faithfulness.masking import pieces_of
from compressed_lens.lm.protocol import Generate, Generation, Traced
from compressed_lens.tasks.base import Item, Task, TaskKind

FULL = "full"


@dataclass(frozen=True, kw_only=True)
class SameText(Exploration):
    """Let a variant read the full-precision model's label and explanation, and compare what moves both models.

    Values: `full_prediction`, `prediction`, `same_label`; `explanation` (the full model's), `own_explanation` (the
    variant's answer to the very same question), `same_text`; `log_probability`, `full_log_probability` and their
    `difference`, per token; `explanation_cosine`, `prediction_cosine` (between the two models, same text);
    `cc_shap`, `full_cc_shap` and their `cc_shap_difference`; `pieces` and the four vectors of shares; `weak_share`.
    """

    name: ClassVar[str] = "same_text"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    window: ClassVar[int] = 16
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="explanation_cosine",
            value="explanation_cosine",
            direction="higher",
            unit="cosine",
            summary="Do the same words drive the same explanation in both models, -1 to 1",
            primary=True,
        ),
        Metric(
            name="prediction_cosine",
            value="prediction_cosine",
            direction="higher",
            unit="cosine",
            summary="Do the same words drive the same label in both models, -1 to 1",
        ),
        Metric(
            name="log_probability_difference",
            value="difference",
            direction="higher",
            unit="nats",
            summary="The explanation's log-probability per token, variant minus full precision",
        ),
        Metric(
            name="log_probability",
            value="log_probability",
            direction="higher",
            unit="nats",
            summary="Log-probability per token of the full-precision model's explanation",
        ),
        Metric(
            name="same_text",
            value="same_text",
            direction="higher",
            unit="rate",
            summary="Share of items for which the variant writes the very explanation of full precision",
        ),
        Metric(
            name="same_label",
            value="same_label",
            direction="higher",
            unit="rate",
            summary="Share of items for which the variant gives the label of full precision",
        ),
        Metric(
            name="same_text_cc_shap",
            value="cc_shap",
            direction="higher",
            unit="cosine",
            summary="CC-SHAP of the variant on the full-precision model's label and explanation",
        ),
        Metric(
            name="cc_shap_difference",
            value="cc_shap_difference",
            direction="higher",
            unit="cosine",
            summary="CC-SHAP on the same text, variant minus full precision",
        ),
    )

    @property
    def roles(self) -> tuple[str, ...]:
        """The full-precision model."""
        return (FULL,)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask the full model for label and explanation, then both models what moves them."""
        told = yield from ask_explanation(task, item, style=self.style, max_new_tokens=self.max_new_tokens, to=FULL)
        wanted = yield from ask_label(task, item, to=FULL)
        own = yield from ask_label(task, item)
        if not told.text:
            raise Unusable("The full-precision model gives no explanation that could be read.")
        # The full model's readings are kept: every variant of a study asks for the same ones.
        targets = [
            self.label_target(task, wanted.prediction),
            self.label_target(task, wanted.prediction, to=FULL, keep=True),
            self.text_target(task, told),
            self.text_target(task, told, to=FULL, keep=True),
        ]
        again = Generate(prompt=told.prompt, max_new_tokens=self.max_new_tokens)
        answers = yield [targets[2].request(item), targets[3].request(item), to_model("self", again)]
        here, there = (_per_token(cast(Traced, answer)) for answer in answers[:2])
        written = cast(Generation, answers[2])
        pieces = pieces_of(item)
        found = yield from ask_contributions(pieces, targets, self.explore)
        predicted, full_predicted, explained, full_explained = (account(f.values, floor=self.floor) for f in found)
        cc_shap = compare(predicted.shares, explained.shares).cosine
        full_cc_shap = compare(full_predicted.shares, full_explained.shares).cosine
        values: dict[str, Value] = {
            "full_prediction": wanted.prediction,
            "prediction": own.prediction,
            "same_label": own.prediction == wanted.prediction,
            "explanation": told.text,
            "own_explanation": written.text.strip(),
            "same_text": written.text.strip() == told.answer.text.strip(),
            "log_probability": here,
            "full_log_probability": there,
            "difference": here - there,
            "explanation_cosine": compare(explained.shares, full_explained.shares).cosine,
            "prediction_cosine": compare(predicted.shares, full_predicted.shares).cosine,
            "cc_shap": cc_shap,
            "full_cc_shap": full_cc_shap,
            "cc_shap_difference": None if cc_shap is None or full_cc_shap is None else cc_shap - full_cc_shap,
            "pieces": [piece.text for piece in pieces.pieces],
            "prediction_shares": predicted.shares.tolist(),
            "explanation_shares": explained.shares.tolist(),
            "full_prediction_shares": full_predicted.shares.tolist(),
            "full_explanation_shares": full_explained.shares.tolist(),
            "weak_share": weak_share(explained),
        }
        return Record(values=values)


def _per_token(read: Traced) -> float:
    return sum(read.log_probabilities) / len(read.log_probabilities)
