"""The report as Markdown that GitHub shows well, with a few examples of texts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.series import FULL, Outcome, Series
from compressed_lens.comparison.uses import USES, UseVerdict, use_verdicts
from compressed_lens.report import markdown_comparisons, markdown_facts, markdown_people, overview
from compressed_lens.report.comparisons import Comparisons
from compressed_lens.report.formatting import clipped
from compressed_lens.report.headline import caution, details
from compressed_lens.report.heat import HeatCell, heat_maps
from compressed_lens.report.items import FAILED, GAINED, LOST, Items, item_contents
from compressed_lens.report.markdown_text import escaped, named, table
from compressed_lens.report.panels import FEW_PANELS, FamilyPanels, Panel, families, panels
from compressed_lens.report.recommendation import recommendation
from compressed_lens.report.run_data import RunData
from compressed_lens.report.words import SYMBOLS, symbol

_EXAMPLES = 2
_CHARACTERS = 400


def markdown(run: RunData, figures: Sequence[Figure], compared: Comparisons, *, footer: str) -> str:
    """Return the report as Markdown."""
    several = len({v.model for v in run.variant_list}) > 1
    lines = [f"# {escaped(str(run.study.get('name') or run.folder.name))}", ""]
    uses = use_verdicts(figures, run.variant_list)
    told = recommendation(uses, figures, run.variant_list, margins_moved=run.margins_moved)
    lines += [" ".join(escaped(sentence.text) for sentence in told), "", *_verdicts(uses, several=several)]
    for summary in details(figures, run.variant_list):
        name = f"{summary.variant} ({summary.model})" if several else summary.variant
        lines.append(f"- **{escaped(name)}** {escaped(summary.verdict)}")
        lines += [f"  - {escaped(sentence.text)}" for sentence in summary.sentences]
    lines += ["", escaped(caution(figures)), "", "## What ran", ""]
    lines += table(["", ""], [[escaped(what), escaped(text)] for what, text in overview.facts(run)])
    tasks = []
    for task, kind, asked, notes in overview.task_rows(run):
        analyses = "; ".join(f"{name} ({settings})" if settings else name for name, settings in asked)
        tasks.append([escaped(cell) for cell in (task, kind, analyses, notes)])
    lines += table(["Task", "Items", "Analyses", "Notes"], tasks)
    lines += ["## Integrity", "", *_integrity(run), "## Size, memory, speed", "", *_costs(run), "## Overview", ""]
    lines.append("Paired difference to full precision (own value in the first column); symbols where it is shown.\n")
    seen = heat_maps(figures)
    for heat in seen.maps:
        heading = " · ".join(part for part in (heat.title, heat.model if several else "") if part)
        lines += [f"### {escaped(heading)}", ""] if heading else []
        rows = []
        for heading, small, measured in heat.parts:
            for measure in measured:
                place = measure.where or f"{heading}, {small}"
                label = f"{measure.label} ({measure.unit}): {place}"
                rows.append([escaped(label), *(_heat_text(cell) for cell in measure.cells)])
        lines += table(["", *(named(name, gate) for name, gate in heat.variants)], rows)
    if seen.never:
        lines += [
            f"Zero on every item under every variant, and so without a row: {escaped('; '.join(seen.never))}.",
            "",
        ]
    lines += markdown_comparisons.ranking(compared)
    every = panels(figures)
    lines += _measures(families(every, compared.outcomes, run.gates), several=several, few=len(every) <= FEW_PANELS)
    lines += markdown_comparisons.others(compared, run.gates)
    lines += markdown_facts.facts(compared)
    for found in overview.group_tables(run.series, run.gates):
        where = f"{found.task}, {found.model}" if several else found.task
        lines += [f"### {escaped(found.label)} by group: {escaped(where)}", ""]
        body = [[escaped(group), *(f"{value} (n {n})" for value, n, _ in cells)] for group, cells in found.rows]
        lines += table(["", *(named(name, gate) for name, gate in found.variants)], body)
    lines += markdown_people.people_sections(run.people)
    lines += _examples(run)
    return "\n".join([*lines, "", f"<sub>{escaped(footer)}</sub>", ""])


def _verdicts(uses: Sequence[UseVerdict], *, several: bool) -> list[str]:
    rows = []
    for (model, variant), group in groupby(uses, key=lambda use: (use.model, use.variant)):
        own = list(group)
        name = named(f"{variant} ({model})" if several else variant, own[0].gate)
        rows.append([name + (" (placebo)" if own[0].placebo else ""), *(_use_text(use) for use in own)])
    return table(["Variant", *(name.capitalize() for name in USES.values())], rows) if rows else []


def _use_text(use: UseVerdict) -> str:
    more = f"<br><sub>needs {use.more:.1f} x the items</sub>" if use.more else ""
    return f"{SYMBOLS[use.verdict]} {use.verdict}{more}"


def _measures(found: Sequence[FamilyPanels], *, several: bool, few: bool) -> list[str]:
    lines = ["## Measures", ""]
    if not few:
        lines += [
            "Primary measures, and others with a difference shown; the rest is in report.html and metrics.csv.",
            "",
        ]
    for family in found:
        lines += [f"### {family.title}", ""]
        for analysis in family.analyses:
            if analysis.outcomes is not None:
                lines += [f"Outcomes of {escaped(analysis.title)} on {escaped(analysis.where)}:", ""]
                rows = [[named(v, gate), *map(str, counts)] for v, gate, counts in analysis.outcomes.rows]
                lines += table([f"of {analysis.outcomes.items} items", *map(escaped, analysis.outcomes.classes)], rows)
            for panel in analysis.panels:
                if few or panel.primary or panel.shown:
                    lines += _panel(panel, several=several)
    return lines


def _panel(panel: Panel, *, several: bool) -> list[str]:
    where = f"{panel.task}, {panel.model}" if several else panel.task
    note = f" ({panel.direction})" if panel.direction else ""
    head = ["Variant", "Value", "95 % interval", "n", f"Difference ({panel.unit})", "95 % interval", ""]
    rows = []
    for row in panel.rows:
        flips = "" if row.figure.lost is None else f"{row.figure.lost} · {row.figure.gained}"
        flips = flips if row.difference else ""
        name = named(row.figure.variant, row.figure.gate)
        told_counts = ", ".join(row.counts).removeprefix("n ")
        rows.append([name, row.value, row.value_interval, told_counts, row.difference, row.interval, row.words])
        rows[-1] += [flips, row.p]
    return [
        *(f"#### {escaped(panel.label)}: {escaped(where)}", "", f"{escaped(panel.summary)}{note}", ""),
        *table([*head, "Lost · gained", "p"], rows),
    ]


def _heat_text(cell: HeatCell) -> str:
    figure = cell.figure
    if cell.kind == "none":
        return cell.text
    n = figure.paired.n if figure.paired else figure.own.n
    return f"{symbol(figure)} {cell.text}<br><sub>n {n}</sub>".strip()


def _integrity(run: RunData) -> list[str]:
    rows = []
    for variant in run.variant_list:
        state = {"failed": "✕ **failed**", "unavailable": "– unavailable", "pending": "… not run yet"}
        told = [f"**{escaped(str(f['check']))}** {escaped(str(f['message']))}" for f in variant.findings
                if f.get("severity") in {"broken", "degraded"}]  # fmt: skip
        if variant.gate in {"unavailable", "pending"}:
            told.append(escaped(variant.reason))
        told.append(f"{len(variant.findings)} checks" if variant.findings else "")
        label = f"{variant.name} ({variant.model})"
        rows.append([escaped(label), state.get(variant.gate, "✓ passed"), "<br>".join(part for part in told if part)])
    return table(["Variant", "Gate", "Findings"], rows)


def _costs(run: RunData) -> list[str]:
    rows = [
        [named(c.variant.name, c.variant.gate), c.disk, c.relative, c.memory, c.rate, c.tokens, c.bits]
        for c in overview.cost_rows(run.variant_list)
    ]
    return table(
        ["Variant", "Size on disk", "of full", "Memory", "Tokens per second", "Tokens", "Bits per weight"], rows
    )


def _examples(run: RunData) -> list[str]:
    contents = item_contents(run.items)
    lines: list[str] = []
    for series in run.series:
        known = Items(series=series)
        for variant, marks in zip(known.variants, known.marks, strict=True):
            if variant == FULL:
                continue
            telling = np.flatnonzero(marks & (LOST | GAINED | FAILED))
            for row in telling[:_EXAMPLES]:
                item = series.rows[row][0]
                fields = dict(contents.get(series.task, {}).get(item, {}).get("fields") or {})
                source = "; ".join(f"{name}: {text}" for name, text in fields.items())
                lines += [f"**{escaped(series.task)}, {escaped(series.analysis)}, {escaped(item)}**<br>"]
                lines += [escaped(clipped(source, _CHARACTERS)), ""]
                lines += table(["", "Text"], [[escaped(v), _said(series, v, row)] for v in (FULL, variant)])
    return ["## Texts that flipped or failed", "", *lines] if lines else []


def _said(series: Series, variant: str, row: int) -> str:
    outcomes = series.outcomes.get(variant)
    outcome: Outcome | None = outcomes[row] if outcomes else None
    if outcome is None:
        return "(nothing recorded)"
    texts = [
        f"*{escaped(k)}*: {escaped(clipped(v, _CHARACTERS))}" for k, v in outcome.values.items() if isinstance(v, str)
    ]
    if outcome.failed is not None:
        texts.append(f"✕ {escaped(outcome.failed)}")
    return "<br>".join(texts)
