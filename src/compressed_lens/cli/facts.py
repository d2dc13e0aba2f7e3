"""What `compare` prints about layers, two hops and relations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compressed_lens.cli.output import show, show_table

if TYPE_CHECKING:
    from compressed_lens.comparison import Bottleneck, HopTable, Saturation, VariantCurve


def show_facts(
    curves: Sequence[VariantCurve],
    tables: Sequence[HopTable],
    saturations: Sequence[Saturation],
    bottlenecks: Sequence[Bottleneck],
) -> None:
    """Print a table for each that there is."""
    if curves:
        _show_curves(curves)
    if tables:
        _show_tables(tables)
    if saturations:
        _show_saturations(saturations)
    if bottlenecks:
        _show_bottlenecks(bottlenecks)


def _flagged(variant: str, gate: str) -> str:
    return variant + (" (failed gate)" if gate == "failed" else "")


def _show_curves(curves: Sequence[VariantCurve]) -> None:
    from compressed_lens.report.curves import curve_panels

    show("\nLayer by layer: where each variant loses most, and the share of resamples with the same place")
    rows = [
        (panel.label, panel.where, panel.unit, _flagged(row.curve.variant, row.curve.gate), row.worst)
        + (f"{row.difference} {row.interval}", row.again, ", ".join(row.counts))
        for panel in curve_panels(curves)
        for row in panel.rows
    ]
    show_table(["curve", "of", "unit", "variant", "loses most at", "difference [95 %]", "same place", "items"], rows)


def _show_tables(tables: Sequence[HopTable]) -> None:
    from compressed_lens.report.mosaics import combination_text, mosaic_panels, outside_text

    for panel in mosaic_panels(tables):
        show(f"\n{panel.label}: {panel.where}")
        rows = [(combination_text(c, panel.labels), *map(str, counts)) for c, counts in panel.rows]
        rows.append(("outside", *(outside_text(figure.table) for figure in panel.figures)))
        show_table(["", *(_flagged(figure.table.variant, figure.table.gate) for figure in panel.figures)], rows)


def _show_saturations(saturations: Sequence[Saturation]) -> None:
    from compressed_lens.report.relations import correlation_words

    show("\nSaturation: Spearman of full precision and loss over relations (negative: known less well, lost more)")
    rows = []
    for one in saturations:
        text, interval = correlation_words(one.correlation, "accuracy", "loss", "relation")
        place = (one.model, one.task, one.analysis, one.measure.name, _flagged(one.variant, one.gate))
        rows.append((*place, text, interval, ", ".join(one.left_out)))
    show_table(["model", "task", "analysis", "metric", "variant", "correlation", "95 %", "below the floor"], rows)


def _show_bottlenecks(bottlenecks: Sequence[Bottleneck]) -> None:
    from compressed_lens.report.relations import bottleneck_tables

    show("\nBottleneck: how the loss of a hop goes with the loss of two-hop accuracy")
    rows = [
        (table.heading, table.where, _flagged(row.variant, row.gate) or "all variants")
        + (" ".join(row.over), " ".join(row.items), row.lost, row.kept)
        for table in bottleneck_tables(bottlenecks)
        for row in table.rows
    ]
    show_table(
        ["losses of", "in", "variant", "over groups", "over items", "second lost where first lost", "where first kept"],
        rows,
    )
