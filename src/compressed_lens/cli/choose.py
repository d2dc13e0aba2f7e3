"""The study a command line means: a file, or the flags in its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compressed_lens.errors import StudyError

if TYPE_CHECKING:
    from compressed_lens.study.schema import Study

StudyFile = Annotated[Path | None, typer.Argument(help="A study file.", metavar="[STUDY]")]
Model = Annotated[str | None, typer.Option(help="Instead of a file: folder, hub id, or `reference`.")]
Variants = Annotated[list[str] | None, typer.Option(help="Recipes, or folders of quantized checkpoints.")]
Tasks = Annotated[list[str] | None, typer.Option(help="Tasks: NAME, or NAME=PATH of its data.")]
Analyses = Annotated[list[str] | None, typer.Option(help="Analyses; default: accuracy, nle, recall, where they fit.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use at most so many items of every task.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of everything random; default 0.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N; default auto.")]
Name = Annotated[str | None, typer.Option(help="Name of the study, and of its folder in runs.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run; default: runs/NAME.")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")]


def choose(file: Path | None, *, limit: int | None, **flags: Any) -> Study:
    """Return the study of `file`, or the one that the flags describe.

    Args:
        file: Study file, or None.
        limit: Items of every task at most; also goes with a file.
        flags: The other flags by name; None or False where not given.

    Raises:
        StudyError: The file or a flag is wrong, or both describe a study, or neither does.
    """
    given = {name: value for name, value in flags.items() if value is not None and value is not False}
    if file is None:
        return _from_flags(limit=limit, **given)
    if given:
        flag = "--" + next(iter(given)).replace("_", "-")
        raise StudyError(f"{flag} does not go with a study file.", fix=f"Write it into {file}.")
    from compressed_lens.study.load import load_study

    study = load_study(file)
    if limit is None:
        return study
    return study.model_copy(update={"tasks": tuple(t.model_copy(update={"limit": limit}) for t in study.tasks)})


def _from_flags(
    *,
    model: str = "",
    variants: Sequence[str] = (),
    tasks: Sequence[str] = (),
    trust_remote_code: bool = False,
    **others: Any,
) -> Study:
    from compressed_lens.study.load import from_arguments

    if not model or not tasks:
        missing = "--tasks" if model else "--model" if tasks else "a study file, or --model and --tasks"
        raise StudyError(f"Missing {missing}.", fix="For instance: --model reference --tasks testbed-reviews.")
    return from_arguments(
        model={"path": model, "trust_remote_code": True} if trust_remote_code else model,
        variants=[_variant(text) for text in variants],
        tasks=[_task(text) for text in tasks],
        **others,
    )


def _variant(text: str) -> str | dict[str, Any]:
    folder = Path(text).expanduser()
    if not folder.is_dir():
        return text
    return {"name": folder.resolve().name, "checkpoint": text}


def _task(text: str) -> str | dict[str, Any]:
    name, separator, path = text.partition("=")
    return {"name": name, "path": path} if separator else text
