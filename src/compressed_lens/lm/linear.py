"""The linear layers of a model in any format, and the dense weight each one stands for."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from compressed_lens.errors import ModelError

PACKING_ATTRIBUTE = "compressed_lens_packing"


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How the weight of one linear layer is stored in its checkpoint.

    Attributes:
        format: Library format, such as "bitsandbytes nf4", "compressed-tensors", "gptq" or "awq".
        bits: Width of one stored weight, scales not counted.
        group_size: Weights that share one scale; -1 when a whole output row does.
        symmetric: Whether zero is the middle of the grid (no stored zero point).
    """

    format: str
    bits: int
    group_size: int
    symmetric: bool


def linear_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return every linear layer by its dotted name, in the order of the model: dense, Conv1D and quantized ones.

    The output head counts as a linear layer; embeddings do not.
    """
    return {name: layer for name, layer in module.named_modules() if _is_linear(layer)}


def packing(layer: nn.Module) -> Packing | None:
    """Return how a linear layer is quantized, or None when its weight is stored in full precision."""
    declared: Packing | None = getattr(layer, PACKING_ATTRIBUTE, None)
    if declared is not None:
        return declared
    weight: Any = getattr(layer, "weight", None)
    kind = type(weight).__name__
    if kind == "Int8Params":
        return Packing(format="bitsandbytes int8", bits=8, group_size=-1, symmetric=True)
    if kind == "Params4bit" and getattr(weight, "quant_state", None) is not None:
        state = weight.quant_state
        name = f"bitsandbytes {state.quant_type}{' double' if state.nested else ''}"
        return Packing(format=name, bits=4, group_size=state.blocksize, symmetric=True)
    scheme = getattr(layer, "quantization_scheme", None)
    if scheme is not None and scheme.weights is not None:
        weights = scheme.weights
        width = weights.group_size if weights.group_size and weights.group_size > 0 else -1
        return Packing(
            format="compressed-tensors", bits=weights.num_bits, group_size=width, symmetric=bool(weights.symmetric)
        )
    if hasattr(layer, "qweight") and hasattr(layer, "bits"):
        native: Any = layer
        return Packing(
            format=type(layer).__name__,
            bits=int(native.bits),
            group_size=int(getattr(native, "group_size", -1)),
            symmetric=bool(getattr(native, "sym", False)),
        )
    return None


def is_quantized(layer: nn.Module) -> bool:
    """Return whether the layer's weight is stored in fewer bits than it computes in."""
    return packing(layer) is not None


def dense_weight(layer: nn.Module) -> torch.Tensor:
    """Return the weight a linear layer multiplies by, as a float32 tensor [out, in] on the layer's device.

    The tensor may share memory with the layer: do not write to it. Layers of unknown packed kernels are probed
    with one-hot inputs, so their weight is as exact as the kernel is.

    Raises:
        ModelError: `layer` is not a linear layer.
    """
    if not _is_linear(layer):
        raise ModelError(f"{type(layer).__name__} is not a linear layer; pass one of linear_layers(model).")
    weight: Any = getattr(layer, "weight", None)
    with torch.no_grad():
        if isinstance(layer, Conv1D):
            return layer.weight.detach().float().T
        kind = type(weight).__name__
        if kind == "Int8Params":
            return _int8_weight(layer)
        if kind == "Params4bit" and getattr(weight, "quant_state", None) is not None:
            return _four_bit_weight(weight)
        if getattr(layer, "quantization_scheme", None) is not None:
            return _compressed_weight(layer)
        if isinstance(weight, torch.Tensor) and weight.is_floating_point():
            return weight.detach().float()
        return _probed_weight(layer)


def dense_linear(layer: nn.Module, dtype: torch.dtype) -> nn.Linear:
    """Return a frozen plain `nn.Linear` with the layer's dense weight and bias in `dtype`, on its device."""
    weight = dense_weight(layer)
    bias = getattr(layer, "bias", None)
    plain = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    plain.weight = nn.Parameter(weight.to(dtype).clone(), requires_grad=False)
    if bias is not None:
        plain.bias = nn.Parameter(bias.detach().to(dtype).clone(), requires_grad=False)
    return plain


def dense_copy(module: nn.Module) -> nn.Module:
    """Return a copy of the model in which every quantized linear layer is a plain dense `nn.Linear`.

    The copy computes in the dtype of the model's other weights. It is what a sound kernel must agree with. Rounding of
    activations (W8A8, FP8) is not part of a weight and is left out of the copy.
    """
    dtype = next(p.dtype for p in module.parameters() if p.is_floating_point() and p.element_size() > 1)
    # deepcopy takes what `memo` holds instead of copying it, so packed weights are never duplicated.
    memo = {id(layer): dense_linear(layer, dtype) for layer in linear_layers(module).values() if is_quantized(layer)}
    return copy.deepcopy(module, memo)


def _is_linear(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | Conv1D) or (hasattr(layer, "qweight") and hasattr(layer, "in_features"))


def _int8_weight(layer: Any) -> torch.Tensor:
    codes = layer.state.CB if layer.state.CB is not None else layer.weight.data
    scale = layer.state.SCB if layer.state.SCB is not None else layer.weight.SCB
    dense: torch.Tensor = codes.float() * (scale.float() / 127.0).unsqueeze(1)
    return dense


def _four_bit_weight(weight: Any) -> torch.Tensor:
    """Unpack without the library, whose CPU kernel is wrong where rows do not hold whole blocks (96 or 32 inputs)."""
    import bitsandbytes.functional as bnb

    state, data = copy.copy(weight.quant_state), weight.data
    if getattr(state, "packing_format_for_cpu", False):
        # The library's inverse leaves the scales transposed, and rounds them once more when they were nested.
        state.original_nested = False
        scales = state.absmax.T.reshape(-1).float()
        data, state = bnb._convert_weight_packed_for_cpu_inverse(data, state)
    elif state.nested:
        coarse = state.state2.absmax.repeat_interleave(state.state2.blocksize)[: state.absmax.numel()]
        scales = state.state2.code[state.absmax.long()] * coarse + state.offset
    else:
        scales = state.absmax.float()
    packed = data.reshape(-1).view(torch.uint8)
    codes = torch.stack((packed >> 4, packed & 15), 1).reshape(-1)[: math.prod(state.shape)].long()
    spread = scales.repeat_interleave(state.blocksize)[: codes.numel()]
    dense: torch.Tensor = (state.code.float()[codes] * spread).reshape(state.shape)
    return dense


def _compressed_weight(layer: Any) -> torch.Tensor:
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationStatus
    from compressed_tensors.quantization.lifecycle.forward import forward_quantize
    from compressed_tensors.utils import get_direct_state_dict

    status = getattr(layer, "quantization_status", None)
    if status == QuantizationStatus.COMPRESSED:
        scheme = layer.quantization_scheme
        state = {
            name: tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
            for name, tensor in get_direct_state_dict(layer).items()
        }
        compressor: Any = BaseCompressor.get_value_from_registry(scheme.format.value)
        dense: torch.Tensor = compressor.decompress(state, scheme)["weight"]
        return dense.float()
    weight: torch.Tensor = layer.weight.detach()
    if status is not None and status < QuantizationStatus.COMPRESSED and layer.quantization_scheme.weights is not None:
        weight = forward_quantize(layer, weight, "weight", layer.quantization_scheme.weights)
    return weight.float()


def _probed_weight(layer: Any) -> torch.Tensor:
    device = layer.qweight.device
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    inputs = torch.eye(layer.in_features, dtype=dtype, device=device)
    answer: torch.Tensor = layer(inputs).float()
    if layer.bias is not None:
        answer = answer - layer.bias.float()
    return answer.T.contiguous()
