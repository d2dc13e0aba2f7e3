"""From a study file or a command line to a validated study; every mistake is one sentence with its line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from compressed_lens.errors import StudyError
from compressed_lens.ids import digest
from compressed_lens.registry import Registry, nearest
from compressed_lens.study.schema import FULL, PLACEBOS, JudgeSpec, ModelSpec, Study, TaskSpec, VariantSpec
from compressed_lens.study.yaml import Document, Place, read_yaml

# Looked up when a study is checked: the registries live in layers above this one and import no torch.
_REGISTRIES = {
    "variant": "compressed_lens.quantization:RECIPES",
    "task": "compressed_lens.tasks:REGISTRY",
    "analysis": "compressed_lens.analyses:REGISTRY",
}
_WANTED = {
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a text or a mapping",
    "string_type": "a text",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_parsing": "true or false",
}
_SHORT = 40
_KEY = "[key]"  # where pydantic says that a mapping's key is wrong
Spec = str | dict[str, Any]


def load_study(path: str | Path) -> Study:
    """Read and check a study file.

    Relative paths in the file are taken from the file's folder or, where nothing is there, from the
    working directory; the study that is returned holds absolute ones.

    Raises:
        StudyError: One sentence with file, line, key and the nearest valid name.
    """
    file = Path(path).expanduser()
    document = read_yaml(file)
    if not isinstance(document.data, dict):
        raise StudyError(
            f"{document.file}: a study is a mapping with the keys {', '.join(Study.model_fields)}.",
            fix="See docs/study.md.",
        )
    return _validated(document, [file.resolve().parent, Path.cwd()])


def from_arguments(
    *,
    model: Spec | Sequence[Spec],
    variants: Sequence[Spec] = (),
    tasks: Sequence[Spec] = (),
    analyses: Sequence[Spec] = ("accuracy", "nle", "recall"),
    judges: Sequence[Mapping[str, Any]] = (),
    name: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    **settings: Any,
) -> Study:
    """Build the study of `clens run --model ... --variants ... --tasks ...`.

    Every entry is what a study file may have in its place: a name or path, or a mapping.

    Args:
        model: Folder, hub id or `reference`, or a mapping as in a study file; so the variants and tasks.
        variants: Names of recipes.
        tasks: Names of data sets.
        analyses: Names of analyses.
        judges: Models that analyses ask beside the ones under study.
        name: Name of the run; default: the first model's with a digest of everything else.
        limit: Number of items of every task.
        seed: Seed of everything random.
        settings: Keys of the study's `settings`.

    Raises:
        StudyError: As `load_study`, without lines.
    """
    models = [model] if isinstance(model, str | dict) else list(model)
    limits = {} if limit is None else {"limit": limit}
    data: dict[str, Any] = {
        "name": name or "study",
        "seed": seed,
        "models": models,
        "variants": list(variants),
        "tasks": [{**({"name": t} if isinstance(t, str) else t), **limits} for t in tasks],
        "analyses": list(analyses),
        "judges": list(judges),
        "settings": settings,
    }
    study = _validated(Document(file="", data=data), [Path.cwd()])
    if name is not None:
        return study
    identity = digest(study.model_dump(mode="json", exclude={"name"}), length=8)
    return study.model_copy(update={"name": f"{study.models[0].name}-{identity}"})


def to_yaml(study: Study) -> str:
    """Return the study as YAML with every default written out; `load_study` reads it back as equal."""
    import yaml

    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)


def _validated(document: Document, bases: Sequence[Path]) -> Study:
    try:
        study = Study.model_validate(document.data)
    except ValidationError as error:
        raise explain(document, error.errors(), Study) from None
    _check_names(document, study)
    return _with_absolute_paths(study, bases)


def explain(document: Document, errors: Sequence[ErrorDetails], of: type[BaseModel]) -> StudyError:
    """Return the first mistake that pydantic found in a document as one sentence with its line.

    Args:
        document: The file.
        errors: What pydantic found.
        of: What the file should be.
    """
    # A misspelt key also shows as a missing one, and an entry that does not fit also leaves its list too short.
    rank = {"extra_forbidden": 0, "missing": 2, "too_short": 3}
    first = min(errors, key=lambda e: (rank.get(e["type"], 1), document.line(tuple(e["loc"]))))
    place: Place = tuple(first["loc"])
    key = next((str(part) for part in reversed(place) if isinstance(part, str)), "")
    more = f" ({len(errors) - 1} more after this one.)" if len(errors) > 1 else ""
    if first["type"] == "value_error" and not place:
        place = _place_of(first["msg"], document.data)
    message, fix = _in_words(first, key, place, of)
    return StudyError(f"{_head(document, place)}{message}.{more}", fix=fix)


def _in_words(error: ErrorDetails, key: str, place: Place, of: type[BaseModel]) -> tuple[str, str]:
    """Return the message and the fix for one of pydantic's errors."""
    given, wanted = error.get("input"), error["msg"].removeprefix("Input should be ")
    message, fix = "", ""
    match error["type"]:
        case "extra_forbidden":
            valid = list(_fields(place[:-1], of))
            message = f"unknown key '{key}'" + ("" if len(place) == 1 else f" in '{place[0]}'")
            fix = nearest(key, valid) or f"Known keys: {', '.join(valid)}."
        case "missing":
            message, fix = f"key '{key}' is missing", "See docs/study.md."
        case "value_error":
            message = wanted.removeprefix("Value error, ")
        case "too_short":
            least = error["ctx"]["min_length"]
            some = "is empty; it needs at least one entry" if least == 1 else f"needs at least {least} entries"
            message = f"'{key}' {some}"
        case "literal_error" if key == _KEY:
            options = re.findall(r"'([^']+)'", wanted)
            message = f"'{place[-3]}' cannot have the key {_shown(given)}"
            fix = nearest(str(given), options) or f"One of: {', '.join(options)}."
        case "literal_error":
            options = re.findall(r"'([^']+)'", wanted)
            message = f"'{key}' cannot be {_shown(given)}"
            fix = nearest(str(given), options) or f"One of: {', '.join(options)}."
        case "string_pattern_mismatch" if key in {"name", "path"}:
            message = f"{_shown(given)} cannot be a name"
            fix = "Use letters, digits, and any of _ . + - after the first character."
        case kind:
            message = f"'{key}' should be {_WANTED.get(kind, wanted)}, not {_shown(given)}"
    return message, fix


def _place_of(message: str, data: dict[str, Any]) -> Place:
    """Return the place of the last entry that a message about the whole study names in quotes."""
    named = re.findall(r"'([^']+)'", message)
    for part, entries in data.items():
        if named and part in Study.model_fields and isinstance(entries, list):
            for index in reversed(range(len(entries))):
                entry = entries[index]
                if named[0] in (entry.get("name"), entry.get("path")) if isinstance(entry, dict) else entry == named[0]:
                    return (part, index)
    return ()


def _head(document: Document, place: Place) -> str:
    return f"{document.file} line {document.line(place)}: " if document.file else ""


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "an empty list" if not value else "a list"
    if value is None:
        return "nothing"
    text = str(value)
    return f"'{text}'" if len(text) <= _SHORT else f"'{text[:_SHORT]}…'"


def _fields(place: Place, model: type[BaseModel]) -> Iterable[str]:
    """Return the keys that may stand at `place`."""
    for part in place:
        if isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            inner = [annotation, *get_args(annotation)]
            model = next((a for a in inner if isinstance(a, type) and issubclass(a, BaseModel)), model)
    return model.model_fields


def _registry(kind: str) -> Registry[Any]:
    module, _, attribute = _REGISTRIES[kind].partition(":")
    registry: Registry[Any] = getattr(import_module(module), attribute)
    return registry


def _check_names(document: Document, study: Study) -> None:
    for part, kind, names in (
        ("variants", "variant", [v.recipe_name for v in study.variants]),
        ("tasks", "task", [None if t.fields and t.source is None else t.source_name for t in study.tasks]),
        ("analyses", "analysis", [a.analysis_name for a in study.analyses]),
    ):
        valid = [*_registry(kind).names(), *((FULL, *PLACEBOS) if kind == "variant" else ())]
        for index, name in enumerate(names):
            if name is not None and name not in valid:
                raise StudyError(
                    f"{_head(document, (part, index))}unknown {kind} '{name}'.",
                    fix=nearest(name, valid) or f"One of: {', '.join(valid)}.",
                )


def _with_absolute_paths(study: Study, bases: Sequence[Path]) -> Study:
    def model(spec: ModelSpec) -> ModelSpec:
        return spec.model_copy(update={"path": _absolute(spec.path, bases, keep="reference")})

    def variant(spec: VariantSpec) -> VariantSpec:
        inner = spec.settings.get("calibration")
        settings = spec.settings
        if isinstance(inner, dict) and isinstance(inner.get("path"), str):
            settings = {**settings, "calibration": {**inner, "path": _absolute(inner["path"], bases)}}
        return spec.model_copy(update={"checkpoint": _absolute(spec.checkpoint, bases), "settings": settings})

    def task(spec: TaskSpec) -> TaskSpec:
        return spec.model_copy(update={"path": _absolute(spec.path, bases)})

    def judge(spec: JudgeSpec) -> JudgeSpec:
        return spec.model_copy(update={"path": _absolute(spec.path, bases, keep="reference")})

    settings = study.settings
    calibration = settings.calibration.model_copy(update={"path": _absolute(settings.calibration.path, bases)})
    here = None if settings.cache_dir is None else str((bases[0] / Path(settings.cache_dir).expanduser()).absolute())
    changed = {"calibration": calibration, "cache_dir": here, "prompts": _absolute(settings.prompts, bases)}
    return study.model_copy(
        update={
            "models": tuple(map(model, study.models)),
            "variants": tuple(map(variant, study.variants)),
            "tasks": tuple(map(task, study.tasks)),
            "judges": tuple(map(judge, study.judges)),
            "settings": settings.model_copy(update=changed),
        }
    )


def _absolute(path: str | None, bases: Sequence[Path], *, keep: str = "") -> str | None:
    """Return `path` made absolute where a file or folder is there; anything else (a hub id) as it stands."""
    if path is None or path == keep:
        return path
    expanded = Path(path).expanduser()
    found = next((base / expanded for base in bases if (base / expanded).exists()), None)
    return path if found is None else os.path.normpath(found.absolute())
