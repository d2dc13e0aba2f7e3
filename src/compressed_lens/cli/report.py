"""`clens report`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressed_lens.cli.options import ManyValues
from compressed_lens.cli.output import show, write
from compressed_lens.errors import DataError, StudyError

if TYPE_CHECKING:
    from compressed_lens.comparison.series import Variant
    from compressed_lens.report.comparisons import Comparisons
    from compressed_lens.report.run_data import RunData

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_FOLDER = "FOLDER"


@app.command(cls=ManyValues)
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    *,
    csv: Annotated[
        Path | None, typer.Option(help="Write every table of the report as CSV, too.", metavar=_FOLDER)
    ] = None,
    parquet: Annotated[Path | None, typer.Option(help="The same as Parquet.", metavar=_FOLDER)] = None,
    latex: Annotated[
        Path | None, typer.Option(help="Write tables in the form of papers, too.", metavar=_FOLDER)
    ] = None,
    model_card: Annotated[
        Path | None,
        typer.Option(
            help="Put what was found into this Hugging Face model card (made if need be); for several variants a "
            "folder, one card each.",
            metavar="PLACE",
        ),
    ] = None,
    variants: Annotated[
        list[str] | None, typer.Option(help="Variant of the model card, or variants; VARIANT or MODEL/VARIANT.")
    ] = None,
) -> None:
    """Write report.html, report.md and metrics.csv into a run's folder again, and print the report's path.

    Works on a run that is still going, too: it reports what is recorded so far.

    \b
    clens report runs/quick
    clens report runs/quick --latex paper --parquet tables
    clens report runs/quick --model-card ../my-model/README.md --variants awq-4bit
    """
    from compressed_lens.report.build import write_files
    from compressed_lens.report.comparisons import Comparisons
    from compressed_lens.report.run_data import RunData

    if variants and model_card is None:
        raise StudyError("--variants is for --model-card.", fix="Add --model-card FILE.")
    data = RunData.read(run)
    cards = {} if model_card is None else _cards(data, model_card, variants or ())
    compared = Comparisons.of(data, data.figures)
    if csv or parquet:
        _tables(data, compared, csv, parquet)
    if latex:
        _latex(data, compared, latex)
    for path, text in cards.items():
        write(path, text)
    show(str(write_files(data, compared)))


def _tables(data: RunData, compared: Comparisons, csv: Path | None, parquet: Path | None) -> None:
    import json

    from compressed_lens import __version__
    from compressed_lens.cli.comparisons import export
    from compressed_lens.report.tables import manifest, report_tables

    tables = report_tables(data, compared)
    export(tables, csv=csv, parquet=parquet, latex=None)
    for folder, ending in ((csv, "csv"), (parquet, "parquet")):
        if folder is not None:
            told = manifest(data, tables, ending=ending, version=__version__)
            write(folder / "manifest.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def _latex(data: RunData, compared: Comparisons, folder: Path) -> None:
    from compressed_lens.judging.agreement import judge_ratings
    from compressed_lens.report.paper_tables import paper_tables
    from compressed_lens.report.tex import document, file_name, paper_table

    ratings = judge_ratings(data.records, data.cells)
    tables = paper_tables(data.figures, compared.transitions, data.variant_list, ratings)
    names = [file_name(table) for table in tables]
    for name, table in zip(names, tables, strict=True):
        write(folder / f"{name}.tex", paper_table(table))
    write(folder / "all.tex", document(names))


def _cards(data: RunData, where: Path, names: Sequence[str]) -> dict[Path, str]:
    """Return the text of every model card asked for, by its file; nothing is written yet."""
    from compressed_lens import __version__
    from compressed_lens.report.model_card import model_card

    variants = _described(data, names)
    named = where.is_file() or (where.suffix == ".md" and not where.is_dir())
    if len(variants) == 1 and (named or (names and not where.is_dir())):
        files = {where: variants[0]}
    elif named:
        raise DataError(
            f"{where} is one file, and there are {len(variants)} variants.", fix="Name one with --variants."
        )
    else:
        files = {where / f"{_safe(v.model)}--{_safe(v.name)}.md": v for v in variants}
    texts = {}
    for path, variant in files.items():
        try:
            existing = path.read_text(encoding="utf-8") if path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"The model card {path} cannot be read: {error}.") from error
        texts[path] = model_card(data, variant, version=__version__, existing=existing)
    return texts


def _safe(name: str) -> str:
    """Return a name as a part of a file's; a study's names are that, but the database may be a stranger's."""
    return re.sub(r"[^\w.+-]", "_", name)


def _described(data: RunData, names: Sequence[str]) -> list[Variant]:
    from compressed_lens.registry import nearest
    from compressed_lens.report.model_card import described_variants

    known = {f"{v.model}/{v.name}": v for v in described_variants(data)}
    chosen: list[Variant] = [] if names else list(known.values())
    for name in names:
        found = [v for full, v in known.items() if name in {full, v.name}]
        if not found:
            fix = nearest(name, known) or f"It has: {', '.join(known) or 'none'}."
            raise DataError(f"The run has no measured quantized variant '{name}'.", fix=fix)
        chosen += found
    if not chosen:
        raise DataError("The run has no quantized variant that was measured.", fix="Finish it with `clens resume`.")
    return chosen
