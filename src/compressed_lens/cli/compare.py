"""`clens compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressed_lens.cli.comparisons import RuleName, export, show_rankings
from compressed_lens.cli.facts import show_facts
from compressed_lens.cli.options import ManyValues
from compressed_lens.cli.output import show, show_table
from compressed_lens.errors import DataError, StudyError

if TYPE_CHECKING:
    import polars as pl

    from compressed_lens.comparison import Agreement, Overall, Ranking, SizeChoice, SizeTrend, Transition

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_FOLDER = "FOLDER"


@app.command(cls=ManyValues)
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folder of a run, or of several.", metavar="RUN")],
    *,
    pair: Annotated[
        list[str] | None,
        typer.Option(
            help="Variants to set against each other, of the first run and of the others; default: those of one name.",
            metavar="[MODEL/]VARIANT=[MODEL/]VARIANT",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Secondary metrics, too; default: the primary ones of each analysis.")
    ] = False,
    measures: Annotated[
        list[str] | None,
        typer.Option(help="Metrics to correlate, by name; default: primary ones of the tests of faithfulness."),
    ] = None,
    rule: Annotated[RuleName, typer.Option(help="What the ranking does where a variant is missing.")] = RuleName.skip,
    csv: Annotated[Path | None, typer.Option(help="Write every table as CSV, too.", metavar=_FOLDER)] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write every table as Parquet, too.", metavar=_FOLDER)] = None,
    latex: Annotated[Path | None, typer.Option(help="Write every table as LaTeX, too.", metavar=_FOLDER)] = None,
    html: Annotated[Path | None, typer.Option(help="Of several runs: a page, too.", metavar="FILE")] = None,
) -> None:
    """Compare the variants of a run (transitions, agreement of the tests, ranking, size, facts), or several runs.

    Several runs are set side by side, item by item, where they asked the same; what is not comparable is refused, and
    why is said.

    \b
    clens compare runs/study
    clens compare runs/monday runs/tuesday
    clens compare runs/qwen runs/llama --pair awq-4bit=bnb-4bit
    clens compare runs/study --all --csv tables
    clens compare runs/study --measures faithful cc_shap --rule common
    """
    if len(runs) > 1 or pair:
        from compressed_lens.cli.compare_runs import compare_runs

        if measures:
            raise StudyError("--measures is for one run.", fix="Leave it out, or compare one run without --pair.")
        compare_runs(runs, pair or (), everything=everything, csv=csv, parquet=parquet, latex=latex, html=html)
        return
    if html is not None:
        raise StudyError("--html is for several runs.", fix="For one run `clens report` writes a page.")
    from compressed_lens import comparison
    from compressed_lens.comparison.correlation import tests_of_faithfulness
    from compressed_lens.comparison.series import placebos_of
    from compressed_lens.report.run_data import RunData

    data = RunData.read(runs[0])
    figures = data.figures
    known = {figure.measure.name for figure in figures}
    for name in measures or ():
        if name not in known:
            raise DataError(f"The run has no metric '{name}'.", fix=f"It has: {', '.join(sorted(known)) or 'none'}.")
    chosen = tests_of_faithfulness if measures is None else lambda _, measure: measure.name in measures
    moved = [t for t in comparison.transitions(data.series, figures) if everything or t.measure.primary]
    agreeing = comparison.agreements(data.series, chosen)
    frame = comparison.long_frame(figures, primary_only=not everything)
    ranked = comparison.rankings(frame, rule=rule.value) if frame["variant"].n_unique() > 1 else ()
    trends = comparison.size_trends(data.series, data.variant_list)
    choices = comparison.size_choices(data.series, data.variant_list)
    curves = comparison.curves(data.series, data.gates)
    tables_of_hops = comparison.hop_tables(data.series, data.gates)
    saturations = [s for s in comparison.saturations(data.series, data.gates) if everything or s.measure.primary]
    bottlenecks = comparison.bottlenecks(data.series, data.gates, placebos=placebos_of(data.variant_list))
    over_all = comparison.overall(data.series, figures)
    _show_transitions(moved)
    _show_agreements(agreeing)
    _show_ranking(ranked)
    if over_all:
        _show_overall(over_all)
    if trends or choices:
        _show_sizes(trends, choices)
    show_facts(curves, tables_of_hops, saturations, bottlenecks)
    tables: dict[str, pl.DataFrame] = {
        "transitions": comparison.transitions_frame(moved),
        "correlations": comparison.agreements_frame(agreeing),
        "ranking": comparison.rankings_frame(ranked),
        "overall": comparison.overall_frame(over_all),
        "size_trends": comparison.trends_frame(trends),
        "size_choices": comparison.choices_frame(choices),
        "curves": comparison.curves_frame(curves),
        "hops": comparison.hop_tables_frame(tables_of_hops),
        "saturation": comparison.saturations_frame(saturations),
        "bottleneck": comparison.bottlenecks_frame(bottlenecks),
    }
    if csv or parquet or latex:
        found = comparison.effects(data.series, data.gates, margins=data.margins, primary_only=not everything)
        tables["effects"] = comparison.effects_frame(found)
    export(tables, csv=csv, parquet=parquet, latex=latex)


def _show_transitions(moved: list[Transition]) -> None:
    from compressed_lens.report.formatting import amount, bounds, difference, number, p_value

    show("Transitions from full precision (n/a: does not apply on a side; all counts add up to items)")
    rows = [
        (
            *(
                t.model,
                t.task,
                t.analysis,
                t.measure.name,
                t.variant + (" (failed gate)" if t.gate == "failed" else ""),
            ),
            *(t.items, t.preserved, t.lost, t.gained, t.both_bad, t.not_applicable, t.failed, t.unrecorded),
            f"{difference(t.net.estimate, 'rate')} {bounds(t.net.low, t.net.high, 'rate')}",
            *(amount(t.forgetting, "rate"), amount(t.regaining, "rate"), amount(t.churn, "rate"), number(t.kappa)),
            *(p_value(t.p), p_value(t.p_adjusted)),
        )
        for t in moved
    ]
    heads = ["model", "task", "analysis", "metric", "variant", "items", "preserved", "lost", "gained", "both bad"]
    heads += [
        "n/a",
        "failed",
        "not recorded",
        "gained - lost, points [95 %]",
        "forgotten",
        "regained",
        "churn",
        "kappa",
    ]
    heads += ["p", "p (Holm, grid)"]
    show_table(heads, rows)


def _show_agreements(agreeing: tuple[Agreement, ...]) -> None:
    from compressed_lens.report.comparisons import correlation_text

    show("\nDo the tests agree? (phi or Spearman over shared items; positive: they agree)")
    rows = [
        (a.model, a.task, a.variant, " ".join(a.first), " ".join(a.second), *correlation_text(a), a.correlation.n)
        for a in agreeing
    ]
    if rows:
        show_table(["model", "task", "variant", "first", "second", "correlation", "95 %", "n"], rows)
    else:
        show("Needs two tests of faithfulness of the same task.")


def _show_ranking(ranked: tuple[Ranking, ...]) -> None:
    show("")
    if ranked:
        show_rankings(ranked)
    else:
        show("Ranking: needs two quantized variants that passed the integrity gate.")


def _show_overall(over_all: tuple[Overall, ...]) -> None:
    from compressed_lens.comparison import USES
    from compressed_lens.report.formatting import bounds, difference

    top = over_all[0].top
    show(f"\nEach use over all {top}, in margins (-1: a loss of the margin), as if these {top} were drawn from many")
    rows = [
        (USES[one.use], one.variant, difference(one.gain.estimate, "margins"),
         bounds(one.gain.low, one.gain.high, "margins"), one.gain.units[0], one.measures, one.gain.n)
        for one in over_all
    ]  # fmt: skip
    show_table(["use", "variant", "gain", "95 %", top, "measures", "n"], rows)
    show(over_all[0].gain.caution)


def _show_sizes(trends: tuple[SizeTrend, ...], choices: tuple[SizeChoice, ...]) -> None:
    from compressed_lens.report.comparisons import choice_cells, trend_cells
    from compressed_lens.report.formatting import p_value

    show("\nModel size: loss against log10 of the parameters (slope: more loss for ten times the parameters)")
    show_table(["task", "analysis", "metric", "variant", "losses", "slope", "95 %"], [trend_cells(t) for t in trends])
    show("\nA larger quantized model against a smaller one at full precision")
    heads = ["task", "analysis", "metric", "larger", "memory", "smaller", "memory", "values", "difference", "95 %"]
    show_table([*heads, "n", "p (Holm)"], [(*choice_cells(c), p_value(c.p_adjusted)) for c in choices])
