"""Analyses: what is asked of every item and what is measured. One file an analysis, one registration line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from compressed_lens.analyses.base import Analysis
from compressed_lens.errors import StudyError
from compressed_lens.registry import Registry, nearest

__all__ = ["REGISTRY", "create"]

REGISTRY: Registry[type] = Registry("analysis", type, "compressed_lens.analyses")

REGISTRY.add(
    "accuracy",
    "compressed_lens.analyses.accuracy:Accuracy",
    "Task accuracy by the log-probability of each label, or by parsing a generated answer",
    cost="1 score an item",
    source="2601.00282, section 4",
)
REGISTRY.add(
    "nle",
    "compressed_lens.explanations.nle:NaturalLanguageExplanation",
    "The model labels each item and explains the label in a sentence",
    cost="1 score + 1 text an item",
    source="2601.00282, section 3",
)
REGISTRY.add(
    "recall",
    "compressed_lens.knowledge.recall:Recall",
    "One-hop facts: does the greedy continuation start with the right object",
    cost="1 score + 1 text + 1 token an item",
    source="2505.13963, section 4; Hernandez 2023",
)


def create(name: str, settings: Mapping[str, Any] | None = None) -> Analysis:
    """Return the analysis `name` with `settings` over its defaults; lists become tuples.

    Raises:
        StudyError: Unknown name or setting, or a value the analysis refuses.
    """
    kind = REGISTRY.get(name)
    if not isinstance(kind, Analysis):
        raise StudyError(f"'{name}' ({kind.__name__}) is not an analysis: it lacks name, kinds, metrics or steps.")
    valid = [f.name for f in fields(cast(Any, kind))]
    given = dict(settings or {})
    for key in given:
        if key not in valid:
            raise StudyError(
                f"Analysis '{name}' has no setting '{key}'.",
                fix=nearest(key, valid) or f"Its settings: {', '.join(valid) or 'none'}.",
            )
    return cast(Analysis, kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}))
