"""Series made by hand: each outcome of each item is written down in the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from compressed_lens.comparison.series import Measure, Outcome, Series

FAILED = "failed"
MISSING = "missing"


def measure(name: str = "faithful", direction: str = "higher", **more: Any) -> Measure:
    """Return a rate that is its analysis's primary measure."""
    told = {"unit": "rate", "summary": "", "primary": True, "family": "faithfulness", **more}
    return Measure(name=name, value=name, direction=direction, **told)


def make(
    outcomes: Mapping[str, Sequence[Any]],
    *,
    of: Measure | None = None,
    model: str = "m",
    analysis: str = "a",
    repeats: int = 1,
    planned: int | None = None,
) -> Series:
    """Return a series with one measure; an outcome is its value, FAILED, or MISSING."""
    of = of or measure()
    n = len(next(iter(outcomes.values())))

    def outcome(value: Any) -> Outcome | None:
        if value is MISSING:
            return None
        return Outcome(values={} if value is FAILED else {of.value: value}, failed="why" if value is FAILED else None)

    return Series(
        model=model, task="t", analysis=analysis, method=analysis, settings={}, measures=(of,),
        rows=tuple((f"i{k // repeats}", k % repeats) for k in range(n)), groups=("",) * n,
        outcomes={name: tuple(outcome(value) for value in values) for name, values in outcomes.items()},
        planned=dict.fromkeys(outcomes, n if planned is None else planned),
    )  # fmt: skip


@pytest.fixture(scope="session")
def series() -> Callable[..., Series]:
    """Return the function that makes a series."""
    return make


@pytest.fixture(scope="session")
def rate() -> Callable[..., Measure]:
    """Return the function that makes a measure."""
    return measure
