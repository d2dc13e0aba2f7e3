"""Make a variant once and keep it: every quantized model is a folder in a cache keyed by content."""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressed_lens.errors import ModelError, StudyError
from compressed_lens.ids import digest, folder_digest
from compressed_lens.quantization.audit import Audit, Facts, audit
from compressed_lens.quantization.base import Base
from compressed_lens.quantization.calibration import Samples, calibration_texts, texts_digest, tokenize
from compressed_lens.quantization.recipe import Recipe, resolve

_FORMAT = 1
_MODEL = "model"
_RECORD = "variant.json"
_COPIED = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template*",
    "additional_chat_templates",
    "generation_config.json",
    "*.py",
    "LICENSE*",
)
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A quantized model on disk.

    Attributes:
        folder: Model folder that `load_module` and plain transformers load.
        audit: What was done to which layer.
        fingerprint: Digest of the folder's bytes (`ids.folder_digest`).
        bytes_on_disk: Bytes of its safetensors files.
        cached: Whether it was there already.
    """

    folder: Path
    audit: Audit
    fingerprint: str
    bytes_on_disk: int
    cached: bool


def variant_key(
    model_folder: Path | str,
    recipe: Recipe | str | Mapping[str, Any],
    *,
    calibration: Sequence[str] | None = None,
    seed: int = 0,
) -> str:
    """Return the cache key of a variant: base bytes, recipe, calibration text, library versions and seed.

    Raises:
        ModelError: The model folder is not sound.
        StudyError: The recipe is unknown or malformed.
        DataError: The calibration text cannot be read.
        DependencyError: A library it needs is missing.
    """
    folder, recipe = Path(model_folder), resolve(recipe)
    texts, _ = _texts(recipe, folder, calibration)
    return _key(recipe, folder_digest(folder), texts, seed)


def prepare(
    model_folder: Path | str,
    recipe: Recipe | str | Mapping[str, Any],
    *,
    cache_dir: Path | str,
    calibration: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    trust_remote_code: bool = False,
) -> Prepared:
    """Quantize a model into the cache, or return what is there.

    The checkpoint is written before any forward pass, audited, and only then moved to its place, so a killed process
    leaves no half checkpoint. Two processes that ask for the same variant do the work once.

    Args:
        model_folder: Full-precision model; its folder is only read.
        recipe: A recipe, the name of a preset, or a preset with settings (see `resolve`).
        cache_dir: Where quantized models are kept.
        calibration: Texts to calibrate on; default: those of the recipe. Ignored by techniques that need none.
        seed: Seed of everything random.
        progress: Called with a few words before each step.
        trust_remote_code: Run Python code shipped in the model folder.

    Raises:
        ModelError: The model cannot be quantized this way.
        GateError: The result is not what the recipe asks for.
        StudyError, DataError, DependencyError: As `variant_key`.
    """
    folder, recipe = Path(model_folder), resolve(recipe)
    tell = progress or (lambda message: None)
    _check_full_precision(folder)
    tell("reading the base model")
    before = folder_digest(folder)
    texts, source = _texts(recipe, folder, calibration)
    cache = Path(cache_dir).expanduser()
    place = cache / _key(recipe, before, texts, seed)
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{place.name}.lock"):
        known = _read(place)
        if known is not None:
            return known
        partial = cache / f".{place.name}.partial"
        for rest in (partial, place):
            if rest.exists():
                shutil.rmtree(rest)
        try:
            base = Base(folder, trust_remote_code)
            samples = _samples(recipe, base, texts, source, seed)
            _make(base, before, recipe, partial, samples=samples, seed=seed, tell=tell)
            partial.rename(place)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    made = _read(place)
    assert made is not None
    return Prepared(
        folder=made.folder,
        audit=made.audit,
        fingerprint=made.fingerprint,
        bytes_on_disk=made.bytes_on_disk,
        cached=False,
    )


def quantize(
    model_folder: Path | str,
    recipe: Recipe | str | Mapping[str, Any],
    output: Path | str,
    *,
    cache_dir: Path | str,
    calibration: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    trust_remote_code: bool = False,
) -> Prepared:
    """Write a quantized model to `output`, for `AutoModelForCausalLM.from_pretrained` and other tools.

    Arguments and errors are those of `prepare`; the model is also left in the cache.

    Raises:
        StudyError: `output` exists and is not an empty folder.
    """
    target = Path(output).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StudyError(f"{target} exists and is not an empty folder.", fix="Give a new folder.")
    partial = target.parent / f".{target.name}.partial"
    target.parent.mkdir(parents=True, exist_ok=True)
    made = prepare(
        model_folder,
        recipe,
        cache_dir=cache_dir,
        calibration=calibration,
        seed=seed,
        progress=progress,
        trust_remote_code=trust_remote_code,
    )
    if partial.exists():
        shutil.rmtree(partial)
    shutil.copytree(made.folder, partial)
    partial.replace(target)
    return Prepared(
        folder=target,
        audit=made.audit,
        fingerprint=made.fingerprint,
        bytes_on_disk=made.bytes_on_disk,
        cached=made.cached,
    )


def _make(
    base: Base, before: str, recipe: Recipe, partial: Path, *, samples: Samples | None, seed: int, tell: Progress
) -> None:
    from compressed_lens.lm.quiet import quiet

    output = partial / _MODEL
    output.mkdir(parents=True)
    tell(f"quantizing with {recipe.method} to {recipe.bits} bits")
    started = time.monotonic()
    with quiet():
        fallbacks = _fallbacks(recipe, base)
        recipe.apply(base, output, samples=() if samples is None else samples.ids, seed=seed)
    seconds = time.monotonic() - started
    _copy_companions(base.folder, output)
    tell("auditing the quantized model")
    facts = Facts(
        expected=frozenset(layer.name for layer in base.targets(recipe.ignore)),
        rescaled=recipe.rescales,
        fallbacks=fallbacks,
        base_untouched=folder_digest(base.folder) == before,
        seconds=seconds,
        versions=recipe.versions(),
        calibration={} if samples is None else samples.facts(),
    )
    record = {
        "recipe": recipe.model_dump(mode="json"),
        "seed": seed,
        "base": before,
        "fingerprint": folder_digest(output),
        "audit": audit(output, base, facts, trust_remote_code=base.trust_remote_code).to_dict(),
    }
    (partial / _RECORD).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _check_full_precision(folder: Path) -> None:
    from compressed_lens.lm.folder import method_of, read_config

    method = method_of(read_config(folder), folder)
    if method != "full":
        raise ModelError(
            f"{folder} is already quantized ({method}).",
            fix="Quantize the full-precision model, or use this folder as a checkpoint variant.",
        )


def _texts(recipe: Recipe, folder: Path, given: Sequence[str] | None) -> tuple[tuple[str, ...], str]:
    settings = recipe.calibrated_by
    if settings is None:
        return (), ""
    if given is not None:
        return tuple(given), "texts given by the caller"
    return calibration_texts(settings, folder)


def _samples(recipe: Recipe, base: Base, texts: tuple[str, ...], source: str, seed: int) -> Samples | None:
    from compressed_lens.lm.load import load_tokenizer

    settings = recipe.calibrated_by
    if settings is None:
        return None
    tokenizer = load_tokenizer(base.folder, trust_remote_code=base.trust_remote_code)
    return tokenize(texts, source, settings, tokenizer, seed=seed)


def _fallbacks(recipe: Recipe, base: Base) -> dict[str, int]:
    from compressed_lens.quantization.compressor import Grouped

    if not isinstance(recipe, Grouped):
        return {}
    return {name: size for name, size in recipe.group_sizes(base).items() if size != recipe.group_size}


def _key(recipe: Recipe, base: str, texts: tuple[str, ...], seed: int) -> str:
    settings = recipe.model_dump(mode="json")
    calibration = settings.get("calibration")
    if isinstance(calibration, dict):
        calibration["path"] = texts_digest(texts)
    return digest([_FORMAT, base, settings, recipe.versions(), seed if texts else 0], length=32)


def _copy_companions(source: Path, target: Path) -> None:
    """Copy tokenizer, chat template, generation settings and licence byte for byte."""
    for pattern in _COPIED:
        for path in source.glob(pattern):
            if path.is_dir():
                shutil.copytree(path, target / path.name, dirs_exist_ok=True)
            else:
                shutil.copyfile(path, target / path.name)


def _read(place: Path) -> Prepared | None:
    """Return the variant kept at `place`, or None when there is none or not all of it."""
    try:
        record = json.loads((place / _RECORD).read_text(encoding="utf-8"))
        made = Audit.from_dict(record["audit"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sizes = sum(path.stat().st_size for path in (place / _MODEL).glob("*.safetensors"))
    if sizes != made.bytes_on_disk:
        return None
    return Prepared(
        folder=place / _MODEL,
        audit=made,
        fingerprint=record["fingerprint"],
        bytes_on_disk=made.bytes_on_disk,
        cached=True,
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the system lets go of it when the process ends, however it ends."""
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
