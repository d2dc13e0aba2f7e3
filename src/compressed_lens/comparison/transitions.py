"""Transitions: every item's yes or no under full precision against its yes or no under a variant."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.series import FULL, Gate, Measure, Outcome, Series, or_none
from compressed_lens.statistics import Interval, holm

if TYPE_CHECKING:
    import polars as pl

State = Literal["good", "bad", "failed", "none", "missing"]
_TABLE = {("good", "good"): "preserved", ("good", "bad"): "lost", ("bad", "good"): "gained", ("bad", "bad"): "both_bad"}


@dataclass(frozen=True, kw_only=True)
class Transition:
    """The 2 x 2 table of one yes/no metric, full precision against one variant, and every item that is not in it.

    "Good" is read in the metric's direction: true where higher is better, false where lower is; where neither is,
    good stands for true. A failed record counts as the metric's `on_failure` value where it has one, as everywhere.

    Attributes:
        items: Records the study asks for; all counts below add up to it.
        preserved: Good under both.
        lost: Good under full precision, bad under the variant.
        gained: Bad under full precision, good under the variant.
        both_bad: Bad under both.
        not_applicable_full: Not applicable under full precision only.
        not_applicable_variant: Not applicable under the variant only.
        not_applicable_both: Not applicable under both.
        failed_full: Failed under full precision only (the metric does not count failures).
        failed_variant: Failed under the variant only.
        failed_both: Failed under both.
        unrecorded: Not recorded (yet) on at least one side.
        net: (gained - lost) / pairs with its interval: Tango's for few changes, else studentized; in -1..1.
        p: McNemar's exact test; with several records of an item, sign flips of whole items.
        p_adjusted: p after Holm's correction over every transition of the run (the grid) but those of placebos, which
            are corrected among themselves.
        floor_churn: Churn that mere numerics made: the largest among the model's placebo variants that passed the
            integrity gate, 0..1. None where there is none, and for placebos themselves.
    """

    model: str
    task: str
    analysis: str
    measure: Measure
    variant: str
    gate: Gate
    items: int
    preserved: int
    lost: int
    gained: int
    both_bad: int
    not_applicable_full: int
    not_applicable_variant: int
    not_applicable_both: int
    failed_full: int
    failed_variant: int
    failed_both: int
    unrecorded: int
    net: Interval
    p: float | None
    p_adjusted: float | None
    floor_churn: float | None = None

    def __post_init__(self) -> None:
        outside = self.not_applicable + self.failed + self.unrecorded
        assert self.pairs + outside == self.items, "the counts of a transition do not add up to its items"

    @property
    def pairs(self) -> int:
        """Items in the 2 x 2 table."""
        return self.preserved + self.lost + self.gained + self.both_bad

    @property
    def not_applicable(self) -> int:
        """Items the metric does not apply to on at least one side."""
        return self.not_applicable_full + self.not_applicable_variant + self.not_applicable_both

    @property
    def failed(self) -> int:
        """Items left out because at least one side failed."""
        return self.failed_full + self.failed_variant + self.failed_both

    def share(self, count: int) -> float:
        """Return a count as a share of the pairs, 0..1; NaN without pairs."""
        return count / self.pairs if self.pairs else math.nan

    @property
    def forgetting(self) -> float:
        """Lost as a share of what was good under full precision, 0..1; NaN where nothing was."""
        good = self.preserved + self.lost
        return self.lost / good if good else math.nan

    @property
    def regaining(self) -> float:
        """Gained as a share of what was bad under full precision, 0..1; NaN where nothing was."""
        bad = self.gained + self.both_bad
        return self.gained / bad if bad else math.nan

    @property
    def churn(self) -> float:
        """Share of the pairs that changed, 0..1, which `net` hides; 1 - churn is the correctness agreement."""
        return self.share(self.lost + self.gained)

    @property
    def kappa(self) -> float:
        """Cohen's kappa of full precision and variant: 1 where they agree on every item, 0 where as chance would.

        NaN where both are the same throughout.
        """
        good = (self.preserved + self.lost) * (self.preserved + self.gained)
        bad = (self.gained + self.both_bad) * (self.lost + self.both_bad)
        beyond = self.pairs**2 - good - bad
        return (self.pairs * (self.preserved + self.both_bad) - good - bad) / beyond if beyond else math.nan


def transitions(series: Iterable[Series], figures: Iterable[Figure]) -> tuple[Transition, ...]:
    """Return the transitions of every yes/no metric of a run, variants that were never recorded left out.

    A metric is a yes or no when its unit is "rate" and every value recorded for it is true or false.

    Args:
        series: The run's outcomes, lined up.
        figures: Its figures (`measures.figures` of the same series), which hold p and interval.
    """
    known = {(f.model, f.task, f.analysis, f.measure.name, f.variant): f for f in figures}
    found = []
    for one in series:
        for measure in one.measures:
            if FULL not in one.outcomes or not is_yes_or_no(one, measure):
                continue
            for variant in one.outcomes:
                figure = known.get((one.model, one.task, one.analysis, measure.name, variant))
                if figure is not None and figure.paired is not None and figure.recorded:
                    found.append((one, measure, figure))
    chances = np.array([math.nan if f.p is None else f.p for *_, f in found])
    placebo = np.array([f.placebo for *_, f in found], dtype=bool)
    # Placebos are a yardstick: they must not cost the candidates power.
    for family in (placebo, ~placebo):
        chances[family] = holm(chances[family])
    rows = [
        _transition(one, measure, figure, None if math.isnan(p) else p)
        for (one, measure, figure), p in zip(found, chances.tolist(), strict=True)
    ]
    placebos = {(figure.model, figure.variant) for *_, figure in found if figure.placebo}
    floors: dict[tuple[str, ...], float] = {}
    for t in rows:
        if (t.model, t.variant) in placebos and t.gate == "passed" and t.pairs:
            floors[_measured(t)] = max(t.churn, floors.get(_measured(t), 0.0))
    return tuple(
        t if (t.model, t.variant) in placebos else replace(t, floor_churn=floors.get(_measured(t))) for t in rows
    )


def _measured(t: Transition) -> tuple[str, ...]:
    return (t.model, t.task, t.analysis, t.measure.name)


def is_yes_or_no(series: Series, measure: Measure) -> bool:
    """Return whether a metric is true or false wherever it has a value."""
    values = [
        value
        for outcomes in series.outcomes.values()
        for outcome in outcomes
        if outcome is not None and outcome.failed is None and (value := outcome.values.get(measure.value)) is not None
    ]
    return measure.unit == "rate" and bool(values) and all(isinstance(value, bool) for value in values)


def _transition(series: Series, measure: Measure, figure: Figure, adjusted: float | None) -> Transition:
    full, other = series.outcomes[FULL], series.outcomes[figure.variant]
    counts = Counter(_place(_state(a, measure), _state(b, measure)) for a, b in zip(full, other, strict=True))
    # Records that neither side has yet are no rows of the series at all.
    counts["unrecorded"] += max(figure.planned, len(series.rows)) - len(series.rows)
    assert figure.paired is not None
    net = figure.paired
    if measure.direction == "lower":
        net = Interval(**{**vars(net), "estimate": -net.estimate, "low": -net.high, "high": -net.low})
    return Transition(
        model=series.model,
        task=series.task,
        analysis=series.analysis,
        measure=measure,
        variant=figure.variant,
        gate=figure.gate,
        items=max(figure.planned, len(series.rows)),
        **{name: counts[name] for name in COUNTS},
        net=net,
        p=figure.p,
        p_adjusted=adjusted,
    )


def _state(outcome: Outcome | None, measure: Measure) -> State:
    if outcome is None:
        return "missing"
    value = measure.on_failure if outcome.failed is not None else outcome.values.get(measure.value)
    if value is None:
        return "none" if outcome.failed is None else "failed"
    return "good" if bool(value) != (measure.direction == "lower") else "bad"


def _place(full: State, other: State) -> str:
    if "missing" in (full, other):
        return "unrecorded"
    for state, name in (("failed", "failed"), ("none", "not_applicable")):
        sides = (full == state, other == state)
        if any(sides):
            return f"{name}_{'both' if all(sides) else 'full' if sides[0] else 'variant'}"
    return _TABLE[full, other]


COUNTS = (
    *("preserved", "lost", "gained", "both_bad"),
    *("not_applicable_full", "not_applicable_variant", "not_applicable_both"),
    *("failed_full", "failed_variant", "failed_both", "unrecorded"),
)


def transitions_frame(rows: Iterable[Transition]) -> pl.DataFrame:
    """Return transitions as a Polars frame, one row a (model, task, analysis, metric, variant).

    Columns: `model, task, analysis, metric, family, primary, direction, variant, gate`; the counts of `Transition`,
    which add up to `items`; `pairs`; `forgetting` (lost / good under full precision), `regaining` (gained / bad under
    full precision), `churn` (changed / pairs), `agreement` (1 - churn), `kappa` (Cohen's), `churn_floor` (largest churn
    of a placebo variant), null where undefined; `net, low, high` ((gained - lost) / pairs and its 95 % interval),
    `method`; `p`, `p_adjusted` (Holm over all rows, placebos' among themselves).
    """
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("model", "task", "analysis", "metric", "family"), pl.String),
        "primary": pl.Boolean,
        **dict.fromkeys(("direction", "variant", "gate"), pl.String),
        **dict.fromkeys(("items", *COUNTS, "pairs"), pl.Int64),
        **dict.fromkeys(("forgetting", "regaining", "churn", "agreement", "kappa", "churn_floor"), pl.Float64),
        **dict.fromkeys(("net", "low", "high"), pl.Float64),
        "method": pl.String,
        **dict.fromkeys(("p", "p_adjusted"), pl.Float64),
    }
    return pl.DataFrame([_row(t) for t in rows], schema=schema, orient="row")


def _row(t: Transition) -> tuple[object, ...]:
    ends = tuple(or_none(end) for end in (t.net.estimate, t.net.low, t.net.high))
    shares = (t.forgetting, t.regaining, t.churn, 1 - t.churn, t.kappa)
    return (
        *(t.model, t.task, t.analysis, t.measure.name, t.measure.family, t.measure.primary, t.measure.direction),
        *(t.variant, t.gate, t.items, *(getattr(t, name) for name in COUNTS), t.pairs),
        *map(or_none, shares),
        t.floor_churn,
        *(*ends, t.net.method, t.p, t.p_adjusted),
    )
