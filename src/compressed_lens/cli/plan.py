"""`clens plan`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from compressed_lens.cli import choose
from compressed_lens.cli.options import ManyValues
from compressed_lens.cli.output import show, show_json, show_table
from compressed_lens.errors import DependencyError

if TYPE_CHECKING:
    from compressed_lens.runner import Plan

app = typer.Typer(rich_markup_mode=None, add_completion=False)

KILO = 1000
UNITS = ("", "K", "M", "G", "T")
MINUTE = 60


@app.command(cls=ManyValues)
def plan(
    study: choose.StudyFile = None,
    *,
    model: choose.Model = None,
    variants: choose.Variants = None,
    tasks: choose.Tasks = None,
    analyses: choose.Analyses = None,
    limit: choose.Limit = None,
    seed: choose.Seed = None,
    device: choose.Device = None,
    name: choose.Name = None,
    trust_remote_code: choose.Trust = False,
    out: choose.Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every cell by itself.")] = False,
) -> None:
    """Say what a study would do, and what it costs.

    Cells, items, memory and time, what is recorded already, and what is missing. Nothing is written or fetched.
    Exit code 6 when something is missing.

    \b
    clens plan study.yaml
    clens plan --model PATH_OR_HUB_ID --variants gptq-4bit awq-4bit --tasks esnli --limit 200
    """
    chosen = choose.choose(
        study,
        limit=limit,
        model=model,
        variants=variants,
        tasks=tasks,
        analyses=analyses,
        seed=seed,
        device=device,
        name=name,
        trust_remote_code=trust_remote_code,
    )
    from compressed_lens.runner import plan as make

    found = make(chosen, out=out)
    if as_json:
        show_json({**asdict(found), "folder": str(found.folder), "seconds": found.seconds, "missing": found.missing})
    else:
        _print(found)
    if found.missing:
        raise typer.Exit(DependencyError.exit_code)


def _print(found: Plan) -> None:
    asked = {(c.task, c.analysis): c.items for c in found.cells}
    show_table(["task", "analysis", "items"], [[task, analysis, n] for (task, analysis), n in asked.items()])
    show("")
    rows = []
    for v in found.variants:
        cells = [c for c in found.cells if (c.model, c.variant) == (v.model, v.variant)]
        done, items = sum(c.done for c in cells), sum(c.items for c in cells)
        size = [_short(v.bytes_on_disk) + "B", _short(v.memory_bytes) + "B"] if v.parameters else ["?", "?"]
        tokens = _short(sum(c.tokens for c in cells))
        rows.append([v.model, v.variant, v.made, f"{done}/{items}", tokens, *size, _time(v.seconds), v.missing])
    show_table(["model", "variant", "weights", "done", "tokens", "disk", "memory", "time", "missing"], rows)
    left = sum(c.items - c.done for c in found.cells)
    basis = "as measured on this machine" if found.measured else "a guess until something ran on this machine"
    show("")
    show(f"{len(found.cells)} cells, {left} items left; in the models {_time(found.seconds)} ({basis}).")
    show(f"Folder: {found.folder}")
    for note in found.notes:
        show(note)


def _short(number: float) -> str:
    """Return a number with a unit, such as 3.1M."""
    for unit in UNITS:
        if abs(number) < KILO or unit == UNITS[-1]:
            break
        number /= KILO
    return f"{number:.3g}{unit}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    return f"{seconds:.0f} s" if seconds < 2 * MINUTE else f"{seconds / MINUTE:.0f} min"
