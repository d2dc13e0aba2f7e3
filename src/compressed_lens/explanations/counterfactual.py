"""Counterfactual explanations: the model edits a text so that its own label changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressed_lens.analyses.base import Direction, Family, Metric, Record, Steps, Value
from compressed_lens.explanations import prompting
from compressed_lens.explanations.edit_settings import EditSettings, edited_item
from compressed_lens.explanations.edits import edit_distance, length_ratio, relative_to_original
from compressed_lens.explanations.extraction import EDIT_OUTCOMES
from compressed_lens.explanations.sources import ask_label, ask_labels
from compressed_lens.tasks.base import Item, Task, TaskKind


def _rate(
    name: str,
    value: str,
    direction: Direction,
    summary: str,
    *,
    on_failure: float | None = None,
    primary: bool = False,
    family: Family | None = None,
) -> Metric:
    return Metric(
        name=name,
        value=value,
        direction=direction,
        unit="rate",
        summary=summary,
        on_failure=on_failure,
        primary=primary,
        family=family,
    )


@dataclass(frozen=True, kw_only=True)
class Counterfactual(EditSettings):
    """Label an item, have the model edit it, and label the edit in a fresh conversation.

    Values: `prediction`, `target`, `original`, `edited` (None where nothing was found), `outcome` (see
    `extraction.classify_edit`), `usable` (outcome "ok") and one truth value for each other outcome, `words` (named
    before the edit), `demonstrations`, `distance` (edit distance relative to the original), `words_changed` (the edit
    distance itself), `length_ratio`, `edited_label`, `flipped` (it differs from the prediction), `hit` (it is the
    target), `valid` (see `EditSettings.is_valid`), `valid_flip` (hit and valid), `hit_if_valid` (None where invalid),
    `tokens` of the answer. Without a text there is no flip and no hit, and the three measures of the text are None.

    The settings are those of `EditSettings`.
    """

    name: ClassVar[str] = "counterfactual"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        _rate(
            "valid_flip_rate",
            "valid_flip",
            "higher",
            "Share of items whose edit is valid and gets the target label from the model itself",
            on_failure=0.0,
            primary=True,
            family="faithfulness",
        ),
        _rate(
            "flip_rate_hard",
            "hit",
            "higher",
            "Share of items whose edit gets the target label from the model itself, valid or not",
            on_failure=0.0,
            family="faithfulness",
        ),
        _rate(
            "flip_rate_soft",
            "flipped",
            "higher",
            "Share of items whose edit gets another label from the model itself, valid or not",
            on_failure=0.0,
            family="faithfulness",
        ),
        _rate(
            "flip_rate_if_valid",
            "hit_if_valid",
            "higher",
            "Share of valid edits that get the target label from the model itself",
            family="faithfulness",
        ),
        _rate(
            "valid",
            "valid",
            "higher",
            "Share of edits without fault, with few words changed and a like length",
            on_failure=0.0,
            primary=True,
        ),
        Metric(
            name="distance",
            value="distance",
            direction="lower",
            unit="words changed a word of the original",
            summary="Mean word-level edit distance, relative to the original's length (may exceed 1)",
            primary=True,
        ),
        Metric(
            name="words_changed",
            value="words_changed",
            direction="lower",
            unit="words",
            summary="Mean number of words inserted, deleted or replaced",
        ),
        Metric(
            name="length_ratio",
            value="length_ratio",
            direction="neither",
            unit="times the original's length",
            summary="Mean length of the edit, in words, relative to the original's",
        ),
        _rate("usable", "usable", "higher", "Share of edits with none of the faults below", on_failure=0.0),
        _rate("refused", "refused", "lower", "Share of answers that decline to edit"),
        _rate("unparsable", "unparsable", "lower", "Share of answers in which no edited text was found"),
        _rate("empty", "empty", "lower", "Share of edits without a word"),
        _rate("truncated", "truncated", "lower", "Share of edits cut off at the token limit"),
        _rate("repetitive", "repetitive", "lower", "Share of edits caught in a loop"),
        _rate("unchanged", "unchanged", "lower", "Share of edits with the same words as the original"),
        _rate("appended", "appended", "lower", "Share of edits that keep the original whole and only add to it"),
    )

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for the label, the edit, and the label of the edit."""
        choice = yield from ask_label(task, item, normalize=self.normalize)
        edit = yield from self.ask(task, item, choice.prediction)
        after = edited_item(item, edit)
        label: str | None = None
        if after is not None:
            prompts = [prompting.classify(task, after)]
            found = yield from ask_labels(prompts, task.labels_of(after), normalize=self.normalize)
            label = found[0].prediction
        hit, valid = label == edit.target, self.is_valid(edit)
        text = edit.text if after is not None else None
        values: dict[str, Value] = {
            "prediction": edit.prediction,
            "target": edit.target,
            "original": edit.original,
            "edited": edit.text,
            "outcome": edit.outcome,
            "usable": edit.usable,
            **{name: edit.outcome == name for name in EDIT_OUTCOMES if name != "ok"},
            "words": edit.words,
            "demonstrations": edit.demonstrations,
            "distance": None if text is None else relative_to_original(edit.original, text),
            "words_changed": None if text is None else edit_distance(edit.original, text),
            "length_ratio": None if text is None else length_ratio(edit.original, text),
            "edited_label": label,
            "flipped": label is not None and label != edit.prediction,
            "hit": hit,
            "valid": valid,
            "valid_flip": hit and valid,
            "hit_if_valid": hit if valid else None,
            "tokens": edit.answer.tokens,
        }
        return Record(values=values)
