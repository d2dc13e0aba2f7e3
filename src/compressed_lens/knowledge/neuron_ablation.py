"""Ablation: do the neurons that a score flags matter more to the fact than random ones of the same blocks?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from compressed_lens.analyses.base import Curve, Metric, Picture, Record, Steps
from compressed_lens.analyses.settings import at_least_one, at_least_zero, one_of
from compressed_lens.knowledge.facts import beside_full
from compressed_lens.knowledge.integrated_neurons import draw_seed
from compressed_lens.lm.inspections import IntegratedNeurons, Intervene, Neuron, Neurons
from compressed_lens.lm.protocol import Inspect, Inspection, Prompt
from compressed_lens.tasks.base import Item, Task, TaskKind

By = Literal["log_probability", "integrated_gradients"]


def judged(before: float, flagged: float, random: Sequence[float], *, least: float) -> dict[str, Any]:
    """Return what the ablation of a flagged set did next to that of random sets.

    Args:
        before: Log-probability of the target, nothing ablated.
        flagged: With the flagged set ablated.
        random: With each random set ablated.
        least: How much further, in nats, it must fall with the flagged set than with every random one to matter.
    """
    drop, drops = before - flagged, [before - value for value in random]
    mean, margin = sum(drops) / len(drops), drop - max(drops)
    return {
        "drop_flagged": drop,
        "drop_random": mean,
        "difference": drop - mean,
        "margin": margin,
        "matters": margin > 0 and margin >= least,
    }


@dataclass(frozen=True, kw_only=True)
class NeuronAblation:
    """Set the flagged feed-forward neurons of a fact to zero at the last token, and random ones for comparison.

    Values: `log_probability` and `probability` of the object's first token; `drop_flagged` and `drop_random` (fall of
    it, in nats, with the flagged set and, on average, with a random one, at zero), `difference` of the two, `margin`
    (how much further than with every random one), `matters` (see `judged`), `kept_flagged` (whether the likeliest token
    stays) and `kept_random` (share of the random sets with which it does), `flagged` (how many), `neurons` [block,
    index, score], `by_block`; the same for the neurons that full precision flags, ablated here: `full_drop_flagged`,
    `full_drop_random`, `full_difference`, `full_margin`, `full_matters`, `full_kept_flagged`, `full_kept_random`;
    `shared` (share of full precision's that are flagged here, too); `outcome`.

    Attributes:
        by: Score that flags: "log_probability" (increase, Yu & Ananiadou 2024) or "integrated_gradients" (Dai et al.
            2022, right sums of 20 steps).
        count: How many neurons are flagged, the best over all blocks; fewer where fewer speak for the object.
        draws: Random sets, each with as many neurons in each block and none that is flagged.
        least: How much further, in nats, the log-probability must fall than with every random set to matter.
    """

    name: ClassVar[str] = "neuron_ablation"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("recall",)
    roles: ClassVar[tuple[str, ...]] = ("full",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="matters",
            value="matters",
            direction="neither",
            unit="rate",
            summary="Share of facts whose flagged neurons matter: without them P(object) falls further than without "
            "any random set",
            primary=True,
        ),
        Metric(
            name="full_matters",
            value="full_matters",
            direction="neither",
            unit="rate",
            summary="The same for the neurons that full precision flags, ablated here",
        ),
        Metric(
            name="drop_flagged",
            value="drop_flagged",
            direction="neither",
            unit="nats",
            summary="Mean fall of the object's log-probability without its flagged neurons",
        ),
        Metric(
            name="drop_random",
            value="drop_random",
            direction="neither",
            unit="nats",
            summary="The same without as many random neurons of the same blocks",
        ),
        Metric(
            name="difference",
            value="difference",
            direction="neither",
            unit="nats",
            summary="How much further it falls without flagged neurons than without random ones",
        ),
        Metric(
            name="full_difference",
            value="full_difference",
            direction="neither",
            unit="nats",
            summary="The same for the neurons that full precision flags, ablated here",
        ),
        Metric(
            name="shared_with_full",
            value="shared",
            direction="neither",
            unit="rate",
            summary="Share of the neurons flagged in full precision that are flagged here, too",
        ),
    )
    pictures: ClassVar[tuple[Picture, ...]] = (
        Curve(
            name="flagged neurons",
            value="by_block",
            unit="neurons",
            direction="neither",
            summary="Mean number of flagged neurons in each block",
            axis="block",
        ),
    )

    by: By = "log_probability"
    count: int = 20
    draws: int = 5
    least: float = 0.1

    def __post_init__(self) -> None:
        one_of("by", self.by, ("log_probability", "integrated_gradients"))
        at_least_one("count", self.count)
        at_least_one("draws", self.draws)
        at_least_zero("least", self.least)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask which neurons are flagged, here and in full precision, then what happens without them."""
        prompt, target = Prompt(text=item.fields["prompt"]), item.answers[0]
        flag = Inspect(prompt=prompt, by=self._flag(target))
        theirs, mine = yield from beside_full(flag)
        listed = self._flagged(mine)
        own, full = _places(listed), _places(self._flagged(theirs))
        ablate = Intervene(target=target, sets=(own, full), draws=self.draws, seed=draw_seed(item))
        (answer,) = yield [Inspect(prompt=prompt, by=ablate)]
        read = cast(Inspection, answer).values
        values: dict[str, Any] = {
            "log_probability": read["before"],
            "probability": math.exp(read["before"]),
            "flagged": len(own),
            "neurons": [list(one) for one in listed],
            "by_block": [sum(block == own_block for own_block, _ in own) for block in range(len(read["sizes"]))],
            "shared": len(set(own) & set(full)) / len(full) if full else None,
            "outcome": "nothing flagged",
        }
        for number, (name, neurons) in enumerate((("", own), ("full_", full))):
            if neurons:
                found = judged(
                    read["before"], read["log_probability"][number], read["random"][number], least=self.least
                )
                kept = read["random_kept"][number]
                found.update(kept_flagged=read["kept"][number], kept_random=sum(kept) / len(kept))
                values.update({f"{name}{key}": value for key, value in found.items()})
        if own:
            amount = "hardly" if values["margin"] > 0 else "no"
            values["outcome"] = "matters" if values["matters"] else f"{amount} more than random neurons"
        return Record(values=values)

    def _flag(self, target: str) -> Neurons | IntegratedNeurons:
        if self.by == "log_probability":
            return Neurons(target=target, top=self.count)
        return IntegratedNeurons(target=target, share=0.0, most=self.count)

    def _flagged(self, values: Mapping[str, Any]) -> list[tuple[int, int, float]]:
        """Return the flagged neurons that speak for the target: (block, index, score)."""
        neurons = values["ffn"]["neurons"] if self.by == "log_probability" else values["neurons"]
        return [(block, index, score) for block, index, score in neurons if score > 0]


def _places(listed: Sequence[tuple[int, int, float]]) -> tuple[Neuron, ...]:
    return tuple((block, index) for block, index, _ in listed)
