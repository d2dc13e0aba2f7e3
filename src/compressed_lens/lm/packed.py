"""Unpack GPTQ and AWQ checkpoints into a plain dense model, without the libraries that wrote them.

GPTQ stores a little-endian bit stream of codes down the input axis of `qweight` and along the output axis of `qzeros`;
the older v1 files hold each zero point less one. AWQ (GEMM layout, 4 bits) packs both along the output axis, the eight
nibbles of a word in the order 0, 2, 4, 6, 1, 3, 5, 7.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from compressed_lens.errors import ModelError
from compressed_lens.lm.linear import PACKING_ATTRIBUTE, Packing, linear_layers

_AWQ_BITS = 4
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_PARTS = ("qweight", "qzeros", "scales", "g_idx")


def load_dense(
    folder: Path,
    config: dict[str, Any],
    arguments: dict[str, Any],
    check: Callable[[Path, Any, dict[str, Any]], Any],
) -> Any:
    """Return the model of a GPTQ or AWQ folder with every packed layer as a dense one.

    Each such layer carries its `Packing`, so it still counts as quantized.

    Args:
        folder: Folder with packed safetensors.
        config: Its config.json.
        arguments: Keyword arguments of `from_pretrained`; the dtype is that of the dense weights.
        check: Called with the folder, the module and the loading report; returns the module or raises.

    Raises:
        ModelError: The layout is not one this loader knows, or tensors do not fit each other.
    """
    import transformers

    settings = config["quantization_config"]
    state, packings = dense_state(read_tensors(folder), settings, folder)
    trust = arguments["trust_remote_code"]
    plain = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
    del plain.quantization_config
    with torch.device("meta"):
        kind: Any = type(transformers.AutoModelForCausalLM.from_config(plain, trust_remote_code=trust))
    wanted = ("dtype", "device_map", "attn_implementation", "output_loading_info")
    options = {name: arguments[name] for name in wanted if name in arguments}
    module, info = kind.from_pretrained(None, config=plain, state_dict=state, **options)
    module.config.name_or_path = str(folder)
    if (folder / "generation_config.json").is_file():
        module.generation_config = transformers.GenerationConfig.from_pretrained(folder, local_files_only=True)
    check(folder, module, info)
    layers = linear_layers(module)
    for name, packing in packings.items():
        if name in layers:
            setattr(layers[name], PACKING_ATTRIBUTE, packing)
    return module


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return every tensor of a folder's safetensors files by name."""
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as handle:
            tensors.update({name: handle.get_tensor(name) for name in handle.keys()})  # noqa: SIM118
    return tensors


def dense_state(
    tensors: dict[str, torch.Tensor], settings: dict[str, Any], folder: Path
) -> tuple[dict[str, torch.Tensor], dict[str, Packing]]:
    """Return the checkpoint with packed layers unpacked (float32), and how each of them was packed.

    Raises:
        ModelError: The layout is unknown or tensors do not fit each other.
    """
    method = settings["quant_method"]
    layers = [name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")]
    if not layers:
        raise ModelError(f"{folder} declares {method} but holds no packed layer.", fix="Quantize the model again.")
    layout = _layout(settings, folder)
    packings: dict[str, Packing] = {}
    state = dict(tensors)
    for name in layers:
        parts = {part: state.pop(f"{name}.{part}") for part in _PARTS if f"{name}.{part}" in state}
        try:
            weight, packings[name] = unpack_layer(parts, settings, layout)
        except (KeyError, IndexError, RuntimeError, ValueError, ZeroDivisionError) as error:
            raise ModelError(
                f"The packed layer {name} in {folder} is inconsistent with its quantization_config ({error}).",
                fix="Quantize the model again, or load it with the library that wrote it.",
            ) from error
        state[f"{name}.weight"] = weight
    return state, packings


def unpack_layer(parts: dict[str, torch.Tensor], settings: dict[str, Any], layout: str) -> tuple[torch.Tensor, Packing]:
    """Return one layer's weight, float32 [out, in], and its packing.

    Args:
        parts: `qweight`, `qzeros` and `scales` [groups, out]; `g_idx` [in] when groups are not consecutive.
        settings: The quantization_config.
        layout: "gptq" (zero points less one), "gptq_v2" or "gemm".
    """
    qweight, qzeros, scales = parts["qweight"], parts["qzeros"], parts["scales"].float()
    groups, outputs = scales.shape
    bits = qzeros.shape[1] * 32 // outputs
    if layout == "gemm":
        if bits != _AWQ_BITS:
            raise ValueError(f"{bits}-bit AWQ, only {_AWQ_BITS} is supported")
        codes = _from_words(qweight, bits)[:, _awq_positions(qweight)]
        zeros = _from_words(qzeros, bits)[:, _awq_positions(qzeros)]
        group_of = torch.arange(codes.shape[0]) // (codes.shape[0] // groups)
    else:
        inputs = qweight.shape[0] * 32 // bits
        codes = _from_words(qweight.T.contiguous(), bits).T[:inputs]
        zeros = _zero_points(qzeros, bits, less_one=layout == "gptq")[:, :outputs]
        group_of = parts["g_idx"].long() if "g_idx" in parts else torch.arange(inputs) // -(inputs // -groups)
    weight = (codes - zeros[group_of]).float() * scales[group_of]
    width = int(settings.get("group_size", -1))
    packing = Packing(
        format=str(settings["quant_method"]),
        bits=bits,
        group_size=width if 0 < width <= weight.shape[0] else -1,
        symmetric=bool(settings.get("sym", not settings.get("zero_point", True))),
    )
    return weight.T.contiguous(), packing


def _layout(settings: dict[str, Any], folder: Path) -> str:
    if settings["quant_method"] == "awq":
        name = str(settings.get("version") or settings.get("checkpoint_format") or settings.get("format") or "gemm")
        supported = {"gemm": "gemm"}
    else:
        name = str(settings.get("checkpoint_format") or settings.get("format") or "gptq")
        supported = {"gptq": "gptq", "gptq_v2": "gptq_v2"}
    if name.lower() not in supported:
        raise ModelError(
            f"{folder} uses the {settings['quant_method']} layout '{name}', which cannot be unpacked.",
            fix=f"Supported: {', '.join(supported)}. Convert the checkpoint with the library that wrote it.",
        )
    return supported[name.lower()]


def _from_words(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the unsigned `bits`-wide numbers of a little-endian bit stream along the last axis, as int32."""
    stream = (words.unsqueeze(-1) >> torch.arange(32, dtype=torch.int32)) & 1
    stream = stream.reshape(*words.shape[:-1], -1)
    count = stream.shape[-1] // bits
    places = 1 << torch.arange(bits, dtype=torch.int32)
    fields = stream[..., : count * bits].reshape(*words.shape[:-1], count, bits)
    return torch.sum(fields * places, -1, dtype=torch.int32)


def _awq_positions(words: torch.Tensor) -> torch.Tensor:
    """Return, for each output column, where the eight interleaved nibbles of its word hold it."""
    nibble_of = torch.argsort(torch.tensor(_AWQ_ORDER))
    return (torch.arange(words.shape[1])[:, None] * 8 + nibble_of[None, :]).reshape(-1)


def _zero_points(qzeros: torch.Tensor, bits: int, *, less_one: bool) -> torch.Tensor:
    """Return the zero points; v1 files hold them less one."""
    if not less_one:
        return _from_words(qzeros, bits)
    if 32 % bits:
        return (_from_words(qzeros, bits) + 1) % (1 << bits)
    # Writers subtract 1, 1, 1, ... from whole words, so a zero point of 0 borrows from its neighbour: add it back.
    ones = sum(1 << shift for shift in range(0, 32, bits))
    return _from_words(qzeros + ones, bits)
