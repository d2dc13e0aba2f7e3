"""Layer curves, hop tables, relations and the bottleneck as Markdown."""

from __future__ import annotations

from compressed_lens.report.comparisons import Comparisons
from compressed_lens.report.curves import curve_panels
from compressed_lens.report.markdown_text import escaped, named, table
from compressed_lens.report.mosaics import combination_text, mosaic_panels
from compressed_lens.report.relations import bottleneck_tables, scatter_panels


def facts(compared: Comparisons) -> list[str]:
    """Return the sections on layers, two hops and relations; those without content are left out."""
    return [*_curves(compared), *_hops(compared), *_relations(compared)]


def _curves(compared: Comparisons) -> list[str]:
    rows = []
    for panel in curve_panels(compared.curves):
        for row in panel.rows:
            name = named(row.curve.variant, row.curve.gate)
            change = f"{row.difference} {row.interval}".strip()
            cells = [escaped(cell) for cell in (row.worst, change, row.again, ", ".join(row.counts))]
            rows.append([escaped(f"{panel.label} ({panel.unit}): {panel.where}"), name, *cells])
    if not rows:
        return []
    about = (
        "Where each variant loses most, and in how many resamples that place is the same; curves.csv holds the rest."
    )
    head = ["Curve", "Variant", "Loses most at", "Difference, 95 % interval", "Same place", "Items"]
    return ["## Layer by layer", "", about, "", *table(head, rows)]


def _hops(compared: Comparisons) -> list[str]:
    lines = []
    for panel in mosaic_panels(compared.hop_tables):
        lines += [f"### {escaped(panel.label)}: {escaped(panel.where)}", ""]
        rows = [[escaped(combination_text(c, panel.labels)), *map(str, counts)] for c, counts in panel.rows]
        rows.append(["outside", *(escaped(figure.rest) for figure in panel.figures)])
        lines += table(["", *(named(figure.table.variant, figure.table.gate) for figure in panel.figures)], rows)
    rows = []
    for found in bottleneck_tables(compared.bottlenecks):
        for row in found.rows:
            name = named(row.variant, row.gate) if row.variant else "all variants"
            cells = [" ".join(row.over), " ".join(row.items), row.lost, row.kept]
            rows.append([escaped(f"{found.heading}: {found.where}"), name, *(escaped(cell) for cell in cells)])
    if rows:
        head = ["Losses of", "Variant", "Over groups", "Over items", "Second lost where first lost", "Where first kept"]
        lines += ["### Is the bridge the bottleneck?", "", *table(head, rows)]
    return ["## Two hops", "", *lines] if lines else []


def _relations(compared: Comparisons) -> list[str]:
    rows = []
    for panel in scatter_panels(compared.saturations):
        for one in panel.scatters:
            name = named(one.saturation.variant, one.saturation.gate)
            cells = (f"{panel.label}, {panel.where}", f"{one.correlation} {one.interval}".strip(), one.left_out)
            first, *rest = (escaped(cell) for cell in cells)
            rows.append([first, name, *rest])
    if not rows:
        return []
    about = "Spearman's correlation over relations of the share under full precision and the loss; negative: "
    about += "what was known less well lost more."
    head = ["Measure", "Variant", "Correlation, 95 % interval", "Left out"]
    return ["## What was known well, and what was lost", "", about, "", *table(head, rows)]
