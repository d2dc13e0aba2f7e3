"""`clens power`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from compressed_lens.cli.comparisons import export
from compressed_lens.cli.output import show, show_table
from compressed_lens.errors import StudyError

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_FOLDER = "FOLDER"


@app.command()
def power(
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a run, to see what its items could show.", metavar="RUN")
    ] = None,
    *,
    flips: Annotated[
        float | None, typer.Option(help="For a yes or no: share of items that change either way, such as 0.05.")
    ] = None,
    sd: Annotated[
        float | None, typer.Option(help="For an amount: standard deviation of the differences between the two sides.")
    ] = None,
    difference: Annotated[float | None, typer.Option(help="A difference to be shown.")] = None,
    margin: Annotated[float | None, typer.Option(help="A margin, within which equivalence is to be shown.")] = None,
    items: Annotated[int | None, typer.Option(help="Items there are.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table of a run as CSV, too.", metavar=_FOLDER)] = None,
    parquet: Annotated[
        Path | None, typer.Option(help="Write the table of a run as Parquet, too.", metavar=_FOLDER)
    ] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the table of a run as LaTeX, too.", metavar=_FOLDER)] = None,
) -> None:
    """How many items show what, with 80 % probability: before a study, or of a run.

    \b
    clens power --flips 0.05 --difference 0.02      items to show that 2 points are lost
    clens power --flips 0.05 --margin 0.02          items to show that nothing beyond 2 points is
    clens power --sd 0.8 --items 200                what 200 items can show
    clens power runs/study                          each confirmatory measure of each variant
    """
    if run is not None:
        if any(option is not None for option in (flips, sd, difference, margin, items)):
            raise StudyError("A run has spreads and margins of its own.", fix="Give the run, or numbers.")
        _of_run(run, csv=csv, parquet=parquet, latex=latex)
        return
    if csv or parquet or latex:
        raise StudyError("Only the table of a run is written to files.", fix="Name a run.")
    if (flips is None) == (sd is None):
        raise StudyError("One spread is needed.", fix="Give --flips for a yes or no, or --sd for an amount.")
    if difference is None and margin is None and items is None:
        raise StudyError("Nothing is asked.", fix="Give --difference, --margin or --items.")
    show_table(["question", "answer"], _answers(flips, sd, difference, margin, items))
    show("All with 80 % probability, two-sided at 5 %, pairs of independent items, one measure (no correction).")


def _answers(
    flips: float | None, sd: float | None, difference: float | None, margin: float | None, items: int | None
) -> list[tuple[str, str]]:
    from compressed_lens.statistics import detectable, items_for, items_for_margin, items_for_rates

    if (flips is not None and not 0 < flips <= 1) or (sd is not None and not 0 < sd < math.inf):
        raise StudyError("The spread is out of range.", fix="--flips is a share above 0, at most 1; --sd is above 0.")
    size = None if difference is None else abs(difference)
    for what, value in (("margin", margin), ("difference", size), ("number of items", items)):
        if value is not None and not 0 < value < math.inf:
            raise StudyError(f"The {what} is out of range.", fix="Give a number above zero.")
    spread = math.sqrt(flips) if flips is not None else float(sd or 0)
    rows = []
    if size is not None:
        if flips is None:
            needed = items_for(size, spread)
        elif size > flips:
            raise StudyError(
                f"With {flips:g} of the items changing, no difference exceeds {flips:g}.", fix="Raise --flips."
            )
        else:
            needed = items_for_rates((flips + size) / 2, (flips - size) / 2)
        rows.append((f"items to show a difference of {size:g}", f"{needed:,}"))
    if margin is not None:
        needed = items_for_margin(margin, spread, rate=flips is not None)
        rows.append((f"items to show equivalence within ±{margin:g}, if there is no difference", f"{needed:,}"))
    if items is not None:
        found = detectable(spread, items)
        if flips is not None and found > flips:
            rows.append((f"difference that {items:,} items show", f"none: no more than {flips:g} of the items change"))
        else:
            rows.append((f"difference that {items:,} items show", f"{found:.3g}"))
    return rows


def _of_run(run: Path, *, csv: Path | None, parquet: Path | None, latex: Path | None) -> None:
    from compressed_lens.comparison.items import reaches, reaches_frame
    from compressed_lens.report.formatting import bounds, difference
    from compressed_lens.report.run_data import RunData

    found = reaches(RunData.read(run).figures)
    if not found:
        show("The run has no confirmatory measure of a variant beside full precision yet.")
        return
    rows = []
    for reach in found:
        figure, unit = reach.figure, reach.figure.measure.unit
        assert figure.paired is not None
        rows.append(
            (
                *(figure.model, figure.variant, figure.task, f"{figure.analysis}.{figure.measure.name}", reach.pairs),
                difference(figure.paired.estimate, unit),
                bounds(figure.paired.low, figure.paired.high, unit),
                difference(reach.detectable, unit, sign=False),
                "-" if figure.margin is None else difference(figure.margin, unit, sign=False),
                "-" if reach.for_margin is None else f"{reach.for_margin:,}",
                figure.verdict,
                "-" if figure.needed is None else f"{figure.needed:,}",
            )
        )
    heads = ["model", "variant", "task", "measure", "pairs", "difference", "95 %", "detectable", "margin"]
    show_table([*heads, "pairs for margin", "verdict", "pairs to decide"], rows)
    show(
        "\ndetectable: smallest true difference that these pairs show with 80 % probability, before correction."
        "\npairs for margin: in all, to show equivalence if there is no difference. pairs to decide: in all, for an"
        " undecided measure, were the truth as estimated."
    )
    export({"power": reaches_frame(found)}, csv=csv, parquet=parquet, latex=latex)
