"""A task: items, labels and how they are put to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TaskKind = Literal["classification", "recall"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One data point.

    Attributes:
        id: Unique within the task and stable across runs, machines and limits.
        fields: Named texts shown to the model, in display order, e.g. {"premise": ..., "hypothesis": ...}.
        answers: Accepted answers: the gold label for classification, aliases of the object for recall.
        choices: Answer options of this item where they differ by item (ECQA); else empty.
        references: Human (or constructed) explanations, possibly none.
        group: Relation, genre or other unit for sub-tables; "" when there is none.
        extra: Anything else an analysis may want (evidence words, counterfactual truth, chain parts).
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
        kind: "classification" (labels or per-item choices) or "recall" (complete a statement of fact).
        items: All items, in a fixed order.
        labels: Label names, in display order; empty for recall and for per-item choices.
        instruction: First line of the classification prompt.
        edit_field: Field a counterfactual edits.
        targets: Label to counterfactual target label.
        fingerprint: Digest of the items and of everything that shapes the prompts.
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
    fingerprint: str = ""
    rejected: tuple[tuple[str, str], ...] = ()
    notes: str = ""

    def labels_of(self, item: Item) -> tuple[str, ...]:
        """Return the labels a model may choose from for `item`."""
        return item.choices or self.labels
