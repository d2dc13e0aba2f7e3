"""Patchscopes: a model says in its own words which entity a state of the prompt stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from compressed_lens.analyses.base import Curve, Metric, Picture, Record, Steps, Value
from compressed_lens.analyses.settings import at_least_one, truth_value
from compressed_lens.errors import StudyError
from compressed_lens.explanations.sources import Unusable
from compressed_lens.knowledge.matching import recalled
from compressed_lens.lm.inspections import Describe, States
from compressed_lens.lm.protocol import Ask, Inspect, Inspection, Prompt, Request
from compressed_lens.multihop.grid import apart, on_axis, share, states
from compressed_lens.multihop.hops import Mentioned, hops
from compressed_lens.tasks.base import Item, Task, TaskKind

_KEYS = ("described", "control", "difference", "cells", "control_cells", "by_source", "control_by_source")

_ALWAYS = (
    Metric(
        name="difference",
        value="difference",
        direction="higher",
        unit="rate",
        summary="Share of chains whose bridge entity is described, minus the share for the control",
        primary=True,
    ),
    Metric(
        name="described_e2",
        value="described",
        direction="higher",
        unit="rate",
        summary="Share of chains whose bridge entity is described by a state of its mention, in any cell",
    ),
    Metric(
        name="described_control",
        value="control",
        direction="neither",
        unit="rate",
        summary="The same from the prompt with another e1, whose mention means another entity",
    ),
    Metric(
        name="cells",
        value="cells",
        direction="higher",
        unit="rate",
        summary="Share of cells (source, target) that describe the bridge entity",
    ),
    Metric(
        name="cells_control",
        value="control_cells",
        direction="neither",
        unit="rate",
        summary="The same from the prompt with another e1",
    ),
)
_OF_THE_ANSWER = (
    Metric(
        name="described_e3",
        value="answer_described",
        direction="higher",
        unit="rate",
        summary="Share of chains whose answer is described by a state of the last token",
    ),
    Metric(
        name="difference_e3",
        value="answer_difference",
        direction="higher",
        unit="rate",
        summary="That share minus the one for the control",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Patchscopes:
    """Put the states of a descriptive mention into a prompt that repeats its last word, and read what comes out.

    Entity description by patching (Ghandeharioun et al. 2024; for two hops Biran et al. 2024 and SOCRATES, Yang et al.
    2024). State i of the last token of "the capital of France" replaces state j of the last token of the identity
    prompt, for every i and j asked for; the greedy continuation describes what it stands for. A cell (i, j) succeeds
    where the bridge entity stands anywhere in it as whole words.

    Success in any of so many cells grows with their number alone, so the same grid is decoded from the prompt with
    another e1, whose mention means another entity: the bridge entity named there is no evidence of anything.

    Values: `described` (any cell), `control` (the same from the substituted prompt), `difference` (1, 0 or -1),
    `cells`, `control_cells` (shares of cells, 0 to 1), `by_source`, `control_by_source` [states] (any target; None
    for a state that was not tried), `grid` [sources][targets] of 0 and 1, `sources`, `targets`, `text` (of the first
    cell that succeeds, else None). With `answer` all but the last four again as `answer_*`, for e3 and the states of
    the composed prompt's last token. Values of the control are None where the chain has no substituted entity.

    Attributes:
        identity: The few-shot prompt; its last token's states are replaced.
        sources: States described: "all", "early" (the lower half) or their numbers.
        targets: States replaced.
        stride: Every how many-th state of "all" and "early".
        answer: Whether the answer e3 is looked for, too, at the composed prompt's last token; doubles the cost.
        max_new_tokens: Longest description.
    """

    name: ClassVar[str] = "patchscopes"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("chain",)

    identity: str = "river: river; Monday: Monday; seven: seven; x"
    sources: States = "all"
    targets: States = "all"
    stride: int = 1
    answer: bool = False
    max_new_tokens: int = 10

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of the bridge entity, and with `answer` of the answer."""
        return (*_ALWAYS, *(_OF_THE_ANSWER if self.answer else ()))

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Curves over the source states: of the bridge entity and its control, and with `answer` of the answer."""
        asked = [("entity description", "", "bridge entity is described by that state of its mention")]
        if self.answer:
            asked.append(("answer description", "answer_", "answer is described by that state of the last token"))
        return tuple(
            curve
            for name, prefix, what in asked
            for curve in (
                Curve(
                    name=name,
                    value=f"{prefix}by_source",
                    unit="rate",
                    direction="higher",
                    summary=f"Share of chains whose {what}, at any target",
                    axis="source state",
                ),
                Curve(
                    name=f"{name}, control",
                    value=f"{prefix}control_by_source",
                    unit="rate",
                    direction="neither",
                    summary="The same from the prompt with another e1",
                    axis="source state",
                ),
            )
        )

    def __post_init__(self) -> None:
        if not isinstance(self.identity, str) or not self.identity.strip():
            raise StudyError("The setting identity is empty.", fix='Give a prompt such as "cat: cat; red: red; x".')
        states("sources", self.sources)
        states("targets", self.targets)
        at_least_one("stride", self.stride)
        truth_value("answer", self.answer)
        at_least_one("max_new_tokens", self.max_new_tokens)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for all descriptions at once: of the mention and its control, and of the last tokens with `answer`."""
        chain = hops(item)
        if recalled(self.identity, chain.bridge, match="anywhere"):
            raise Unusable("the identity prompt names the bridge entity, which could be copied from it")
        prompts = [Mentioned(prompt=chain.composed, mention=chain.mention), *([chain.entity] if chain.entity else [])]
        asked: list[Request | Ask] = [self._describe(p.prompt, p.mention) for p in prompts]
        if self.answer:
            asked += [self._describe(p.prompt, "") for p in prompts]
        found = [response.values for response in cast(list[Inspection], (yield asked))]
        first, grid, text = self._success(found[: len(prompts)], chain.bridge)
        second = self._success(found[len(prompts) :], chain.answers)[0] if self.answer else dict.fromkeys(_KEYS)
        return Record(
            values={
                **first,
                **{f"answer_{key}": value for key, value in second.items()},
                "grid": [[int(hit) for hit in row] for row in grid],
                "sources": list(found[0]["sources"]),
                "targets": list(found[0]["targets"]),
                "text": text,
            }
        )

    def _describe(self, prompt: str, mention: str) -> Request:
        by = Describe(
            identity=Prompt(text=self.identity),
            mention=mention,
            sources=self.sources,
            targets=self.targets,
            stride=self.stride,
            max_new_tokens=self.max_new_tokens,
        )
        return Inspect(prompt=Prompt(text=prompt), by=by)

    @staticmethod
    def _success(
        found: Sequence[Mapping[str, Any]], names: Sequence[str]
    ) -> tuple[dict[str, Value], list[list[bool]], str | None]:
        """Return the values of the mention and of its control if any, the mention's grid, and a text that succeeds."""
        grids = [[[recalled(text, names, match="anywhere") for text in row] for row in one["texts"]] for one in found]
        any_cell = [any(map(any, grid)) for grid in grids]
        cells = [share([hit for row in grid for hit in row]) for grid in grids]
        curves = [
            on_axis(one["states"], zip(one["sources"], map(any, grid), strict=True))
            for one, grid in zip(found, grids, strict=True)
        ]
        control = len(found) > 1
        values: dict[str, Value] = {
            "described": any_cell[0],
            "control": any_cell[1] if control else None,
            "difference": apart(any_cell[0], any_cell[1] if control else None),
            "cells": cells[0],
            "control_cells": cells[1] if control else None,
            "by_source": cast(Value, curves[0]),
            "control_by_source": cast(Value, curves[1]) if control else None,
        }
        said = (
            text
            for row, texts in zip(grids[0], found[0]["texts"], strict=True)
            for hit, text in zip(row, texts, strict=True)
            if hit
        )
        return values, grids[0], next(said, None)
