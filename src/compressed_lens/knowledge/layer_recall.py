"""Recall by layer: from which layer on is the object of a fact what the model is about to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

from compressed_lens.analyses.base import Curve, Metric, Picture, Record, Steps, Value
from compressed_lens.knowledge.facts import beside_full
from compressed_lens.lm.inspections import Lens
from compressed_lens.lm.protocol import Inspect, Prompt
from compressed_lens.tasks.base import Item, Task, TaskKind


def recall_layer(ranks: Sequence[int]) -> int | None:
    """Return the first state from which on rank 1 is never lost again; None when the last state does not have it."""
    never = next((place for place in reversed(range(len(ranks))) if ranks[place] != 1), -1)
    return None if never == len(ranks) - 1 else never + 1


@dataclass(frozen=True, kw_only=True)
class LayerRecall:
    """Read the object of a fact out of every state at the prompt's last token (logit lens).

    Values: `log_probability` and `rank` [states] of the object's first token; `recall_layer`: the first state from
    which on it keeps rank 1, None when it does not have it at the end; `recalled_by` [states]: 1 from that state on,
    else 0; `recalled` (at the end); `share_recalled`: mean of `recalled_by`; `recall_layer_shift`: the recall layer
    minus that of full precision, None when either has none; `final_log_probability`; `top` [states]; `token`.
    """

    name: ClassVar[str] = "layer_recall"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("recall", "chain")
    roles: ClassVar[tuple[str, ...]] = ("full",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="share_recalled",
            value="share_recalled",
            direction="higher",
            unit="rate",
            summary="Share of a model's states at which the object's first token is the likeliest for good",
            primary=True,
        ),
        Metric(
            name="recalled",
            value="recalled",
            direction="higher",
            unit="rate",
            summary="Share of facts whose object's first token is the likeliest in the end",
        ),
        Metric(
            name="recall_layer",
            value="recall_layer",
            direction="neither",
            unit="layers",
            summary="State from which on the object's first token is the likeliest, over facts that are recalled",
        ),
        Metric(
            name="recall_layer_shift",
            value="recall_layer_shift",
            direction="neither",
            unit="layers",
            summary="That state minus full precision's, over facts that both recall; above 0 is later",
        ),
        Metric(
            name="log_probability",
            value="final_log_probability",
            direction="higher",
            unit="nats",
            summary="Mean log-probability of the object's first token",
        ),
    )
    pictures: ClassVar[tuple[Picture, ...]] = (
        Curve(
            name="facts recalled by depth",
            value="recalled_by",
            unit="rate",
            direction="higher",
            summary="Share of facts whose object is the likeliest token from this state on",
        ),
        Curve(
            name="object by layer",
            value="log_probability",
            unit="nats",
            direction="higher",
            summary="Log-probability of the object's first token, read out of the state",
        ),
    )

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask the same of the variant and of full precision."""
        request = Inspect(prompt=Prompt(text=item.fields["prompt"]), by=Lens(target=item.answers[0]))
        full, own = yield from beside_full(request)
        if None in own["rank"]:
            return Record(values={}, failed="a state's read-out is not finite")
        ranks: list[int] = own["rank"]
        layer = recall_layer(ranks)
        before = None if None in full["rank"] else recall_layer(full["rank"])
        by = [float(layer is not None and place >= layer) for place in range(len(ranks))]
        return Record(
            values={
                "log_probability": own["log_probability"],
                "rank": cast(Value, ranks),
                "recall_layer": layer,
                "recalled_by": cast(Value, by),
                "recalled": layer is not None,
                "share_recalled": sum(by) / len(by),
                "recall_layer_shift": None if layer is None or before is None else layer - before,
                "final_log_probability": own["log_probability"][-1],
                "top": own["top"],
                "token": own["token"],
            }
        )
