"""Summaries of a sample that are no plain means (a median, a ratio of sums): values, intervals, paired differences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.interval import NORMAL, Interval, normal_quantile
from compressed_lens.statistics.resampling import LEAST_ERROR, resamples
from compressed_lens.statistics.student import student_quantile

Floats = NDArray[np.float64]
Statistic = Literal["mean", "median", "exp_ratio"]
SummaryMethod = Literal["studentized", "percentile"]

_CELLS_PER_CHUNK = 4_000_000
_NOTHING = 1e-12
_LARGEST = 700.0


def summary(values: ArrayLike, over: ArrayLike | None = None, *, statistic: Statistic) -> float:
    """Return the mean or the median of values, or exp(sum of values / sum of `over`); NaN where nothing applies.

    Args:
        values: Shape [n]; NaN where not applicable.
        over: For "exp_ratio": what the values are summed over, shape [n] (tokens, for instance).
        statistic: Which.
    """
    rows = _rows(values, over, statistic)
    rows = rows[~np.isnan(rows).any(axis=1)]
    return float(_weighted(rows, np.ones((1, len(rows))), statistic)[0]) if len(rows) else float("nan")


def summary_interval(
    values: ArrayLike,
    over: ArrayLike | None = None,
    *,
    statistic: Statistic,
    clusters: ArrayLike | None = None,
    replicates: int = 10_000,
    confidence: float = 0.95,
    method: SummaryMethod = "studentized",
    seed: int,
) -> Interval:
    """Bootstrap interval of a `summary`.

    Args:
        values: Shape [n]; NaN where not applicable.
        over: As for `summary`.
        statistic: As for `summary`.
        clusters: Label of each value's independent unit, shape [n]; whole units are resampled.
        replicates: Bootstrap resamples.
        confidence: Nominal coverage.
        method: "studentized" (as of `paired_bootstrap`; that of "exp_ratio" on the scale of its logarithm) or
            "percentile". A median has no standard error that small samples would tell: it always gets percentiles.
        seed: Seed of the resampling.
    """
    sample = _Sample.of(_rows(values, over, statistic), clusters)
    return sample.interval(
        (slice(None),), statistic, replicates=replicates, confidence=confidence, method=method, seed=seed
    )


def paired_summary(
    base: ArrayLike,
    other: ArrayLike,
    base_over: ArrayLike | None = None,
    other_over: ArrayLike | None = None,
    *,
    statistic: Statistic,
    clusters: ArrayLike | None = None,
    replicates: int = 10_000,
    confidence: float = 0.95,
    method: SummaryMethod = "studentized",
    seed: int,
) -> tuple[Interval, float]:
    """Interval and p of `summary(other) - summary(base)` over the items that apply on both sides.

    It is the difference of two summaries, not the summary of the differences.

    Args:
        base: Values of the reference, shape [n]; NaN where not applicable.
        other: Values of the same items under the other variant.
        base_over: As for `summary`, for `base`.
        other_over: As for `summary`, for `other`.
        statistic: As for `summary`.
        clusters: As for `summary_interval`.
        replicates: Bootstrap resamples, and random swaps.
        confidence: Nominal coverage.
        method: As for `summary_interval`.
        seed: Seed of both.

    Returns:
        The bootstrap interval, items resampled in pairs; and the two-sided p of "no difference" by swapping
        the two sides of random units: (1 + #{|swapped difference| >= |difference|}) / (1 + replicates), 1 where nothing
        differs, NaN where no pair applies.

    Raises:
        DataError: Shapes differ, or `over` is missing.
    """
    sides = [_rows(base, base_over, statistic), _rows(other, other_over, statistic)]
    if sides[0].shape != sides[1].shape:
        raise DataError(
            f"Paired values have lengths {len(sides[0])} and {len(sides[1])}.",
            fix="Pass the same items in the same order.",
        )
    width = sides[0].shape[1]
    halves = (slice(width, None), slice(width))
    sample = _Sample.of(np.hstack(sides), clusters)
    interval = sample.interval(
        halves, statistic, replicates=replicates, confidence=confidence, method=method, seed=seed
    )
    if not sample.units:
        return interval, float("nan")
    least = abs(interval.estimate) * (1 - 1e-9)
    reached = 0
    for drawn in sample.chunks(replicates, 2, np.random.default_rng(seed)):
        swapped = drawn[:, sample.unit].astype(bool)[:, :, None]
        first, second = (sample.rows[None, :, half] for half in halves[::-1])
        found = _plain(np.where(swapped, first, second), statistic) - _plain(
            np.where(swapped, second, first), statistic
        )
        reached += int((np.abs(found) >= least).sum())
    return interval, (1 + reached) / (1 + replicates)


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """Rows that apply, shape [n, columns], and the number of each row's unit, shape [n]."""

    rows: Floats
    unit: NDArray[np.intp]
    units: int
    dropped: int

    @classmethod
    def of(cls, rows: Floats, clusters: ArrayLike | None) -> _Sample:
        labels: NDArray[Any] = np.arange(len(rows)) if clusters is None else np.asarray(clusters)
        if labels.shape != (len(rows),):
            raise DataError(
                f"{len(rows)} values have cluster labels of shape {labels.shape}.", fix="Pass one label for each value."
            )
        applied = ~np.isnan(rows).any(axis=1)
        found, unit = np.unique(labels[applied], return_inverse=True)
        return cls(rows=rows[applied], unit=unit, units=len(found), dropped=int((~applied).sum()))

    def chunks(self, replicates: int, below: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Yield `replicates` rows of one random number under `below` for each unit, in parts that fit into memory."""
        size = max(1, _CELLS_PER_CHUNK // max(1, self.rows.size))
        for start in range(0, replicates, size):
            yield generator.integers(0, below, size=(min(size, replicates - start), self.units))

    def interval(
        self,
        sides: tuple[slice, ...],
        statistic: Statistic,
        *,
        replicates: int,
        confidence: float,
        method: SummaryMethod,
        seed: int,
    ) -> Interval:
        """Bootstrap the statistic of one side (a slice of columns), or the first side's minus the second's."""
        z = normal_quantile(confidence)

        def value(weights: Floats) -> Floats:
            first, *rest = (_weighted(self.rows[:, side], weights, statistic) for side in sides)
            return first - rest[0] if rest else first

        if method not in {"studentized", "percentile"}:
            raise DataError(f"A summary has no bootstrap '{method}'.", fix="One of: studentized, percentile.")
        n = len(self.rows)
        estimate = float(value(np.ones((1, n)))[0]) if n else float("nan")
        low = high = float("nan")
        smooth = method == "studentized" and statistic != "median"
        if self.units > 1 and smooth:
            low, high = self._studentized(sides, statistic, replicates=replicates, confidence=confidence, seed=seed)
        elif self.units > 1:
            found = [value(weights[:, self.unit]) for _, weights in resamples(self.units, replicates, seed)]
            low, high = (float(b) for b in np.quantile(np.concatenate(found), (NORMAL.cdf(-z), NORMAL.cdf(z))))
        return Interval(
            estimate=estimate,
            low=low,
            high=high,
            n=n,
            dropped=self.dropped,
            units=self.units,
            confidence=confidence,
            method="none" if self.units <= 1 else "studentized" if smooth else "percentile",
        )

    def _studentized(
        self, sides: tuple[slice, ...], statistic: Statistic, *, replicates: int, confidence: float, seed: int
    ) -> tuple[float, float]:
        """Return the bounds of the studentized bootstrap, at each end the farther of its and Student's.

        A side's statistic is f(r), r = sum(v) / sum(o) with o = 1 for a mean. Near a sample, unit u moves the
        difference of the sides by the sum over them of ±f'(r) (v_u - r o_u) / sum(o), and the root of the sum of
        squares of that is the standard error, in each replicate with its own sums. One exponential alone is taken on
        the scale of its logarithm, where f(r) = r.
        """
        curved = statistic == "exp_ratio" and len(sides) > 1
        columns, ratios = [], []
        for side in sides:
            values = self.rows[:, side]
            over = values[:, 1] if statistic == "exp_ratio" else np.ones(len(values))
            with np.errstate(invalid="ignore", divide="ignore"):
                ratios.append(float(values[:, 0].sum() / over.sum()))
            columns += [values[:, 0] - ratios[-1] * over, over]
        x = np.zeros((self.units, len(columns)))
        np.add.at(x, self.unit, np.column_stack(columns))
        products = (x[:, :, None] * x[:, None, :]).reshape(self.units, -1)
        signs = (1.0, -1.0)

        def off_and_error(weights: Floats) -> tuple[Floats, Floats]:
            totals, squares = weights @ x, (weights @ products).reshape(len(weights), len(columns), len(columns))
            off, slopes = np.zeros(len(weights)), np.zeros_like(totals)
            for k, (ratio, sign) in enumerate(zip(ratios, signs, strict=False)):
                moved = totals[:, 2 * k] / totals[:, 2 * k + 1]
                off += sign * (np.exp(ratio) * np.expm1(moved) if curved else moved)
                slopes[:, 2 * k] = sign * (np.exp(ratio + moved) if curved else 1.0) / totals[:, 2 * k + 1]
                slopes[:, 2 * k + 1] = -moved * slopes[:, 2 * k]
            spread = np.einsum("ri,rij,rj->r", slopes, squares, slopes)
            return off, np.sqrt(np.maximum(spread, 0.0))

        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            own = np.exp(ratios) if curved else np.array(ratios)
            centre = float(own[0] - own[1:].sum())
            # Not from the squares, where equal sides would not cancel to the last digit.
            steps = (own if curved else np.ones(len(own))) * np.array(signs[: len(own)]) / x[:, 1::2].sum(axis=0)
            error = math.sqrt(float(((x[:, ::2] @ steps) ** 2).sum()))
            low = high = centre
            if error > _NOTHING * np.abs(own).max():
                found = [off_and_error(weights) for _, weights in resamples(self.units, replicates, seed)]
                off, errors = (np.concatenate(part) for part in zip(*found, strict=True))
                quotients = off / np.maximum(errors, LEAST_ERROR * error)
                least = student_quantile(confidence, self.units - 1) * math.sqrt(self.units / (self.units - 1))
                ends = np.quantile(quotients[~np.isnan(quotients)], [(1 - confidence) / 2, (1 + confidence) / 2])
                low, high = centre - error * max(ends[1], least), centre - error * min(ends[0], -least)
        if statistic == "exp_ratio" and not curved:
            # Two units of very different size: wide, but a number.
            low, high = (float(np.exp(np.clip(end, -_LARGEST, _LARGEST))) for end in (low, high))
        return float(low), float(high)


def _rows(values: ArrayLike, over: ArrayLike | None, statistic: Statistic) -> Floats:
    """Return values [n, 1], with `over` as a second column where the statistic needs one."""
    columns = [np.asarray(values, dtype=np.float64)]
    if statistic == "exp_ratio":
        if over is None:
            raise DataError("A ratio of sums needs what the values are summed over.", fix="Pass `over`.")
        columns.append(np.asarray(over, dtype=np.float64))
    shapes = {column.shape for column in columns}
    if len(shapes) > 1 or columns[0].ndim != 1:
        raise DataError(f"Values have shapes {sorted(shapes)}.", fix="Pass one-dimensional values of one length.")
    return np.column_stack(columns)


def _weighted(rows: Floats, weights: Floats, statistic: Statistic) -> Floats:
    """Return the statistic of `rows` [n, columns] taken as often as each row of `weights` [r, n] says, shape [r]."""
    if statistic == "median":
        order = np.argsort(rows[:, 0], kind="stable")
        values, reached = rows[order, 0], np.cumsum(weights[:, order], axis=1)
        half = reached[:, -1:] / 2
        low, high = (reached < half).sum(axis=1), (reached <= half).sum(axis=1)
        return np.asarray((values[low] + values[high]) / 2)
    sums = weights @ rows
    if statistic == "mean":
        return np.asarray(sums[:, 0] / weights.sum(axis=1))
    return np.asarray(np.exp(sums[:, 0] / sums[:, 1]))


def _plain(rows: Floats, statistic: Statistic) -> Floats:
    """Return the statistic of each sample of `rows` [r, n, columns], shape [r]."""
    if statistic == "median":
        return np.asarray(np.median(rows[..., 0], axis=1))
    if statistic == "mean":
        return np.asarray(rows[..., 0].mean(axis=1))
    sums = rows.sum(axis=1)
    return np.asarray(np.exp(sums[:, 0] / sums[:, 1]))
