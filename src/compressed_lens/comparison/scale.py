"""Model size: does what quantization takes shrink with the model, and is a larger quantized model the better choice?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compressed_lens.comparison.series import FULL, Measure, Series, Variant, or_none, sound_of
from compressed_lens.statistics import (
    Interval,
    holm,
    mcnemar_p,
    paired_bootstrap,
    replicate_means,
    sign_flip_p,
    unit_sums,
)

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
Sizes = Mapping[str, int]
_TWO = 2
_REPLICATES = 10_000
_SEED = 20_240_609


@dataclass(frozen=True, kw_only=True)
class SizeTrend:
    """How the loss of one metric under one variant goes with the size of the model.

    Attributes:
        losses: (model, parameters, loss, items) of each model, smallest first. The loss is full precision minus
            variant, turned so that positive is worse.
        slope: Change of the loss for ten times the parameters (least squares over log10 of the parameters).
        low: 95 % percentile interval from resampling items, the same for all models: it speaks of these models
            only, not of others one might have taken. NaN where it is undefined.
        high: Its upper bound.
    """

    task: str
    analysis: str
    measure: Measure
    variant: str
    losses: tuple[tuple[str, int, float, int], ...]
    slope: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class SizeChoice:
    """A larger quantized model against a smaller one at full precision, on the items of both.

    Attributes:
        difference: Mean of larger minus smaller with its interval, in the metric's own direction.
        p: McNemar's exact test for yes/no outcomes, else (or with repeats) sign flips.
        p_adjusted: Holm's correction over all choices.
        larger_bytes: Bytes of the larger model's variant in memory.
        smaller_bytes: Bytes of the smaller model at full precision in memory.
    """

    task: str
    analysis: str
    measure: Measure
    larger: str
    variant: str
    smaller: str
    larger_value: float
    smaller_value: float
    difference: Interval
    p: float
    p_adjusted: float
    larger_bytes: int | None
    smaller_bytes: int | None


def sizes(variants: Iterable[Variant]) -> dict[str, int]:
    """Return the parameters of every model whose full-precision variant was loaded."""
    return {v.model: int(v.loaded["parameters"]) for v in variants if v.name == FULL and v.loaded.get("parameters")}


def size_trends(series: Iterable[Series], variants: Sequence[Variant]) -> tuple[SizeTrend, ...]:
    """Return the trend of every primary, directed metric and variant that models of different size have in common.

    Placebos, and variants that failed the integrity gate, are left out.
    """
    parameters, sound = sizes(variants), sound_of(variants)
    found = []
    for members in _places(series, parameters):
        for measure in _shared(members):
            for variant in dict.fromkeys(name for one in members for name in one.outcomes if name != FULL):
                having = [one for one in members if _compared(one, variant) and (one.model, variant) in sound]
                if len({parameters[one.model] for one in having}) >= _TWO:
                    found.append(_trend(having, measure, variant, parameters))
    return tuple(found)


def size_choices(series: Iterable[Series], variants: Sequence[Variant]) -> tuple[SizeChoice, ...]:
    """Compare every larger model's variants with every smaller model at full precision, primary metrics only.

    Placebos, and variants that failed the integrity gate, are left out.
    """
    parameters, sound = sizes(variants), sound_of(variants)
    memory = {(v.model, v.name): v.memory_bytes for v in variants}
    found: list[SizeChoice] = []
    for members in _places(series, parameters):
        for measure in _shared(members):
            for smaller, larger in permutations(members, 2):
                if parameters[larger.model] <= parameters[smaller.model] or (smaller.model, FULL) not in sound:
                    continue
                for variant in larger.outcomes:
                    if variant != FULL and (larger.model, variant) in sound and any(larger.outcomes[variant]):
                        choice = _choice(smaller, larger, measure, variant, memory)
                        found += [choice] if choice.difference.n else []
    adjusted = holm([choice.p for choice in found]).tolist()
    return tuple(SizeChoice(**{**vars(choice), "p_adjusted": p}) for choice, p in zip(found, adjusted, strict=True))


def _places(series: Iterable[Series], parameters: Sizes) -> list[list[Series]]:
    """Group series by (task, analysis), each group's models smallest first."""
    places: dict[tuple[str, str], list[Series]] = {}
    for one in series:
        if one.model in parameters and any(one.outcomes.get(FULL, ())):
            places.setdefault((one.task, one.analysis), []).append(one)
    return [sorted(members, key=lambda one: parameters[one.model]) for members in places.values()]


def _shared(members: Sequence[Series]) -> list[Measure]:
    """Return the primary measures with a direction that every one of the series has."""
    return [
        measure
        for measure in members[0].measures
        if measure.primary
        and measure.direction != "neither"
        and measure.statistic == "mean"
        and all(measure in one.measures for one in members)
    ]


def _compared(series: Series, variant: str) -> bool:
    return any(series.outcomes.get(variant, ()))


def _trend(having: Sequence[Series], measure: Measure, variant: str, parameters: Sizes) -> SizeTrend:
    rows = list(dict.fromkeys(row for one in having for row in one.rows))
    losses = np.column_stack(
        [_aligned(one, FULL, measure, rows) - _aligned(one, variant, measure, rows) for one in having]
    ) * (-1.0 if measure.direction == "lower" else 1.0)
    sums, counts, _ = unit_sums(losses, np.array([item for item, _ in rows]))
    with np.errstate(invalid="ignore", divide="ignore"):
        own = sums.sum(axis=0) / counts.sum(axis=0)
    drawn = replicate_means(sums, counts, replicates=_REPLICATES, seed=_SEED)
    weights = slope_weights([parameters[one.model] for one in having])
    slopes = drawn @ weights
    known = slopes[~np.isnan(slopes)]
    low, high = np.quantile(known, [0.025, 0.975]) if 2 * len(known) > len(slopes) else (math.nan, math.nan)
    return SizeTrend(
        task=having[0].task,
        analysis=having[0].analysis,
        measure=measure,
        variant=variant,
        losses=tuple(
            (one.model, parameters[one.model], float(own[n]), int(counts[:, n].sum())) for n, one in enumerate(having)
        ),
        slope=float(own @ weights),
        low=float(low),
        high=float(high),
    )


def slope_weights(parameters: Sequence[int]) -> Floats:
    """Return w such that w @ losses is the least-squares slope of the losses over log10 of `parameters`."""
    x = np.log10(np.array(parameters, dtype=np.float64))
    centred = x - x.mean()
    weights: Floats = centred / (centred**2).sum()
    return weights


def _aligned(series: Series, variant: str, measure: Measure, rows: Sequence[tuple[str, int]]) -> Floats:
    values = dict(zip(series.rows, series.column(variant, measure).tolist(), strict=True))
    return np.array([values.get(row, math.nan) for row in rows], dtype=np.float64)


def _choice(
    smaller: Series, larger: Series, measure: Measure, variant: str, memory: Mapping[tuple[str, str], int | None]
) -> SizeChoice:
    rows = list(dict.fromkeys([*smaller.rows, *larger.rows]))
    base, other = _aligned(smaller, FULL, measure, rows), _aligned(larger, variant, measure, rows)
    repeated = smaller.repeated or larger.repeated
    clusters = np.array([item for item, _ in rows]) if repeated else None
    both = ~(np.isnan(base) | np.isnan(other))
    values = np.concatenate([base[both], other[both]])
    if not repeated and ((values == 0) | (values == 1)).all():
        change = other[both] - base[both]
        p = mcnemar_p(int((change < 0).sum()), int((change > 0).sum())) if both.any() else math.nan
    else:
        p = float(sign_flip_p(base[:, None], other[:, None], clusters=clusters, seed=_SEED)[0])
    return SizeChoice(
        task=smaller.task,
        analysis=smaller.analysis,
        measure=measure,
        larger=larger.model,
        variant=variant,
        smaller=smaller.model,
        larger_value=float(other[both].mean()) if both.any() else math.nan,
        smaller_value=float(base[both].mean()) if both.any() else math.nan,
        difference=paired_bootstrap(base, other, clusters=clusters, seed=_SEED),
        p=p,
        p_adjusted=math.nan,
        larger_bytes=memory.get((larger.model, variant)),
        smaller_bytes=memory.get((smaller.model, FULL)),
    )


def trends_frame(rows: Iterable[SizeTrend]) -> pl.DataFrame:
    """Return trends as a Polars frame, one row a (task, analysis, metric, variant).

    Columns: `task, analysis, metric, variant, models`; `slope, low, high` (loss for ten times the parameters, positive:
    larger models lose more), `losses` (text: model, parameters, loss and items of each).
    """
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("task", "analysis", "metric", "variant"), pl.String), "models": pl.Int64,
        **dict.fromkeys(("slope", "low", "high"), pl.Float64), "losses": pl.String,
    }  # fmt: skip
    told = [
        (t.task, t.analysis, t.measure.name, t.variant, len(t.losses), *map(or_none, (t.slope, t.low, t.high)),
         "; ".join(f"{model} ({size:,}): {loss:.6g} (n {n})" for model, size, loss, n in t.losses))
        for t in rows
    ]  # fmt: skip
    return pl.DataFrame(told, schema=schema, orient="row")


def choices_frame(rows: Iterable[SizeChoice]) -> pl.DataFrame:
    """Return choices as a Polars frame, one row a (task, analysis, metric, larger model, variant, smaller model).

    Columns: `task, analysis, metric, larger, variant, smaller, larger_value, smaller_value`; `difference, low, high,
    pairs, p, p_adjusted`; `larger_bytes, smaller_bytes`.
    """
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("task", "analysis", "metric", "larger", "variant", "smaller"), pl.String),
        **dict.fromkeys(("larger_value", "smaller_value", "difference", "low", "high"), pl.Float64), "pairs": pl.Int64,
        **dict.fromkeys(("p", "p_adjusted"), pl.Float64), **dict.fromkeys(("larger_bytes", "smaller_bytes"), pl.Int64),
    }  # fmt: skip
    told = [
        (c.task, c.analysis, c.measure.name, c.larger, c.variant, c.smaller, c.larger_value, c.smaller_value,
         *map(or_none, (c.difference.estimate, c.difference.low, c.difference.high)), c.difference.n,
         or_none(c.p), or_none(c.p_adjusted), c.larger_bytes, c.smaller_bytes)
        for c in rows
    ]  # fmt: skip
    return pl.DataFrame(told, schema=schema, orient="row")
