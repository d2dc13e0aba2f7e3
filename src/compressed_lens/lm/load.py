"""Load a model folder of any supported format so that it computes exactly and its gradients are right."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from compressed_lens.errors import DependencyError, ModelError
from compressed_lens.lm import packed
from compressed_lens.lm.folder import check_weights, first_line, method_of, read_config
from compressed_lens.lm.linear import dense_weight, linear_layers
from compressed_lens.lm.quiet import quiet
from compressed_lens.registry import nearest

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_ATTENTION = ("auto", "eager", "sdpa")
_LOAD_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model ready to be asked.

    Attributes:
        module: The Hugging Face model, in evaluation mode, gradients of its weights off.
        tokenizer: Its tokenizer, unchanged.
        kernel: What multiplies its linear layers, in words.
        method: One of "full", "bitsandbytes", "compressed-tensors", "gptq", "awq".
    """

    module: Any
    tokenizer: Any
    kernel: str
    method: str


def load_module(
    folder: Path | str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    attention: str = "auto",
    trust_remote_code: bool = False,
) -> Loaded:
    """Load the causal language model in `folder`: full precision, bitsandbytes, compressed-tensors, GPTQ or AWQ.

    Args:
        folder: Local folder with config.json, safetensors weights and a tokenizer.
        device: "auto" (the GPUs when there are any, else the CPU), "cpu", "cuda" or "cuda:N".
        dtype: "auto", "float32", "bfloat16" or "float16". "auto" is float32 on the CPU whatever the checkpoint's,
            because batches of different size must agree to 1e-4, and the checkpoint's own on a GPU.
        attention: Kernel of transformers: "eager", "sdpa", or "auto", the one it takes by itself.
        trust_remote_code: Run Python code shipped in the folder.

    Raises:
        ModelError: The folder is no sound safetensors checkpoint of a supported kind.
        DependencyError: A library or device it needs is missing.
    """
    folder = Path(folder)
    config = read_config(folder)
    method = method_of(config, folder)
    load = _LOADERS[method]
    return _load(
        folder,
        config,
        method,
        lambda place, arguments: load(folder, config, place, arguments),
        device=device,
        dtype=dtype,
        attention=attention,
        trust_remote_code=trust_remote_code,
    )


def load_companion(
    folder: Path | str, kind: str, *, device: str = "auto", dtype: str = "auto", trust_remote_code: bool = False
) -> Loaded:
    """Load a full-precision model that is no causal language model; the other arguments are those of `load_module`.

    Weights without a place in the model (another task's head) are left out, and so is a pooler that is missing.

    Args:
        folder: Local folder with config.json, safetensors weights and a tokenizer.
        kind: The class of transformers that opens it, e.g. "AutoModelForSeq2SeqLM".
        device: See `load_module`.
        dtype: See `load_module`.
        trust_remote_code: See `load_module`.

    Raises:
        ModelError: The folder is no sound safetensors checkpoint of that kind, or it is quantized.
        DependencyError: A library or device it needs is missing.
    """
    import transformers

    folder = Path(folder)
    config = read_config(folder)
    if (method := method_of(config, folder)) != "full":
        raise ModelError(
            f"{folder} is quantized with {method}; only causal language models may be.",
            fix="Use the model in full precision.",
        )
    auto: Any = getattr(transformers, kind)

    def load(place: torch.device, arguments: dict[str, Any]) -> tuple[Any, str]:
        module, info = auto.from_pretrained(folder, **arguments)
        missing = {name for name in info["missing_keys"] if "pooler" not in str(name).split(".")}
        _checked(folder, module, {**info, "missing_keys": missing, "unexpected_keys": ()})
        return module, f"torch {_dtype_name(module)}"

    return _load(folder, config, method, load, device=device, dtype=dtype, trust_remote_code=trust_remote_code)


def _load(
    folder: Path,
    config: dict[str, Any],
    method: str,
    load: Callable[[torch.device, dict[str, Any]], tuple[Any, str]],
    *,
    device: str,
    dtype: str,
    attention: str = "auto",
    trust_remote_code: bool,
) -> Loaded:
    """Return what `load` makes of the place and the arguments for `from_pretrained`, ready, or say what is wrong."""
    check_weights(folder)
    _check_code(config, folder, trust_remote_code)
    place = _device(device)
    arguments: dict[str, Any] = {
        "dtype": _dtype(dtype, place),
        "trust_remote_code": trust_remote_code,
        "local_files_only": True,
        "use_safetensors": True,
        "output_loading_info": True,
    }
    if wanted := _attention(attention, config, folder):
        arguments["attn_implementation"] = wanted
    if place.type != "cpu":
        several = device == "auto" and torch.cuda.device_count() > 1
        arguments["device_map"] = "auto" if several else {"": str(place)}
    with quiet():
        try:
            module, kernel = load(place, arguments)
        except ImportError as error:
            raise DependencyError(f"Loading {folder} needs a library that is missing: {first_line(error)}") from error
        except _LOAD_ERRORS as error:
            raise ModelError(
                f"The {method} model in {folder} cannot be loaded: {first_line(error)}",
                fix="Check that the folder is complete and that transformers supports this architecture.",
            ) from error
        tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    module.eval()
    module.requires_grad_(False)
    return Loaded(module=module, tokenizer=tokenizer, kernel=kernel, method=method)


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """Load the tokenizer of a model folder, unchanged.

    Raises:
        ModelError: The folder has no tokenizer that can be read.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except (*_LOAD_ERRORS, ImportError) as error:
        raise ModelError(
            f"The tokenizer in {folder} cannot be loaded: {first_line(error)}",
            fix="Copy tokenizer.json and tokenizer_config.json of the original model into the folder.",
        ) from error


def _load_full(folder: Path, config: dict[str, Any], place: torch.device, arguments: dict[str, Any]) -> tuple[Any, str]:
    module = _from_pretrained(folder, arguments)
    return module, f"torch {_dtype_name(module)}"


def _load_bitsandbytes(
    folder: Path, config: dict[str, Any], place: torch.device, arguments: dict[str, Any]
) -> tuple[Any, str]:
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    module = _from_pretrained(folder, arguments)
    kernel = ""
    layers: list[Any] = list(module.modules())
    for layer in layers:
        if isinstance(layer, Linear4bit):
            # The AVX512 kernel repacks the weight at the first forward: dead gradients, corrupt saves, bfloat16.
            layer.support_avx512bf16_for_cpu = False
            layer.compute_dtype, layer.compute_type_is_set = module.dtype, True
            layer.weight.quant_state.dtype = module.dtype  # type: ignore[attr-defined]
            if place.type == "cpu" and layer.in_features % layer.weight.quant_state.blocksize:  # type: ignore[attr-defined]
                layer.__class__ = _weight_only(Linear4bit)  # the CPU kernel misreads rows without whole blocks
            kernel = f"bitsandbytes 4-bit, computed in {_dtype_name(module)}"
        elif isinstance(layer, Linear8bitLt) and place.type == "cpu":
            layer.__class__ = _weight_only(Linear8bitLt)
            kernel = f"bitsandbytes int8 weights, activations {_dtype_name(module)}"
        elif isinstance(layer, Linear8bitLt):
            kernel = "bitsandbytes LLM.int8(), outlier columns of the whole batch"
    if not kernel:
        raise ModelError(f"{folder} declares bitsandbytes but holds no bitsandbytes layer.", fix="Quantize it again.")
    return module, kernel


def _load_compressed(
    folder: Path, config: dict[str, Any], place: torch.device, arguments: dict[str, Any]
) -> tuple[Any, str]:
    from transformers import CompressedTensorsConfig

    if not config["quantization_config"].get("config_groups"):
        raise ModelError(f"{folder} declares compressed-tensors without config_groups.", fix="Quantize it again.")
    module = _from_pretrained(folder, {**arguments, "quantization_config": CompressedTensorsConfig(dequantize=True)})
    schemes = [s for layer in module.modules() if (s := getattr(layer, "quantization_scheme", None)) is not None]
    if not schemes:
        raise ModelError(f"{folder} declares compressed-tensors but no layer matches.", fix="Quantize it again.")
    layers: list[Any] = list(linear_layers(module).values())
    for layer in layers:
        if layer.weight.is_floating_point():
            layer.weight.data = layer.weight.data.to(module.dtype)
    kernel = f"compressed-tensors, decompressed to {_dtype_name(module)}"
    if any(s.input_activations is not None or s.output_activations is not None for s in schemes):
        _straight_through()
        kernel += ", activations quantized"
    return module, kernel


def _load_packed(
    folder: Path, config: dict[str, Any], place: torch.device, arguments: dict[str, Any]
) -> tuple[Any, str]:
    method = str(config["quantization_config"]["quant_method"])
    if place.type == "cuda" and all(importlib.util.find_spec(name) for name in ("gptqmodel", "optimum")):
        from transformers import AwqConfig, GPTQConfig

        kind: Any
        kind, kernel = (GPTQConfig, "gptq_torch") if method == "gptq" else (AwqConfig, "torch_awq")
        safe = kind(bits=int(config["quantization_config"].get("bits", 4)), backend=kernel)
        return _from_pretrained(folder, {**arguments, "quantization_config": safe}), f"gptqmodel {kernel}"
    module = packed.load_dense(folder, config, arguments, _checked)
    return module, f"{method}, unpacked to {_dtype_name(module)}"


_LOADERS = {
    "full": _load_full,
    "bitsandbytes": _load_bitsandbytes,
    "compressed-tensors": _load_compressed,
    "gptq": _load_packed,
    "awq": _load_packed,
}


def _from_pretrained(folder: Path, arguments: dict[str, Any]) -> Any:
    import transformers

    auto: Any = transformers.AutoModelForCausalLM
    module, info = auto.from_pretrained(folder, **arguments)
    return _checked(folder, module, info)


def _checked(folder: Path, module: Any, info: dict[str, Any]) -> Any:
    """Return `module`, unless weights were missing (transformers fills them at random) or quantized ones unused."""
    missing = sorted(str(name) for name in info["missing_keys"])
    mismatched = sorted(str(item[0] if isinstance(item, tuple) else item) for item in info["mismatched_keys"])
    unused = sorted(str(name) for name in info["unexpected_keys"] if not str(name).endswith("rotary_emb.inv_freq"))
    for names, what in ((missing, "lacks"), (mismatched, "has a wrong shape for"), (unused, "has no place for")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(
                f"The checkpoint in {folder} {what} the weight {names[0]}{more}.",
                fix="The weights do not belong to this config.json; get both from the same model.",
            )
    return module


def _check_code(config: dict[str, Any], folder: Path, trust_remote_code: bool) -> None:
    from transformers import CONFIG_MAPPING

    kind = config["model_type"]
    if kind in CONFIG_MAPPING or (trust_remote_code and "auto_map" in config):
        return
    if "auto_map" in config:
        raise ModelError(
            f"The model in {folder} needs Python code shipped with it.",
            fix="Read that code, then set trust_remote_code: true.",
        )
    raise ModelError(
        f"{folder}/config.json has the model_type '{kind}', which transformers does not know.",
        fix=nearest(kind, CONFIG_MAPPING.keys()),
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"'{name}' is not a device.", fix="Use auto, cpu, cuda or cuda:0.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DependencyError("This machine has no CUDA device.", fix="Use device auto or cpu.")
    return torch.device("cuda:0") if name == "cuda" else device


def _dtype(name: str, place: torch.device) -> torch.dtype | str:
    if name == "auto":
        return torch.float32 if place.type == "cpu" else "auto"
    if name not in _DTYPES:
        raise ModelError(f"'{name}' is not a dtype.", fix=f"Use auto or one of {', '.join(_DTYPES)}.")
    return _DTYPES[name]


def _attention(name: str, config: dict[str, Any], folder: Path) -> str:
    """Return the kernel of attention to ask transformers for; "" leaves it to transformers."""
    if name not in _ATTENTION:
        raise ModelError(f"'{name}' is not a kernel of attention.", fix=f"Use one of {', '.join(_ATTENTION)}.")
    if not config.get("text_config", config).get("attn_logit_softcapping"):
        return "" if name == "auto" else name
    # Any other way of attention leaves the cap out without a word.
    if name == "sdpa":
        raise ModelError(
            f"The model in {folder} caps its attention scores, and sdpa leaves the cap out.", fix="Use eager."
        )
    return "eager"


def _dtype_name(module: Any) -> str:
    return str(module.dtype).removeprefix("torch.")


def _weight_only(kind: Any) -> Any:
    """Return a subclass of a bitsandbytes layer that multiplies by its dense weight in floating point.

    For LLM.int8() on the CPU: the library's path rounds activations to 8 bits with outlier columns picked over the
    whole call, so an answer would depend on its batch-mates and gradients would be approximate.
    """

    class WeightOnly(kind):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, dense_weight(self).to(x.dtype), self.bias)

    return WeightOnly


def _straight_through() -> None:
    """Let gradients pass the rounding of activations, which has none of its own (once for the process)."""
    import compressed_tensors.quantization.lifecycle.forward as lifecycle

    original = lifecycle.forward_quantize
    if hasattr(original, "straight_through"):
        return

    def forward_quantize(module: nn.Module, value: torch.Tensor, base_name: str, args: Any) -> torch.Tensor:
        rounded: torch.Tensor = original(module, value.detach(), base_name, args)
        return value + (rounded - value).detach() if value.requires_grad else rounded

    forward_quantize.straight_through = True  # type: ignore[attr-defined]
    lifecycle.forward_quantize = forward_quantize
