"""`clens testbed train` and `clens testbed evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from compressed_lens.cli.output import show, show_json, show_table

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, help="The embedded reference model: train it again, or measure it."
)


@app.command()
def train(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; it must not hold a model yet.")],
    seed: Annotated[int, typer.Option(help="Seed of weights, order and sampling.")] = 0,
) -> None:
    """Train the reference model from nothing: generated world, tokenizer, weights, log.

    Under 90 minutes on two CPU cores.

    \b
    clens testbed train --out my-reference
    clens testbed evaluate my-reference
    """
    from compressed_lens.errors import ModelError
    from compressed_lens.runner.progress import Reporter
    from compressed_lens.testbed.train import STAGES
    from compressed_lens.testbed.train import train as start

    if (out / "config.json").exists():
        raise ModelError(f"{out} already holds a model.", fix="Choose another folder.")
    with Reporter(sum(stage.steps for stage in STAGES), show=True) as reporter:
        reporter.stage("training")
        start(out, seed=seed, on_step=lambda done, total: reporter.add(1))
    show(str(out))


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Folder of the model; default: the embedded one.")] = "reference",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the reference model's figures on held-out items, each beside its target.

    \b
    clens testbed evaluate
    """
    from compressed_lens.lm.hf import HFModel
    from compressed_lens.lm.locate import locate_model
    from compressed_lens.testbed.evaluate import evaluate as measure

    figures = measure(HFModel.load(locate_model(model)))
    if as_json:
        show_json([{**asdict(f), "rate": f.rate, "met": f.met} for f in figures])
        return
    rows = []
    for f in figures:
        target = "" if f.target is None else f"{f.target:.0%}"
        rows.append([f.name, f"{f.rate:.1%}", f"{f.right}/{f.n}", target, "" if f.met else "missed"])
    show_table(["figure", "rate", "items", "target", ""], rows)
