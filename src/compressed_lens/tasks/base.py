"""A task: items, labels and how they are put to a model; and what a data set must offer to become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from compressed_lens.ids import digest
from compressed_lens.templates import current

TaskKind = Literal["classification", "recall", "chain"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One data point.

    Attributes:
        id: Unique within the task and stable across runs, machines and limits.
        fields: Named texts shown to the model, in display order, e.g. {"premise": ..., "hypothesis": ...}.
            An item of recall or a chain has the one field "prompt": the statement to be completed, no trailing space.
        answers: Accepted answers: the gold label for classification, else names of the object, its own first.
        choices: Answer options of this item where they differ by item (ECQA, CounterFact); else empty.
        references: Human (or constructed) explanations, possibly none.
        group: Relation, genre or other unit for sub-tables; "" when there is none.
        extra: Anything else an analysis may want (JSON types only): "evidence" (list of words that carry
            the label), "subject", "relation", "paraphrases" (other prompts of the same fact), "chain" (parts of a
            chain: see docs/tasks.md), counterfactual truth.
    """

    id: str
    fields: Mapping[str, str]
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    group: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A loaded task.

    Attributes:
        name: Name in the study; part of every cell's identity.
        kind: "classification" (labels or per-item choices), "recall" (complete a statement of fact) or "chain" (the
            same, where the fact is composed of two).
        items: All items, in a fixed order.
        labels: Label names, in display order; empty for facts and for per-item choices.
        instruction: First line of the classification prompt.
        edit_field: Field a counterfactual edits.
        targets: Label to counterfactual target label.
        candidates: For facts, every object of a group (relation), from the whole data set whatever the limit.
        fingerprint: Digest of the items and of everything that shapes the prompts (see `fingerprint`).
        rejected: Rows of the source that could not become items: (row identity, reason). Never dropped silently.
        notes: What a reader of the report should know about the data.
    """

    name: str
    kind: TaskKind
    items: tuple[Item, ...]
    labels: tuple[str, ...] = ()
    instruction: str = ""
    edit_field: str = "text"
    targets: Mapping[str, str] = field(default_factory=dict)
    candidates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fingerprint: str = ""
    rejected: tuple[tuple[str, str], ...] = ()
    notes: str = ""

    @cached_property
    def by_group(self) -> Mapping[str, tuple[Item, ...]]:
        """The items of each group, in order."""
        groups: dict[str, list[Item]] = {}
        for item in self.items:
            groups.setdefault(item.group, []).append(item)
        return {name: tuple(items) for name, items in groups.items()}

    def labels_of(self, item: Item) -> tuple[str, ...]:
        """Return the labels a model may choose from for `item`."""
        return item.choices or self.labels


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a study asks of a data set.

    Attributes:
        path: Local file or folder, or a hub data set id; None for the source's own default.
        split: Split name, such as "test"; None for the source's own default.
        fields: Our field name to the column that holds it; overrides the source's own mapping.
        labels: Label names, in display order; empty for the source's own.
        values: Value in the data to the label it stands for; empty for the source's own reading.
        options: Every setting of this source: those of `TaskSource.options`, the study's values over the defaults.
    """

    path: str | None = None
    split: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a data set holds, before any limit.

    Attributes:
        items: Every usable item, in the order of the data.
        rejected: (row identity, reason) of every row that could not become an item.
        notes: What a reader of the report should know.
        labels: Label names where only the data tell them; empty for the source's own.
        edit_field: Field a counterfactual edits where only the data tell it; "" for the source's own.
        kind: Kind of task where the options tell it; None for the source's own.
    """

    items: tuple[Item, ...]
    rejected: tuple[tuple[str, str], ...] = ()
    notes: str = ""
    labels: tuple[str, ...] = ()
    edit_field: str = ""
    kind: TaskKind | None = None


@dataclass(frozen=True, kw_only=True)
class TaskSource:
    """How one data set becomes a task; the type every registered task source has.

    `read` returns the whole content; limits, sampling, duplicate ids and the fingerprint are handled
    by `load_task` for every source alike.

    Attributes:
        kind: Kind of task.
        read: Reads the data; deterministic, no global random state.
        labels: Label names, in display order (classification with fixed labels).
        instruction: First line of the classification prompt.
        edit_field: Field a counterfactual edits.
        targets: Label to counterfactual target label.
        options: Names of the settings `read` understands, with their defaults.
    """

    kind: TaskKind
    read: Callable[[Selection], Content]
    labels: tuple[str, ...] = ()
    instruction: str = ""
    edit_field: str = "text"
    targets: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def fingerprint(task: Task) -> str:
    """Return the digest of everything of `task` that can change what a model reads or how it is scored.

    That is: kind, items, labels, instruction, edit field, target map, candidates and, for
    classification, the prompt templates in force. The name, notes and rejected rows do not enter.
    """
    items = [
        [i.id, list(i.fields.items()), i.answers, i.choices, i.references, i.group, dict(i.extra)] for i in task.items
    ]
    prompts = {f"{name}.txt": text for name, text in current().items()}
    return digest(
        {
            "kind": task.kind,
            "items": items,
            "labels": task.labels,
            "instruction": task.instruction,
            "edit_field": task.edit_field,
            "targets": dict(task.targets),
            "candidates": dict(task.candidates),
            "templates": prompts if task.kind == "classification" else {},
        }
    )
