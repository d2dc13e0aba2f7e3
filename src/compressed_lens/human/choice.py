"""Which models, variants, tasks and analyses of a run a sample means."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from compressed_lens.errors import StudyError
from compressed_lens.human.design import Kind, Sample
from compressed_lens.registry import nearest
from compressed_lens.runner.results import Run
from compressed_lens.study.schema import FULL

METHODS: Mapping[Kind, str] = {"explanation": "nle", "counterfactual": "counterfactual"}
"""Method of the analysis whose records hold the texts of a kind."""

_SCORED = ("passed", "marked")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A task whose texts are rated.

    Attributes:
        task: Its name.
        instruction: What the models were told to do.
        fields: Names of the fields of an item in the order in which models saw them.
        analyses: Analysis that each kind is read from.
    """

    task: str
    instruction: str
    fields: tuple[str, ...]
    analyses: Mapping[Kind, str]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a sample means in a run.

    Attributes:
        variants: (model, variant), in the order of the run.
        absent: (model, variant, reason) of those that would be there had they been scored.
        parts: The tasks.
    """

    variants: tuple[tuple[str, str], ...]
    absent: tuple[tuple[str, str, str], ...]
    parts: tuple[Part, ...]


def choose(run: Run, sample: Sample) -> Chosen:
    """Find the models, variants, tasks and analyses of a sample in a run.

    Raises:
        StudyError: A name is not in the run, was not scored, or has no texts.
    """
    variants, absent = _variants(run, sample)
    return Chosen(variants=variants, absent=absent, parts=_parts(run, sample))


def _variants(run: Run, sample: Sample) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str, str], ...]]:
    rows = run.variants.select("model", "variant", "status", "reason", "recipe").rows(named=True)
    order = [model.name for model in run.study.models]
    _check("model", sample.models, order)
    _check("variant", sample.variants, dict.fromkeys(row["variant"] for row in rows))
    scored, absent = [], []
    for model in order:
        if sample.models and model not in sample.models:
            continue
        for row in (row for row in rows if row["model"] == model):
            name = row["variant"]
            placebo = "placebo" in json.loads(row["recipe"] or "{}")
            wanted = name == FULL or (name in sample.variants if sample.variants else not placebo)
            if not wanted:
                continue
            if row["status"] in _SCORED:
                scored.append((model, name))
            elif name in sample.variants:
                raise StudyError(
                    f"The variant '{name}' of {model} was not scored ({row['status']}).", fix="Leave it out."
                )
            else:
                absent.append((model, name, f"{row['status']}: {row['reason']}".removesuffix(": ")))
    if not scored:
        raise StudyError("No variant of this run was scored yet.", fix="Finish it with `clens resume`.")
    return tuple(scored), tuple(absent)


def _parts(run: Run, sample: Sample) -> tuple[Part, ...]:
    methods = {analysis.name: analysis.analysis_name for analysis in run.study.analyses}
    for kind, name in sample.analyses.items():
        _check("analysis", [name], methods)
        if methods[name] != METHODS[kind]:
            raise StudyError(
                f"The analysis '{name}' has no {kind} to rate: its method is {methods[name]}.",
                fix=f"Name one of the method {METHODS[kind]}.",
            )
    known = run.tasks.filter(pl.col("kind") == "classification")
    infos = {task: json.loads(info) for task, info in known.select("task", "info").iter_rows()}
    order = [task.name for task in run.study.tasks if task.name in infos]
    _check("task", sample.tasks, order)
    asked = set(run.cells.select("task", "analysis").iter_rows())
    parts = []
    for task in (task for task in order if not sample.tasks or task in sample.tasks):
        analyses: dict[Kind, str] = {}
        for kind in dict.fromkeys(sample.kinds):
            named = sample.analyses.get(kind)
            own = [name for name in methods if (task, name) in asked and methods[name] == METHODS[kind]]
            found = next((name for name in own if named in {None, name}), None)
            if found is not None:
                analyses[kind] = found
        if analyses:
            told = infos[task]
            # Runs from before the order was kept have none.
            fields = tuple(told.get("fields", ()))
            parts.append(Part(task=task, instruction=told["instruction"], fields=fields, analyses=analyses))
        elif sample.tasks:
            raise StudyError(f"The task '{task}' has no texts to rate.", fix="Leave it out.")
    for kind in sample.kinds:
        if not any(kind in part.analyses for part in parts):
            others = [other for other in sample.kinds if other != kind]
            instead = f", or choose --kinds {' '.join(others)}" if others else ""
            raise StudyError(
                f"No task of this run has the analysis {METHODS[kind]}, which a {kind} is read from.",
                fix=f"Add it to the study and run that again{instead}.",
            )
    return tuple(parts)


def _check(what: str, named: Iterable[str], known: Collection[str]) -> None:
    for name in named:
        if name not in known:
            raise StudyError(
                f"The run has no {what} '{name}'.", fix=nearest(name, known) or f"One of: {', '.join(known)}."
            )
