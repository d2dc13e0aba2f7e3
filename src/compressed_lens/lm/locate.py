"""The one door for models: a local folder, the embedded reference model, or a snapshot of the hub."""

from __future__ import annotations

import re
from pathlib import Path

from compressed_lens.errors import ModelError
from compressed_lens.registry import nearest

REFERENCE = "reference"
SCORER = "testbed-scorer"
PLANTED = "planted-"
REGRESSED = "regressed-"
REGRESSED_BASE = "planted-honest"
_SAFE_PATTERNS = ("*.safetensors", "*.json", "*.model", "*.jinja", "*.txt")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def is_embedded(model: str) -> bool:
    """Return whether `model` names a model that comes with the package."""
    return model in {REFERENCE, SCORER, *planted_models(), *regressed_models()}


def planted_models() -> tuple[str, ...]:
    """Return the names of the planted models (docs/planted.md): small changes of the reference model."""
    return tuple(f"{PLANTED}{name}" for name in _changes() if not name.startswith(REGRESSED))


def regressed_models() -> tuple[str, ...]:
    """Return the names of the regressed models (docs/planted.md): small changes of `REGRESSED_BASE`."""
    return tuple(name for name in _changes() if name.startswith(REGRESSED))


def _changes() -> list[str]:
    return sorted(file.stem for file in _testbed("changes").glob("*.safetensors"))


def planted_change(name: str) -> Path:
    """Return the file with the change that makes a model of another: "honest", "regressed-quality"..."""
    return _testbed("changes") / f"{name}.safetensors"


def _testbed(part: str) -> Path:
    return Path(__file__).resolve().parents[1] / "testbed" / part


def reference_folder() -> Path:
    """Return the folder of the embedded reference model."""
    return _testbed("weights")


def locate_model(model: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a model.

    Args:
        model: Folder, "reference" for the embedded model, another embedded one (see `is_embedded`), or a hub id such
            as "org/name" when no such path exists.
        revision: Commit, tag or branch of a hub model; ignored for folders.

    Raises:
        ModelError: The path is missing, or the hub cannot give the model.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve()
    if str(model) == REFERENCE:
        folder = reference_folder()
        if not folder.is_dir():
            raise ModelError(
                f"The embedded reference model is missing from {folder}.",
                fix="Reinstall the package, or make it with `clens testbed train`.",
            )
        return folder
    if str(model) == SCORER:
        return _testbed("bart")
    if str(model) in planted_models():
        from compressed_lens.lm.delta import merged_folder

        return merged_folder(reference_folder(), planted_change(str(model).removeprefix(PLANTED)))
    if str(model) in regressed_models():
        from compressed_lens.lm.delta import merged_folder

        return merged_folder(locate_model(REGRESSED_BASE), planted_change(str(model)))
    if path.is_file():
        raise ModelError(f"The model {path} is a file, not a folder.", fix="Give the folder that holds config.json.")
    if _looks_like_a_path(model):
        raise ModelError(f"There is no model folder {path}.", fix=_neighbour(path))
    return _snapshot(str(model), revision)


def _looks_like_a_path(model: str | Path) -> bool:
    text = str(model)
    if isinstance(model, Path) or text.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(text):
        return True
    return "/" in text and Path(text).parent.is_dir()


def _neighbour(path: Path) -> str:
    """Return a hint: the nearest existing name beside the first missing part of `path`."""
    absolute = path.absolute()
    for parent in absolute.parents:
        if parent.is_dir():
            missing = absolute.relative_to(parent).parts[0]
            names = sorted(p.name for p in parent.iterdir() if p.is_dir())
            return nearest(missing, names) or f"{parent} exists, but holds no folder '{missing}'."
    return ""


def _snapshot(model: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(_SAFE_PATTERNS)))
    except HFValidationError as error:
        raise ModelError(f"'{model}' is neither a folder nor a hub id: {error}.") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"There is no folder '{model}', and the hub cannot be reached to look for a model of that name.",
            fix=f"Check the path and the network. {nearest(model, [REFERENCE])}".strip(),
        ) from error
    except HfHubHTTPError as error:
        raise ModelError(
            f"There is no folder '{model}', and the hub has no readable model of that name"
            f"{f' at revision {revision}' if revision else ''}.",
            fix="Check the name; a gated model needs `hf auth login`.",
        ) from error
    except OSError as error:
        raise ModelError(f"The model '{model}' could not be fetched: {error}.") from error
