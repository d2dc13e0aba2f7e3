"""What the explorer knows of a series: what happened to each item, and what is shown of an outcome."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compressed_lens.analyses.base import Curve
from compressed_lens.comparison.series import FULL, Measure, Outcome, Series
from compressed_lens.comparison.transitions import is_yes_or_no
from compressed_lens.terminal import visible

if TYPE_CHECKING:
    import polars as pl

CHANGED, FAILED, LOST, GAINED = 1, 2, 4, 8
_SMALL = 400
_SHORT = 8
_SAID = ("answers", "probabilities")


@dataclass(frozen=True, kw_only=True)
class Rating:
    """What one judge said about one dimension; the score is the fact `dimension:judge`.

    Attributes:
        said: The judge's words; "" where there are none.
        probabilities: Its probabilities of the ratings 1, 2...; empty where they are not known.
    """

    dimension: str
    judge: str
    said: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is shown of an outcome.

    Attributes:
        texts: Every text, whole and as it was written.
        facts: Numbers (four digits) and truth values; lists (the start of long ones) and mappings as short text.
        lists: A list of numbers (three digits, which is more than a line of 150 points shows) for each declared
            curve of the series, in order; None where there is none.
        ratings: What judges said.
    """

    texts: Mapping[str, str]
    facts: Mapping[str, Any]
    lists: tuple[list[float | None] | None, ...]
    ratings: tuple[Rating, ...]


@dataclass(frozen=True, kw_only=True)
class Items:
    """A series as the explorer looks at it."""

    series: Series

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants, in the order of the study."""
        return tuple(self.series.outcomes)

    @property
    def reference(self) -> int | None:
        """Place of full precision among the variants."""
        return self.variants.index(FULL) if FULL in self.variants else None

    @cached_property
    def curves(self) -> tuple[Curve, ...]:
        """The curves that were declared."""
        return tuple(one for one in self.series.pictures if isinstance(one, Curve))

    @cached_property
    def yes_no(self) -> tuple[Measure, ...]:
        """The measures with a good side that are true or false wherever they have a value."""
        return tuple(m for m in self.series.measures if m.direction != "neither" and is_yes_or_no(self.series, m))

    @cached_property
    def marks(self) -> NDArray[np.uint8]:
        """What happened to each row under each variant, shape [variants, rows]; a sum of the constants above.

        LOST and GAINED: a yes/no measure turned bad or good against full precision. FAILED: no usable outcome, on
        either side. CHANGED: any text differs.
        """
        marks = np.zeros((len(self.variants), len(self.series.rows)), dtype=np.uint8)
        outcomes = list(self.series.outcomes.values())
        full = None if self.reference is None else outcomes[self.reference]
        for place, name in enumerate(self.variants):
            own = outcomes[place]
            failed = np.array([outcome is not None and outcome.failed is not None for outcome in own], dtype=bool)
            if full is not None:
                failed |= np.array(
                    [
                        one is not None and other is not None and other.failed is not None
                        for one, other in zip(own, full, strict=True)
                    ],
                    dtype=bool,
                )
            marks[place] |= np.where(failed, FAILED, 0).astype(np.uint8)
            if full is None or name == FULL:
                continue
            changed = [
                one is not None and other is not None and _texts(one) != _texts(other)
                for one, other in zip(own, full, strict=True)
            ]
            marks[place] |= np.where(changed, CHANGED, 0).astype(np.uint8)
            for measure in self.yes_no:
                change = self.change(measure, place)
                marks[place] |= np.where(change < 0, LOST, 0).astype(np.uint8)
                marks[place] |= np.where(change > 0, GAINED, 0).astype(np.uint8)
        return marks

    def change(self, measure: Measure, variant: int) -> NDArray[np.float64]:
        """Return how a measure of each row changed against full precision, shape [rows].

        Negative is worse; for a measure without a good side, lower. NaN where a side has no value.
        """
        rows = len(self.series.rows)
        if self.reference is None:
            return np.full(rows, np.nan)
        own = self.series.column(self.variants[variant], measure)
        change: NDArray[np.float64] = own - self.series.column(FULL, measure)
        return -change if measure.direction == "lower" else change

    def told(self, outcome: Outcome) -> Told:
        """Return what is shown of an outcome."""
        drawn = {curve.value for curve in self.curves}
        ratings = _ratings(outcome.values)
        apart = _SAID if ratings else ()
        facts = {
            name: _small(value)
            for name, value in outcome.values.items()
            if not isinstance(value, str) and name not in drawn and name not in apart
        }
        return Told(
            texts=_texts(outcome),
            facts={name: value for name, value in facts.items() if value is not None},
            lists=tuple(_numbers(outcome.values.get(curve.value)) for curve in self.curves),
            ratings=ratings,
        )


def said(outcome: Outcome) -> list[str]:
    """Return every text of an outcome: its own, what judges said of it, and why it failed."""
    judged = (rating.said for rating in _ratings(outcome.values))
    return [*_texts(outcome).values(), *judged, outcome.failed or ""]


def _texts(outcome: Outcome) -> dict[str, str]:
    return {name: value for name, value in outcome.values.items() if isinstance(value, str)}


def _ratings(values: Mapping[str, Any]) -> tuple[Rating, ...]:
    """Return what judges said: records keep it under `answers` or `probabilities`, by "dimension:judge"."""
    answers, shares = (found if isinstance(found := values.get(name), dict) else {} for name in _SAID)
    if not answers and not shares:
        return ()
    return tuple(
        Rating(
            dimension=place.partition(":")[0],
            judge=place.partition(":")[2],
            said=str(answers.get(place) or ""),
            probabilities=tuple(float(f"{share:.2g}") for share in shares.get(place) or ()),
        )
        for place in dict.fromkeys([*answers, *shares])
        if ":" in place and place in values
    )


def _small(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(f"{value:.4g}")
    rest = ""
    if isinstance(value, list) and len(value) > _SHORT:
        value, rest = value[:_SHORT], f" … {len(value)} values"
    if isinstance(value, list):
        value = [_short(part) for part in value]
    elif isinstance(value, dict):
        value = {name: _short(part) for name, part in value.items()}
    text = visible(json.dumps(value, ensure_ascii=False)) + rest
    return text if len(text) <= _SMALL else None


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _numbers(value: Any) -> list[float | None] | None:
    if not isinstance(value, list):
        return None
    return [
        int(part) if isinstance(part, bool) else float(f"{part:.3g}") if isinstance(part, int | float) else None
        for part in value
    ]


def item_contents(frame: pl.DataFrame) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return what each task's items hold: task, then item id, then content."""
    contents: dict[str, dict[str, Mapping[str, Any]]] = {}
    for task, item, content in frame.select("task", "item", "content").iter_rows():
        contents.setdefault(task, {})[item] = json.loads(content)
    return contents
