"""`clens quantize`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compressed_lens.cli import choose
from compressed_lens.cli.options import ManyValues
from compressed_lens.cli.output import progress_line, show
from compressed_lens.errors import StudyError

if TYPE_CHECKING:
    from compressed_lens.quantization.audit import Audit

app = typer.Typer(rich_markup_mode=None, add_completion=False)
MEGA = 10**6


@app.command(cls=ManyValues)
def quantize(
    model: Annotated[str, typer.Argument(help="Full-precision model: folder, hub id, or `reference`.")],
    *,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="Name of the recipe; see `clens list variants`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; new or empty.")],
    group_size: Annotated[str | None, typer.Option(help="Weights that share a scale; -1: a row.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="Text or JSONL file to calibrate on.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Calibration sequences at most.")] = None,
    tokens: Annotated[int | None, typer.Option(min=8, help="Tokens of each sequence at most.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Other settings of the recipe, as KEY=VALUE.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    trust_remote_code: choose.Trust = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Write a quantized checkpoint that other tools load.

    What was done to each layer is checked before anything appears at the output, and summed up in one line.

    \b
    clens quantize reference --recipe gptq-4bit -o reference-gptq4
    clens quantize PATH_OR_HUB_ID --recipe awq-4bit --group-size 64 --calibration texts.txt --samples 128 -o DIR
    clens quantize PATH_OR_HUB_ID --recipe gptq-3bit --set symmetric=false dampening=0.05 -o DIR
    """
    from compressed_lens.lm.locate import locate_model
    from compressed_lens.quantization import quantize as write
    from compressed_lens.quantization import resolve
    from compressed_lens.runner.variants import default_cache

    asked: dict[str, Any] = {"group_size": _number(group_size), **_parsed(settings or [])}
    text = {"path": calibration and str(calibration), "samples": samples, "tokens": tokens}
    asked["calibration"] = {key: value for key, value in text.items() if value is not None} or None
    wanted = resolve({"recipe": recipe, **{key: value for key, value in asked.items() if value is not None}})
    made = write(
        locate_model(model),
        wanted,
        out,
        cache_dir=default_cache(),
        seed=seed,
        progress=None if quiet else progress_line,
        trust_remote_code=trust_remote_code,
    )
    show(f"{made.folder}: {_sentence(made.audit)}")


def _number(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else text


def _parsed(settings: Sequence[str]) -> dict[str, Any]:
    """Return `KEY=VALUE` texts as a mapping; values are read as YAML, so `false` and `0.05` are what they look like."""
    from compressed_lens.study.yaml import parse_yaml

    found: dict[str, Any] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key:
            raise StudyError(f"'{setting}' is not a setting.", fix="Write KEY=VALUE, such as symmetric=false.")
        found[key] = parse_yaml(value, f"--set {key}").data
    return found


def _sentence(audit: Audit) -> str:
    parts = [
        f"{audit.quantized_layers} of {audit.linear_layers} linear layers quantized",
        f"{audit.bits_per_weight:.2f} bits a weight with scales",
        f"{audit.bytes_on_disk / MEGA:.2f} MB",
    ]
    if audit.base_bytes:
        parts[-1] += f" of {audit.base_bytes / MEGA:.2f}"
    if audit.fallbacks:
        parts.append(f"{len(audit.fallbacks)} layers with a smaller group size")
    return ", ".join(parts) + f"; {audit.seconds:.0f} s."
