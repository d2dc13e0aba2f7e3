"""Back-patching: does a two-hop prompt come right when a later state is put back into an earlier layer."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal, cast

from compressed_lens.analyses.base import Curve, Metric, Picture, Record, Steps, Value
from compressed_lens.analyses.settings import at_least_one, at_least_zero, one_of
from compressed_lens.explanations.sources import Unusable
from compressed_lens.knowledge.matching import MATCHES, Match, recalled
from compressed_lens.knowledge.recall import SPARE
from compressed_lens.lm.inspections import BackPatch, States
from compressed_lens.lm.protocol import Ask, Generate, Generation, Inspect, Inspection, Prompt, Request, Score, Scores
from compressed_lens.multihop.grid import apart, on_axis, share, states
from compressed_lens.multihop.hops import Hops, hops
from compressed_lens.tasks.base import Item, Task, TaskKind

Place = Literal["mention", "last"]
Among = Literal["failed", "both hops"]
_PLACES = ("mention", "last")
_AMONG = ("failed", "both hops")


@dataclass(frozen=True, kw_only=True)
class BackPatching:
    """Repair two-hop prompts that fail (Biran et al. 2024, "Hopping too late").

    If the bridge entity is resolved too late, the layers that know the second fact never see it. So state i of a token
    is put in place of its state j < i, everything after it is computed again, and the answer is decoded, for every
    pair (i, j) asked for. A chain is fixed if any pair gives an accepted answer.

    Any of so many pairs may hit by luck or by shaking the model, so the same pairs are tried with state i taken from
    the same place of another chain's prompt (one of the same two relations where there is one, with another bridge and
    another answer).

    Values: `composed_correct`; `outcome`: "right without" (nothing is patched and what follows is None), "a hop is
    missing" (likewise, with `among` "both hops"), "fixed" or "not fixed"; `fixed`, `control_fixed`, `difference` (1, 0
    or -1), `cells`, `control_cells` (shares of pairs), `by_source`, `by_target`, `control_by_source` [states] (any
    pair; None for a state not tried), `grid` ([source, target, 0 or 1] a pair), `pair` (the first that fixes it),
    `text` (its text), `composed_text`, `donor` (id of the other chain; None where no other chain will do, and so is the
    control).

    Attributes:
        place: The token patched: the prompt's "last" one, or the last one of the descriptive "mention".
        among: "failed": all chains whose composed prompt fails. "both hops": those of them whose two facts are known.
        sources: States taken: "all", "early" (the lower half) or their numbers.
        targets: States replaced.
        stride: Every how many-th state of "all" and "early".
        match: When a continuation is right: see `knowledge.matching.recalled`.
        max_new_tokens: Longest continuation, in tokens; 10 as in the paper. An answer that needs more gets its length
            and two tokens.
        seed: Which other chain is the donor.
    """

    name: ClassVar[str] = "back_patching"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("chain",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="fixed_minus_control",
            value="difference",
            direction="higher",
            unit="rate",
            summary="Share of failed chains that a pair of states fixes, minus the share for another chain's states",
            primary=True,
        ),
        Metric(
            name="fixed",
            value="fixed",
            direction="higher",
            unit="rate",
            summary="Share of failed chains that come right with any pair of states",
        ),
        Metric(
            name="control_fixed",
            value="control_fixed",
            direction="neither",
            unit="rate",
            summary="The same with states of another chain",
        ),
        Metric(
            name="pairs",
            value="cells",
            direction="higher",
            unit="rate",
            summary="Share of pairs of states that fix a failed chain",
        ),
        Metric(
            name="control_pairs",
            value="control_cells",
            direction="neither",
            unit="rate",
            summary="The same with states of another chain",
        ),
        Metric(
            name="unpatched",
            value="composed_correct",
            direction="higher",
            unit="rate",
            summary="Share of chains whose composed prompt is right without patching",
        ),
    )
    pictures: ClassVar[tuple[Picture, ...]] = (
        Curve(
            name="back-patching from",
            value="by_source",
            unit="rate",
            direction="higher",
            summary="Share of failed chains fixed by that state put back anywhere earlier",
            axis="source state",
        ),
        Curve(
            name="back-patching to",
            value="by_target",
            unit="rate",
            direction="higher",
            summary="Share of failed chains fixed by any later state put there",
            axis="target state",
        ),
        Curve(
            name="back-patching, control",
            value="control_by_source",
            unit="rate",
            direction="neither",
            summary="Share of failed chains fixed by that state of another chain",
            axis="source state",
        ),
    )

    place: Place = "last"
    among: Among = "failed"
    sources: States = "all"
    targets: States = "all"
    stride: int = 1
    match: Match = "start"
    max_new_tokens: int = 10
    seed: int = 1

    def __post_init__(self) -> None:
        one_of("place", self.place, _PLACES)
        one_of("among", self.among, _AMONG)
        states("sources", self.sources)
        states("targets", self.targets)
        at_least_one("stride", self.stride)
        one_of("match", self.match, MATCHES)
        at_least_one("max_new_tokens", self.max_new_tokens)
        at_least_zero("seed", self.seed)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask the composed prompt (and both hops); where it fails, ask for every pair, own states and a donor's."""
        chain = hops(item)
        asked = [(chain.composed, chain.answers)]
        if self.among == "both hops":
            asked += [(chain.first, chain.bridge), (chain.second, chain.answers)]
        scored = yield [Score(prompt=Prompt(text=text), continuations=(names[0],)) for text, names in asked]
        rooms = [max(self.max_new_tokens, scores.tokens[0] + SPARE) for scores in cast(list[Scores], scored)]
        said = yield [
            Generate(prompt=Prompt(text=text), max_new_tokens=room)
            for (text, _), room in zip(asked, rooms, strict=True)
        ]
        texts = [answer.text for answer in cast(list[Generation], said)]
        right = [recalled(text, names, match=self.match) for text, (_, names) in zip(texts, asked, strict=True)]
        if right[0] or not all(right[1:]):
            outcome = "right without" if right[0] else "a hop is missing"
            return Record(values=self._values(texts[0], right[0], outcome))
        donor = self._donor(task, item, chain)
        requests: list[Request | Ask] = [self._patch(item, rooms[0])]
        requests += [self._patch(item, rooms[0], donor)] if donor else []
        found = [response.values for response in cast(list[Inspection], (yield requests))]
        hits = [[recalled(text, chain.answers, match=self.match) for text in one["texts"]] for one in found]
        if not hits[0]:
            raise Unusable("the settings leave no pair of states with the source above the target")
        pairs = [tuple(pair) for pair in found[0]["pairs"]]
        count = found[0]["states"]
        fixing = [(list(pair), text) for pair, text, hit in zip(pairs, found[0]["texts"], hits[0], strict=True) if hit]
        first, text = fixing[0] if fixing else (None, None)
        fixed, control = bool(fixing), any(hits[1]) if donor else None
        curves = [
            on_axis(count, ((pair[end], hit) for pair, hit in zip(pairs, hits[which], strict=True)))
            for which, end in ((0, 0), (0, 1), *([(1, 0)] if donor else []))
        ]
        patched: dict[str, Value] = {
            "fixed": fixed,
            "control_fixed": control,
            "difference": apart(fixed, control),
            "cells": share(hits[0]),
            "control_cells": share(hits[1]) if donor else None,
            "by_source": cast(Value, curves[0]),
            "by_target": cast(Value, curves[1]),
            "control_by_source": cast(Value, curves[2]) if donor else None,
            "grid": [[*pair, int(hit)] for pair, hit in zip(pairs, hits[0], strict=True)],
            "pair": cast(Value, first),
            "text": text,
            "donor": donor.id if donor else None,
        }
        return Record(values=self._values(texts[0], False, "fixed" if fixed else "not fixed", patched))

    @staticmethod
    def _values(text: str, right: bool, outcome: str, patched: dict[str, Value] | None = None) -> dict[str, Value]:
        return {
            "composed_text": text,
            "composed_correct": right,
            "outcome": outcome,
            **dict.fromkeys(("fixed", "control_fixed", "difference", "cells", "control_cells"), None),
            **(patched or {}),
        }

    def _patch(self, item: Item, room: int, donor: Item | None = None) -> Request:
        at_mention = self.place == "mention"
        by = BackPatch(
            mention=hops(item).mention if at_mention else "",
            sources=self.sources,
            targets=self.targets,
            stride=self.stride,
            donor=None if donor is None else Prompt(text=donor.fields["prompt"]),
            donor_mention="" if donor is None or not at_mention else hops(donor).mention,
            max_new_tokens=room,
        )
        return Inspect(prompt=Prompt(text=item.fields["prompt"]), by=by)

    def _donor(self, task: Task, item: Item, chain: Hops) -> Item | None:
        """Return another chain with another bridge and another answer, one of the same relations if there is one."""
        start = Random(f"{self.seed}/{item.id}").randrange(len(task.items))
        own, other = {*chain.bridge, *chain.answers}, None
        for step in range(len(task.items)):
            candidate = task.items[(start + step) % len(task.items)]
            if not candidate.extra.get("chain"):
                continue
            theirs = hops(candidate)
            if own.isdisjoint({*theirs.bridge, *theirs.answers}):
                if candidate.group == item.group:
                    return candidate
                other = other or candidate
        return other
