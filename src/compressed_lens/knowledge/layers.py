"""What each layer adds to the log-probability of the object, and how much less it adds after quantization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from compressed_lens.analyses.base import Curve, Metric, Picture, Record, Steps
from compressed_lens.analyses.settings import one_of
from compressed_lens.knowledge.facts import TARGETS, Target, beside_full, target_of
from compressed_lens.lm.inspections import Layers
from compressed_lens.lm.protocol import Inspect, Inspection, Prompt
from compressed_lens.tasks.base import Item, Task, TaskKind

_HEADS = 5


def peak(changes: Sequence[float]) -> int | None:
    """Return the block with the largest change; None where none changed."""
    largest = max(changes)
    return list(changes).index(largest) if largest > 0 else None


def _metric(name: str, summary: str) -> Metric:
    return Metric(name=name, value=name, direction="neither", unit="nats", summary=summary)


@dataclass(frozen=True, kw_only=True)
class LayerContributions:
    """What the attention and the feed-forward part of each block add to the object's log-probability.

    Values: `attention`, `ffn` [blocks] in nats; the same as drop against full precision (full minus own):
    `attention_drop`, `ffn_drop`, `drop` (their sum) [blocks], `change` (the size of `drop`); totals over the blocks;
    `peak` (block with the largest `change`; None where none changed); `heads` (the 5 heads that changed most,
    `[block, head, drop]`); `scale_ratio` (scale of the final norm over full precision's); `known` and `full_known`
    (whether the target is the likeliest token, here and in full precision); `token`, `log_probability`.

    Attributes:
        target: "answer": the first token of the item's object; "predicted": the token that each model predicts.
        scale: Whose scale of the final norm reads the increases out. "full": full precision's, so that blocks whose
            states did not change drop by exactly nothing. "own": the variant's own, as in the papers; damage anywhere
            then changes the increases of every block, because it changes the scale.
    """

    name: ClassVar[str] = "layer_contributions"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("recall", "chain")
    roles: ClassVar[tuple[str, ...]] = ("full",)
    # Where something changed, and not how much was lost: what one part adds less another may add more.
    metrics: ClassVar[tuple[Metric, ...]] = (
        _metric("drop_total", "What all blocks together add less than in full precision"),
        _metric("drop_total_known", "The same over the facts that full precision knows"),
        _metric("attention_drop_total", "What attention adds less than in full precision"),
        _metric("ffn_drop_total", "What feed-forward parts add less than in full precision"),
        _metric("attention_total", "What attention adds to the object's log-probability"),
        _metric("ffn_total", "What feed-forward parts add to the object's log-probability"),
        Metric(
            name="peak",
            value="peak",
            direction="neither",
            unit="blocks",
            summary="Block whose contribution to a fact changed most (median)",
            statistic="median",
        ),
        Metric(
            name="scale_ratio",
            value="scale_ratio",
            direction="neither",
            unit="ratio",
            summary="Scale of the final norm over full precision's",
        ),
    )
    pictures: ClassVar[tuple[Picture, ...]] = tuple(
        Curve(name=name, value=value, unit="nats", direction=direction, summary=summary, axis="block")
        for name, value, direction, summary in cast(
            Sequence[tuple[str, str, Literal["lower", "neither"], str]],
            (
                ("attention contribution", "attention", "neither", "What each block's attention adds, nats"),
                ("FFN contribution", "ffn", "neither", "What each block's feed-forward part adds, nats"),
                (
                    "attention drop",
                    "attention_drop",
                    "lower",
                    "Full precision's attention contribution minus this one's",
                ),
                ("FFN drop", "ffn_drop", "lower", "Full precision's feed-forward contribution minus this one's"),
                ("contribution change", "change", "lower", "Size of the two drops together, fact by fact"),
            ),
        )
    )

    target: Target = "answer"
    scale: Literal["full", "own"] = "full"

    def __post_init__(self) -> None:
        one_of("target", self.target, TARGETS)
        one_of("scale", self.scale, ("full", "own"))

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask both models; then this one once more where it must be read out with the other's scale."""
        prompt, target = Prompt(text=item.fields["prompt"]), target_of(self.target, item)
        asked = Inspect(prompt=prompt, by=Layers(target=target))
        full, own = yield from beside_full(asked)
        ratio = own["scale"] / full["scale"]
        if self.scale == "full" and own["scale"] != full["scale"]:
            (again,) = yield [Inspect(prompt=prompt, by=Layers(target=target, scale=full["scale"]))]
            own = cast(Inspection, again).values
        drops = {part: _minus(full[part], own[part]) for part in ("attention", "ffn")}
        drop = [a + f for a, f in zip(drops["attention"], drops["ffn"], strict=True)]
        change = [abs(one) for one in drop]
        heads = [
            [block, head, less]
            for block, (before, after) in enumerate(zip(full["heads"], own["heads"], strict=True))
            for head, less in enumerate(_minus(before, after))
        ]
        return Record(
            values={
                "attention": own["attention"],
                "ffn": own["ffn"],
                "attention_drop": drops["attention"],
                "ffn_drop": drops["ffn"],
                "drop": drop,
                "attention_total": sum(own["attention"]),
                "ffn_total": sum(own["ffn"]),
                "attention_drop_total": sum(drops["attention"]),
                "ffn_drop_total": sum(drops["ffn"]),
                "drop_total": sum(drop),
                "drop_total_known": sum(drop) if full["known"] else None,
                "change": change,
                "peak": peak(change),
                "heads": sorted(heads, key=lambda one: -abs(one[2]))[:_HEADS],
                "scale_ratio": ratio,
                "known": own["known"],
                "full_known": full["known"],
                "token": own["token"],
                "log_probability": own["log_probability"],
            }
        )


def _minus(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(first, second, strict=True)]
