"""Query neurons: what activates the attention neurons that raise the object, here and in full precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressed_lens.analyses.base import Curve, Metric, Picture, Record, Steps
from compressed_lens.analyses.settings import at_least_one, one_of
from compressed_lens.knowledge.facts import TARGETS, Target, beside_full, target_of
from compressed_lens.knowledge.neurons import agreement, scored
from compressed_lens.lm.inspections import QueryNeurons
from compressed_lens.lm.protocol import Inspect, Prompt
from compressed_lens.tasks.base import Item, Task, TaskKind

_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class QueryNeuronsOfFacts:
    """Trace the top attention neurons of a fact back to what they read, and compare with full precision.

    Values: `embedding`, `attention`, `ffn` [blocks] (shares of the top attention neurons' increases, nats), `total`
    (sum of those increases), `from_embedding` and `from_ffn` (shares of `total` that the embedding and feed-forward
    parts gave; None where `total` is not positive); `found` (number of query neurons, at most `top`; attention neurons
    of the first block read the embedding and have none); None where full precision has none: `kept` (share of full
    precision's query neurons that are query neurons here), `jaccard`, `jaccard_null` (its mean for random sets with as
    many neurons in every block), `jaccard_p`; `top` (the 10 best: block, index, score); `known`, `full_known` (whether
    the target is the likeliest token), `token`.

    Attributes:
        top: Query neurons compared.
        values: Attention value neurons that are traced back; 30 in the reference.
        target: "answer": the first token of the item's object; "predicted": the token that each model predicts.
    """

    name: ClassVar[str] = "query_neurons"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("recall", "chain")
    roles: ClassVar[tuple[str, ...]] = ("full",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="kept",
            value="kept",
            direction="neither",
            unit="rate",
            summary="Share of full precision's query neurons that are query neurons here",
        ),
        Metric(
            name="jaccard",
            value="jaccard",
            direction="neither",
            unit="rate",
            summary="Overlap of the query neurons with full precision's: shared over all of both",
        ),
        Metric(
            name="jaccard_null",
            value="jaccard_null",
            direction="neither",
            unit="rate",
            summary="The same for random sets with as many neurons in every block",
        ),
        Metric(
            name="from_embedding",
            value="from_embedding",
            direction="neither",
            unit="rate",
            summary="Share of the top attention neurons' increases that the embedding gave (median)",
            statistic="median",
        ),
        Metric(
            name="from_ffn",
            value="from_ffn",
            direction="neither",
            unit="rate",
            summary="Share of the top attention neurons' increases that feed-forward parts gave (median)",
            statistic="median",
        ),
        Metric(
            name="total",
            value="total",
            direction="neither",
            unit="nats",
            summary="Sum of the top attention neurons' increases",
        ),
    )
    pictures: ClassVar[tuple[Picture, ...]] = (
        Curve(
            name="query contribution of FFN",
            value="ffn",
            unit="nats",
            direction="neither",
            summary="What each block's feed-forward part gave to the top attention neurons' increases",
            axis="block",
        ),
        Curve(
            name="query contribution of attention",
            value="attention",
            unit="nats",
            direction="neither",
            summary="What each block's attention gave to the top attention neurons' increases",
            axis="block",
        ),
    )

    top: int = 100
    values: int = 30
    target: Target = "answer"

    def __post_init__(self) -> None:
        at_least_one("top", self.top)
        at_least_one("values", self.values)
        one_of("target", self.target, TARGETS)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask both models for their query neurons."""
        by = QueryNeurons(target=target_of(self.target, item), values=self.values, top=self.top)
        asked = Inspect(prompt=Prompt(text=item.fields["prompt"]), by=by)
        full, own = yield from beside_full(asked)
        if full["total"] is None or own["total"] is None:
            return Record(values={}, failed="no attention neuron has a finite score")
        before, after = scored(full), scored(own)
        found = agreement(before, after, full["of"]) if before else None
        total = own["total"]
        return Record(
            values={
                **{name: own[name] for name in ("embedding", "attention", "ffn", "total", "token")},
                "found": len(after),
                "kept": len(before.keys() & after.keys()) / len(before) if before else None,
                "jaccard": found.jaccard if found else None,
                "jaccard_null": found.expected if found else None,
                "jaccard_p": found.p if found else None,
                "from_embedding": own["embedding"] / total if total > 0 else None,
                "from_ffn": sum(own["ffn"]) / total if total > 0 else None,
                "top": own["neurons"][:_LISTED],
                "known": own["known"],
                "full_known": full["known"],
            }
        )
