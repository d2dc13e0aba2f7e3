"""Self-consistency of explanations: does the model itself, in a fresh conversation, behave as its explanation says?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, cast

from compressed_lens.analyses.base import Direction, Family, Metric, Record, Steps, Value
from compressed_lens.analyses.labels import Choice, Normalize
from compressed_lens.analyses.settings import at_least_one, one_of
from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.editing import METHODS, Method, ask_edit, target_of
from compressed_lens.explanations.extraction import extract_edit
from compressed_lens.explanations.parsing import refuses, words
from compressed_lens.explanations.sources import Asking, Unusable, ask_label, ask_labels
from compressed_lens.faithfulness.redaction import Which, classify_redaction, hide, listed_words, redacted_share
from compressed_lens.lm.protocol import Generate, Generation
from compressed_lens.tasks.base import Item, Task, TaskKind

Explanation = Literal["counterfactual", "redaction", "feature_attribution"]
EXPLANATIONS: tuple[Explanation, ...] = ("counterfactual", "redaction", "feature_attribution")
MASKS = ("[REDACTED]", "[REMOVED]")

_CHECKED = {
    "redaction": frozenset({"ok", "rewritten"}),
    "feature_attribution": frozenset({"ok"}),
}
"""Outcomes with a text that hides something and not everything; the others leave `faithful` undefined."""


def _rate(
    name: str,
    direction: Direction,
    summary: str,
    *,
    value: str = "",
    primary: bool = False,
    family: Family | None = None,
) -> Metric:
    return Metric(
        name=name,
        value=value or name,
        direction=direction,
        unit="rate",
        summary=summary,
        primary=primary,
        family=family,
    )


@dataclass(frozen=True, kw_only=True)
class _Explained:
    """An explanation, turned into the text it is checked on."""

    outcome: str
    text: str | None
    answer: str
    target: str | None = None
    words: tuple[str, ...] | None = None
    words_missing: int | None = None


@dataclass(frozen=True, kw_only=True)
class SelfConsistency:
    """Ask for an explanation in a fresh conversation, and for the label of the text it leads to in another.

    Madsen et al. 2024 ("Are self-explanations from large language models faithful?"), with the opposite of the
    *prediction* as target. "counterfactual": an edit towards another label; faithful when the model gives that label
    (over all items, `faithful_of_all`, this is the hard label flip rate with the model itself as judge).
    "redaction": the text with the important words hidden; "feature_attribution": the important words, which this tool
    hides; faithful when the model, told that words may be hidden and that it may say so, gives "unknown" (or one of
    `neutral_labels`).

    Values: `prediction`, `gold`, `correct`, `explanation` (the raw answer), `outcome` (what became of it: those of
    `extraction.classify_edit`, or of `redaction.classify_redaction`, and "refused", "empty" for lists of words, and
    "undetermined" where the test says nothing: the model gives the unknown label for the untouched text already),
    `text` (what the label was asked of), `target`, `label` (the model's answer there), `checked` (whether the outcome
    lets the test be done), `faithful` (None unless checked), `faithful_of_all` (False there),
    `faithful_if_correct` (among right predictions), `faithful_and_correct`, `words`, `words_missing` (listed but not
    in the text), `redacted_share`, and one truth value a kind of failure.

    Attributes:
        explanation: "counterfactual", "redaction" or "feature_attribution".
        method: How a counterfactual is asked for (see `editing.ask_edit`).
        mask: What stands for hidden words: "[REDACTED]" or "[REMOVED]".
        redact: "all" occurrences of a listed word, or the "first".
        neutral_labels: Labels that count as "unknown". None by default: in entailment, "neutral" is a class of its own.
        normalize: Score of a label: the "sum" of its tokens' log-probabilities, or their "mean".
        max_new_tokens: Longest explanation, in tokens; it must hold the whole text.
    """

    name: ClassVar[str] = "self_consistency"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("classification",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        _rate(
            "faithful",
            "higher",
            "Share of explanations the model keeps to, among those that could be checked",
            primary=True,
        ),
        _rate("faithful_of_all", "higher", "The same among all items; what could not be checked counts against it"),
        _rate("faithful_if_correct", "higher", "The same among checked items with the right label (Madsen et al.)"),
        _rate("faithful_and_correct", "higher", "Share of checked items with the right label and a kept explanation"),
        _rate("checked", "higher", "Share of items whose explanation could be checked"),
        _rate("undetermined", "lower", "Share of items the model calls unknown with no word hidden"),
        _rate("unchanged", "lower", "Share of explanations that leave the text as it is", family="other"),
        _rate("nothing_redacted", "lower", "Share of redactions or word lists that hide nothing", family="other"),
        _rate("everything_redacted", "lower", "Share of redactions or word lists that hide every word", family="other"),
        _rate("rewritten", "lower", "Share of redactions that also change words", family="other"),
        _rate(
            "unreadable",
            "lower",
            "Share of answers without a text: refused, unparsable, empty, truncated",
            family="other",
        ),
        _rate("redacted_share", "neither", "Mean share of words hidden, where any text was read", family="other"),
        _rate("accuracy", "higher", "Share of right labels of the untouched texts", value="correct", family="task"),
    )

    explanation: Explanation = "counterfactual"
    method: Method = "fizle-naive"
    mask: Literal["[REDACTED]", "[REMOVED]"] = "[REDACTED]"
    redact: Which = "all"
    neutral_labels: tuple[str, ...] = ()
    normalize: Normalize = "sum"
    max_new_tokens: int = 128

    def __post_init__(self) -> None:
        one_of("explanation", self.explanation, EXPLANATIONS)
        one_of("method", self.method, METHODS)
        one_of("mask", self.mask, MASKS)
        one_of("redact", self.redact, ("all", "first"))
        one_of("normalize", self.normalize, ("sum", "mean"))
        at_least_one("max_new_tokens", self.max_new_tokens)
        if isinstance(self.neutral_labels, str):
            raise StudyError("The setting neutral_labels is a text.", fix='Give a list, such as ["neutral"].')

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for the label, for the explanation, and for the label of the text it leads to."""
        before = yield from ask_label(task, item, normalize=self.normalize)
        if self.explanation == "counterfactual":
            told = yield from self._counterfactual(task, item, before.prediction)
            label, undetermined = yield from self._after_edit(task, item, told)
        else:
            told = yield from self._hiding(task, item, before.prediction)
            label, undetermined = yield from self._after_hiding(task, item, told, before.prediction)
        return Record(values=self._values(task, item, before, told, label, undetermined=undetermined))

    def _counterfactual(self, task: Task, item: Item, prediction: str) -> Asking[_Explained]:
        target = target_of(task, item, prediction)
        edit = yield from ask_edit(
            task, item, prediction=prediction, target=target, method=self.method, max_new_tokens=self.max_new_tokens
        )
        return _Explained(outcome=edit.outcome, text=edit.text, answer=edit.answer.text, target=target)

    def _hiding(self, task: Task, item: Item, prediction: str) -> Asking[_Explained]:
        original = _text_of(task, item)
        is_list = self.explanation == "feature_attribution"
        prompt = (
            prompting.counterfactual_words(task, item, prediction)
            if is_list
            else prompting.redact(task, item, prediction, mask=self.mask)
        )
        answers = yield [Generate(prompt=prompt, max_new_tokens=self.max_new_tokens)]
        answer = cast(Generation, answers[0])
        if is_list:
            return self._listed(original, answer)
        found = extract_edit(answer.text, original=original, field=task.edit_field, finished=answer.finished)
        outcome = classify_redaction(found, answer.text, original=original, mask=self.mask)
        return _Explained(outcome=outcome, text=found.text, answer=answer.text)

    def _listed(self, original: str, answer: Generation) -> _Explained:
        if refuses(answer.text.strip()):
            return _Explained(outcome="refused", text=None, answer=answer.text)
        named = listed_words(answer.text, original=original)
        if not named:
            return _Explained(outcome="empty", text=None, answer=answer.text)
        hidden = hide(original, named, mask=self.mask, which=self.redact)
        share = redacted_share(original, hidden.text, self.mask)
        outcome = "nothing_redacted" if not hidden.found else "everything_redacted" if share == 1 else "ok"
        return _Explained(
            outcome=outcome, text=hidden.text, answer=answer.text, words=named, words_missing=len(hidden.missing)
        )

    def _after_edit(self, task: Task, item: Item, told: _Explained) -> Asking[tuple[str | None, bool]]:
        if told.text is None or not words(told.text):
            return None, False
        after = yield from ask_label(
            task, prompting.with_field(item, task.edit_field, told.text), normalize=self.normalize
        )
        return after.prediction, False

    def _after_hiding(
        self, task: Task, item: Item, told: _Explained, prediction: str
    ) -> Asking[tuple[str | None, bool]]:
        """Return the label of the text with hidden words, and whether the untouched text gets the unknown label too."""
        if told.text is None or told.outcome not in _CHECKED[self.explanation]:
            return None, False
        labels = _without_unknown(task, item)
        known = replace(item, choices=labels)
        texts = (told.text, _text_of(task, item))
        prompts = [
            prompting.classify_masked(task, prompting.with_field(known, task.edit_field, text), mask=self.mask)
            for text in texts
        ]
        after, untouched = yield from ask_labels(prompts, (*labels, prompting.UNKNOWN), normalize=self.normalize)
        undetermined = self._is_unknown(untouched.prediction) or self._is_unknown(prediction)
        return after.prediction, undetermined

    def _is_unknown(self, label: str) -> bool:
        return label == prompting.UNKNOWN or label in self.neutral_labels

    def _values(
        self, task: Task, item: Item, before: Choice, told: _Explained, label: str | None, *, undetermined: bool
    ) -> dict[str, Value]:
        outcome = "undetermined" if undetermined else told.outcome
        correct = before.prediction == item.answers[0]
        faithful: bool | None = None
        if label is not None and not undetermined:
            faithful = label == told.target if told.target is not None else self._is_unknown(label)
        is_hiding = self.explanation != "counterfactual" and told.text is not None
        return {
            "prediction": before.prediction,
            "gold": item.answers[0],
            "correct": correct,
            "explanation": told.answer,
            "outcome": outcome,
            "text": told.text,
            "target": told.target,
            "label": label,
            "checked": faithful is not None,
            "faithful": faithful,
            "faithful_of_all": faithful is True,
            "faithful_if_correct": faithful if correct else None,
            "faithful_and_correct": None if faithful is None else faithful and correct,
            "undetermined": undetermined,
            **{
                name: told.outcome == name
                for name in ("unchanged", "nothing_redacted", "everything_redacted", "rewritten")
            },
            "unreadable": label is None and told.outcome in {"refused", "unparsable", "empty", "truncated"},
            "words": None if told.words is None else list(told.words),
            "words_missing": told.words_missing,
            "redacted_share": redacted_share(_text_of(task, item), told.text or "", self.mask) if is_hiding else None,
        }


def _text_of(task: Task, item: Item) -> str:
    if task.edit_field not in item.fields:
        raise Unusable(f"The item has no field '{task.edit_field}' to edit.")
    return item.fields[task.edit_field]


def _without_unknown(task: Task, item: Item) -> tuple[str, ...]:
    """Return the item's labels less "unknown", which the prompt for hidden words adds by itself."""
    return tuple(label for label in task.labels_of(item) if label != prompting.UNKNOWN)
