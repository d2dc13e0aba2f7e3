"""CC-SHAP: do the same words drive the label and the explanation?

Source: Parcalabescu & Frank, "On Measuring Faithfulness or Self-consistency of Natural Language Explanations",
ACL 2024, section 3. See docs/cc-shap.md for what is done differently, and why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from compressed_lens.analyses.base import Metric, Record, Steps, Value
from compressed_lens.analyses.settings import at_least_one, at_least_zero, one_of, truth_value
from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.sources import STYLES, Explained, Style, ask_explanation, ask_label
from compressed_lens.faithfulness.contributions import Account, Likeness, Target, account, ask_contributions, compare
from compressed_lens.faithfulness.masking import pieces_of
from compressed_lens.faithfulness.owen import MODES, Exploring, Mode, explore
from compressed_lens.faithfulness.partition import Cluster
from compressed_lens.lm.protocol import Prompt
from compressed_lens.tasks.base import Item, Task, TaskKind

_LEAST_EVALS = 2


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """Settings that CC-SHAP and the same-text comparison share.

    Attributes:
        mode: "reference": the partition explainer's recursion within `max_evals`. "exact": full Owen values.
        max_evals: Most evaluations of the recursion for one text, both end points included; without meaning in
            "exact".
        look_ahead: Problems of the recursion whose evaluations are asked for ahead; speed only, never values.
        style: "predict-then-explain" (post hoc), "explain-then-predict" or "zero-shot-cot".
        max_new_tokens: Longest answer with an explanation, in tokens (the reference has 100).
        include_label: Whether, where explanation and label are one answer, all that follows the explanation, the label
            among it, counts as explanation. The reference's does.
        label_tokens: The "first" token of the label stands for the prediction, or "all" do.
        floor: Tokens to which all pieces together contribute less than this many nats (in absolute value) are left
            out of the mean and counted.
        seed: Of the random numbers that break ties in the recursion.
    """

    mode: Mode = "reference"
    max_evals: int = 500
    look_ahead: int = 48
    style: Style = "predict-then-explain"
    max_new_tokens: int = 64
    include_label: bool = False
    label_tokens: Literal["first", "all"] = "first"
    floor: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("mode", self.mode, MODES)
        at_least_one("max_evals", self.max_evals)
        at_least_one("look_ahead", self.look_ahead)
        one_of("style", self.style, STYLES)
        at_least_one("max_new_tokens", self.max_new_tokens)
        truth_value("include_label", self.include_label)
        one_of("label_tokens", self.label_tokens, ("first", "all"))
        at_least_zero("floor", self.floor)
        at_least_zero("seed", self.seed)
        if self.max_evals < _LEAST_EVALS:
            raise StudyError("max_evals must be at least 2: the input with everything and with nothing masked.")
        if self.include_label and self.style == "predict-then-explain":
            raise StudyError(
                "include_label has no meaning for predict-then-explain, whose explanation holds no label.",
                fix="Leave it out, or choose the style zero-shot-cot or explain-then-predict.",
            )

    def explore(self, tree: Cluster) -> Exploring:
        """Return the generator that chooses masks over `tree`."""
        return explore(tree, mode=self.mode, max_evals=self.max_evals, look_ahead=self.look_ahead, seed=self.seed)

    def label_target(self, task: Task, label: str, *, to: str = "self", keep: bool = False) -> Target:
        """Return `label` as the answer to the plain question, to be explained."""
        first = self.label_tokens == "first"
        return Target(
            prompt=lambda item: prompting.classify(task, item), continuation=label, first=first, to=to, keep=keep
        )

    def text_target(self, task: Task, told: Explained, *, to: str = "self", keep: bool = False) -> Target:
        """Return the explanation that was told as an answer to its own question, to be explained.

        What stands before it in the answer (a heading, an opening tag) is given and not explained; what stands after
        it only with `include_label`.
        """
        raw, text = told.answer.text, told.text
        at = raw.find(text)
        heading = raw[:at].strip() if at > 0 else ""
        if self.include_label:
            text = raw[max(at, 0) :].strip()
        ask = _question(task, told, self.style)
        return Target(prompt=lambda item: replace(ask(item), prefill=heading), continuation=text, to=to, keep=keep)


def _question(task: Task, told: Explained, style: Style) -> Callable[[Item], Prompt]:
    """Return how the explanation was asked for, for any item."""
    if style == "zero-shot-cot":
        return lambda item: prompting.zero_shot_cot(task, item)
    if style == "explain-then-predict":
        return lambda item: prompting.explain_then_predict(task, item)
    return lambda item: prompting.explained(prompting.classify(task, item), str(told.prediction))


@dataclass(frozen=True, kw_only=True)
class CCShap(Exploration):
    """Compare what each piece of the input contributes to the label and to the explanation.

    Values: `prediction` (the label at the plain question), `gold`, `correct`, `explained_label` (the label of the
    answer with the explanation; None where none was found), `explanation`, `outcome`; `cc_shap` and the other
    measures of `contributions.Likeness`; `positive`; `undefined`; `pieces`, `prediction_shares` and
    `explanation_shares` (in per cent, signed); `explained_tokens`, `weak_tokens`, `evaluations`.
    """

    name: ClassVar[str] = "cc_shap"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    window: ClassVar[int] = 16
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="cc_shap",
            value="cc_shap",
            direction="higher",
            unit="cosine",
            summary="Cosine of the contributions to label and explanation, -1 to 1",
        ),
        Metric(
            name="positive",
            value="positive",
            direction="higher",
            unit="rate",
            summary="Share of items with a CC-SHAP above 0; the literature names no threshold",
        ),
        Metric(
            name="undefined",
            value="undefined",
            direction="lower",
            unit="rate",
            summary="Share of items without a CC-SHAP: no explanation, or one that no word of the input moves",
        ),
        Metric(
            name="correlation",
            value="correlation",
            direction="higher",
            unit="correlation",
            summary="Pearson correlation of the contributions to label and explanation",
        ),
        Metric(
            name="squared_error",
            value="squared_error",
            direction="lower",
            unit="squared %",
            summary="Mean squared difference of the shares of label and explanation",
        ),
        Metric(
            name="kl",
            value="kl",
            direction="lower",
            unit="nats",
            summary="KL divergence of the softmaxed shares, explanation from label",
        ),
        Metric(
            name="js",
            value="js",
            direction="lower",
            unit="root nats",
            summary="Jensen-Shannon distance of the softmaxed shares",
        ),
        Metric(
            name="weak_tokens",
            value="weak_share",
            direction="lower",
            unit="rate",
            summary="Share of the explanation's tokens that the input hardly moves; they are left out",
        ),
        Metric(
            name="evaluations",
            value="evaluations",
            direction="neither",
            unit="evaluations",
            summary="Masked inputs read, for label and explanation together",
        ),
    )

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for label and explanation, then what each piece contributes to both."""
        told = yield from ask_explanation(task, item, style=self.style, max_new_tokens=self.max_new_tokens)
        choice = yield from ask_label(task, item)
        values: dict[str, Value] = {
            "prediction": choice.prediction,
            "gold": item.answers[0],
            "correct": choice.prediction == item.answers[0],
            "explained_label": told.prediction,
            "explanation": told.text,
            "outcome": told.outcome,
        }
        if not told.text:
            return Record(values={**values, **measures(None), "undefined": True})
        pieces = pieces_of(item)
        targets = [self.label_target(task, choice.prediction), self.text_target(task, told)]
        label, text = yield from ask_contributions(pieces, targets, self.explore)
        predicted, explained = account(label.values, floor=self.floor), account(text.values, floor=self.floor)
        likeness = compare(predicted.shares, explained.shares)
        return Record(
            values={
                **values,
                **measures(likeness),
                "undefined": likeness.cosine is None,
                "pieces": [piece.text for piece in pieces.pieces],
                "prediction_shares": predicted.shares.tolist(),
                "explanation_shares": explained.shares.tolist(),
                "explained_tokens": explained.tokens,
                "weak_tokens": explained.weak,
                "weak_share": weak_share(explained),
                "evaluations": label.evaluations + text.evaluations,
            }
        )


def weak_share(explained: Account) -> float | None:
    """Return the share of tokens left out; None without tokens."""
    return explained.weak / explained.tokens if explained.tokens else None


def measures(likeness: Likeness | None) -> dict[str, Value]:
    """Return the measures of a comparison as values of a record; all None without one."""
    found = likeness or Likeness(cosine=None, correlation=None, squared_error=None, kl=None, js=None)
    return {
        "cc_shap": found.cosine,
        "positive": None if found.cosine is None else found.cosine > 0,
        "correlation": found.correlation,
        "squared_error": found.squared_error,
        "kl": found.kl,
        "js": found.js,
    }
