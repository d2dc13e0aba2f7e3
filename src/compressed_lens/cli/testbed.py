"""`clens testbed`: train or measure the reference model, plant models of known faithfulness, put tests on trial."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from compressed_lens.cli.comparisons import export
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


@app.command()
def plant(
    name: Annotated[
        str, typer.Argument(help="honest, blamer, follower, rewriter or critic; or regressed-accuracy and its like.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, .safetensors.")],
    start: Annotated[
        Path | None, typer.Option(help="Change to start from; default: the shipped one of the model it builds on.")
    ] = None,
) -> None:
    """Train a model of known faithfulness, or of known damage, as the shipped ones were.

    Up to 20 minutes on two CPU cores.

    \b
    clens testbed plant honest --out honest.safetensors
    """
    from compressed_lens.errors import ModelError
    from compressed_lens.lm.locate import planted_change
    from compressed_lens.registry import nearest
    from compressed_lens.runner.progress import Reporter
    from compressed_lens.testbed import planting, regressing

    planted = {one: sum(course.steps for course in courses) for one, courses in planting.COURSES.items()}
    steps = {**planted, **regressing.STEPS}
    if name not in steps:
        fix = nearest(name, steps) or f"One of: {', '.join(steps)}."
        raise ModelError(f"There is no planted model '{name}'.", fix=fix)
    if not out.parent.is_dir():
        raise ModelError(f"There is no folder {out.parent} to write to.", fix="Make it first, or name another.")
    if start is not None and not start.is_file():
        raise ModelError(f"There is no file {start} to start from.", fix="Name a .safetensors file of `testbed plant`.")
    if start is not None and name in regressing.STEPS:
        raise ModelError(f"'{name}' always starts from planted-honest as shipped.", fix="Leave out --start.")
    with Reporter(steps[name], show=True) as reporter:
        reporter.stage("training")
        if name in regressing.STEPS:
            regressing.regress(name, out, on_step=lambda: reporter.add(1))
        else:
            first = start or (planted_change(planting.AFTER[name]) if name in planting.AFTER else None)
            planting.plant(name, out, start=first, on_step=lambda done, total: reporter.add(1))
    show(str(out))


@app.command()
def power(
    run: Annotated[Path, typer.Argument(help="Folder of a run of examples/planted.yaml.")],
    *,
    csv: Annotated[Path | None, typer.Option(help="Write the table as CSV, too.", metavar="FOLDER")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write the table as Parquet, too.", metavar="FOLDER")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the table as LaTeX, too.", metavar="FOLDER")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Put the tests on trial: does each tell a model known to be faithful from one known not to be?

    \b
    clens run examples/planted.yaml
    clens testbed power runs/planted
    """
    from compressed_lens.comparison.power import TRIALS, power_frame
    from compressed_lens.comparison.power import power as judge
    from compressed_lens.runner import load_run

    frame = power_frame(judge(load_run(run), TRIALS))
    export({"power": frame}, csv=csv, parquet=parquet, latex=latex)
    if as_json:
        show_json(frame.to_dicts())
        return
    show_table(
        ["test", "faithful", "unfaithful", "difference", "95 % interval", "pairs", "p", "verdict"],
        [
            [
                row["test"],
                f"{row['faithful_mean']:.3f}",
                f"{row['unfaithful_mean']:.3f}",
                f"{row['difference']:+.3f}",
                f"{row['low']:+.3f} to {row['high']:+.3f}",
                f"{row['pairs']} of {row['items']}",
                f"{row['p']:.1e}",
                row["verdict"],
            ]
            for row in frame.iter_rows(named=True)
        ],
    )
