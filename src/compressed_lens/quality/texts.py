"""The texts whose quality is measured: a model's explanation of its label, or its edit of an item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from compressed_lens.analyses.base import Metric, Value
from compressed_lens.analyses.settings import at_least_one, one_of
from compressed_lens.errors import StudyError
from compressed_lens.explanations.editing import METHODS, Method, ask_edit, target_of
from compressed_lens.explanations.extraction import EDIT_OUTCOMES
from compressed_lens.explanations.parsing import OUTCOMES, words
from compressed_lens.explanations.sources import STYLES, Asking, Style, ask_explanation, ask_label
from compressed_lens.tasks.base import Item, Task

Of = Literal["explanation", "counterfactual"]
Which = Literal["usable", "any"]
EXPLANATION_TOKENS, EDIT_TOKENS = 64, 128

UNSCORED = Metric(
    name="unscored",
    value="unscored",
    direction="lower",
    unit="rate",
    summary="Share of texts that were not scored, because they are empty, refused or otherwise faulty",
)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A text as it goes to a scorer.

    Attributes:
        text: What to score; None where there is nothing to score.
        outcome: What kind of text it is, by the words of `parsing.OUTCOMES` or `extraction.EDIT_OUTCOMES`.
        prediction: The label it belongs to; None where none was found in the answer.
        original: The text before the edit; "" for explanations.
        values: What a record says about it: `text`, `outcome`, `prediction`, `unscored` and one truth value for each
            outcome but "ok".
    """

    text: str | None
    outcome: str
    prediction: str | None
    original: str
    values: Mapping[str, Value]


def ask_written(
    task: Task,
    item: Item,
    *,
    of: Of,
    style: Style,
    method: Method,
    which: Which,
    text_tokens: int | None,
) -> Asking[Written]:
    """Ask the model under study for the text to be scored.

    Args:
        task: The task.
        item: The item.
        of: "explanation": the label and why. "counterfactual": an edit of the item that should change the label.
        style: How explanations are asked for.
        method: How edits are asked for.
        which: "usable": texts without fault. "any": every text with a word in it.
        text_tokens: Longest answer, in tokens; None for 64 (explanations) or 128 (edits).

    Raises:
        Unusable: See `ask_explanation` and `ask_edit`.
    """
    if of == "explanation":
        told = yield from ask_explanation(
            task, item, style=style, max_new_tokens=EXPLANATION_TOKENS if text_tokens is None else text_tokens
        )
        text: str | None = told.text
        outcome, usable, prediction, original = str(told.outcome), told.outcome == "ok", told.prediction, ""
        classes: tuple[str, ...] = OUTCOMES
    else:
        choice = yield from ask_label(task, item)
        edit = yield from ask_edit(
            task,
            item,
            prediction=choice.prediction,
            target=target_of(task, item, choice.prediction),
            method=method,
            max_new_tokens=EDIT_TOKENS if text_tokens is None else text_tokens,
        )
        text, prediction, original = edit.text, choice.prediction, edit.original
        outcome, usable, classes = str(edit.outcome), edit.usable, EDIT_OUTCOMES
    scored = bool(text and words(text)) and (usable or which == "any")
    return Written(
        text=text if scored else None,
        outcome=outcome,
        prediction=prediction,
        original=original,
        values={
            "text": text,
            "outcome": outcome,
            "prediction": prediction,
            "unscored": not scored,
            **{name: outcome == name for name in classes if name != "ok"},
        },
    )


@dataclass(frozen=True, kw_only=True)
class ExplanationScore:
    """Settings and steps that analyses share which have a model score explanations.

    Attributes:
        scorer: Who scores: "full" (the full-precision model) or a judge of the study.
        style: How explanations are asked for (see `explanations.sources.ask_explanation`).
        which: "usable": texts without fault are scored. "any": all that hold a word.
        text_tokens: Longest text, in tokens; None for 64 (explanations) or 128 (edits).
    """

    scorer: str = "full"
    style: Style = "predict-then-explain"
    which: Which = "usable"
    text_tokens: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.scorer, str) or not self.scorer:
            raise StudyError(
                f"The setting scorer cannot be {self.scorer!r}.",
                fix='Give the name of a judge of the study, or "full".',
            )
        one_of("style", self.style, STYLES)
        one_of("which", self.which, ("usable", "any"))
        if self.text_tokens is not None:
            at_least_one("text_tokens", self.text_tokens)

    @property
    def roles(self) -> tuple[str, ...]:
        """The scorer."""
        return (self.scorer,)

    def ask_text(self, task: Task, item: Item) -> Asking[Written]:
        """Ask the model under study for the text to be scored; errors as `ask_written`."""
        return self._written(task, item, of="explanation", method="fizle-naive")

    def _written(self, task: Task, item: Item, *, of: Of, method: Method) -> Asking[Written]:
        return ask_written(
            task, item, of=of, method=method, style=self.style, which=self.which, text_tokens=self.text_tokens
        )


@dataclass(frozen=True, kw_only=True)
class TextScore(ExplanationScore):
    """The same for analyses that score explanations or edits.

    Attributes:
        of: "counterfactual" (the edited field) or "explanation".
        method: How edits are asked for (see `explanations.editing.ask_edit`).
    """

    of: Of = "counterfactual"
    method: Method = "fizle-naive"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("of", self.of, ("explanation", "counterfactual"))
        one_of("method", self.method, METHODS)

    def ask_text(self, task: Task, item: Item) -> Asking[Written]:
        """Ask the model under study for the text to be scored; errors as `ask_written`."""
        return self._written(task, item, of=self.of, method=self.method)
