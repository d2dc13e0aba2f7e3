"""Two-hop accuracy: each hop alone, both composed, and the table of the eight cases (Yang et al. 2024, 2402.16837)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

from compressed_lens.analyses.base import Metric, Mosaic, Picture, Record, Steps
from compressed_lens.analyses.settings import at_least_one, one_of
from compressed_lens.knowledge.matching import MATCHES, Match, recalled
from compressed_lens.knowledge.recall import ASKS, SPARE, Ask, asking
from compressed_lens.lm.protocol import Generate, Generation, Score, Scores
from compressed_lens.multihop.hops import hops
from compressed_lens.tasks.base import Item, Task, TaskKind

OUTCOMES = {
    (True, True, True): "both hops and composed",
    (True, True, False): "both hops, not composed",
    (True, False, True): "composed without the second hop",
    (True, False, False): "first hop only",
    (False, True, True): "composed without the first hop",
    (False, True, False): "second hop only",
    (False, False, True): "composed without either hop",
    (False, False, False): "nothing",
}
_PARTS = ("first", "second", "composed")


@dataclass(frozen=True, kw_only=True)
class TwoHop:
    """Complete r1(e1), r2(e2) and r2(r1(e1)).

    A variant can lose a hop or lose the composition; the three accuracies alone do not tell which. So every item is put
    into one of eight cases, and `two_hop_given_both` looks at the composition where both hops are known.

    Values, for each of `first`, `second` and `composed`: `*_text`, `*_correct` (bool) and `*_log_probability` (of the
    entity's own name, sum over its tokens, nats); `composed_given_both` (None unless both hops are right); `outcome`.

    Attributes:
        ask: "continue": plain text to be continued, no chat template. "chat": a user's turn.
        match: When a continuation is right: see `knowledge.matching.recalled`.
        max_new_tokens: Longest continuation, in tokens; 32 as in the paper. An answer that needs more gets its length
            and two tokens.
    """

    name: ClassVar[str] = "two_hop"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("chain",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="first_hop",
            value="first_correct",
            direction="higher",
            unit="rate",
            summary="Share of chains whose first fact r1(e1) is recalled",
            on_failure=0.0,
        ),
        Metric(
            name="second_hop",
            value="second_correct",
            direction="higher",
            unit="rate",
            summary="Share of chains whose second fact r2(e2) is recalled",
            on_failure=0.0,
        ),
        Metric(
            name="two_hop",
            value="composed_correct",
            direction="higher",
            unit="rate",
            summary="Share of chains whose composed fact r2(r1(e1)) is recalled",
            on_failure=0.0,
            primary=True,
        ),
        Metric(
            name="two_hop_given_both",
            value="composed_given_both",
            direction="higher",
            unit="rate",
            summary="The same among chains whose hops are both recalled: the composition itself",
        ),
        Metric(
            name="first_log_probability",
            value="first_log_probability",
            direction="higher",
            unit="nats",
            summary="Mean log-probability of the bridge entity after r1(e1)",
        ),
        Metric(
            name="second_log_probability",
            value="second_log_probability",
            direction="higher",
            unit="nats",
            summary="Mean log-probability of the answer after r2(e2)",
        ),
        Metric(
            name="composed_log_probability",
            value="composed_log_probability",
            direction="higher",
            unit="nats",
            summary="Mean log-probability of the answer after r2(r1(e1))",
        ),
    )
    pictures: ClassVar[tuple[Picture, ...]] = (
        Mosaic(name="hops", summary="Which hops are recalled, and whether the composed fact is"),
    )

    ask: Ask = "continue"
    match: Match = "start"
    max_new_tokens: int = 32

    def __post_init__(self) -> None:
        one_of("ask", self.ask, ASKS)
        one_of("match", self.match, MATCHES)
        at_least_one("max_new_tokens", self.max_new_tokens)

    def steps(self, task: Task, item: Item) -> Steps:
        """Score the right answer after each prompt, then ask for continuations that can hold it."""
        chain = hops(item)
        prompts = [asking(self.ask, text) for text in (chain.first, chain.second, chain.composed)]
        accepted = (chain.bridge, chain.answers, chain.answers)
        scored = yield [
            Score(prompt=prompt, continuations=(names[0],)) for prompt, names in zip(prompts, accepted, strict=True)
        ]
        scores = cast(list[Scores], scored)
        rooms = [max(self.max_new_tokens, s.tokens[0] + SPARE) for s in scores]
        said = yield [Generate(prompt=p, max_new_tokens=room) for p, room in zip(prompts, rooms, strict=True)]
        texts = [answer.text for answer in cast(list[Generation], said)]
        written = {f"{part}_text": text for part, text in zip(_PARTS, texts, strict=True)}
        if not all(math.isfinite(s.log_probabilities[0]) for s in scores):
            return Record(values=dict(written), failed="an answer has no finite log-probability")
        first, second, composed = (
            recalled(text, names, match=self.match) for text, names in zip(texts, accepted, strict=True)
        )
        return Record(
            values={
                **written,
                **{f"{part}_log_probability": s.log_probabilities[0] for part, s in zip(_PARTS, scores, strict=True)},
                "first_correct": first,
                "second_correct": second,
                "composed_correct": composed,
                "composed_given_both": composed if first and second else None,
                "outcome": OUTCOMES[first, second, composed],
            }
        )
