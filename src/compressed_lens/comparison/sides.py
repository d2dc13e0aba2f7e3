"""One cell of one run, with everything of the run that bears on what it may be compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from compressed_lens.comparison.series import FULL, Outcome, Series, Variant

if TYPE_CHECKING:
    import polars as pl


class ComparedRun(Protocol):
    """What is needed of a run; `report.run_data.RunData` is such."""

    @property
    def folder(self) -> Path:
        """Where it lies."""

    @property
    def study(self) -> Mapping[str, Any]:
        """The study, in JSON types."""

    @property
    def environments(self) -> Sequence[Mapping[str, Any]]:
        """One mapping a session, oldest first."""

    @property
    def cells(self) -> pl.DataFrame:
        """One row a cell."""

    @property
    def tasks(self) -> pl.DataFrame:
        """One row a task."""

    @property
    def items(self) -> pl.DataFrame:
        """One row an item."""

    @property
    def series(self) -> tuple[Series, ...]:
        """The outcomes, lined up."""

    @property
    def variant_list(self) -> tuple[Variant, ...]:
        """The variants."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One cell of one run, with everything of the run that bears on what it may be compared with.

    Attributes:
        run: Letter of the run.
        folder: Where it lies.
        cell: Identity of the cell (weights, items, prompts, analysis, settings, judges, seed); "" where unknown.
        status: The store's word: done, partial, pending, unavailable or refused.
        task_kind: Kind of the task.
        task_fingerprint: Digest of its items and prompts.
        task_info: Labels, instruction.
        items: Content of each item, by id.
        origin: Where the base model comes from: path and revision.
        base_fingerprint: Fingerprint of the model's full precision; "" where the run has none.
        judges: The study's judges, by name.
        seed: The study's seed.
        settings: How the study was run: batch size, device, prompts.
        environment: Versions and machine of the last session.
    """

    run: str
    folder: Path
    series: Series
    variant: Variant
    cell: str
    status: str
    task_kind: str
    task_fingerprint: str
    task_info: Mapping[str, Any]
    items: Mapping[str, Mapping[str, Any]]
    origin: tuple[str, str]
    base_fingerprint: str
    judges: Mapping[str, Mapping[str, Any]]
    seed: int
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Run, model and variant, as messages say it."""
        return f"{self.run}:{self.variant.model}/{self.variant.name}"


def shared_items(a: Side, b: Side) -> tuple[str, ...]:
    """Return the ids that both sides have, in the order of the first."""
    return tuple(item for item in a.items if item in b.items)


@dataclass(frozen=True, kw_only=True)
class LetteredRun:
    """A run and its letter, with the content of its items read once."""

    letter: str
    run: ComparedRun

    @cached_property
    def contents(self) -> dict[str, dict[str, Mapping[str, Any]]]:
        """Content of each item, by task and id."""
        contents: dict[str, dict[str, Mapping[str, Any]]] = {}
        for task, item, content in self.run.items.select("task", "item", "content").iter_rows():
            contents.setdefault(task, {})[item] = json.loads(content)
        return contents

    def sides(self, variant: Variant) -> Iterator[Side]:
        """Yield the cells of a variant, in study order."""
        run = self.run
        tasks = {row["task"]: row for row in run.tasks.iter_rows(named=True)}
        cells = {
            (row["task"], row["analysis"]): row
            for row in run.cells.iter_rows(named=True)
            if (row["model"], row["variant"]) == (variant.model, variant.name)
        }
        full = next((v.fingerprint for v in run.variant_list if (v.model, v.name) == (variant.model, FULL)), "")
        model: Mapping[str, Any] = next((m for m in run.study.get("models", ()) if m["name"] == variant.model), {})
        for series in run.series:
            cell = cells.get((series.task, series.analysis))
            if series.model != variant.model or cell is None:
                continue
            task = tasks.get(series.task, {})
            yield Side(
                run=self.letter,
                folder=run.folder,
                series=series,
                variant=variant,
                cell=cell["cell"] or "",
                status=cell["status"],
                task_kind=task.get("kind") or "",
                task_fingerprint=task.get("fingerprint") or "",
                task_info=json.loads(task.get("info") or "{}"),
                items=self.contents.get(series.task, {}),
                origin=(str(model.get("path") or ""), str(model.get("revision") or "")),
                base_fingerprint=full,
                judges={judge["name"]: judge for judge in run.study.get("judges", ())},
                seed=int(run.study.get("seed", 0)),
                settings=run.study.get("settings", {}),
                environment=(run.environments or [{}])[-1],
            )


def outcomes_of(side: Side) -> dict[tuple[str, int], Outcome | None]:
    """Return the outcome of each (item, repeat) of a side."""
    return dict(zip(side.series.rows, side.series.outcomes[side.variant.name], strict=True))
