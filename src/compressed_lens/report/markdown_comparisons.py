"""Ranking, transitions, agreement and model size as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from compressed_lens.comparison.series import Gate
from compressed_lens.report.comparisons import (
    Comparisons,
    choice_cells,
    matrices,
    rank_bounds,
    ranking_note,
    ranking_rule,
    trend_cells,
)
from compressed_lens.report.formatting import p_value
from compressed_lens.report.markdown_text import escaped, named, table
from compressed_lens.report.transitions import transition_groups


def ranking(compared: Comparisons) -> list[str]:
    """Return the section on ranks, its rules above the tables."""
    if not compared.rankings:
        return []
    lines = [
        "## Ranking of variants",
        "",
        f"Mean rank over the primary measures. {ranking_rule(compared.rankings)}",
        "",
    ]
    for one in compared.rankings:
        rows = [
            [escaped(r.variant), f"{r.mean_rank:.2f}", rank_bounds(r), str(r.rows), str(r.first)] for r in one.ranked
        ]
        lines += [f"**{escaped(one.family)}** {escaped(ranking_note(one))}", ""]
        lines += table(["Variant", "Mean rank", "95 % interval", "Rows", "First in"], rows)
    return lines


def others(compared: Comparisons, gates: Mapping[tuple[str, str], Gate]) -> list[str]:
    """Return the sections on transitions of primary metrics, agreement of tests, and model size."""
    return [*_transitions(compared), *_agreement(compared, gates), *_sizes(compared)]


def _transitions(compared: Comparisons) -> list[str]:
    rows = []
    for group in transition_groups(compared.transitions):
        for row in group.rows if group.primary else ():
            t = row.transition
            name = named(t.variant, t.gate)
            counts = [str(n) for n in (t.preserved, t.lost, t.gained, t.both_bad)]
            told = [row.rest, str(t.items), f"{row.net} {row.interval}", row.forgotten, row.regained]
            told += [row.churn, row.kappa, row.p, row.p_adjusted]
            rows.append([escaped(f"{group.label}, {group.where}"), name, *counts, *map(escaped, told)])
    if not rows:
        return []
    head = ["Metric", "Variant", "Preserved", "Lost", "Gained", "Bad under both", "Outside", "Items"]
    more = ["Gained - lost (points)", "Forgotten", "Regained", "Churn", "Kappa"]
    about = "Good or bad under full precision against the variant; the counts of a row add up to its items. "
    about += "Forgotten is a share of what was good, regained of what was bad, churn (both) of all pairs."
    return ["## Transitions", "", about, "", *table([*head, *more, "p", "p (Holm)"], rows)]


def _agreement(compared: Comparisons, gates: Mapping[tuple[str, str], Gate]) -> list[str]:
    lines = []
    for matrix in matrices(compared.agreements, gates):
        rows = [
            [escaped(name), *(f"{c.text}<br><sub>{escaped(c.note)}</sub>" if c else "" for c in cells[:-1])]
            for name, cells in zip(matrix.names[1:], matrix.cells[1:], strict=True)
        ]
        lines += [f"{named(matrix.variant, matrix.gate)}, {escaped(f'{matrix.task}, {matrix.model}')}", ""]
        lines += table(["", *map(escaped, matrix.names[:-1])], rows)
    if not lines:
        return []
    about = "phi or Spearman over shared items; a dash: one of the two is the same on every shared item."
    return ["## Do the tests agree?", "", about, "", *lines]


def _sizes(compared: Comparisons) -> list[str]:
    lines = []
    if compared.trends:
        head = ["Task", "Analysis", "Measure", "Variant", "Losses", "Slope (ten times the parameters)", "95 % interval"]
        lines += table(head, [[escaped(cell) for cell in trend_cells(t)] for t in compared.trends])
    if compared.choices:
        head = ["Task", "Analysis", "Measure", "Larger", "Memory", "Smaller, full precision", "Memory", "Values"]
        rows = [[*map(escaped, choice_cells(c)), p_value(c.p_adjusted)] for c in compared.choices]
        lines += table([*head, "Difference", "95 % interval", "n", "p (Holm)"], rows)
    return ["## Model size", "", *lines] if lines else []
