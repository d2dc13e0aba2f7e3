"""Do the tests agree: correlation among measures over the items of one variant."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from compressed_lens.comparison.series import Measure, Series, or_none
from compressed_lens.statistics import Correlation, correlation

if TYPE_CHECKING:
    import polars as pl

Chosen = Callable[[Series, Measure], bool]
_SEED = 20_240_608


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The correlation of two measures over the items of one variant.

    Attributes:
        first: (analysis, measure).
        second: The same of the other one.
        correlation: Each measure turned so that larger is better: positive says that the tests agree.
    """

    model: str
    task: str
    variant: str
    first: tuple[str, str]
    second: tuple[str, str]
    correlation: Correlation


def tests_of_faithfulness(series: Series, measure: Measure) -> bool:
    """Choose the primary measures of the faithfulness family, and any primary measure called faithful."""
    return measure.primary and (measure.family == "faithfulness" or measure.name == "faithful")


def agreements(series: Iterable[Series], chosen: Chosen = tests_of_faithfulness) -> tuple[Agreement, ...]:
    """Correlate every pair of chosen measures of the same model, task and variant over the items both apply to.

    phi for two yes/no measures, else Spearman's; see `statistics.correlation`. Where a measure is the same on every
    shared item there is no correlation, and the result says so.
    """
    groups: dict[tuple[str, str], list[tuple[Series, Measure]]] = {}
    for one in series:
        for measure in one.measures:
            if chosen(one, measure):
                groups.setdefault((one.model, one.task), []).append((one, measure))
    found = []
    for (model, task), members in groups.items():
        for variant in dict.fromkeys(name for one, _ in members for name in one.outcomes):
            present = [(one, measure) for one, measure in members if any(one.outcomes.get(variant, ()))]
            for (one, first), (other, second) in combinations(present, 2):
                found.append(
                    Agreement(
                        model=model,
                        task=task,
                        variant=variant,
                        first=(one.analysis, first.name),
                        second=(other.analysis, second.name),
                        correlation=_correlated(variant, one, first, other, second),
                    )
                )
    return tuple(found)


def _correlated(variant: str, one: Series, first: Measure, other: Series, second: Measure) -> Correlation:
    left = dict(zip(one.rows, _turned(one, variant, first), strict=True))
    right = dict(zip(other.rows, _turned(other, variant, second), strict=True))
    rows = list(dict.fromkeys([*left, *right]))
    clusters = np.array([item for item, _ in rows]) if one.repeated or other.repeated else None
    return correlation(
        [left.get(row, math.nan) for row in rows],
        [right.get(row, math.nan) for row in rows],
        clusters=clusters,
        seed=_SEED,
    )


def _turned(series: Series, variant: str, measure: Measure) -> list[float]:
    values = series.column(variant, measure)
    return [float(value) for value in (-values if measure.direction == "lower" else values)]


def agreements_frame(rows: Iterable[Agreement]) -> pl.DataFrame:
    """Return agreements as a Polars frame, one row a (model, task, variant, pair of measures).

    Columns: `model, task, variant, first_analysis, first, second_analysis, second`; `kind` (phi or spearman),
    `correlation, low, high` (null where undefined), `method` of the
    interval, `n`, `dropped`, `undefined` (why: which side is constant, or few).
    """
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("model", "task", "variant", "first_analysis", "first"), pl.String),
        **dict.fromkeys(("second_analysis", "second", "kind"), pl.String),
        **dict.fromkeys(("correlation", "low", "high"), pl.Float64),
        "method": pl.String,
        **dict.fromkeys(("n", "dropped"), pl.Int64),
        "undefined": pl.String,
    }
    return pl.DataFrame([_row(row) for row in rows], schema=schema, orient="row")


def _row(row: Agreement) -> tuple[object, ...]:
    c = row.correlation
    ends = tuple(map(or_none, (c.estimate, c.low, c.high)))
    return (
        *(row.model, row.task, row.variant, *row.first, *row.second, c.kind),
        *(*ends, c.method, c.n, c.dropped, c.constant or None),
    )
