"""The report as one self-contained HTML page: no network, no inline handlers, every foreign text escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from markupsafe import Markup

from compressed_lens.comparison.curves import REPLICATES as CURVE_REPLICATES
from compressed_lens.comparison.measures import REPLICATES, Figure
from compressed_lens.comparison.uses import use_verdicts
from compressed_lens.report import explorer, overview
from compressed_lens.report.comparisons import (
    Comparisons,
    choice_cells,
    matrices,
    rank_bounds,
    rank_place,
    ranking_note,
    ranking_rule,
    trend_cells,
)
from compressed_lens.report.curves import curve_groups, curve_panels
from compressed_lens.report.formatting import counted, number, p_value
from compressed_lens.report.headline import Labels, caution, details
from compressed_lens.report.heat import heat_maps, heat_note, loss_level
from compressed_lens.report.mosaics import mosaic_panels
from compressed_lens.report.panels import absent, families, panels
from compressed_lens.report.pareto import paretos
from compressed_lens.report.people import people, unread
from compressed_lens.report.recommendation import recommendation
from compressed_lens.report.relations import bottleneck_tables, scatter_panels
from compressed_lens.report.rendering import TEMPLATES, environment, style
from compressed_lens.report.run_data import RunData
from compressed_lens.report.transitions import transition_families
from compressed_lens.report.verdicts import verdict_tables
from compressed_lens.report.words import symbol
from compressed_lens.statistics import FEW_CHANGES

_SENTENCES = 4
_OPEN_GROUPS = 4
_FEW_LINES = 4


def html(run: RunData, figures: Sequence[Figure], compared: Comparisons, *, footer: str) -> str:
    """Return the page.

    Args:
        run: The run.
        figures: Its figures.
        compared: Its comparisons.
        footer: What made the page, in one line.
    """
    templates = environment()
    templates.globals.update(
        placebos=frozenset(variant.name for variant in run.variant_list if variant.placebo), symbol=symbol
    )
    several = len({v.model for v in run.variant_list}) > 1
    # Placebos are a yardstick, so they stand behind the candidates everywhere.
    variants = sorted(run.variant_list, key=lambda variant: variant.placebo)
    figures = sorted(figures, key=lambda figure: figure.placebo)
    uses = use_verdicts(figures, variants)
    labels = Labels(figures)
    return templates.get_template("report.html.j2").render(
        title=str(run.study.get("name") or run.folder.name),
        style=style(),
        scripts=[Markup(script) for script in _scripts()],  # noqa: S704 (our own files)
        policy=Markup(policy()),  # noqa: S704 (our own text)
        recommendation=recommendation(uses, figures, variants, margins_moved=run.margins_moved),
        verdict_tables=verdict_tables(uses, variants, labels),
        paretos=paretos(uses, variants, labels),
        details=details(figures, variants),
        caution=caution(figures),
        shown_sentences=_SENTENCES,
        unfinished=overview.pending(run.cells),
        several_models=several,
        facts=overview.facts(run),
        tasks=overview.task_rows(run),
        variants=variants,
        recipe_text=overview.recipe_text,
        fingerprint_text=overview.fingerprint_text,
        costs=overview.cost_rows(variants),
        overview=heat_maps(figures),
        heat_note=heat_note(),
        families=families(panels(figures), compared.outcomes, run.gates),
        transitions=transition_families(compared.transitions),
        matrices=matrices(compared.agreements, run.gates),
        rankings=compared.rankings,
        ranking_note=ranking_note,
        rank_bounds=rank_bounds,
        rank_place=rank_place,
        ranking_rule=ranking_rule(compared.rankings),
        trends=compared.trends,
        choices=compared.choices,
        trend_cells=trend_cells,
        choice_cells=choice_cells,
        curves=curve_groups(curve_panels(compared.curves)),
        few_lines=_FEW_LINES,
        curve_replicates=f"{CURVE_REPLICATES:,}",
        hops=mosaic_panels(compared.hop_tables),
        bottlenecks=bottleneck_tables(compared.bottlenecks),
        relations=scatter_panels(compared.saturations),
        people=people(run.people),
        unread_people=unread(run.people),
        p_value=p_value,
        absent=absent(figures),
        reasons=reasons(figures),
        groups=overview.group_tables(run.series, run.gates),
        open_groups=_OPEN_GROUPS,
        level=loss_level,
        blocks=explorer.blocks(run),
        replicates=f"{REPLICATES:,}",
        few=FEW_CHANGES,
        counted=counted,
        number=number,
        footer=footer,
    )


def policy() -> str:
    """Return the page's Content-Security-Policy: its two scripts, its own styles, and no network."""
    allowed = " ".join(f"'{content_hash(script)}'" for script in _scripts())
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _scripts() -> tuple[str, str]:
    return (TEMPLATES / "page.js").read_text(encoding="utf-8"), explorer.script()


def content_hash(script: str) -> str:
    """Return the CSP source expression that allows exactly `script`."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def reasons(figures: Sequence[Figure]) -> tuple[tuple[str, str, str, str, int, int, str], ...]:
    """Return (variant, gate, task, analysis, items, of how many, reason) of every failure reason, once a cell."""
    seen: dict[tuple[str, str, str, str], Figure] = {}
    for figure in figures:
        seen.setdefault((figure.model, figure.variant, figure.task, figure.analysis), figure)
    return tuple(
        (figure.variant, figure.gate, figure.task, figure.analysis, count, figure.recorded, reason)
        for figure in seen.values()
        for reason, count in sorted(figure.reasons.items(), key=lambda pair: -pair[1])
    )
