"""Curves over the states of a model, one number a state, and what is said of them in one number."""

from __future__ import annotations

from collections.abc import Sequence

TIE = 1e-5
"""Read-outs this close, in nats, are equal: the same state in another batch differs by rounding."""


def middle(values: Sequence[float | None]) -> float | None:
    """Return the mean over the middle third of the states, those without a value left out; None without any.

    Of n states, counted from 0, the first and the last floor(n / 3) are left out.
    """
    cut = len(values) // 3
    kept = [value for value in values[cut : len(values) - cut] if value is not None]
    return sum(kept) / len(kept) if kept else None


def beats(own: Sequence[float], other: Sequence[float]) -> list[float]:
    """Return for every state whether `own` is larger than `other`: 1.0 or 0.0, and 0.5 where they are equal."""
    return [0.5 if abs(a - b) <= TIE else float(a > b) for a, b in zip(own, other, strict=True)]
