"""Models that ship as a small change of another one: low-rank matrices, added to the weights on first use."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from compressed_lens.errors import ModelError
from compressed_lens.ids import MODEL_FILES, digest, file_digest, folder_digest
from compressed_lens.paths import cache_root

WEIGHTS = "model.safetensors"


def merged_folder(base: Path, change: Path) -> Path:
    """Return a model folder with the weights of `base` plus a low-rank change; made once, then found in the cache.

    Every weight NAME.weight [out, in] for which `change` has NAME.up [out, rank] and NAME.down [rank, in] becomes
    weight + up @ down, computed in float32 and kept in the dtype it had; NAME.rows [n, in] takes the place of the
    first n rows of NAME.weight. The folder is named by the digests of both.

    Raises:
        ModelError: The change does not fit the base, or the cache cannot be written.
    """
    identity = digest([folder_digest(base), file_digest(change)], length=24)
    place = cache_root() / "merged" / f"{change.stem}-{identity}"
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=place.parent))
        try:
            for file in base.iterdir():
                if file.is_file() and file.name != WEIGHTS and file.name.endswith((*MODEL_FILES, ".jinja")):
                    shutil.copyfile(file, partial / file.name)
            _merge(base / WEIGHTS, change, partial / WEIGHTS)
            partial.chmod(0o755)
            try:
                partial.rename(place)
            except OSError:
                # Another process was quicker; its folder holds the same bytes.
                if not place.is_dir():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"Cannot write {place}: {error.strerror}.", fix="Set CLENS_CACHE to a folder with space."
        ) from error
    return place


def _merge(base: Path, change: Path, out: Path) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    tensors = load_file(base)
    with safe_open(change, framework="pt") as handle:
        for key in (key for key in handle.keys() if key.endswith(".rows")):  # noqa: SIM118
            rows, name = handle.get_tensor(key), f"{key.removesuffix('.rows')}.weight"
            tensors[name] = torch.cat([rows.to(tensors[name].dtype), tensors[name][len(rows) :]])
        names = [name.removesuffix(".down") for name in handle.keys() if name.endswith(".down")]  # noqa: SIM118
        for name in names:
            weight = tensors.get(f"{name}.weight")
            up, down = handle.get_tensor(f"{name}.up").float(), handle.get_tensor(f"{name}.down").float()
            if weight is None or weight.shape != (up.shape[0], down.shape[1]):
                raise ModelError(f"{change.name} changes {name}, and {base.parent} has no such weight of that shape.")
            with torch.no_grad():
                tensors[f"{name}.weight"] = (weight.float() + up @ down).to(weight.dtype).contiguous()
    save_file(tensors, out, metadata={"format": "pt"})
