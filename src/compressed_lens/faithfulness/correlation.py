"""CCT and phi-CCT over all interventions, with intervals by item, and their paired difference between two variants.

The correlation is one over the interventions of all items, not a mean of correlations. Interventions into one item
resemble each other, so items are the units that are resampled and exchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.interval import normal_quantile
from compressed_lens.statistics.resampling import replicate_means

Floats = NDArray[np.float64]
Kind = Literal["cct", "phi"]
_SUMS = 6
_SWAPS_PER_CHUNK = 2_000_000
_MOST_UNDEFINED = 0.5


@dataclass(frozen=True, kw_only=True)
class InterventionCorrelation:
    """A correlation of impact and mention, or a difference of two.

    Attributes:
        estimate: In -1..1 (a difference: in -2..2); NaN where `reason` says why.
        low: Lower percentile of the bootstrap by item; NaN where fewer than two items apply or more than half of the
            resamples have no correlation.
        high: Upper percentile.
        interventions: Insertions it rests on.
        items: Items they belong to.
        undefined_resamples: Share of bootstrap resamples without a correlation, left out of the interval.
        reason: Why there is no estimate, else None.
        p: Of a difference, two-sided, by exchanging the two results of each item; NaN where there is no estimate.
    """

    estimate: float
    low: float
    high: float
    interventions: int
    items: int
    undefined_resamples: float
    reason: str | None
    p: float = math.nan


def cct(
    records: Sequence[Mapping[str, Any]],
    *,
    kind: Kind = "cct",
    replicates: int = 10_000,
    confidence: float = 0.95,
    seed: int,
) -> InterventionCorrelation:
    """Return the correlation of impact and mention over the interventions of all records.

    Args:
        records: The values of one record of the analysis `cct` an item; records without interventions (failed items,
            items without a place for a word) count nowhere.
        kind: "cct": impact is the total variation distance (Pearson, here point-biserial). "phi": impact is whether
            the label changed (phi coefficient).
        replicates: Bootstrap resamples of items.
        confidence: Nominal coverage of the percentile interval.
        seed: Of the resampling.

    Returns:
        The correlation; positive where the words that move the model are those it mentions. A model that mentions all
        words, or none, has none, and `reason` says so.

    Source: Siegel et al. 2024, arXiv 2404.03189; 2025, arXiv 2503.13445.
    """
    pairs = [_pairs(values, kind) for values in records]
    pairs = [pair for pair in pairs if pair.shape[1]]
    (sums,) = _sums([pairs])
    reason = _reason(pairs, kind)
    estimate, counted = math.nan, sum(pair.shape[1] for pair in pairs)
    low = high = math.nan
    undefined = 0.0
    if reason is None:
        estimate = float(_correlations(sums.sum(axis=0)))
        drawn = _correlations(replicate_means(sums, np.ones_like(sums), replicates=replicates, seed=seed))
        low, high, undefined = _interval(drawn, len(pairs), confidence)
    return InterventionCorrelation(
        estimate=estimate,
        low=low,
        high=high,
        interventions=counted,
        items=len(pairs),
        undefined_resamples=undefined,
        reason=reason,
    )


def cct_difference(
    base: Sequence[Mapping[str, Any]],
    other: Sequence[Mapping[str, Any]],
    *,
    kind: Kind = "cct",
    replicates: int = 10_000,
    permutations: int = 10_000,
    confidence: float = 0.95,
    seed: int,
) -> InterventionCorrelation:
    """Return the correlation under `other` minus that under `base`, for the same items in the same order.

    Args:
        base: Values of the records of the reference; empty where an item failed.
        other: Values of the records of the same items under the other variant or model.
        kind: As for `cct`.
        replicates: Bootstrap resamples; the same items are drawn for both.
        permutations: Random exchanges of the two results item by item. An exchange that leaves a side without a
            correlation counts as at least as extreme as what was found, so p errs to the safe side.
        confidence: As for `cct`.
        seed: As for `cct`.

    Returns:
        The difference, over the items that have interventions on both sides.

    Raises:
        DataError: The two sides have different numbers of items, or an item was edited differently.
    """
    if len(base) != len(other):
        raise DataError(f"{len(base)} items stand against {len(other)}.", fix="Pass the same items in the same order.")
    sides: tuple[list[Floats], list[Floats]] = ([], [])
    for first, second in zip(base, other, strict=True):
        one, two = _pairs(first, kind), _pairs(second, kind)
        if not one.shape[1] or not two.shape[1]:
            continue
        if first["words"] != second["words"]:
            raise DataError(
                "The two sides inserted different words into an item.", fix="Run both with the same settings and seed."
            )
        sides[0].append(one)
        sides[1].append(two)
    reasons = [(name, _reason(pairs, kind)) for name, pairs in zip(("base", "other"), sides, strict=True)]
    reason = next((f"{name}: {why}" for name, why in reasons if why is not None), None)
    estimate = low = high = p = math.nan
    undefined = 0.0
    if reason is None:
        sums = _sums(sides)
        estimate = float(_correlations(sums[1].sum(axis=0)) - _correlations(sums[0].sum(axis=0)))
        both = np.hstack(sums)
        drawn = replicate_means(both, np.ones_like(both), replicates=replicates, seed=seed)
        differences = _correlations(drawn[:, _SUMS:]) - _correlations(drawn[:, :_SUMS])
        low, high, undefined = _interval(differences, len(both), confidence)
        p = _exchange_p(sums, estimate, permutations=permutations, seed=seed)
    return InterventionCorrelation(
        estimate=estimate,
        low=low,
        high=high,
        interventions=sum(pair.shape[1] for pair in sides[0]),
        items=len(sides[0]),
        undefined_resamples=undefined,
        reason=reason,
        p=p,
    )


def _pairs(values: Mapping[str, Any], kind: Kind) -> Floats:
    """Return impact and mention of each intervention of one item, shape [2, interventions]."""
    impact = values.get("impacts" if kind == "cct" else "changed") or []
    return np.array([impact, values.get("mentions") or []], dtype=np.float64).reshape(2, -1)


def _reason(pairs: Sequence[Floats], kind: Kind) -> str | None:
    """Return why these interventions have no correlation, None where they have one."""
    if not pairs:
        return "no item has an intervention"
    impact, mention = np.hstack(pairs)
    if np.ptp(mention) == 0:
        return "every explanation mentions the inserted word" if mention[0] else "no explanation mentions it"
    if np.ptp(impact) <= _tolerance(impact):
        if kind == "cct":
            return "all insertions have the same impact"
        return "every insertion changes the label" if impact[0] else "no insertion changes the label"
    return None


def _tolerance(impact: Floats) -> float:
    return 1e-12 * max(1.0, float(np.abs(impact).max(initial=0.0)))


def _sums(sides: Sequence[Sequence[Floats]]) -> list[Floats]:
    """Return, for each side, the sums [items, 6] of 1, x, y, xx, yy, xy over each item's interventions.

    Impact x and mention y are centred and scaled over both sides first, which changes no correlation and keeps the
    differences of sums exact to rounding.
    """
    together = np.hstack([pair for pairs in sides for pair in pairs]) if any(sides) else np.zeros((2, 1))
    centre = together.mean(axis=1, keepdims=True)
    scale = np.maximum(together.std(axis=1, keepdims=True), _tolerance(together))
    found = []
    for pairs in sides:
        rows = []
        for pair in pairs:
            x, y = (pair - centre) / scale
            rows.append([x.size, x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()])
        found.append(np.array(rows, dtype=np.float64).reshape(-1, _SUMS))
    return found


def _correlations(sums: Floats) -> Floats:
    """Return Pearson's correlation from sums [..., 6], of any common scale; NaN where a side is constant."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    across, up, down = n * xy - x * y, n * xx - x * x, n * yy - y * y
    with np.errstate(invalid="ignore", divide="ignore"):
        constant = (up <= 1e-10 * np.maximum(n * xx, 1e-300)) | (down <= 1e-10 * np.maximum(n * yy, 1e-300))
        found = np.where(constant, np.nan, np.clip(across / np.sqrt(up * down), -1.0, 1.0))
    return cast(Floats, found)


def _interval(drawn: Floats, items: int, confidence: float) -> tuple[float, float, float]:
    """Return the percentile interval of resampled values and the share of them that is undefined."""
    normal_quantile(confidence)
    undefined = float(np.isnan(drawn).mean())
    if items < 2 or undefined > _MOST_UNDEFINED:  # noqa: PLR2004
        return math.nan, math.nan, undefined
    low, high = np.quantile(drawn[~np.isnan(drawn)], [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high), undefined


def _exchange_p(sums: Sequence[Floats], observed: float, *, permutations: int, seed: int) -> float:
    """Return the share of exchanges at least as extreme as what was found, the found one included."""
    base, other = sums
    gap = other - base
    generator = np.random.default_rng(seed)
    reached = 0
    rows = max(1, _SWAPS_PER_CHUNK // max(1, len(base)))
    for start in range(0, permutations, rows):
        swaps = generator.integers(0, 2, size=(min(rows, permutations - start), len(base))).astype(np.float64)
        moved = swaps @ gap
        swapped = _correlations(other.sum(axis=0) - moved) - _correlations(base.sum(axis=0) + moved)
        reached += int((np.isnan(swapped) | (np.abs(swapped) >= abs(observed) - 1e-12)).sum())
    return (1 + reached) / (1 + permutations)
