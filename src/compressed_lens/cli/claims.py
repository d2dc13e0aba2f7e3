"""`clens claims`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compressed_lens.cli.output import show, show_table, write

if TYPE_CHECKING:
    from compressed_lens.claims import Entry, OwnRun, Published

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_FILE = "FILE"


@app.command()
def claims(
    runs: Annotated[list[Path] | None, typer.Argument(help="Folders of runs to hold beside.", metavar="RUN")] = None,
    *,
    claim: Annotated[str | None, typer.Option(help="Show one claim in full.", metavar="ID")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write the whole ledger.", metavar=_FILE)] = None,
    csv: Annotated[Path | None, typer.Option(help="Write it as CSV, a row a claim and figure.", metavar=_FILE)] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write it as Markdown.", metavar=_FILE)] = None,
) -> None:
    """Recompute what the two papers state from their published cells, with our own runs beside it.

    \b
    clens claims                              which statements follow, which do not
    clens claims runs/study                   what a run shows: reproduced, not reproduced, not comparable
    clens claims --claim se-headline          one in full: source, formula, numbers, why
    clens claims runs/a runs/b --json claims.json

    "follows" is about arithmetic: the statement holds for the numbers that were printed. A run reproduces a statement
    only on the paper's data, with a model of its size, and where the 95 % interval shows it; in any other setting its
    figure is shown as "not comparable". Marks: A read in the paper, B two readings agree, C one note, U unknown;
    D our own reading of the cells.
    """
    from compressed_lens.claims import CLAIMS, Published, ledger, ledger_frame, ledger_json, ledger_markdown
    from compressed_lens.claims.ledger import counts, find

    tables = Published.load()
    chosen = CLAIMS if claim is None else (find(claim),)
    asked = [_read(folder) for folder in runs or ()]
    entries = ledger(tables, asked, claims=chosen)
    if claim is None:
        _show_all(entries, with_runs=bool(asked))
        show(f"\n{counts(entries)}\n`clens claims --claim ID` shows one in full.")
    else:
        _show_one(entries[0], tables)
    if as_json is not None:
        write(as_json, json.dumps(ledger_json(entries, tables, asked), indent=2, ensure_ascii=False) + "\n")
    if csv is not None:
        write(csv, ledger_frame(entries).write_csv())
    if markdown is not None:
        write(markdown, ledger_markdown(entries))


def _read(folder: Path) -> OwnRun:
    from compressed_lens.claims import OwnRun
    from compressed_lens.report.run_data import RunData

    data = RunData.read(folder)
    return OwnRun.read(str(folder), data, data.study)


def _show_all(entries: tuple[Entry, ...], *, with_runs: bool) -> None:
    from compressed_lens.claims.wording import told

    heads = ["claim", "mark", "statement", "follows", "recomputed", *(["our runs"] if with_runs else [])]
    rows = []
    for entry in entries:
        one, found = entry.claim, entry.recomputed
        row = [one.id, one.mark, one.statement, found.follows, told(found.value, found.unit, found.low, found.high)]
        rows.append([*row, *([entry.standing] if with_runs else [])])
    show_table(heads, rows)


def _show_one(entry: Entry, tables: Published) -> None:
    from compressed_lens.claims.claim import MARKS
    from compressed_lens.claims.published import SOURCES
    from compressed_lens.claims.wording import told

    one, found = entry.claim, entry.recomputed
    show(f"{one.id}: {one.statement}")
    show(
        f"\nSource    arXiv {one.paper.arxiv}, {one.paper.title}; our notes on it, {one.section}. Mark {one.mark}: "
        f"{MARKS[one.mark]}."
    )
    if one.stated is not None:
        show(f"Stated    {told(one.stated, one.unit)}")
    show(f"Tables    {'; '.join(f'{name} ({SOURCES[name]})' for name in one.uses) or 'none'}")
    show(f"Formula   {one.formula}")
    result = told(found.value, found.unit, found.low, found.high)
    show(f"Result    {found.follows}{f': {result}' if result else ''}\n          {found.why}")
    if found.parts:
        show("\nNumbers")
        rows = [(part.name, told(part.value, part.unit), _ends(part.low, part.high)) for part in found.parts]
        show_table(["what", "value", "from, to"], rows)
    doubts = [doubt for doubt in tables.doubts if doubt.table in one.uses]
    if doubts:
        show("\nDoubts about these tables")
        show_table(
            ["cell", "mark", "doubt"],
            [(" ".join(filter(None, (d.model, d.variant, d.column))) or "all", d.mark, d.doubt) for d in doubts],
        )
    if entry.own:
        _show_runs(entry)


def _show_runs(entry: Entry) -> None:
    from compressed_lens.claims.wording import told

    show("\nOur runs")
    figures = [figure for figure in entry.own if figure.what]
    if figures:
        rows = [
            (
                f.run,
                f.what,
                f.model,
                f.task,
                " ".join(f.quantizers),
                told(f.value, f.unit, f.low, f.high),
                f.n,
                f.verdict,
            )
            for f in figures
        ]
        show_table(["run", "what", "model", "task", "quantizers", "value [95 %]", "n", "verdict"], rows)
    for why in dict.fromkeys((figure.run, figure.why) for figure in entry.own):
        show(": ".join(why))


def _ends(low: float | None, high: float | None) -> str:
    from compressed_lens.claims.wording import told

    return f"{told(low)}, {told(high)}" if low is not None and high is not None else ""
