"""One-hop factual recall: does the greedy continuation of a statement start with the right object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from compressed_lens.analyses.base import Metric, Record, Steps
from compressed_lens.analyses.settings import at_least_one, at_least_zero, one_of, truth_value
from compressed_lens.ids import digest
from compressed_lens.knowledge.facts import other_wordings
from compressed_lens.knowledge.matching import MATCHES, Match, consistency, first_token_right, prediction, recalled
from compressed_lens.lm.protocol import Generate, Generation, Message, Prompt, Score, Scores
from compressed_lens.tasks.base import Item, Task, TaskKind

Ask = Literal["continue", "chat"]
ASKS: tuple[Ask, ...] = ("continue", "chat")
SPARE = 2
"""Tokens beyond the answer's own that a continuation may always have."""

_ALWAYS = (
    Metric(
        name="recall",
        value="correct",
        direction="higher",
        unit="rate",
        summary="Share of facts whose greedy continuation gives an accepted answer",
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
)
_RANKED = Metric(
    name="ranked_first",
    value="ranked_first",
    direction="higher",
    unit="rate",
    summary="Share of facts whose object is the likeliest of the relation's objects",
)
_PARAPHRASED = (
    Metric(
        name="consistency",
        value="consistency",
        direction="higher",
        unit="rate",
        summary="Share of pairs of wordings of a fact with equal predictions, right or wrong",
    ),
    Metric(
        name="all_right",
        value="all_right",
        direction="higher",
        unit="rate",
        summary="Share of facts that are right in every wording",
    ),
)


def examples(task: Task, item: Item, count: int) -> list[Item]:
    """Return `count` other facts of the item's relation, drawn by a digest of both; all there are where fewer.

    Never the item itself, nor a fact with its prompt or its subject.
    """
    subject = item.extra.get("subject")
    others = [
        other
        for other in task.by_group.get(item.group, ())
        if other.fields["prompt"] != item.fields["prompt"]
        and (subject is None or other.extra.get("subject") != subject)
    ]
    return sorted(others, key=lambda other: digest([item.id, other.id]))[:count]


def asking(ask: Ask, text: str, shots: Sequence[Item] = ()) -> Prompt:
    """Return the prompt that asks for the end of a statement: plain text, or a conversation; examples come first."""
    if ask == "continue":
        return Prompt(text="\n".join([*(f"{s.fields['prompt']} {s.answers[0]}" for s in shots), text]))
    turns = [
        message
        for shot in shots
        for message in (
            Message(role="user", content=shot.fields["prompt"]),
            Message(role="assistant", content=shot.answers[0]),
        )
    ]
    return Prompt(messages=(*turns, Message(role="user", content=text)))


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Complete a statement of fact.

    Values: `continuation`, `object`, `correct`, `first_token` and `first_token_correct`, `log_probability` of the
    item's own object (sum over its tokens, nats), `object_tokens`, `shots` (examples given); with `rank` also `rank` (1
    is best) and `candidates`; with `paraphrases` also `predictions` (of every wording, the item's own first),
    `consistency` (0 to 1) and `all_right`.

    Attributes:
        ask: "continue": plain text to be continued, no chat template. "chat": the statement or question as a
            user's turn.
        match: When a continuation is right: see `matching.recalled`.
        shots: Completed facts of the same relation before the statement, on lines (or turns) of their own; the answer
            then ends with its line. A relation with fewer gives what it has.
        rank: Also score every object of the relation (or the item's own choices) and rank the right one; costs one
            continuation a candidate.
        paraphrases: Also ask every other wording of the fact that the data have (ParaRel, Elazar et al. 2021). What a
            wording predicts is its likeliest candidate with `rank`, else what its continuation says.
        max_new_tokens: Longest continuation, in tokens; 32 as in Yang et al. (2024). An object that needs more
            gets its length and two tokens.
    """

    name: ClassVar[str] = "recall"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("recall", "chain")

    ask: Ask = "continue"
    match: Match = "start"
    shots: int = 0
    rank: bool = False
    paraphrases: bool = False
    max_new_tokens: int = 32

    def __post_init__(self) -> None:
        one_of("ask", self.ask, ASKS)
        one_of("match", self.match, MATCHES)
        at_least_zero("shots", self.shots)
        if self.shots:
            at_least_one("shots", self.shots)
        truth_value("rank", self.rank)
        truth_value("paraphrases", self.paraphrases)
        at_least_one("max_new_tokens", self.max_new_tokens)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of the continuation and the score, and of ranking and other wordings where these are asked for."""
        return (*_ALWAYS, *((_RANKED,) if self.rank else ()), *(_PARAPHRASED if self.paraphrases else ()))

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for the first token and the log-probability of the object, then for a continuation that can hold it."""
        shots = examples(task, item, self.shots) if self.shots else []
        wordings = [item.fields["prompt"], *(other_wordings(item) if self.paraphrases else ())]
        prompts = [asking(self.ask, wording, shots) for wording in wordings]
        others = (item.choices or task.candidates.get(item.group, ())) if self.rank else ()
        candidates = (item.answers[0], *(other for other in others if other not in item.answers))
        first, *scored = yield [
            Generate(prompt=prompts[0], max_new_tokens=1),
            *(Score(prompt=p, continuations=candidates) for p in (prompts if self.rank else prompts[:1])),
        ]
        token, scores = cast(Generation, first).text, cast(list[Scores], scored)
        # A long name in a small vocabulary must fit, or it could never be right.
        room = max(self.max_new_tokens, scores[0].tokens[0] + SPARE)
        stop = ("\n",) if shots else ()
        continued = yield [
            Generate(prompt=p, max_new_tokens=room, stop=stop) for p in (prompts[:1] if self.rank else prompts)
        ]
        texts = [answer.text for answer in cast(list[Generation], continued)]
        values = scores[0].log_probabilities
        if not all(math.isfinite(value) for each in scores for value in each.log_probabilities):
            return Record(values={"continuation": texts[0]}, failed="an object has no finite log-probability")
        place = 1 + sum(value > values[0] for value in values[1:])
        asked = self.paraphrases and len(wordings) > 1
        said = self._ranked(candidates, scores) if self.rank else self._said(texts, task, item)
        return Record(
            values={
                "continuation": texts[0],
                "object": item.answers[0],
                "correct": recalled(texts[0], item.answers, match=self.match),
                "first_token": token,
                "first_token_correct": first_token_right(token, item.answers),
                "log_probability": values[0],
                "object_tokens": scores[0].tokens[0],
                "shots": len(shots),
                "rank": place if self.rank else None,
                "ranked_first": place == 1 if self.rank else None,
                "candidates": len(candidates) if self.rank else None,
                "predictions": list(said) if asked else None,
                "consistency": consistency(said) if asked else None,
                "all_right": all(one == item.answers[0] for one in said) if asked else None,
            }
        )

    def _ranked(self, candidates: Sequence[str], scores: Sequence[Scores]) -> list[str]:
        """Return the likeliest candidate of every wording; a tie goes to the right one, which comes first."""
        return [candidates[s.log_probabilities.index(max(s.log_probabilities))] for s in scores]

    def _said(self, texts: Sequence[str], task: Task, item: Item) -> list[str]:
        """Return what every continuation says, the item's own object for any accepted answer."""
        known = task.candidates.get(item.group, ())
        return [
            item.answers[0]
            if recalled(text, item.answers, match=self.match)
            else prediction(text, known, match=self.match)
            for text in texts
        ]
