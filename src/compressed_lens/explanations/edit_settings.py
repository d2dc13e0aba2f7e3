"""What analyses of edited texts have in common: how the edit is asked for, and when it is small enough to be one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from compressed_lens.analyses.labels import Normalize
from compressed_lens.analyses.settings import at_least_one, at_least_zero, one_of
from compressed_lens.errors import StudyError
from compressed_lens.explanations.attributed import Ranking, RankingMethod
from compressed_lens.explanations.editing import (
    METHODS,
    TARGETS,
    Edited,
    Method,
    Targets,
    ask_edit,
    target_of,
)
from compressed_lens.explanations.edits import length_ratio, relative_to_original
from compressed_lens.explanations.parsing import words
from compressed_lens.explanations.prompting import with_field
from compressed_lens.explanations.sources import Asking
from compressed_lens.tasks.base import Item, Task


@dataclass(frozen=True, kw_only=True)
class EditSettings:
    """Settings shared by the analyses of edits.

    Attributes:
        method: "fizle-naive", "fizle-guided", "zerocf" or "fitcf" (see `editing.ask_edit`).
        target: Label to reach: by the task's "map", or drawn at "random" among the others.
        field: Field to edit; "" for the task's own.
        normalize: Score of a label: the "sum" of its tokens' log-probabilities, or their "mean".
        max_new_tokens: Longest answer, in tokens; it must hold the whole new text.
        temperature: 0 is greedy; above it texts are drawn. Labels are always greedy.
        seed: Which draw; also of targets, of the pool of demonstrations and of sampled Shapley values.
        attribution: How zerocf and fitcf find the words that matter (see `attributed.Ranking`).
        top: Most words they name.
        integration_steps: Points on the path of integrated gradients.
        evaluations: Texts scored for "shap".
        demonstrations: Most verified edits fitcf shows.
        pool: Items it looks for them among.
        max_distance: A valid edit changes at most this many words for each word of the original.
        min_length: A valid edit has at least this many words for each word of the original.
        max_length: A valid edit has at most this many.
    """

    method: Method = "fizle-naive"
    target: Targets = "map"
    field: str = ""
    normalize: Normalize = "sum"
    max_new_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0
    attribution: RankingMethod = "gradient_x_input"
    top: int = 5
    integration_steps: int = 16
    evaluations: int = 128
    demonstrations: int = 2
    pool: int = 8
    max_distance: float = 0.5
    min_length: float = 0.5
    max_length: float = 2.0

    def __post_init__(self) -> None:
        one_of("method", self.method, METHODS)
        one_of("target", self.target, TARGETS)
        one_of("normalize", self.normalize, ("sum", "mean"))
        if not isinstance(self.field, str):
            raise StudyError(
                f"The setting field cannot be {self.field!r}.", fix="Give the name of a field of the task."
            )
        for name in ("max_new_tokens", "top", "integration_steps", "evaluations", "demonstrations", "pool"):
            at_least_one(name, getattr(self, name))
        for name in ("temperature", "max_distance", "min_length", "max_length"):
            at_least_zero(name, getattr(self, name))
        if self.min_length > self.max_length:
            raise StudyError(
                f"The setting min_length ({self.min_length}) is above max_length ({self.max_length}).",
                fix="Give a range such as 0.5 to 2.",
            )
        self._ranking()

    def _ranking(self) -> Ranking:
        return Ranking(
            method=self.attribution,
            top=self.top,
            steps=self.integration_steps,
            evaluations=self.evaluations,
            seed=self.seed,
        )

    def ask(self, task: Task, item: Item, prediction: str, *, to: str = "self") -> Asking[Edited]:
        """Ask the model `to` for an edit that changes `prediction`; errors as `ask_edit` and `target_of`."""
        return (
            yield from ask_edit(
                task,
                item,
                prediction=prediction,
                target=target_of(task, item, prediction, how=self.target, seed=self.seed),
                method=self.method,
                field=self.field or None,
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
                seed=self.seed,
                to=to,
                ranking=self._ranking(),
                demonstrations=self.demonstrations,
                pool=self.pool,
            )
        )

    def is_valid(self, edit: Edited) -> bool:
        """Return whether an edit has no fault and is no other text: few words changed, and a like length."""
        if not edit.usable:
            return False
        text = cast(str, edit.text)
        longer = length_ratio(edit.original, text)
        return (
            relative_to_original(edit.original, text) <= self.max_distance
            and self.min_length <= longer <= self.max_length
        )


def edited_item(item: Item, edit: Edited) -> Item | None:
    """Return `item` with the edited text in place, or None where there is no text with a word in it."""
    return with_field(item, edit.field, edit.text) if edit.text and words(edit.text) else None
