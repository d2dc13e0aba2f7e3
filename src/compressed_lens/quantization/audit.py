"""Proof that a variant is what it says: what was quantized, to how many bits, how far from the base, at what size."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressed_lens.errors import GateError

if TYPE_CHECKING:
    from compressed_lens.quantization.base import Base


@dataclass(frozen=True, kw_only=True)
class LayerAudit:
    """One quantized layer.

    Attributes:
        bits: Width of a stored weight.
        group_size: Weights that share a scale; -1 is a whole row.
        stored_bits: Bits on disk for each weight: codes, scales and zero points.
        weight_error: Norm of the difference to the base's weight over the base's norm; 0 is no change. Techniques
            that move scale between layers are compared after the best rescaling of rows and columns.
    """

    name: str
    format: str
    bits: int
    group_size: int
    symmetric: bool
    stored_bits: float
    weight_error: float | None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What is known about a variant once it is on disk.

    Attributes:
        method: Technique as the checkpoint declares it.
        kernel: What multiplies its linear layers on this machine.
        linear_layers: Linear layers of the model.
        layers: The quantized ones.
        fallbacks: Group size of each layer the wanted one does not fit.
        bits_per_weight: Bits on disk for each weight of the quantized layers, scales included.
        weight_error: Relative weight error over all quantized layers; see `LayerAudit`.
        bytes_on_disk: Bytes of the safetensors files.
        base_bytes: The same of the base.
        base_untouched: The base folder has the same digest after as before.
        seconds: Time to quantize, loading and saving included.
        versions: Versions of the libraries that decide the result.
        calibration: Source, hash and lengths of the calibration sequences; empty when none were used.
    """

    method: str
    kernel: str
    linear_layers: int
    layers: tuple[LayerAudit, ...]
    fallbacks: dict[str, int]
    bits_per_weight: float
    weight_error: float | None
    bytes_on_disk: int
    base_bytes: int | None
    base_untouched: bool
    seconds: float
    versions: dict[str, str]
    calibration: dict[str, Any]

    @property
    def quantized_layers(self) -> int:
        """Number of quantized layers."""
        return len(self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as JSON values."""
        return {**asdict(self), "quantized_layers": self.quantized_layers}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Audit:
        """Return the audit that `to_dict` wrote."""
        fields = {name: value for name, value in values.items() if name != "quantized_layers"}
        return cls(**{**fields, "layers": tuple(LayerAudit(**layer) for layer in values["layers"])})


def weight_bytes(folder: Path) -> int:
    """Return the bytes of a folder's safetensors files."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What only the one who quantized knows.

    Attributes:
        expected: Layers that should be quantized; None asks for at least one.
        rescaled: The technique moves scale between layers, so weights are compared after the best rescaling.
    """

    expected: frozenset[str] | None = None
    rescaled: bool = False
    fallbacks: dict[str, int] = field(default_factory=dict)
    base_untouched: bool = True
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)


def audit(variant: Path, base: Base | None, facts: Facts, *, trust_remote_code: bool = False) -> Audit:
    """Load a quantized folder and compare it with the full-precision one, layer by layer.

    Args:
        variant: Quantized folder.
        base: The model it was made from, whose weights are read one at a time; None for a checkpoint of others.
        facts: What only the one who quantized knows.
        trust_remote_code: Run Python code shipped in `variant`.

    Raises:
        GateError: Nothing was quantized, not everything was, no weight changed, a weight is not finite, the quantized
            layers take no less room than before, or the base folder was changed.
    """
    from compressed_lens.lm.linear import dense_weight, linear_layers, packing
    from compressed_lens.lm.load import load_module

    loaded = load_module(variant, trust_remote_code=trust_remote_code)
    linear = linear_layers(loaded.module)
    found = {name: kind for name, layer in linear.items() if (kind := packing(layer)) is not None}
    _check_coverage(found, facts, len(linear), variant)
    reference, sizes = (None if base is None else _Reader(base)), _stored_bytes(variant)
    layers, stored, before, weights, error, norm = [], 0, 0, 0, 0.0, 0.0
    for name, kind in found.items():
        weight = dense_weight(linear[name]).cpu()
        if not weight.isfinite().all():
            raise GateError(f"The quantized layer {name} of {variant} holds NaN or infinite weights.")
        layer_error = layer_norm = None
        if reference is not None:
            original, original_bytes = reference.weight(name)
            layer_error, layer_norm = _difference(original, weight, rescaled=facts.rescaled)
            error, norm, before = error + layer_error**2, norm + layer_norm**2, before + original_bytes
        own = sum(size for key, size in sizes.items() if key.startswith(f"{name}.") and key != f"{name}.bias")
        layers.append(
            LayerAudit(
                name=name,
                format=kind.format,
                bits=kind.bits,
                group_size=kind.group_size,
                symmetric=kind.symmetric,
                stored_bits=8 * own / weight.numel(),
                weight_error=layer_error / layer_norm if layer_error is not None and layer_norm else None,
            )
        )
        stored, weights = stored + own, weights + weight.numel()
    if reference is not None:
        _check_change(error, stored, before, variant)
    if not facts.base_untouched:
        raise GateError(f"The base folder of {variant} changed while it was quantized.", fix="Restore the base model.")
    return Audit(
        method=loaded.method,
        kernel=loaded.kernel,
        linear_layers=len(linear),
        layers=tuple(layers),
        fallbacks=facts.fallbacks,
        bits_per_weight=8 * stored / weights,
        weight_error=math.sqrt(error / norm) if norm else None,
        bytes_on_disk=weight_bytes(variant),
        base_bytes=None if base is None else weight_bytes(base.folder),
        base_untouched=facts.base_untouched,
        seconds=facts.seconds,
        versions=facts.versions,
        calibration=facts.calibration,
    )


def _check_coverage(found: Collection[str], facts: Facts, total: int, variant: Path) -> None:
    if not found:
        raise GateError(f"None of the {total} linear layers of {variant} is quantized.")
    missed = sorted((facts.expected or frozenset()) - set(found))
    if missed:
        raise GateError(
            f"{len(missed)} linear layers of {variant} stayed in full precision, {missed[0]} among them.",
            fix="Name them in `ignore` if that is intended.",
        )


def _check_change(error: float, stored: int, before: int, variant: Path) -> None:
    if error == 0:
        raise GateError(f"No weight of {variant} differs from the base: nothing was quantized.")
    if stored >= before:
        raise GateError(
            f"The quantized layers of {variant} take {stored} bytes on disk and took {before} before.",
            fix="The checkpoint was saved unpacked; quantize again.",
        )


class _Reader:
    """Weights of a full-precision folder, one at a time."""

    def __init__(self, base: Base) -> None:
        from safetensors import safe_open

        self._folder = base.folder
        self._turned = {layer.name for layer in base.layers if layer.kind != "Linear"}
        self._files: dict[str, Any] = {}
        for path in sorted(base.folder.glob("*.safetensors")):
            handle: Any = safe_open(path, framework="pt")
            self._files.update(dict.fromkeys(handle.keys(), handle))

    def weight(self, name: str) -> tuple[Any, int]:
        """Return a layer's weight as float32 [out, in], and its bytes on disk."""
        key = f"{name}.weight"
        if key not in self._files:
            # GPT-2 and others leave the prefix of the backbone out of their files.
            key = next((k for k in self._files if key.endswith(f".{k}")), key)
        if key not in self._files:
            raise GateError(f"{self._folder} has no weight for the layer {name}, so nothing can be compared.")
        stored = self._files[key].get_tensor(key)
        weight = stored.float()
        return (weight.T if name in self._turned else weight), stored.numel() * stored.element_size()


def _difference(original: Any, weight: Any, *, rescaled: bool) -> tuple[float, float]:
    """Return the norm of the weight's error, and of the original."""
    if rescaled:
        weight = _unscaled(original, weight)
    return float((weight - original).norm()), float(original.norm())


def _unscaled(original: Any, weight: Any, rounds: int = 4) -> Any:
    """Return `weight` with rows and columns rescaled to fit `original` best, by alternating least squares."""
    for _ in range(rounds):
        for axis in (0, 1):
            power = (weight * weight).sum(axis, keepdim=True)
            factor = (weight * original).sum(axis, keepdim=True) / power.clamp_min(1e-30)
            weight = weight * factor
    return weight


def _stored_bytes(folder: Path) -> dict[str, int]:
    """Return the bytes each tensor takes in a folder's safetensors files."""
    import json
    import struct

    sizes: dict[str, int] = {}
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as handle:
            header = json.loads(handle.read(struct.unpack("<Q", handle.read(8))[0]))
        sizes.update({k: v["data_offsets"][1] - v["data_offsets"][0] for k, v in header.items() if k != "__metadata__"})
    return sizes
