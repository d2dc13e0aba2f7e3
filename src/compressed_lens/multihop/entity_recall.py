"""Entity recall: does the mention of a bridge entity bring the entity itself to mind, layer by layer (RQ1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from compressed_lens.analyses.base import Curve, Metric, Picture, Record, Steps, Value
from compressed_lens.analyses.settings import one_of
from compressed_lens.lm.inspections import Lens
from compressed_lens.lm.protocol import Inspect, Inspection, Prompt, Request
from compressed_lens.multihop.depth import beats, middle
from compressed_lens.multihop.hops import Mentioned, hops
from compressed_lens.tasks.base import Item, Task, TaskKind


@dataclass(frozen=True, kw_only=True)
class EntityRecall:
    """Read the bridge entity out of every state at the last token of its descriptive mention (Yang et al. 2024, RQ1).

    "The capital of the country of X" never says which country that is. EntRec of a state is the log-probability of the
    bridge entity's first token when that state, at the last token of "the country of X", is put through the final norm
    and the unembedding. It is compared with EntRec of the same entity in two prompts whose mention means another one:
    with another e1 (entity substitution), and with another relation (relation substitution).

    Values: `entity_recall` [states] (nats, at most 0); for each substitute that the item has, else None:
    `entity_margin`, `relation_margin` [states] (EntRec minus that of the substituted prompt, nats) and `entity_beats`,
    `relation_beats` [states] (1 where EntRec is higher, 0 where it is lower, 0.5 where they are equal to 1e-5 nats, as
    in state 0 when both mentions end in the same token); the summaries `middle_entity_recall`, `middle_entity_beats`,
    `middle_relation_beats` (means over the middle third of the states), `best_entity_recall`, `best_state`,
    `final_entity_recall`; `token` (the bridge's first token), `top` [states].

    Attributes:
        at: Where states are read: the "mention"'s last token, as in the paper, or the "end" of the prompt, where models
            that put off the first hop have the bridge in mind.
    """

    name: ClassVar[str] = "entity_recall"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("chain",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="beats_entity",
            value="middle_entity_beats",
            direction="higher",
            unit="rate",
            summary="Share of chains and middle states with EntRec above that with another e1; chance 50 %",
            primary=True,
        ),
        Metric(
            name="beats_relation",
            value="middle_relation_beats",
            direction="higher",
            unit="rate",
            summary="Share of chains and middle states with EntRec above that with another first relation; chance 50 %",
            primary=True,
        ),
        Metric(
            name="entity_recall",
            value="middle_entity_recall",
            direction="higher",
            unit="nats",
            summary="EntRec of the bridge entity, mean over the middle states",
        ),
        Metric(
            name="best_entity_recall",
            value="best_entity_recall",
            direction="higher",
            unit="nats",
            summary="EntRec of the bridge entity in the state where it is highest",
        ),
        Metric(
            name="final_entity_recall",
            value="final_entity_recall",
            direction="higher",
            unit="nats",
            summary="EntRec of the bridge entity in the last state: its log-probability as the next word",
        ),
    )
    pictures: ClassVar[tuple[Picture, ...]] = (
        Curve(
            name="entity recall",
            value="entity_recall",
            unit="nats",
            direction="higher",
            summary="EntRec: log-probability of the bridge entity, read out of the state at its mention's last token",
        ),
        Curve(
            name="entity recall against another e1",
            value="entity_beats",
            unit="rate",
            direction="higher",
            summary="Share of chains with EntRec above that of the entity-substituted prompt (RQ1); chance 50 %",
        ),
        Curve(
            name="entity recall against another relation",
            value="relation_beats",
            unit="rate",
            direction="higher",
            summary="Share of chains with EntRec above that of the relation-substituted prompt (RQ1); chance 50 %",
        ),
    )

    at: Literal["mention", "end"] = "mention"

    def __post_init__(self) -> None:
        one_of("at", self.at, ("mention", "end"))

    def steps(self, task: Task, item: Item) -> Steps:
        """Read out the composed prompt and its substitutes at once."""
        chain = hops(item)
        substitutes = {"entity": chain.entity, "relation": chain.relation}
        kept = {name: other for name, other in substitutes.items() if other is not None}
        asked = [Mentioned(prompt=chain.composed, mention=chain.mention), *kept.values()]
        answers = yield [
            reading(one.prompt, one.mention if self.at == "mention" else "", chain.bridge[0]) for one in asked
        ]
        read = [cast(Inspection, answer).values for answer in answers]
        if reason := unusable(read):
            return Record(values={}, failed=reason)
        own = read[0]["log_probability"]
        values: dict[str, Value] = {
            "entity_recall": own,
            "middle_entity_recall": middle(own),
            "best_entity_recall": max(own),
            "best_state": own.index(max(own)),
            "final_entity_recall": own[-1],
            "token": read[0]["token"],
            "top": read[0]["top"],
        }
        others = dict(zip(kept, read[1:], strict=True))
        for name in substitutes:
            other = others[name]["log_probability"] if name in others else None
            won = None if other is None else beats(own, other)
            values[f"{name}_margin"] = None if other is None else [a - b for a, b in zip(own, other, strict=True)]
            values[f"{name}_beats"] = cast(Value, won)
            values[f"middle_{name}_beats"] = None if won is None else middle(won)
        return Record(values=values)


def reading(prompt: str, mention: str, target: str) -> Request:
    """Return the request that reads `target` out of every state at the last token of `mention`, "" for the prompt's."""
    return Inspect(prompt=Prompt(text=prompt), by=Lens(target=target, mention=mention))


def unusable(read: list[Any]) -> str:
    """Return why read-outs of one entity in several prompts cannot be compared, or ""."""
    if any(None in one["log_probability"] for one in read):
        return "a state's read-out is not finite"
    if len({one["token"] for one in read}) > 1:
        return "the bridge entity starts with another token behind a substituted mention"
    if any(not one["token"].strip() for one in read):
        return "the first token of the bridge entity is nothing but a space for this tokenizer, and tells nothing"
    return ""
