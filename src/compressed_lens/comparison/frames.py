"""Figures as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from compressed_lens.comparison.measures import Figure, figures
from compressed_lens.comparison.series import RunFrames, or_none, series_of, variant_list

if TYPE_CHECKING:
    import polars as pl


def metrics_table(run: RunFrames) -> pl.DataFrame:
    """Return every figure of a run as a Polars frame, one row a (model, task, analysis, metric, variant).

    Args:
        run: What `load_run` returns, or anything with `margins` and the frames `records`, `cells` and `variants`.

    Returns:
        Columns: `model, task, analysis, metric, family, primary, unit, direction, variant, gate`; `planned`,
        `recorded`, `failed` and `unparsed` records; `value, value_low, value_high, n` (own mean, 95 % interval, items
        it rests on);
        `difference, low, high, pairs, dropped` (mean paired difference to full precision, 95 % interval,
        pairs it rests on, pairs that do not apply on both sides); `method` of that interval; `lost` and
        `gained` for outcomes of 0 and 1; `p` (McNemar's exact test, else sign flips) and `p_adjusted` (Holm over the
        confirmatory measures of the variant, Benjamini-Hochberg over its others); `confirmatory`; `margin`; `floor`
        (noise floor); `verdict`, `leaning` and `needed` (pairs in all that would decide a confirmatory one).
        Rates are 0 to 1.
    """
    return figures_frame(figures(series_of(run), variant_list(run.variants), margins=run.margins))


def figures_frame(rows: Iterable[Figure]) -> pl.DataFrame:
    """Return figures as the frame `metrics_table` describes."""
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("model", "task", "analysis", "metric", "family"), pl.String),
        "primary": pl.Boolean,
        **dict.fromkeys(("unit", "direction", "variant", "gate"), pl.String),
        **dict.fromkeys(("planned", "recorded", "failed", "unparsed"), pl.Int64),
        **dict.fromkeys(("value", "value_low", "value_high"), pl.Float64),
        "n": pl.Int64,
        **dict.fromkeys(("difference", "low", "high"), pl.Float64),
        **dict.fromkeys(("pairs", "dropped"), pl.Int64),
        "method": pl.String,
        **dict.fromkeys(("lost", "gained"), pl.Int64),
        **dict.fromkeys(("p", "p_adjusted"), pl.Float64),
        "confirmatory": pl.Boolean,
        **dict.fromkeys(("margin", "floor"), pl.Float64),
        **dict.fromkeys(("verdict", "leaning"), pl.String),
        "needed": pl.Int64,
    }
    return pl.DataFrame([_row(figure) for figure in rows], schema=schema, orient="row")


def _row(figure: Figure) -> tuple[object, ...]:
    measure, own, paired = figure.measure, figure.own, figure.paired
    return (
        *(figure.model, figure.task, figure.analysis, measure.name, measure.family, measure.primary),
        *(measure.unit, measure.direction),
        *(figure.variant, figure.gate, figure.planned, figure.recorded, figure.failed, figure.unparsed),
        *(or_none(own.estimate), or_none(own.low), or_none(own.high), own.n),
        *((or_none(paired.estimate), or_none(paired.low), or_none(paired.high)) if paired else (None, None, None)),
        *((paired.n, paired.dropped, paired.method) if paired else (None, None, None)),
        *(figure.lost, figure.gained, figure.p, figure.p_adjusted, figure.confirmatory),
        *(figure.margin, figure.floor, figure.verdict, figure.leaning, figure.needed),
    )
