"""The form every generated, labelled text has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Example:
    """A generated item with everything about it known by construction.

    Attributes:
        fields: Named texts the model sees.
        label: True label.
        evidence: Words without which the label would not hold, in order of appearance.
        explanation: A truthful explanation that names the evidence.
        target: Label the counterfactual must reach.
        edited: The edited field after a minimal edit; its true label is `target`.
    """

    fields: Mapping[str, str]
    label: str
    evidence: tuple[str, ...]
    explanation: str
    target: str
    edited: str
