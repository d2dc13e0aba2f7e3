"""Consistency: does a two-hop prompt answer as its one-hop prompt does, and more so as the bridge comes to mind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from compressed_lens.analyses.base import Curve, Metric, Picture, Record, Steps, Value
from compressed_lens.analyses.settings import truth_value
from compressed_lens.lm.inspections import Consistency
from compressed_lens.lm.protocol import Inspect, Inspection, Prompt, Request
from compressed_lens.multihop.depth import beats, middle
from compressed_lens.multihop.entity_recall import reading, unusable
from compressed_lens.multihop.hops import hops
from compressed_lens.tasks.base import Item, Task, TaskKind

_ALWAYS = (
    Metric(
        name="consistency",
        value="score",
        direction="higher",
        unit="nats",
        summary="CnstScore of the two-hop and the one-hop prompt; 0 at best",
        primary=True,
    ),
    Metric(
        name="increases",
        value="middle_increases",
        direction="higher",
        unit="rate",
        summary="Share of chains and middle states where more recall of the bridge raises CnstScore; chance 50 %",
        primary=True,
    ),
    Metric(
        name="same_prediction",
        value="same_top",
        direction="higher",
        unit="rate",
        summary="Share of chains whose two-hop and one-hop prompt predict the same token",
    ),
)
_PATHWAY = Metric(
    name="pathway",
    value="middle_pathway",
    direction="higher",
    unit="rate",
    summary="Share of chains and middle states where both hops are seen; chance 25 %",
)
_GRADIENT = Curve(
    name="consistency gradient",
    value="increases",
    unit="rate",
    direction="higher",
    summary="Share of chains where more recall of the bridge raises CnstScore (RQ2); chance 50 %",
)
_PATHWAY_CURVE = Curve(
    name="two-hop pathway",
    value="pathway",
    unit="rate",
    direction="higher",
    summary="Share of chains where EntRec beats another e1 and its increase raises CnstScore; chance 25 %",
)


@dataclass(frozen=True, kw_only=True)
class TwoHopConsistency:
    """Compare what follows the two-hop prompt with what follows the one-hop prompt (Yang et al. 2024, RQ2).

    CnstScore = (sum p log q + sum q log p) / 2 over the two next-token distributions: minus the mean of both cross-
    entropies, in nats, at most 0; minus the entropy when they are equal. Its gradient in a state is the derivative by
    alpha, at 0, when alpha times the gradient of EntRec (see `EntityRecall`) is added to that state at the mention's
    last token: positive where thinking more of the bridge entity makes the two-hop prompt answer more like the one-hop
    prompt.

    Values: `score`, `entropy`, `other_entropy`, `same_top`; `gradient` and `increases` [states] (1 where the gradient
    is positive, else 0; the last state has None unless the mention ends the prompt); with `pathway`, and where the item
    has an entity substitute, `pathway` [states]: 1 where EntRec beats the entity-substituted prompt and the gradient is
    positive, too (half a win where EntRec is equal); the summaries `middle_increases` and `middle_pathway` over the
    middle third of the states.

    Attributes:
        pathway: Also ask for EntRec of the composed and the entity-substituted prompt: two read-outs, which are those
            of `entity_recall`.
    """

    name: ClassVar[str] = "consistency"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("chain",)

    pathway: bool = True

    def __post_init__(self) -> None:
        truth_value("pathway", self.pathway)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Score and gradient, and with `pathway` both hops at once."""
        return (*_ALWAYS, _PATHWAY) if self.pathway else _ALWAYS

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Where the gradient is positive, and with `pathway` where both hops are seen."""
        return (_GRADIENT, _PATHWAY_CURVE) if self.pathway else (_GRADIENT,)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for score and gradient, and for both read-outs of the first hop."""
        chain = hops(item)
        bridge = chain.bridge[0]
        by = Consistency(other=Prompt(text=chain.second), mention=chain.mention, target=bridge)
        asked: list[Request] = [Inspect(prompt=Prompt(text=chain.composed), by=by)]
        if self.pathway and chain.entity is not None:
            asked.append(reading(chain.composed, chain.mention, bridge))
            asked.append(reading(chain.entity.prompt, chain.entity.mention, bridge))
        answers = yield [*asked]
        found, *read = (cast(Inspection, answer).values for answer in answers)
        gradient: list[float | None] = found["gradient"]
        if found["score"] is None or None in gradient[:-1]:
            return Record(values={}, failed="the consistency score or its gradient is not finite")
        if reason := unusable(read):
            return Record(values={}, failed=reason)
        increases = [None if slope is None else float(slope > 0) for slope in gradient]
        both: list[float | None] | None = None
        if read:
            won = beats(read[0]["log_probability"], read[1]["log_probability"])
            both = [None if up is None else up * win for up, win in zip(increases, won, strict=True)]
        return Record(
            values={
                **{name: found[name] for name in ("score", "entropy", "other_entropy", "same_top")},
                "gradient": cast(Value, gradient),
                "increases": cast(Value, increases),
                "middle_increases": middle(increases),
                "pathway": cast(Value, both),
                "middle_pathway": None if both is None else middle(both),
            }
        )
