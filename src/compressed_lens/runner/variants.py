"""From a variant of the study to a loaded model that went through the integrity gate."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressed_lens.errors import LensError, ModelError
from compressed_lens.ids import digest, folder_digest
from compressed_lens.lm.locate import is_embedded
from compressed_lens.paths import cache_root
from compressed_lens.study.schema import ModelSpec, PlaceboSpec, Study, VariantSpec

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel
    from compressed_lens.lm.protocol import Prompt
    from compressed_lens.quantization import Audit, Recipe
    from compressed_lens.quantization.integrity import Integrity

_KEPT_BYTES = 1 << 30


def cache_folder(study: Study) -> Path:
    """Return where quantized checkpoints are kept: the study's choice, or `default_cache`."""
    return default_cache() if study.settings.cache_dir is None else Path(study.settings.cache_dir)


def default_cache() -> Path:
    """Return where quantized checkpoints are kept by default: in $CLENS_CACHE, or in the user's cache."""
    return cache_root() / "variants"


def on_hub(path: str) -> bool:
    """Return whether a model's path can only be a hub id."""
    return not is_embedded(path) and not path.startswith((".", "/", "~")) and not Path(path).exists()


def recipe_of(study: Study, variant: VariantSpec) -> Recipe | None:
    """Return the validated recipe of a variant, the study's calibration settings under its own; None without recipe.

    Raises:
        StudyError: The recipe or one of its settings is unknown or does not fit.
    """
    from compressed_lens.quantization import resolve

    if variant.recipe_name is None:
        return None
    wanted = study.settings.calibration.model_dump(exclude_none=True)
    plain = resolve({"recipe": variant.recipe_name})
    if not wanted or plain.calibrated_by is None:
        return resolve({"recipe": variant.recipe_name, **variant.settings})
    own = variant.settings.get("calibration")
    merged = {**wanted, **own} if isinstance(own, dict) else wanted
    return resolve({"recipe": variant.recipe_name, **variant.settings, "calibration": merged})


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A variant in memory.

    Attributes:
        bytes_on_disk: Bytes of its safetensors files.
        prepare_seconds: Time to quantize it, or to find it in the cache.
        load_seconds: Time to load it.
    """

    model: HFModel
    audit: Audit | None
    bytes_on_disk: int
    prepare_seconds: float
    load_seconds: float


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn what a library throws while a variant is made into an error that leaves the other variants alone."""
    try:
        yield
    except LensError:
        raise
    except Exception as error:
        told = str(error).strip().splitlines() or [""]
        raise ModelError(
            f"{what} failed with {type(error).__name__}: {told[0]}.", fix="--debug shows where."
        ) from error


class Base:
    """One model of the study: finds its folder, makes its variants, and lends the full-precision model to the gate."""

    def __init__(self, study: Study, spec: ModelSpec) -> None:
        self._study = study
        self.spec = spec
        self._kept: HFModel | None = None
        self._numerics: dict[str, str] | None = None

    @cached_property
    def folder(self) -> Path:
        """Folder of the full-precision model, fetched from the hub where need be."""
        from compressed_lens.lm.locate import locate_model

        if self.spec.path is None:
            raise ModelError(f"Model '{self.spec.name}' has no path.", fix="Add `path` to the model.")
        return locate_model(self.spec.path, self.spec.revision)

    @cached_property
    def digest(self) -> str:
        """Digest of the full-precision model's bytes."""
        return folder_digest(self.folder)

    def origin(self, variant: VariantSpec) -> str:
        """Return the digest of the bytes, recipe, calibration text and libraries a variant is made from.

        Raises:
            LensError: Something it is made from is missing.
        """
        from compressed_lens.quantization import variant_key

        recipe = recipe_of(self._study, variant)
        if recipe is not None:
            return variant_key(self.folder, recipe, seed=self._study.seed)
        return self.digest if variant.is_base else folder_digest(self.checkpoint(variant))

    def build(self, variant: VariantSpec) -> str:
        """Return the digest of all that decides what the loaded variant computes; errors as `origin`."""
        changed = [] if variant.placebo is None else [variant.placebo.settings]
        return digest([self.origin(variant), self.spec.dtype, self._study.settings.device, *changed], length=24)

    def load(self, variant: VariantSpec, tell: Callable[[str], None]) -> Loaded:
        """Quantize (or find in the cache) and load a variant.

        Raises:
            LensError: It cannot be made or loaded.
        """
        with _explained(f"Making {variant.name}"):
            return self._load(variant, tell)

    def _load(self, variant: VariantSpec, tell: Callable[[str], None]) -> Loaded:
        from compressed_lens.quantization import prepare

        if variant.placebo is not None:
            self._check_placebo(variant.name, variant.placebo)
        started = time.perf_counter()
        recipe = recipe_of(self._study, variant)
        audit = None
        folder = self.folder if variant.is_base else self.checkpoint(variant) if recipe is None else None
        if recipe is not None:
            made = prepare(
                self.folder,
                recipe,
                cache_dir=cache_folder(self._study),
                seed=self._study.seed,
                progress=tell,
                trust_remote_code=self.spec.trust_remote_code,
            )
            folder, audit = made.folder, made.audit
        assert folder is not None
        prepared = time.perf_counter()
        tell("loading")
        model = self._open(folder, f"{self.spec.name} {variant.name}", variant.placebo)
        if variant.is_base and model.method != "full":
            raise ModelError(
                f"{folder} is already quantized ({model.method}) and cannot be the full-precision baseline.",
                fix="List it under variants as a `checkpoint`, and leave out the model's `path` or give its base.",
            )
        if not variant.quantized and model.method != "full":
            raise ModelError(
                f"The checkpoint of '{variant.name}' is quantized ({model.method}).",
                fix="Leave out `quantized: false`.",
            )
        if variant.is_full:
            self._numerics = _numerics(model)
        return Loaded(
            model=model,
            audit=audit,
            bytes_on_disk=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
            prepare_seconds=prepared - started,
            load_seconds=time.perf_counter() - prepared,
        )

    def gate(self, variant: VariantSpec, loaded: Loaded, probes: Sequence[Prompt]) -> Integrity:
        """Check a loaded variant against the full-precision model, where there is one."""
        with _explained(f"Checking {variant.name}"):
            return self._gate(variant, loaded, probes)

    def _gate(self, variant: VariantSpec, loaded: Loaded, probes: Sequence[Prompt]) -> Integrity:
        from compressed_lens.quantization.integrity import check

        alone = variant.is_full or not variant.quantized or self.spec.path is None
        base = None if alone else self._base()
        full = variant.is_base or not variant.quantized
        return check(loaded.model, base, audit=loaded.audit, full=full, probes=probes)

    def _base(self) -> HFModel:
        """Return the full-precision model; a small one stays in memory."""
        base = self._kept or self._open(self.folder, "full")
        if base.memory_bytes <= _KEPT_BYTES:
            self._kept = base
        return base

    def _check_placebo(self, name: str, placebo: PlaceboSpec) -> None:
        """Check that every setting of a placebo differs from full precision's.

        Raises:
            ModelError: One of them changes nothing.
        """
        if self._numerics is None:
            self._numerics = _numerics(self._base())
        own = {**self._numerics, "batch_tokens": self._study.settings.batch_tokens, "seed": 0}
        for key, value in placebo.settings.items():
            if own[key] == value:
                raise ModelError(
                    f"Full precision has {key} {value} already, so '{name}' would be no placebo.",
                    fix=f"Leave it out, or give it another {key}.",
                )

    def full(self) -> HFModel:
        """Return the full-precision model, for analyses that ask it; it stays in memory until `release`."""
        if self._kept is None:
            self._kept = self._open(self.folder, f"{self.spec.name} full")
        return self._kept

    def release(self) -> None:
        """Let go of the full-precision model."""
        self._kept = None

    def _open(self, folder: Path, name: str, placebo: PlaceboSpec | None = None) -> HFModel:
        from compressed_lens.lm.hf import HFModel

        changed = {} if placebo is None else placebo.settings
        return HFModel.load(
            folder,
            device=self._study.settings.device,
            dtype=str(changed.get("dtype", self.spec.dtype)),
            attention=str(changed.get("attention", "auto")),
            trust_remote_code=self.spec.trust_remote_code,
            name=name,
            draws=int(changed.get("seed", 0)),
            apart=digest(changed) if changed else "",
        )

    def checkpoint(self, variant: VariantSpec) -> Path:
        """Return the folder of a checkpoint variant, fetched from the hub where need be."""
        from compressed_lens.lm.locate import locate_model

        assert variant.checkpoint is not None
        return locate_model(variant.checkpoint, variant.revision)


def describe(study: Study, variant: VariantSpec) -> dict[str, Any]:
    """Return what a variant is, for the record."""
    if variant.placebo is not None:
        return {"placebo": variant.placebo.settings}
    recipe = recipe_of(study, variant)
    if recipe is not None:
        return {"recipe": variant.recipe_name, **recipe.model_dump(mode="json")}
    return {"checkpoint": variant.checkpoint, "revision": variant.revision} if variant.checkpoint else {}


def _numerics(model: HFModel) -> dict[str, str]:
    """Return what a placebo can change of how a model computes."""
    return {"dtype": str(model.dtype).removeprefix("torch."), "attention": model.attention}


def free_memory() -> None:
    """Give back what a model that is no longer referred to held; call it between variants."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
