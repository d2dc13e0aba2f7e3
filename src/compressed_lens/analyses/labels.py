"""Choosing a label by log-probability: the request, and what its scores say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compressed_lens.lm.protocol import Scores

Normalize = Literal["sum", "mean"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The outcome of scoring labels.

    Attributes:
        prediction: Label with the highest score; the first one shown where several tie.
        log_probabilities: Score of every label, in nats, at most 0: the sum over its tokens, or their mean.
        probabilities: Softmax of the scores over the labels; sums to 1.
    """

    prediction: str
    log_probabilities: dict[str, float]
    probabilities: dict[str, float]

    def margin(self, label: str) -> float:
        """Return the score of `label` minus the best other score, in nats; positive where it is predicted."""
        others = [value for name, value in self.log_probabilities.items() if name != label]
        return self.log_probabilities[label] - max(others) if others else 0.0


def choose(labels: Sequence[str], scores: Scores, normalize: Normalize = "sum") -> Choice | None:
    """Return what `scores` of `labels` (same order) say, or None when a score is not a finite number."""
    values = scores.log_probabilities
    if normalize == "mean":
        values = tuple(v / max(n, 1) for v, n in zip(values, scores.tokens, strict=True))
    if not all(math.isfinite(v) for v in values):
        return None
    top = max(values)
    weights = [math.exp(v - top) for v in values]
    total = sum(weights)
    return Choice(
        prediction=labels[values.index(top)],
        log_probabilities=dict(zip(labels, values, strict=True)),
        probabilities={label: weight / total for label, weight in zip(labels, weights, strict=True)},
    )
