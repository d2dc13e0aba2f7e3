"""`clens human create`."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compressed_lens.cli.options import ManyValues
from compressed_lens.cli.output import show, show_table

if TYPE_CHECKING:
    from compressed_lens.human.design import Design
    from compressed_lens.human.plan import Plan

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_SECONDS_A_TEXT = 30
_MOST_REASONS = 12


@app.command(cls=ManyValues)
def create(
    run: Annotated[
        Path, typer.Argument(help="Folder of a run with explanations (nle, counterfactual).", metavar="RUN")
    ],
    *,
    design: Annotated[Path | None, typer.Option(help="Design file; `clens human design` prints one to edit.")] = None,
    preset: Annotated[str | None, typer.Option(help="In place of a file: paper (the default) or pilot.")] = None,
    name: Annotated[str, typer.Option(help="Name of the study, and of its folder in RUN/human.")] = "main",
    database: Annotated[
        str | None,
        typer.Option(help="URL of a PostgreSQL database, or in $CLENS_HUMAN_DATABASE; default: a file in the folder."),
    ] = None,
    raters: Annotated[int | None, typer.Option(min=1, help="How many people rate.")] = None,
    per_rater: Annotated[int | None, typer.Option(min=1, help="Or: how many texts a person rates at most.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Items of each kind and task.")] = None,
    ratings: Annotated[int | None, typer.Option(min=1, help="People who rate each text.")] = None,
    kinds: Annotated[list[str] | None, typer.Option(help="explanation, counterfactual, or both.")] = None,
    variants: Annotated[list[str] | None, typer.Option(help="Variants beside full; default: all but placebos.")] = None,
    models: Annotated[list[str] | None, typer.Option(help="Models; default: all.")] = None,
    tasks: Annotated[list[str] | None, typer.Option(help="Tasks; default: all that have the texts.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the draw and of who rates what.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print everything and write nothing.")] = False,
) -> None:
    """Draw texts from a run, blind them, and decide who rates which.

    An item is drawn only if every chosen variant wrote something about it that can be rated. Nobody sees an item twice,
    and everybody sees each variant, kind and model equally often. Options go before the design file.

    \b
    clens human create runs/study --dry-run                 what it takes, and what it could show
    clens human create runs/study --design design.yaml
    clens human create runs/study --preset pilot --name pilot
    clens human create runs/study --variants gptq-4bit awq-4bit --items 20 --ratings 3
    """
    from compressed_lens.human.plan import check_new, write
    from compressed_lens.human.plan import plan as planned
    from compressed_lens.rater_app.languages import locale
    from compressed_lens.runner.results import load_run

    told = {
        "raters": raters,
        "per_rater": per_rater,
        "items": items,
        "ratings": ratings,
        "kinds": kinds,
        "variants": variants,
        "models": models,
        "tasks": tasks,
        "seed": seed,
    }
    chosen = _design(design, preset, {key: value for key, value in told.items() if value is not None})
    for language in chosen.questionnaire.languages:
        locale(language)  # raises for one that the pages do not speak
    found = load_run(run)
    check_new(found.folder, name)
    plan = planned(found, chosen)
    _show_plan(plan)
    _show_equal(plan)
    _show_left_out(plan)
    _show_precision(plan)
    if dry_run:
        show("\nNothing was written.")
        return
    folder = write(plan, found.folder, name=name, database=database)
    which = "" if name == "main" else f" --name {name}"
    show(f"\n{folder}\n\nclens human links {run}{which}\nclens human serve {run}{which}")


def _design(file: Path | None, preset: str | None, told: dict[str, Any]) -> Design:
    """Return the design of a file or preset, with the options in place of what it says."""
    from compressed_lens.errors import StudyError
    from compressed_lens.human.design import KINDS, Design, Sample
    from compressed_lens.human.reading import default_design, read_design
    from compressed_lens.registry import nearest

    if file is not None and preset is not None:
        raise StudyError("A design file and a preset are two designs.", fix="Give --design or --preset.")
    if "raters" in told and "per_rater" in told:
        raise StudyError("--raters and --per-rater say the same thing twice.", fix="Give one of them.")
    for kind in told.get("kinds", ()):
        if kind not in KINDS:
            raise StudyError(f"There is no kind '{kind}'.", fix=nearest(kind, KINDS) or f"One of: {', '.join(KINDS)}.")
    design = default_design(preset or "paper") if file is None else read_design(file)
    if "per_rater" in told:
        told = {**told, "raters": None}
    sample = Sample.model_validate({**design.sample.model_dump(), **told})
    return Design(sample=sample, questionnaire=design.questionnaire)


def _show_plan(plan: Plan) -> None:
    sample = plan.design.sample
    cells = {(text.model, text.variant, text.task, text.shown.kind) for text in plan.texts}
    parts = [
        _count(len({cell[place] for cell in cells}), what)
        for place, what in enumerate(("model", "variant", "task", "kind"))
    ]
    loads = sorted({sum(page.text is not None for page in pages) for pages in plan.pages.values()})
    checks = plan.design.questionnaire.attention_checks
    minutes = math.ceil((loads[-1] + checks) * _SECONDS_A_TEXT / 60)
    show(
        f"{len(plan.texts):,} texts in {_count(len(cells), 'cell')} ({', '.join(parts)}; "
        f"{_count(sample.items, 'item')} each)"
        f"\n{plan.ratings:,} ratings: {sample.ratings} of each text"
        f"\n{_count(len(plan.pages), 'rater')} with {' or '.join(map(str, loads))} texts and "
        f"{_count(checks, 'attention check')} each: about {_count(minutes, 'minute')}, {_SECONDS_A_TEXT} seconds a page"
    )


def _show_equal(plan: Plan) -> None:
    """Say how many texts of a variant are full precision's own, where ratings can show noise only."""
    from compressed_lens.study.schema import FULL

    full = {(t.model, t.task, t.item, t.shown.kind): t.shown for t in plan.texts if t.variant == FULL}
    others = [text for text in plan.texts if text.variant != FULL]
    equal = Counter(t.variant for t in others if full.get((t.model, t.task, t.item, t.shown.kind)) == t.shown)
    total = Counter(text.variant for text in others)
    if equal:
        told = ", ".join(f"{variant} {count} of {total[variant]}" for variant, count in sorted(equal.items()))
        show(f"Word for word as in full precision, label and all: {told}. There is no difference to find in those.")


def _show_left_out(plan: Plan) -> None:
    if not plan.left_out:
        return
    whole = [row for row in plan.left_out if not row.item]
    for row in whole:
        show(f"\nLeft out: {row.variant} of {row.model} ({row.reason}).")
    rows = [row for row in plan.left_out if row.item]
    if not rows:
        return
    items = {(row.task, row.kind, row.item) for row in rows}
    show(
        f"\nLeft out: {_count(len(items), 'item')} without a text to rate under every variant. What a variant could "
        "not write is a finding, too."
    )
    counts = Counter((row.variant, row.kind, row.reason) for row in rows)
    show_table(["variant", "kind", "reason", "texts"], [(*key, n) for key, n in counts.most_common(_MOST_REASONS)])
    if len(counts) > _MOST_REASONS:
        show(f"and {len(counts) - _MOST_REASONS} more reasons; left_out.csv lists all.")


def _show_precision(plan: Plan) -> None:
    from compressed_lens.human.design import KINDS
    from compressed_lens.human.power import DIFFERENCES, Assumed, precision
    from compressed_lens.statistics.equivalence import FEWEST_PAIRS

    found = precision(plan)
    if found.is_empty():
        show("\nWithout full precision beside a variant there is no difference to be shown.")
        return
    show("\nWhat the ratings could show, as differences to full precision over all models, in points:")
    rows = [
        (
            *(row["kind"], row["variant"], row["ratings"]),
            *_figures(row, "error", "detectable", form=".2f"),
            *_figures(row, *(f"power {size:g}" for size in DIFFERENCES), form=".0%"),
            *_figures(row, *(f"items {size:g}" for size in DIFFERENCES), form=","),
        )
        for row in found.iter_rows(named=True)
    ]
    heads = ["kind", "variant", "ratings", "standard error", "shown with 80 %"]
    heads += [f"{what} for {size:g}" for what in ("power", "items") for size in DIFFERENCES]
    show_table(heads, rows)
    assumed = Assumed()
    for kind in KINDS:
        worst = found.filter(found["kind"] == kind)["detectable"].max()
        if isinstance(worst, float):
            total = sum(text.shown.kind == kind for text in plan.texts) * plan.design.sample.ratings
            show(
                f"With {total:,} ratings of {kind}s a difference of {worst:.2f} points is shown with 80 % power, "
                f"before correction for several variants (assumed: SD {assumed.sd:g}, alpha {assumed.alpha[kind]:g})."
            )
    few = min(found["items"])
    if few < FEWEST_PAIRS:
        show(
            f"With {_count(few, 'item')} no variant will be called equivalent or non-inferior, whatever people say: "
            f"that takes {FEWEST_PAIRS}."
        )


def _figures(row: dict[str, Any], *names: str, form: str) -> list[str]:
    return ["-" if row[name] is None else format(row[name], form) for name in names]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
