"""One-hop factual recall: does the greedy continuation of a statement start with the right object."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from compressed_lens.analyses.base import Metric, Record, Steps
from compressed_lens.analyses.settings import at_least_one, one_of, truth_value
from compressed_lens.lm.protocol import Generate, Generation, Message, Prompt, Score, Scores
from compressed_lens.tasks.base import Item, Task, TaskKind

_SPARE = 2


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).strip().casefold())


def recalled(continuation: str, answers: Sequence[str], *, boundary: bool = False) -> bool:
    """Return whether the stripped continuation starts with an accepted answer, whatever the case.

    Args:
        continuation: What the model wrote.
        answers: Accepted answers; empty ones are ignored.
        boundary: Ask that the answer ends there as a word: "Parisian" is then not "Paris".
    """
    said = _folded(continuation)
    for answer in map(_folded, answers):
        rest = said[len(answer) :]
        if answer and said.startswith(answer) and not (boundary and rest[:1].isalnum()):
            return True
    return False


def first_token_right(token: str, answers: Sequence[str]) -> bool | None:
    """Return whether the first generated token, stripped, is a non-empty prefix of an accepted answer.

    None when the token is nothing but spaces (some tokenizers split them off), which says nothing yet.
    This is the rule of the LRE authors (`is_nontrivial_prefix`).
    """
    said = _folded(token)
    if not said:
        return None if token and not token.strip(" ") else False
    return any(_folded(answer).startswith(said) for answer in answers)


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Complete a statement of fact.

    Values: `continuation`, `correct`, `first_token` and `first_token_correct`, `log_probability` of the item's own
    object (sum over its tokens, nats), `object_tokens`; with `rank` also `rank` (1 is best) and `candidates`.

    Attributes:
        ask: "continue": plain text to be continued, no chat template. "chat": the statement or question as a
            user's turn.
        boundary: Ask that the answer ends as a word ("Parisian" is then not "Paris").
        rank: Also score every object of the relation and rank the right one; costs one continuation a candidate.
        max_new_tokens: Longest continuation, in tokens; 32 as in Yang et al. (2024). An object that needs more
            gets its length and two tokens.
    """

    name: ClassVar[str] = "recall"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("recall",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="recall",
            value="correct",
            direction="higher",
            unit="rate",
            summary="Share of facts whose greedy continuation starts with an accepted answer",
            on_failure=0.0,
        ),
        Metric(
            name="first_token_accuracy",
            value="first_token_correct",
            direction="higher",
            unit="rate",
            summary="Share of facts whose first generated token begins an accepted answer",
            on_failure=0.0,
        ),
        Metric(
            name="log_probability",
            value="log_probability",
            direction="higher",
            unit="nats",
            summary="Mean log-probability of the right object",
        ),
        Metric(
            name="ranked_first",
            value="ranked_first",
            direction="higher",
            unit="rate",
            summary="Share of facts whose object is the likeliest of the relation's objects (setting rank)",
        ),
    )

    ask: Literal["continue", "chat"] = "continue"
    boundary: bool = False
    rank: bool = False
    max_new_tokens: int = 32

    def __post_init__(self) -> None:
        one_of("ask", self.ask, ("continue", "chat"))
        truth_value("boundary", self.boundary)
        truth_value("rank", self.rank)
        at_least_one("max_new_tokens", self.max_new_tokens)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for the first token and the log-probability of the object, then for a continuation that can hold it."""
        text = item.fields["prompt"]
        prompt = Prompt(text=text) if self.ask == "continue" else Prompt(messages=(Message(role="user", content=text),))
        others = task.candidates.get(item.group, ()) if self.rank else ()
        rivals = tuple(other for other in others if other not in item.answers)
        first, scored = yield [
            Generate(prompt=prompt, max_new_tokens=1),
            Score(prompt=prompt, continuations=(item.answers[0], *rivals)),
        ]
        token, scores = cast(Generation, first).text, cast(Scores, scored)
        # A long name in a small vocabulary must fit, or it could never be right.
        room = max(self.max_new_tokens, scores.tokens[0] + _SPARE)
        continued = yield [Generate(prompt=prompt, max_new_tokens=room)]
        continuation = cast(Generation, continued[0]).text
        own = scores.log_probabilities[0]
        if not all(map(math.isfinite, scores.log_probabilities)):
            return Record(values={"continuation": continuation}, failed="an object has no finite log-probability")
        place = 1 + sum(value > own for value in scores.log_probabilities[1:])
        return Record(
            values={
                "continuation": continuation,
                "object": item.answers[0],
                "correct": recalled(continuation, item.answers, boundary=self.boundary),
                "first_token": token,
                "first_token_correct": first_token_right(token, item.answers),
                "log_probability": own,
                "object_tokens": scores.tokens[0],
                "rank": place if self.rank else None,
                "ranked_first": place == 1 if self.rank else None,
                "candidates": len(scores.tokens) if self.rank else None,
            }
        )
