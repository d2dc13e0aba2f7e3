"""`clens run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressed_lens.cli import choose
from compressed_lens.cli.interrupt import resumable
from compressed_lens.cli.options import ManyValues
from compressed_lens.cli.outcome import conclude

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=ManyValues)
def run(
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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Quantize, check, ask, record and report; the last line printed is the path of the report.

    \b
    clens run study.yaml
    clens run study.yaml --limit 20
    clens run --model reference --variants bnb-8bit rtn-2bit --tasks testbed-reviews testbed-facts
    clens run --model PATH_OR_HUB_ID --variants bnb-8bit gptq-4bit awq-4bit --tasks esnli
    clens run --model ./model --variants ./model-gptq4 --tasks esnli=data/esnli_test

    A run that was stopped goes on with `clens resume`.
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
    from compressed_lens.runner import run as start

    folder = out or Path("runs") / chosen.name
    with resumable(folder):
        done = start(chosen, out=folder, progress=not quiet)
    raise typer.Exit(conclude(done))
