"""Rank correlation with a p value: Spearman's rho and Kendall's tau-b."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.correlation import Correlation, correlation
from compressed_lens.statistics.interval import normal_quantile
from compressed_lens.statistics.student import incomplete_beta, student_quantile
from compressed_lens.statistics.wald import two_sided_p

Floats = NDArray[np.float64]
Method = Literal["spearman", "kendall"]

_THREE = 3
_EXACT = 33


@dataclass(frozen=True, kw_only=True)
class Concordance:
    """How far two measures put the same units in the same order.

    Attributes:
        estimate: From -1 to 1; NaN where a side does not vary or fewer than two pairs apply.
        low: Lower bound: of rho as in `correlation`, of tau the bootstrap's percentile; NaN without one.
        high: Upper bound.
        p: Two-sided p of "no relation": of rho with clusters what its interval says, else taking pairs as independent;
            NaN where the estimate is, and for Spearman below three pairs (or without an interval by clusters).
        n: Pairs that apply.
        dropped: Pairs with a missing side.
        method: "spearman" or "kendall".
    """

    estimate: float
    low: float
    high: float
    p: float
    n: int
    dropped: int
    method: Method


def concordance(
    first: ArrayLike,
    second: ArrayLike,
    *,
    method: Method = "spearman",
    clusters: ArrayLike | None = None,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int,
) -> Concordance:
    """Spearman's rho (ties averaged) or Kendall's tau-b, with interval and p value.

    The p value of rho is that of the t approximation, with clusters that of Student's t on Fisher's z, as its interval;
    that of tau is exact for up to 33 pairs without ties, else the
    normal approximation corrected for ties, as in SciPy.

    Args:
        first: Shape [n]; NaN where missing. Pairs with a missing side are left out.
        second: Values of the same units.
        method: "spearman" or "kendall". Kendall needs memory for n x n numbers.
        clusters: Label of each pair's independent unit, shape [n]: whole clusters are resampled. The p value of tau
            knows nothing of them.
        replicates: Bootstrap resamples.
        confidence: Nominal coverage.
        seed: Seed of the resampling.

    Raises:
        DataError: Shapes differ, a value is infinite, or a setting is out of range.

    Source: Spearman 1904; Kendall 1945 (tau-b) and 1970.
    """
    if method == "spearman":
        found = correlation(first, second, clusters=clusters, replicates=replicates, confidence=confidence, seed=seed)
        return Concordance(
            estimate=found.estimate,
            low=found.low,
            high=found.high,
            p=_spearman_p(found.estimate, found.n) if clusters is None else _clustered_p(found, confidence),
            n=found.n,
            dropped=found.dropped,
            method=method,
        )
    if method != "kendall":
        raise DataError(f"There is no rank correlation '{method}'.", fix="One of: spearman, kendall.")
    return _tau(first, second, clusters, replicates=replicates, confidence=confidence, seed=seed)


def _tau(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None, *, replicates: int, confidence: float, seed: int
) -> Concordance:
    normal_quantile(confidence)
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise DataError(f"Measures have shapes {x.shape} and {y.shape}.", fix="Pass the same units in the same order.")
    if np.isinf(x).any() or np.isinf(y).any():
        raise DataError("A measure holds an infinity.", fix="Use NaN where a value does not apply.")
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    labels = np.arange(both.size) if clusters is None else np.asarray(clusters)
    if labels.shape != both.shape:
        raise DataError(f"{both.size} pairs have cluster labels of shape {labels.shape}.", fix="Pass one a pair.")
    unit = np.unique(labels[both], return_inverse=True)[1]
    units = int(unit.max(initial=-1)) + 1
    estimate = float(_kendall(x, y, np.ones((1, x.size)))[0])
    low = high = math.nan
    if units > 1 and not math.isnan(estimate):
        generator = np.random.default_rng(seed)
        drawn = generator.integers(0, units, size=(replicates, units)) + np.arange(replicates)[:, None] * units
        weights = np.bincount(drawn.ravel(), minlength=replicates * units).reshape(replicates, units)
        found = _kendall(x, y, weights[:, unit].astype(np.float64))
        found = found[~np.isnan(found)]
        low, high = (float(v) for v in np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2]))
    return Concordance(
        estimate=estimate,
        low=low,
        high=high,
        p=math.nan if math.isnan(estimate) else _tau_p(x, y),
        n=x.size,
        dropped=int(both.size - x.size),
        method="kendall",
    )


def _kendall(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Return tau-b of each weighted sample, weights [replicates, n]; NaN where a side does not vary."""
    a, b = np.sign(x[:, None] - x), np.sign(y[:, None] - y)

    def pairs(signs: Floats) -> Floats:
        total: Floats = ((weights @ signs) * weights).sum(axis=1)
        return total

    scale = pairs(np.abs(a)) * pairs(np.abs(b))
    with np.errstate(invalid="ignore", divide="ignore"):
        tau: Floats = np.where(scale > 0, pairs(a * b) / np.sqrt(scale), np.nan)
    return np.clip(tau, -1.0, 1.0)


def _clustered_p(found: Correlation, confidence: float) -> float:
    """Return the p value that belongs to the interval of Fisher's z; NaN where it is not of that kind."""
    if found.method != "jackknife":
        return math.nan
    freedom = found.units - 1
    error = (math.atanh(found.high) - math.atanh(found.low)) / 2 / student_quantile(confidence, freedom)
    return two_sided_p(math.atanh(found.estimate) / error, freedom)


def _spearman_p(rho: float, n: int) -> float:
    freedom = n - 2
    if n < _THREE or math.isnan(rho):
        return math.nan
    # P(|T| >= t) = I_{v / (v + t^2)}(v / 2, 1 / 2), and v / (v + t^2) is 1 - rho^2.
    return incomplete_beta(max(0.0, (1 - rho) * (1 + rho)), freedom / 2, 0.5)


def _tau_p(x: Floats, y: Floats) -> float:
    n = x.size
    _, of_x = np.unique(x, return_counts=True)
    _, of_y = np.unique(y, return_counts=True)
    difference = float(np.triu(np.sign(x[:, None] - x) * np.sign(y[:, None] - y), 1).sum())
    pairs = n * (n - 1) / 2
    if of_x.max() == 1 and of_y.max() == 1 and n <= _EXACT:
        discordant = round((pairs - abs(difference)) / 2)
        # Permutations of n by their number of discordant pairs (Mahonian numbers), exact integers.
        ways = [1]
        for size in range(2, n + 1):
            sums = [0, *np.cumsum(np.array(ways, dtype=object))]
            longest = len(ways) + size - 1
            ways = [sums[min(k + 1, len(ways))] - sums[max(0, k + 1 - size)] for k in range(longest)]
        return float(min(1.0, 2 * sum(ways[: discordant + 1]) / math.factorial(n)))
    sides = [counts.astype(np.float64) for counts in (of_x, of_y)]
    tied = [float((c * (c - 1)).sum()) for c in sides]
    third = [float((c * (c - 1) * (c - 2)).sum()) for c in sides]
    spread = sum(-float((c * (c - 1) * (2 * c + 5)).sum()) for c in sides) + n * (n - 1) * (2 * n + 5)
    variance = spread / 18 + tied[0] * tied[1] / (4 * pairs)
    if n > 2:  # noqa: PLR2004
        variance += third[0] * third[1] / (9 * n * (n - 1) * (n - 2))
    return math.erfc(abs(difference) / math.sqrt(2 * variance)) if variance > 0 else math.nan
