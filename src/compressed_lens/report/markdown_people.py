"""What raters said, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from compressed_lens.human.design import POINTS
from compressed_lens.human.findings import HumanAnalysis
from compressed_lens.report.markdown_text import escaped, table
from compressed_lens.report.people import PeoplePanel, PeopleStudy, people, unread


def people_sections(analyses: Mapping[str, HumanAnalysis | str]) -> list[str]:
    """Return the section on human studies; nothing where none was analyzed."""
    if not analyses:
        return []
    lines = ["## People", "", "Ratings from 1 to 5 by people who did not know the variant; differences in points.", ""]
    lines += [line for why in unread(analyses) for line in (escaped(why), "")]
    for study in people(analyses):
        lines += [f"### {escaped(study.name)}", "", *(f"- {escaped(fact)}" for fact in study.facts)]
        lines += [f"- Margin ±{study.margin} points.", ""]
        for panel in study.panels:
            lines += _panel(panel)
        lines += _rest(study)
    return lines


def _panel(panel: PeoplePanel) -> list[str]:
    head = ["Variant", "Difference", "95 % interval", "p (Holm)", "", "Rests on"]
    rows = [
        [
            escaped(f"{r.variant} ({r.where})" if r.where else r.variant),
            r.difference,
            r.interval,
            r.p,
            r.words,
            r.counts,
        ]
        for r in (*panel.rows, *panel.by_model)
    ]
    cells = [
        [escaped(f"{b.variant} ({b.where})" if b.where else b.variant), b.mean, b.interval, *b.shares, b.counts]
        for b in (*panel.bars, *panel.cells)
    ]
    title = f"#### {escaped(panel.dimension.capitalize())} of {panel.kind}"
    bars = table(["Variant", "Mean", "95 % interval", *map(str, POINTS), "Rests on"], cells)
    return [title, "", *(table(head, rows) if rows else []), *bars]


def _rest(study: PeopleStudy) -> list[str]:
    lines = ["#### Agreement of raters (Krippendorff's alpha)", ""]
    head = ["Texts", "Dimension", "Level", "Texts with two ratings", "Raters", "Alpha", "95 % interval", "Published"]
    lines += table(head, [[escaped(cell) for cell in row] for row in study.agreement])
    if study.judges:
        lines += ["#### Judges and people", "", f"Texts that both read: {escaped(study.matches)}.", ""]
        head = ["Texts", "Task", "Dimension", "Judge", "n", "Spearman", "95 % interval", "p", "Judge less people", ""]
        lines += table(head, [[escaped(cell) for cell in row] for row in study.judges])
    if study.shifts:
        head = ["Texts", "Dimension", "Variant", "People changed by", *map(escaped, study.shifted)]
        lines += table(head, [[escaped(cell) for cell in row] for row in study.shifts])
    return lines
