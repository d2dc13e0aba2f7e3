"""Few human ratings and many judge ratings: prediction-powered means, and when a judge may be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.equivalence import FEWEST_PAIRS
from compressed_lens.statistics.interval import NORMAL, Interval, normal_quantile
from compressed_lens.statistics.power import POWER
from compressed_lens.statistics.resampling import replicate_means

Floats = NDArray[np.float64]
Trust = Literal["trusted", "not trusted", "undecided"]

_CLOSEST = 1 - 1e-9


@dataclass(frozen=True, kw_only=True)
class PredictionPowered:
    """What people would say on average, from a few of their ratings and a judge's ratings of everything.

    Attributes:
        powered: The prediction-powered mean with its interval; `n` counts the rows that people rated.
        humans: The mean of the human ratings alone, with Student's interval.
        judge: The judge's own mean over all rows, which may be biased.
        bias: Mean of judge minus human where both rated.
        weight: How far the judge is used, 0 (not at all) to 1.
        gain: How many human ratings one is worth with the judge's help: ratio of the two variances; about 1 for a
            useless judge, NaN where a variance is zero.
    """

    powered: Interval
    humans: Interval
    judge: float
    bias: float
    weight: float
    gain: float


def prediction_powered(
    human: ArrayLike,
    judge: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    method: Literal["clt", "bootstrap"] = "clt",
    replicates: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PredictionPowered:
    """Estimate the mean human rating from the rows people rated and the judge's ratings of all rows.

    mean(human) + weight · (mean(judge, elsewhere) - mean(judge, where people rated). Whatever the judge's bias, it
    drops out; a judge that follows people narrows the interval, and the weight (power tuning) leaves a useless one out.
    The rows people rate must be a random sample of all, whoever picks them.

    For a paired difference of two variants pass differences: of the human ratings and of the judge's.

    Args:
        human: Ratings by people (their mean where several rated a row), shape [n]; NaN where nobody did.
        judge: Ratings by the judge, shape [n]; rows with NaN are left out.
        clusters: Label of each row's item, shape [n], where items have several rows.
        method: "clt" (linearized, Student's t with one degree of freedom less than the items people rated) or
            "bootstrap" (percentiles; items resampled and the weight tuned again each time).
        replicates: Bootstrap resamples.
        confidence: Nominal coverage.
        seed: Seed of the bootstrap.

    Raises:
        DataError: Shapes differ, or people rated fewer than three items.

    Source: Angelopoulos et al. 2023, Science 382:669, arXiv 2301.09633; Angelopoulos, Duchi and Zrnic 2023,
        arXiv 2311.01453 (PPI++), section 6.
    """
    y, f, unit, total = _rows(human, judge, clusters)
    rated = ~np.isnan(y)
    units = int(np.unique(unit[rated]).size)
    if units < 3:  # noqa: PLR2004
        raise DataError(f"People rated {units} items that the judge rated, too.", fix="Let people rate at least three.")
    parts = _parts(y, f, rated)
    weight = float(_weights(parts.mean(axis=0)[None, :], rated.mean())[0]) if not rated.all() else 0.0
    estimate, error = _linearized(y, f, rated, unit, weight)
    alone, alone_error = _linearized(y, f, rated, unit, 0.0)
    from scipy.special import stdtrit

    normal_quantile(confidence)
    reach = float(stdtrit(units - 1, 0.5 + confidence / 2))
    low, high = estimate - reach * error, estimate + reach * error
    if method == "bootstrap":
        low, high = _percentiles(y, f, rated, unit, replicates=replicates, confidence=confidence, seed=seed)
    powered = Interval(
        estimate=estimate,
        low=low,
        high=high,
        n=int(rated.sum()),
        dropped=total - f.size,
        units=units,
        confidence=confidence,
        method=f"prediction-powered {method}",
    )
    return PredictionPowered(
        powered=powered,
        humans=replace(
            powered, estimate=alone, low=alone - reach * alone_error, high=alone + reach * alone_error, method="student"
        ),
        judge=float(f.mean()),
        bias=float((f[rated] - y[rated]).mean()),
        weight=weight,
        gain=(alone_error / error) ** 2 if error > 0 else math.nan,
    )


def judge_trust(estimate: float, low: float, high: float, *, n: int, bound: float) -> tuple[Trust, int | None]:
    """Say whether a judge may stand in for people, by its agreement with them; if that is open, what would settle it.

    Args:
        estimate: Agreement of judge and people, at most 1: Spearman's rho, Krippendorff's alpha, Cohen's kappa.
        low: Lower bound of its interval.
        high: Upper bound.
        n: Independent items that both rated.
        bound: Agreement required, fixed beforehand, in -1..1; such as that between people themselves.

    Returns:
        "trusted" when the whole interval is above the bound (and at least `FEWEST_PAIRS` items were rated), "not
        trusted" when it is below, else "undecided"; and for the last, how many items people would have to rate in all
        to settle it with 80 % probability, if the agreement is as estimated (Fisher's z, with the spread that this
        interval shows). None where it is settled or no number would, and where the agreement is undefined.

    Raises:
        DataError: The bound is out of range.
    """
    if not -1 < bound < 1:
        raise DataError(f"An agreement of {bound} cannot be required.", fix="Use a bound such as 0.6.")
    if math.isnan(low) or math.isnan(high) or n < 2:  # noqa: PLR2004
        return "undecided", None
    if low > bound and n >= FEWEST_PAIRS:
        return "trusted", None
    if high < bound:
        return "not trusted", None
    z = normal_quantile(0.95)
    spread = (_fisher(high) - _fisher(low)) / (2 * z) * math.sqrt(n)
    apart = abs(_fisher(estimate) - _fisher(bound))
    if apart == 0:
        return "undecided", None
    needed = math.ceil(((z + NORMAL.inv_cdf(POWER)) * spread / apart) ** 2)
    return "undecided", max(needed, n + 1 if n >= FEWEST_PAIRS else FEWEST_PAIRS)


def _fisher(agreement: float) -> float:
    return math.atanh(min(_CLOSEST, max(-_CLOSEST, agreement)))


def _rows(
    human: ArrayLike, judge: ArrayLike, clusters: ArrayLike | None
) -> tuple[Floats, Floats, NDArray[np.intp], int]:
    """Return the ratings and the unit of each row that the judge rated, and how many rows there were."""
    y, f = np.asarray(human, dtype=np.float64), np.asarray(judge, dtype=np.float64)
    if y.ndim != 1 or y.shape != f.shape:
        raise DataError(f"Ratings have shapes {y.shape} and {f.shape}.", fix="Pass one of each for every row.")
    labels: NDArray[Any] = np.arange(f.size) if clusters is None else np.asarray(clusters)
    if labels.shape != f.shape:
        raise DataError(f"{f.size} rows have cluster labels of shape {labels.shape}.", fix="Pass one label a row.")
    known = ~np.isnan(f)
    return y[known], f[known], np.unique(labels[known], return_inverse=True)[1], f.size


def _linearized(
    y: Floats, f: Floats, rated: NDArray[np.bool_], unit: NDArray[np.intp], weight: float
) -> tuple[float, float]:
    """Return the estimate at a weight and its standard error, from what each unit adds to the error."""
    rest = np.where(rated, y - weight * f, 0.0)
    centre = float(rest[rated].mean())
    elsewhere = float(f[~rated].mean()) if weight else 0.0
    added = np.where(rated, (rest - centre) / rated.sum(), 0.0)
    if weight:
        added = np.where(rated, added, weight * (f - elsewhere) / (~rated).sum())
    per_unit = np.bincount(unit, weights=added)
    groups = np.unique(unit[rated]).size
    return centre + weight * elsewhere, math.sqrt(float((per_unit**2).sum()) * groups / (groups - 1))


def _parts(y: Floats, f: Floats, rated: NDArray[np.bool_]) -> Floats:
    """Return the columns whose means give estimate and weight, shape [rows, 6]; zero where a row is on the other side.

    Rated or not, human, judge, human times judge (rows people rated); judge (others); judge squared (all rows).
    """
    filled = np.where(rated, y, 0.0)
    return np.column_stack([rated, filled, f * rated, filled * f, f * ~rated, f * f])


def _weights(means: Floats, share: Floats | float) -> Floats:
    """Return the tuned weight of each row of means of `_parts`, clipped to 0..1."""
    both, product = means[:, 1] * means[:, 2] / means[:, 0], means[:, 3]
    covariance = (product - both) / means[:, 0]
    variance = means[:, 5] - (means[:, 2] + means[:, 4]) ** 2
    # cov / (var (1 + n / N)), with n rated rows and N others.
    with np.errstate(invalid="ignore", divide="ignore"):
        tuned = np.where(variance > 0, covariance * (1 - share) / variance, 0.0)
    return np.clip(tuned, 0.0, 1.0)


def _percentiles(
    y: Floats,
    f: Floats,
    rated: NDArray[np.bool_],
    unit: NDArray[np.intp],
    *,
    replicates: int,
    confidence: float,
    seed: int,
) -> tuple[float, float]:
    parts = _parts(y, f, rated)
    units = int(unit.max()) + 1
    sums = np.zeros((units, parts.shape[1]))
    np.add.at(sums, unit, parts)
    counts = np.repeat(np.bincount(unit, minlength=units)[:, None].astype(np.float64), parts.shape[1], axis=1)
    means = replicate_means(sums, counts, replicates=replicates, seed=seed)
    share = means[:, 0]
    means = means[share > 0]
    share = means[:, 0]
    weights = _weights(means, share)
    with np.errstate(invalid="ignore", divide="ignore"):
        elsewhere = np.where(share < 1, means[:, 4] / (1 - share), 0.0)
    found = (means[:, 1] - weights * means[:, 2]) / share + weights * elsewhere
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
