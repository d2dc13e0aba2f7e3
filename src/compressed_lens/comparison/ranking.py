"""Ranking of quantizers: mean rank over (model, column) rows, of a run or of a published table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from compressed_lens.analyses.base import Family
from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.series import FULL, or_none
from compressed_lens.errors import DataError
from compressed_lens.statistics import average_ranks, rank_test

if TYPE_CHECKING:
    import polars as pl

Rule = Literal["skip", "common"]
FAMILIES: tuple[str, ...] = get_args(Family)
OVERALL = "overall"
RULES: dict[Rule, str] = {
    "skip": "a quantizer is ranked only in the rows where it has a value, among those present there",
    "common": "only quantizers that have a value in every row are ranked",
}
TIES = "1 is best; tied quantizers share the average of their ranks"
LONG = ("model", "variant", "column", "direction", "value")
_DIGITS = ".12g"
_CONTEST = 2


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One quantizer's place.

    Attributes:
        mean_rank: Mean over the rows it is in; 1 is best.
        low: 95 % percentile interval over resampled models and columns; NaN with a single row.
        high: Its upper bound.
        rows: Rows it is in.
        first: Rows in which it is first, shared first places included.
    """

    variant: str
    mean_rank: float
    low: float
    high: float
    rows: int
    first: int


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Quantizers by mean rank, best first.

    Attributes:
        family: What the columns are about, or "overall".
        rule: What happens where a quantizer is missing: "skip" or "common" (see `RULES`).
        models: Models with a row.
        columns: Columns with a row.
        rows: (model, column) rows with at least two quantizers.
        p: Of "in every row each order is as likely" (Friedman's test by permutation).
        critical_difference: Two quantizers whose mean ranks are at least this far apart differ at 5 %, all pairs
            held to one error rate together; NaN where there are too few rows for any two to differ. Ranks are compared
            after centring each row, which matters only where quantizers are missing.
        left_out: Quantizers that the rule leaves out.
    """

    family: str
    rule: Rule
    ranked: tuple[Ranked, ...]
    models: int
    columns: int
    rows: int
    p: float
    critical_difference: float
    left_out: tuple[str, ...]


def ranking(
    frame: pl.DataFrame, *, rule: Rule = "skip", family: str = OVERALL, replicates: int = 10_000, seed: int = 0
) -> Ranking:
    """Rank quantizers by their mean rank over all (model, column) rows; ties averaged, full precision left out.

    The interval resamples models and columns, each with replacement and independently of the other, because rows of
    one model share its weights and rows of one column share its items; with one model only columns are resampled.

    Args:
        frame: Columns `model, variant, column, direction ("higher" or "lower" is better), value`; a null value is
            a missing cell.
        rule: What happens where a quantizer is missing.
        family: Name put on the result.
        replicates: Resamples of the interval, and random tables of the test.
        seed: Seed of both.

    Raises:
        DataError: A column is missing, a direction is unknown, a (model, variant, column) stands twice, or nothing
            can be ranked.
    """
    cells, variants = _cells(frame)
    left_out: tuple[str, ...] = ()
    if rule == "common":
        filled = ~np.isnan(cells).all(axis=2)
        whole = np.asarray((~np.isnan(cells[filled])).all(axis=0))
        left_out = tuple(name for v, name in enumerate(variants) if not whole[v])
        cells, variants = cells[:, :, whole], [name for name in variants if name not in left_out]
    # A row with a single quantizer is no contest: being first in it says nothing.
    cells[(~np.isnan(cells)).sum(axis=2) < _CONTEST] = np.nan
    if not variants or np.isnan(cells).all():
        raise DataError(
            f"No quantizer can be ranked by the rule '{rule}': {RULES[rule]}.",
            fix="Use the rule skip, or choose fewer models or columns.",
        )
    table = cells.reshape(-1, len(variants))
    ranks = average_ranks(table)
    means = np.nanmean(ranks, axis=0)
    low, high = _interval(ranks.reshape(cells.shape), replicates, seed)
    test = rank_test(ranks, permutations=replicates, seed=seed)
    best = np.where(np.isnan(ranks), np.inf, ranks).min(axis=1, keepdims=True)
    ranked = [
        Ranked(
            variant=name,
            mean_rank=float(means[v]),
            low=float(low[v]),
            high=float(high[v]),
            rows=int((~np.isnan(ranks[:, v])).sum()),
            first=int((ranks[:, v : v + 1] == best).sum()),
        )
        for v, name in enumerate(variants)
    ]
    return Ranking(
        family=family,
        rule=rule,
        ranked=tuple(sorted(ranked, key=lambda one: one.mean_rank)),
        models=int((~np.isnan(cells)).any(axis=(1, 2)).sum()),
        columns=int((~np.isnan(cells)).any(axis=(0, 2)).sum()),
        rows=test.rows,
        p=test.p,
        critical_difference=test.critical_difference,
        left_out=left_out,
    )


def rankings(frame: pl.DataFrame, *, rule: Rule = "skip", seed: int = 0) -> tuple[Ranking, ...]:
    """Rank over all columns, then over those of each family (column `family`, where there is one).

    Raises:
        DataError: As `ranking`.
    """
    found = [ranking(frame, rule=rule, seed=seed)]
    present = frame["family"].unique(maintain_order=True).to_list() if "family" in frame.columns else []
    for family in sorted(present, key=lambda name: FAMILIES.index(name) if name in FAMILIES else len(FAMILIES)):
        if len(present) > 1:
            found.append(ranking(frame.filter(frame["family"] == family), rule=rule, family=family, seed=seed))
    return tuple(found)


def long_frame(figures: Iterable[Figure], *, primary_only: bool = True) -> pl.DataFrame:
    """Return a run's metrics as `ranking` wants them, one row a (model, variant, task, analysis, metric).

    Full precision, placebos, variants that failed the integrity gate, metrics without a good direction and, unless
    asked for, secondary metrics are left out.
    """
    import polars as pl

    rows = [
        (f.model, f.variant, f"{f.task}: {f.analysis}, {f.measure.name}", f.measure.direction, f.own.estimate,
         f.measure.family)
        for f in figures
        if f.variant != FULL and not f.placebo and f.gate != "failed" and f.own.n and f.measure.direction != "neither"
        and (f.measure.primary or not primary_only)
    ]  # fmt: skip
    kinds: dict[str, type[pl.DataType]] = {name: pl.String for name in (*LONG, "family")}
    return pl.DataFrame(rows, schema={**kinds, "value": pl.Float64}, orient="row")


def rankings_frame(rows: Iterable[Ranking]) -> pl.DataFrame:
    """Return rankings as a Polars frame, one row a (family, quantizer), best first.

    Columns: `family, rule, place, variant, mean_rank, low, high, rows, first`; `models, columns, all_rows` of the
    ranking; `p`, `critical_difference`.
    """
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        "family": pl.String, "rule": pl.String, "place": pl.Int64, "variant": pl.String,
        **dict.fromkeys(("mean_rank", "low", "high"), pl.Float64),
        **dict.fromkeys(("rows", "first", "models", "columns", "all_rows"), pl.Int64),
        **dict.fromkeys(("p", "critical_difference"), pl.Float64),
    }  # fmt: skip
    told = [
        (r.family, r.rule, place, one.variant, one.mean_rank, or_none(one.low), or_none(one.high), one.rows, one.first,
         r.models, r.columns, r.rows, or_none(r.p), or_none(r.critical_difference))
        for r in rows
        for place, one in enumerate(r.ranked, 1)
    ]  # fmt: skip
    return pl.DataFrame(told, schema=schema, orient="row")


def _cells(frame: pl.DataFrame) -> tuple[NDArray[np.float64], list[str]]:
    """Return the values as [models, columns, variants], smaller better, NaN where missing; and the variants."""
    missing = [name for name in LONG if name not in frame.columns]
    if missing:
        raise DataError(f"The frame lacks the column '{missing[0]}'.", fix=f"It needs {', '.join(LONG)}.")
    rows = [row for row in frame.select(LONG).iter_rows() if row[1] != FULL]
    models, variants, columns = (list(dict.fromkeys(row[n] for row in rows)) for n in (0, 1, 2))
    cells = np.full((len(models), len(columns), len(variants)), np.nan)
    for model, variant, column, direction, value in rows:
        if direction not in {"higher", "lower"}:
            raise DataError(f"Column '{column}' has the direction '{direction}'.", fix="Use 'higher' or 'lower'.")
        place = models.index(model), columns.index(column), variants.index(variant)
        if value is None or math.isnan(value):
            continue
        if not np.isnan(cells[place]):
            raise DataError(f"{model}, {variant}, {column} stands twice in the table.", fix="Keep one of them.")
        # Rounded, so that sums in another order do not break a tie.
        cells[place] = float(format(value, _DIGITS)) * (1 if direction == "lower" else -1)
    return cells, variants


def _interval(
    ranks: NDArray[np.float64], replicates: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval of the mean ranks, models and columns resampled; ranks are [models, columns, variants]."""
    models, columns, variants = ranks.shape
    nothing = np.full(variants, np.nan)
    if models * columns == 1:
        return nothing, nothing
    generator = np.random.default_rng(seed)
    drawn = [generator.multinomial(n, np.full(n, 1 / n), size=replicates).astype(np.float64) for n in (models, columns)]
    present = ~np.isnan(ranks)
    sums, counts = (
        np.einsum("rm,mcv,rc->rv", drawn[0], part, drawn[1], optimize=True)
        for part in (np.where(present, ranks, 0.0), present.astype(np.float64))
    )
    means = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    low, high = np.nanquantile(means, [0.025, 0.975], axis=0)
    return low, high
