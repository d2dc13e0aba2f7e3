"""Value neurons that raise the object: how many survive quantization, which are new, and what they make up for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np

from compressed_lens.analyses.base import Curve, Metric, Picture, Record, Steps, Value
from compressed_lens.analyses.settings import at_least_one, one_of, truth_value
from compressed_lens.knowledge.facts import TARGETS, Target, beside_full, target_of
from compressed_lens.lm.inspections import Neuron, Neurons
from compressed_lens.lm.protocol import Ask, Inspect, Inspection, Prompt
from compressed_lens.statistics.overlap import Overlap, overlap
from compressed_lens.statistics.ranks import average_ranks
from compressed_lens.tasks.base import Item, Task, TaskKind

_LISTED = 10
_FEWEST = 3

Scored = dict[tuple[int, ...], float]


@dataclass(frozen=True, kw_only=True)
class ValueNeurons:
    """Find the neurons whose output raises the object most, in full precision and here, and compare.

    Values: `tau` (lowest score among full precision's top neurons, nats), `survival` (number of neurons here with at
    least that score), `survivors` (how many of full precision's top neurons are among them), `survival_known` and
    `survivors_known` (the same where full precision knows the fact, else None), `entered` (top neurons here that are
    not full precision's); `jaccard` of the two top sets, `jaccard_null` (its mean for random sets with as many neurons
    in every block) and `jaccard_p`; `rank_correlation` (Spearman, of both models' scores over full precision's top
    neurons); `lost` (sum over full precision's top neurons of its score minus the score here), `gained` (sum over those
    that entered of the score here minus full precision's), `compensation` (share of what blocks lost that neurons that
    entered gained in the same block; None where nothing was lost); `top` (full precision's 10 best: block, index, its
    score, the score here), `top_entered` (the 10 best that entered, the same); `survivors_by_block`,
    `entered_by_block`, `lost_by_block`, `gained_by_block`; `scale_ratio` (scale of the final norm over full
    precision's); `known`, `full_known` (whether the target is the likeliest token); `token`. With `attention` also
    `attention_tau`, `attention_survival`, `attention_jaccard`, `attention_jaccard_null`, `attention_jaccard_p`,
    `attention_top` (block, head, index, position, score here).

    Attributes:
        top: Size of the top sets; 300 in the papers. A model with fewer neurons gives all it has.
        attention: Whether attention value neurons are compared, too.
        target: "answer": the first token of the item's object; "predicted": the token that each model predicts.
    """

    name: ClassVar[str] = "neurons"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("recall", "chain")
    roles: ClassVar[tuple[str, ...]] = ("full",)
    pictures: ClassVar[tuple[Picture, ...]] = (
        Curve(
            name="surviving neurons",
            value="survivors_by_block",
            unit="neurons",
            direction="neither",
            summary="Full precision's top neurons that still reach its lowest top score, in each block",
            axis="block",
        ),
        Curve(
            name="new top neurons",
            value="entered_by_block",
            unit="neurons",
            direction="neither",
            summary="Top neurons that are not full precision's, in each block",
            axis="block",
        ),
        Curve(
            name="score lost",
            value="lost_by_block",
            unit="nats",
            direction="neither",
            summary="What full precision's top neurons of a block add less here",
            axis="block",
        ),
        Curve(
            name="score gained",
            value="gained_by_block",
            unit="nats",
            direction="neither",
            summary="What a block's new top neurons add more than in full precision",
            axis="block",
        ),
    )

    top: int = 300
    attention: bool = False
    target: Target = "answer"

    def __post_init__(self) -> None:
        at_least_one("top", self.top)
        truth_value("attention", self.attention)
        one_of("target", self.target, TARGETS)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What survives first, over all facts and over those full precision gets right.

        None has a direction: nothing can be more like full precision than full precision, and facts can move to other
        neurons without being lost.
        """
        told = [
            ("survivors", "neurons", "Full precision's top neurons that still reach their lowest score there"),
            ("survivors_known", "neurons", "The same over the facts that full precision knows"),
            ("survival", "neurons", "All neurons that reach that score (2505.13963)"),
            ("survival_known", "neurons", "The same over the facts that full precision knows"),
            ("entered", "neurons", "Top neurons that are not among full precision's"),
            ("jaccard", "rate", "Overlap of the top neurons with full precision's: shared over all of both"),
            ("jaccard_null", "rate", "The same for random sets with as many neurons in every block"),
            ("rank_correlation", "correlation", "Of the scores of full precision's top neurons there and here"),
            ("lost", "nats", "What full precision's top neurons add less here"),
            ("gained", "nats", "What new top neurons add more than in full precision"),
            ("compensation", "rate", "Share of a block's loss that its new top neurons make up for"),
        ]
        if self.attention:
            told += [
                ("attention_survival", "neurons", "Attention neurons that reach full precision's lowest score"),
                ("attention_jaccard", "rate", "Overlap of the top attention neurons with full precision's"),
                ("attention_jaccard_null", "rate", "The same for random sets alike in every block"),
            ]
        return tuple(
            Metric(name=name, value=name, direction="neither", unit=unit, summary=summary)
            for name, unit, summary in told
        )

    @property
    def _parts(self) -> tuple[str, ...]:
        return ("ffn", "attention") if self.attention else ("ffn",)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask both models for their top neurons; then for the scores of the other's, and how many reach tau."""
        prompt, target = Prompt(text=item.fields["prompt"]), target_of(self.target, item)
        asked = Inspect(prompt=prompt, by=Neurons(target=target, top=self.top, attention=self.attention))
        full, own = yield from beside_full(asked)
        if not all(one[part]["neurons"] for one in (full, own) for part in self._parts):
            return Record(values={}, failed="no neuron has a finite score")
        before, after = scored(full["ffn"]), scored(own["ffn"])
        lost = [cast(Neuron, neuron) for neuron in before if neuron not in after]
        entered = [cast(Neuron, neuron) for neuron in after if neuron not in before]
        reach = _asked_reach(full["ffn"], own["ffn"])
        heads = _asked_reach(full["attention"], own["attention"]) if self.attention else None
        again = Neurons(
            target=target,
            top=0,
            attention=heads is not None,
            reach=reach,
            reach_attention=heads,
            watch=tuple(lost),
        )
        back = Neurons(target=target, top=0, watch=tuple(entered))
        more = [Inspect(prompt=prompt, by=again)] if lost or reach is not None or heads is not None else []
        theirs = [Ask(to="full", request=Inspect(prompt=prompt, by=back))] if entered else []
        answers = [cast(Inspection, one).values for one in ((yield [*more, *theirs]) if more or theirs else ())]
        here, there = dict(after), dict(before)
        if more:
            here.update(zip(lost, answers[0]["watched"], strict=True))
        if theirs:
            there.update(zip(entered, answers[-1]["watched"], strict=True))
        reached = answers[0] if more else None
        survival = _survival(full["ffn"], own["ffn"], reached and reached["ffn"])
        compared = _compared(before, after, there, here, full["ffn"]["of"])
        values: dict[str, Value] = {
            **compared,
            "survival": survival,
            "survival_known": survival if full["known"] else None,
            "survivors_known": compared["survivors"] if full["known"] else None,
            "scale_ratio": own["scale"] / full["scale"],
            "known": own["known"],
            "full_known": full["known"],
            "token": own["token"],
        }
        if self.attention:
            values |= _attention(full["attention"], own["attention"], reached and reached.get("attention"))
        return Record(values=values)


def scored(part: Mapping[str, Any]) -> Scored:
    """Return the score of every top neuron, best first."""
    return {tuple(place): score for *place, score in part["neurons"]}


def _tau(part: Mapping[str, Any]) -> float:
    tau: float = part["neurons"][-1][-1]
    return tau


def _asked_reach(full: Mapping[str, Any], own: Mapping[str, Any]) -> float | None:
    """Return the score to be counted, or None where the own top list already tells.

    It does when its end does not exceed tau. So a model against itself has exactly as many as were asked for, which a
    second count, rounded otherwise in another batch, could miss by one.
    """
    return _tau(full) if _tau(own) > _tau(full) else None


def _survival(full: Mapping[str, Any], own: Mapping[str, Any], counted: Mapping[str, Any] | None) -> int:
    """Return how many neurons reach tau."""
    listed = len([score for *_, score in own["neurons"] if score >= _tau(full)])
    return listed if counted is None or counted["reaching"] is None else max(listed, counted["reaching"])


def agreement(first: Scored, second: Scored, sizes: Sequence[int]) -> Overlap:
    """Return the overlap of two sets of neurons, beside random ones with as many neurons in every block.

    Args:
        first: Neurons, each with its block first.
        second: The other set.
        sizes: Number of neurons in each block.
    """
    blocks = len(sizes)
    shared = _counts(first.keys() & second.keys(), blocks)
    return overlap(shared, _counts(first, blocks), _counts(second, blocks), sizes)


def _counts(neurons: Iterable[tuple[int, ...]], blocks: int) -> list[int]:
    counts = Counter(neuron[0] for neuron in neurons)
    return [counts[block] for block in range(blocks)]


def _sums(changes: Scored, blocks: int) -> list[float]:
    found = [0.0] * blocks
    for neuron, change in changes.items():
        found[neuron[0]] += change
    return found


def _compared(before: Scored, after: Scored, there: Scored, here: Scored, sizes: Sequence[int]) -> dict[str, Value]:
    """Compare the top sets `before` and `after`, given every one's score `there` (full precision) and `here`."""
    blocks, tau = len(sizes), min(before.values())
    survivors = [neuron for neuron in before if here[neuron] >= tau]
    entered = [neuron for neuron in after if neuron not in before]
    lost = _sums({neuron: score - here[neuron] for neuron, score in before.items()}, blocks)
    gained = _sums({neuron: here[neuron] - there[neuron] for neuron in entered}, blocks)
    down = [max(0.0, loss) for loss in lost]
    made_up = sum(min(loss, max(0.0, gain)) for loss, gain in zip(down, gained, strict=True))
    found = agreement(before, after, sizes)
    return {
        "tau": tau,
        "survivors": len(survivors),
        "entered": len(entered),
        "jaccard": found.jaccard,
        "jaccard_null": found.expected,
        "jaccard_p": found.p,
        "rank_correlation": _spearman(list(before.values()), [here[neuron] for neuron in before]),
        "lost": sum(lost),
        "gained": sum(gained),
        "compensation": made_up / sum(down) if sum(down) > 0 else None,
        "top": [[*neuron, before[neuron], here[neuron]] for neuron in list(before)[:_LISTED]],
        "top_entered": [[*neuron, there[neuron], here[neuron]] for neuron in entered[:_LISTED]],
        "survivors_by_block": _counts(survivors, blocks),
        "entered_by_block": _counts(entered, blocks),
        "lost_by_block": lost,
        "gained_by_block": gained,
    }


def _attention(full: Mapping[str, Any], own: Mapping[str, Any], counted: Mapping[str, Any] | None) -> dict[str, Value]:
    found = agreement(scored(full), scored(own), full["of"])
    return {
        "attention_tau": _tau(full),
        "attention_survival": _survival(full, own, counted),
        "attention_jaccard": found.jaccard,
        "attention_jaccard_null": found.expected,
        "attention_jaccard_p": found.p,
        "attention_top": own["neurons"][:_LISTED],
    }


def _spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the rank correlation; None with fewer than three neurons or where a side never varies."""
    if len(first) < _FEWEST:
        return None
    one, other = average_ranks([first]), average_ranks([second])
    return float(np.corrcoef(one[0], other[0])[0, 1]) if one.std() > 0 and other.std() > 0 else None
