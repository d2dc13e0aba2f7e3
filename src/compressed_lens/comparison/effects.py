"""Effect sizes and further tests of every paired difference, for readers who want more than the interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compressed_lens.comparison.margins import margin_of, spread_of
from compressed_lens.comparison.series import FULL, Gate, Measure, Series, or_none
from compressed_lens.statistics import (
    Flips,
    Interval,
    MarginTest,
    SignedRank,
    cliffs_delta,
    flip_odds,
    flips,
    margin_test,
    mcnemar_mid_p,
    mcnemar_p,
    signed_rank,
    standardized_difference,
)

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One measure of one variant against full precision, in sizes without a unit and by other tests than the report's.

    All differences are variant minus full precision. Items with several records enter with their means.

    Attributes:
        pairs: Items that apply on both sides.
        standardized: d_z with Hedges' correction; NaN where the differences do not vary.
        ranks: Signed ranks and the shift; None for outcomes of 0 and 1, where they say what the flips do.
        delta: Cliff's delta; None for outcomes of 0 and 1, where it is the difference of the rates.
        flips: For outcomes of 0 and 1 with one record an item: how they changed, "lost" from 1 to 0; else None.
        margin: The loss that would matter (`comparison.margins`); None where there is none.
        against: Tests against the margin; None without one.
    """

    model: str
    task: str
    analysis: str
    measure: Measure
    variant: str
    gate: Gate
    pairs: int
    standardized: float
    ranks: SignedRank | None
    delta: Interval | None
    flips: Flips | None
    margin: float | None
    against: MarginTest | None

    @property
    def odds(self) -> Interval | None:
        """Odds that a changed item went from good to bad, with an exact interval; None without flips."""
        if self.flips is None:
            return None
        lost, gained = self.flips.lost, self.flips.gained
        return flip_odds(gained, lost) if self.measure.direction == "lower" else flip_odds(lost, gained)


def effects(
    series: Iterable[Series],
    gates: Mapping[tuple[str, str], Gate],
    *,
    margins: Mapping[str, float] | None = None,
    primary_only: bool = False,
) -> tuple[Effect, ...]:
    """Return the effects of every measure of every variant that has a pair with full precision.

    Args:
        series: The run's outcomes, lined up.
        gates: How each (model, variant) stands.
        margins: The study's margins.
        primary_only: Leave the secondary measures out.
    """
    found = []
    for one in series:
        for measure in one.measures:
            if primary_only and not measure.primary:
                continue
            for variant in one.outcomes:
                if variant == FULL or FULL not in one.outcomes:
                    continue
                base, other = _by_item(one, measure, variant)
                gate = gates.get((one.model, variant), "pending")
                if base.size:
                    found.append(
                        _effect(one, measure, variant=variant, gate=gate, margins=margins or {}, base=base, other=other)
                    )
    return tuple(found)


def _by_item(series: Series, measure: Measure, variant: str) -> tuple[Floats, Floats]:
    """Return both sides of every item that applies on both; repeats of an item enter with their mean."""
    base, other = series.column(FULL, measure), series.column(variant, measure)
    both = ~(np.isnan(base) | np.isnan(other))
    base, other = base[both], other[both]
    clusters = series.clusters
    if clusters is None or not base.size:
        return base, other
    _, place, counts = np.unique(clusters[both], return_inverse=True, return_counts=True)
    return np.bincount(place, weights=base) / counts, np.bincount(place, weights=other) / counts


def _effect(
    series: Series,
    measure: Measure,
    *,
    variant: str,
    gate: Gate,
    margins: Mapping[str, float],
    base: Floats,
    other: Floats,
) -> Effect:
    margin = margin_of(margins, series.analysis, measure, spread_of(series.column(FULL, measure)))
    against = None
    if margin is not None:
        against = margin_test(
            base, other, margin=margin, direction="lower" if measure.direction == "lower" else "higher"
        )
    binary = bool(np.isin(base, (0, 1)).all() and np.isin(other, (0, 1)).all())
    return Effect(
        model=series.model,
        task=series.task,
        analysis=series.analysis,
        measure=measure,
        variant=variant,
        gate=gate,
        pairs=base.size,
        standardized=standardized_difference(base, other),
        ranks=None if binary else signed_rank(base, other),
        delta=None if binary else cliffs_delta(base, other, paired=True),
        flips=flips(base, other) if binary and not series.repeated else None,
        margin=margin,
        against=against,
    )


def effects_frame(rows: Iterable[Effect]) -> pl.DataFrame:
    """Return effects as a Polars frame, one row a (model, task, analysis, metric, variant).

    Columns: `model, task, analysis, metric, family, primary, direction, variant, gate, pairs`; `d_z`; for what is no
    yes or no `wilcoxon_p, rank_biserial, shift, shift_low, shift_high, zeros` (Hodges and Lehmann's shift with its 95 %
    interval) and `cliffs_delta, delta_low, delta_high`; for a yes or no `lost, gained, mcnemar_p, mcnemar_mid_p, odds,
    odds_low, odds_high` (lost to gained, read in the metric's direction); `margin, p_non_inferior, p_equivalent`
    (one-sided p of a loss of the margin or more, and the larger of that and of a gain of the margin or more). p values
    are not corrected for their number.
    """
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("model", "task", "analysis", "metric", "family"), pl.String),
        "primary": pl.Boolean,
        **dict.fromkeys(("direction", "variant", "gate"), pl.String),
        "pairs": pl.Int64,
        **dict.fromkeys(("d_z", "wilcoxon_p", "rank_biserial", "shift", "shift_low", "shift_high"), pl.Float64),
        "zeros": pl.Int64,
        **dict.fromkeys(("cliffs_delta", "delta_low", "delta_high"), pl.Float64),
        **dict.fromkeys(("lost", "gained"), pl.Int64),
        **dict.fromkeys(("mcnemar_p", "mcnemar_mid_p", "odds", "odds_low", "odds_high"), pl.Float64),
        **dict.fromkeys(("margin", "p_non_inferior", "p_equivalent"), pl.Float64),
    }
    return pl.DataFrame([_row(effect) for effect in rows], schema=schema, orient="row")


def _row(effect: Effect) -> tuple[object, ...]:
    measure, ranks, delta, changed, odds = effect.measure, effect.ranks, effect.delta, effect.flips, effect.odds
    counts: tuple[object, ...] = (None,) * 4
    if changed is not None:
        pair = (changed.lost, changed.gained)
        tests = (mcnemar_p(*pair), mcnemar_mid_p(*pair))
        counts = (*(reversed(pair) if measure.direction == "lower" else pair), *tests)
    order: tuple[object, ...] = (None,) * 6
    if ranks is not None:
        order = (*map(or_none, (ranks.p, ranks.rank_biserial, ranks.shift, ranks.low, ranks.high)), ranks.zeros)
    against = (None, None) if effect.against is None else (effect.against.non_inferior, effect.against.equivalent)
    return (
        *(effect.model, effect.task, effect.analysis, measure.name, measure.family, measure.primary),
        *(measure.direction, effect.variant, effect.gate, effect.pairs, or_none(effect.standardized)),
        *order,
        *((None,) * 3 if delta is None else map(or_none, (delta.estimate, delta.low, delta.high))),
        *counts,
        *((None,) * 3 if odds is None else map(or_none, (odds.estimate, odds.low, odds.high))),
        effect.margin,
        *(None if p is None else or_none(p) for p in against),
    )
