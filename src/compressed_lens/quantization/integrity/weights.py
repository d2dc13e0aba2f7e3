"""Checks on the weights: finite, quantized at all, and as near to the base as their bits allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from compressed_lens.lm.linear import Packing, dense_weight, is_quantized, linear_layers, packing
from compressed_lens.quantization.integrity.findings import Finding, Limits, finding

_TINY = 1e-12
_FIT_STEPS = 6
_MOST = 0.5
_DAMAGED = (
    "its codes or scales are damaged (overflow in packing, swapped scales), or this is another layer's or model's "
    "weight. Quantize the model again, or name the right base model."
)


def round_to_nearest(weight: Tensor, bits: int, group_size: int) -> Tensor:
    """Return `weight` [out, in] rounded to a symmetric `bits`-bit grid with one scale a group of a row.

    Args:
        weight: Any float tensor.
        bits: Width of a code, 2 to 8.
        group_size: Weights that share a scale; -1 for a whole row. A size that divides the matrix but not its rows
            runs across rows, as in bitsandbytes.
    """
    blocks = _blocks(weight, group_size)
    low = -(2 ** (bits - 1))
    scale = blocks.abs().amax(1, keepdim=True).clamp_min(_TINY) / ((2**bits - 1) / 2)
    rounded: Tensor = (blocks / scale).round().clamp(low, -low - 1) * scale
    return rounded.reshape(weight.shape)


def fake_quantized(base: nn.Module, like: Mapping[str, nn.Module]) -> nn.Module:
    """Round, in place, the layers of `base` that are quantized in `like`, to the same bits and groups; return it."""
    for name, layer in linear_layers(base).items():
        how = packing(like[name]) if name in like else None
        if how is not None:
            rounded = round_to_nearest(dense_weight(layer), how.bits, how.group_size)
            held: Any = layer.weight
            held.data = (rounded.T if isinstance(layer, Conv1D) else rounded).to(held.dtype)
    return base


def _blocks(weight: Tensor, group_size: int) -> Tensor:
    if group_size > 0 and weight.numel() % group_size == 0:
        return weight.reshape(-1, group_size)
    return weight


def finite(module: nn.Module) -> Finding:
    """Find NaN and infinities in every tensor, and in every dense weight (where hidden scales show)."""
    bad = [name for name, tensor in (*module.named_parameters(), *module.named_buffers()) if not _finite(tensor)]
    bad += [n for n, layer in linear_layers(module).items() if is_quantized(layer) and not _finite(dense_weight(layer))]
    if not bad:
        return finding("finite weights", "sound", "Every weight and scale is a finite number.", value=0, limit=0)
    return finding(
        "finite weights",
        "broken",
        f"{len(bad)} tensors hold NaN or infinities, the first in '{bad[0]}': its weights or scales are damaged. "
        "Quantize the model again, or download the checkpoint again.",
        value=len(bad),
        limit=0,
    )


def _finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.is_meta:
        return True
    return bool((tensor.float() if tensor.element_size() == 1 else tensor).isfinite().all())


def quantized_at_all(module: nn.Module, left_out: frozenset[str], *, strict: bool) -> Finding:
    """Find out whether the linear layers are quantized, all but the output head and those left out on purpose.

    Args:
        module: The variant.
        left_out: Layers the recipe or the checkpoint says it leaves alone.
        strict: Whether a single layer left without being named is a failure (true of our own recipes).
    """
    head: Any = module.get_output_embeddings()  # type: ignore[operator]
    layers = {n: layer for n, layer in linear_layers(module).items() if layer is not head and n not in left_out}
    plain = [n for n, layer in layers.items() if not is_quantized(layer)]
    share = 1.0 - len(plain) / len(layers) if layers else 0.0
    said = f"{len(layers) - len(plain)} of {len(layers)} linear layers are quantized"
    name = "something is quantized"
    if layers and not plain:
        return finding(name, "sound", f"{said}.", value=share, limit=1.0)
    kinds = ", ".join(sorted({type(layers[n]).__name__ for n in plain}))
    first = f"; '{plain[0]}' ({kinds}) is not" if plain else ""
    if strict or share < _MOST:
        return finding(
            name,
            "broken",
            f"{said}{first}. The technique passed these layers over, so this variant is not what its name says: use a "
            "technique that supports the layer type (bitsandbytes does for Conv1D), or leave the layers out by name.",
            value=share,
            limit=1.0,
        )
    return finding(name, "degraded", f"{said}{first}, and the checkpoint does not say why.", value=share, limit=1.0)


def smaller(stored: int, before: int, bits: float) -> Finding:
    """Hold the variant's bytes on disk against the base's; `bits` is the mean per quantized weight, for the message."""
    ratio = stored / before
    said = f"The variant takes {ratio:.0%} of the base's bytes, {bits:.2f} bits a quantized weight"
    name = "smaller than the base"
    if ratio < 1.0:
        return finding(name, "sound", f"{said}.", value=ratio, limit=1.0)
    return finding(
        name, "broken", f"{said}: it was not saved packed. Quantize the model again.", value=ratio, limit=1.0
    )


@dataclass(frozen=True, kw_only=True)
class WeightError:
    """How far one layer is from its base, as multiples of what round-to-nearest does.

    Attributes:
        layer: Root of the summed squared error, over round-to-nearest's.
        group: The same for the worst single group of weights.
        cosine: Cosine between the layer's weight and the base's.
    """

    layer: float
    group: float
    cosine: float


def weight_error(ours: Tensor, full: Tensor, how: Packing, *, rescaled: bool) -> WeightError:
    """Compare a layer's dense weight with the base's.

    Args:
        ours: Dense weight of the variant, [out, in].
        full: Weight of the base, same shape.
        how: Its packing.
        rescaled: Whether the technique may have moved factors between layers (AWQ, SmoothQuant): the base is then
            first rescaled by the input and output factors that fit best.
    """
    if rescaled:
        full = _rescaled(full, ours)
    rounding = (_blocks(round_to_nearest(full, how.bits, how.group_size) - full, how.group_size)).square().sum(1)
    error = (_blocks(ours - full, how.group_size)).square().sum(1)
    # A group that rounding happens to hit exactly would divide by zero: no group counts as finer than half the mean.
    floor = rounding.mean().mul(0.25).clamp_min(_TINY)
    return WeightError(
        layer=float((error.sum() / rounding.sum().clamp_min(_TINY)).sqrt()),
        group=float((error / rounding.clamp_min(floor)).max().sqrt()),
        cosine=float(torch.cosine_similarity(ours.flatten(), full.flatten(), dim=0)),
    )


def _rescaled(full: Tensor, ours: Tensor) -> Tensor:
    """Return diag(rows) @ full @ diag(columns), the nearest to `ours` found by alternating least squares."""
    for _ in range(_FIT_STEPS):
        for axis in (0, 1):
            factor = (full * ours).sum(axis, keepdim=True) / full.square().sum(axis, keepdim=True).clamp_min(_TINY)
            full = full * factor
    return full


def rescaled(module: nn.Module, base: nn.Module) -> bool:
    """Return whether weights outside the linear layers differ from the base's: factors were moved into them."""
    vectors = {n: p for n, p in base.named_parameters() if p.dim() == 1}
    ours = {n: p for n, p in module.named_parameters() if n in vectors}
    return any(
        not torch.allclose(p.float().cpu(), vectors[n].float().cpu(), rtol=1e-2, atol=1e-5)
        for n, p in ours.items()
        if p.shape == vectors[n].shape
    )


def near_the_base(module: nn.Module, base: nn.Module, limits: Limits) -> Iterator[Finding]:
    """Yield findings on the distance of every quantized layer to the base's weight."""
    originals = linear_layers(base)
    moved = rescaled(module, base)
    errors: dict[str, WeightError] = {}
    for name, layer in linear_layers(module).items():
        how = packing(layer)
        if how is None:
            continue
        original = originals.get(name)
        ours = dense_weight(layer).cpu()
        full = None if original is None else dense_weight(original).cpu()
        if full is None or full.shape != ours.shape:
            yield finding(
                "weights near the base",
                "broken",
                f"Layer '{name}' of the variant has no counterpart of the same shape in the base model: these are two "
                "different models. Name the right base model.",
            )
            return
        errors[name] = weight_error(ours, full, how, rescaled=moved)
    if errors:
        yield _near("weights near the base", "Layer", {n: e.layer for n, e in errors.items()}, limits.weight_error)
        groups = {n: e.group for n, e in errors.items()}
        yield _near("every group near the base", "A group of weights in", groups, limits.group_error)
        yield _alike({n: e.cosine for n, e in errors.items()}, limits.weight_cosine)


def _near(check: str, what: str, errors: Mapping[str, float], limit: float) -> Finding:
    worst = max(errors, key=lambda n: errors[n])
    value = errors[worst]
    said = f"{what} '{worst}' is {value:.2f} times as far from full precision as plain rounding to its bits"
    if value <= limit:
        return finding(check, "sound", f"{said}, the worst of all.", value=value, limit=limit)
    return finding(check, "broken", f"{said}: {_DAMAGED}", value=value, limit=limit)


def _alike(cosines: Mapping[str, float], limit: float) -> Finding:
    worst = min(cosines, key=lambda n: cosines[n])
    value = cosines[worst]
    said = f"The weights of layer '{worst}' have a cosine of {value:.3f} with the base's"
    check = "weights point the base's way"
    if value >= limit:
        return finding(check, "sound", f"{said}, the lowest of all.", value=value, limit=limit)
    return finding(check, "broken", f"{said}: {_DAMAGED}", value=value, limit=limit)
