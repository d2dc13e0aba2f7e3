"""Planted broken variants: each a thing that really happens, made from a real model by the real mistake."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.linear import PACKING_ATTRIBUTE, Packing, dense_weight, is_quantized, linear_layers

AWQ_GROUP = 32


def copied(folder: Path, place: Path) -> Path:
    shutil.copytree(folder, place)
    return place


def gpt2_with_nothing_quantized(tokenizer: Any, place: Path) -> tuple[HFModel, HFModel]:
    """Round-to-nearest of llm-compressor on GPT-2: it looks for nn.Linear, finds Conv1D, and says nothing."""
    from llmcompressor import oneshot
    from llmcompressor.core import reset_session
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_positions": 512, "n_embd": 64, "n_layer": 3, "n_head": 4}
    GPT2LMHeadModel(GPT2Config(vocab_size=512, bos_token_id=1, eos_token_id=2, **sizes)).save_pretrained(place)
    tokenizer.save_pretrained(place)
    variant = GPT2LMHeadModel.from_pretrained(place)
    recipe = QuantizationModifier(targets="Linear", scheme="W4A16", ignore=["lm_head"])
    oneshot(model=variant, tokenizer=tokenizer, recipe=recipe)
    reset_session()
    return HFModel(variant, tokenizer, weights="gpt2-rtn"), HFModel.load(place, device="cpu")


def overflowing_awq_8bit(base: HFModel) -> HFModel:
    """8-bit AWQ packing as in GPTQModel 7.6: codes are rounded but not clamped, and 256 carries into the neighbour."""
    return _with_weights(base, lambda weight: packed_awq_8bit(weight, clamp=False))


def sound_awq_8bit(base: HFModel) -> HFModel:
    """The same packing with the clamp it lacks: the control."""
    return _with_weights(base, lambda weight: packed_awq_8bit(weight, clamp=True))


def packed_awq_8bit(weight: Tensor, *, clamp: bool) -> Tensor:
    """Return what a weight [out, in] is after 8-bit asymmetric codes were packed four to a word, and unpacked."""
    outputs, inputs = weight.shape
    group = AWQ_GROUP if inputs % AWQ_GROUP == 0 else inputs
    grouped = weight.reshape(outputs, inputs // group, group)
    low, high = grouped.amin(-1), grouped.amax(-1)
    scale = ((high - low) / 255).half().float()
    zero = (-low / scale).round()
    codes = (grouped / scale.unsqueeze(-1) + zero.unsqueeze(-1)).round().to(torch.int64)
    if clamp:
        codes = codes.clamp(0, 255)
    codes = codes.reshape(outputs, inputs).T
    columns = codes.reshape(inputs, outputs // 4, 4)
    words = torch.zeros(inputs, outputs // 4, dtype=torch.int64)
    for place in range(4):
        words |= columns[..., place] << (8 * place)
    words &= 0xFFFFFFFF
    unpacked = torch.stack([(words >> (8 * place)) & 0xFF for place in range(4)], dim=-1).reshape(inputs, outputs).T
    grouped = unpacked.reshape(outputs, inputs // group, group).float()
    return ((grouped - zero.unsqueeze(-1)) * scale.unsqueeze(-1)).reshape(outputs, inputs)


def _with_weights(base: HFModel, change: Any) -> HFModel:
    from compressed_lens.lm.linear import dense_copy

    module = dense_copy(base.module)
    head = module.get_output_embeddings()  # type: ignore[operator]
    for layer in linear_layers(module).values():
        if layer is not head:
            held: Any = layer.weight
            held.data = change(dense_weight(layer))
            packing = Packing(format="awq", bits=8, group_size=AWQ_GROUP, symmetric=False)
            setattr(layer, PACKING_ATTRIBUTE, packing)
    return HFModel(module, base.tokenizer, weights="awq-8")


def nan_scales(folder: Path, place: Path) -> Path:
    """A compressed-tensors checkpoint with one scale that is not a number."""
    path = copied(folder, place) / "model.safetensors"
    tensors = load_file(path)
    name = next(n for n in sorted(tensors) if n.endswith("weight_scale"))
    tensors[name].view(-1)[3] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    return place


def exchanged_layers(folder: Path, place: Path) -> Path:
    """A checkpoint in which two layers of the same shape have each other's codes and scales."""
    path = copied(folder, place) / "model.safetensors"
    tensors = load_file(path)
    for name in [n for n in tensors if "layers.0.self_attn.q_proj" in n]:
        other = name.replace("layers.0", "layers.1")
        tensors[name], tensors[other] = tensors[other], tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})
    return place


def misplaced_words(folder: Path, place: Path) -> Path:
    """A checkpoint whose packed words are in the order of another kernel's layout."""
    path = copied(folder, place) / "model.safetensors"
    tensors = load_file(path)
    for name in [n for n in tensors if n.endswith("weight_packed")]:
        tensors[name] = tensors[name].flip(0).contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    return place


class Attenuating(torch.autograd.Function):
    """A fast kernel whose backward was never finished: the forward is exact, gradients are a hundredth."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return inputs @ weight.T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return gradient @ weight * 0.01, None


def attenuating(layer: nn.Module, inputs: Tensor) -> Tensor:
    return Attenuating.apply(inputs, dense_weight(layer))


def dead(layer: nn.Module, inputs: Tensor) -> Tensor:
    """An inference-only kernel: autograd does not see it."""
    return inputs.detach() @ dense_weight(layer).T


def wrong_on_few_rows(layer: nn.Module, inputs: Tensor) -> Tensor:
    """A kernel with a separate path for at most 50 rows that loses precision there (vllm #10656, #9618)."""
    weight = dense_weight(layer)
    if inputs.shape[:-1].numel() > 50:
        return inputs @ weight.T
    return (inputs @ (weight * 4).round().div(4).T).round(decimals=0)


def with_kernel(model: HFModel, kernel: Any) -> HFModel:
    """Replace, in place, the multiplication of every quantized layer."""
    for layer in linear_layers(model.module).values():
        if is_quantized(layer):
            layer.forward = kernel.__get__(layer)  # type: ignore[method-assign]
    return model


def two_ids_exchanged(folder: Path, place: Path) -> Path:
    """A tokenizer.json in which two frequent tokens have each other's id."""
    path = copied(folder, place) / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    first, second = [t for t in vocabulary if len(t) > 2 and t.strip("▁Ġ").isalpha()][:2]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    path.write_text(json.dumps(content), encoding="utf-8")
    return place


def foreign_tokenizer(size: int) -> Any:
    """Another model's tokenizer: byte-level BPE of `size` tokens at most, trained on the gate's own text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from compressed_lens.quantization.integrity.probes import paragraphs

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(paragraphs(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")  # noqa: S106


def avx512_trap(model: HFModel) -> HFModel:
    """bitsandbytes 4-bit as plain transformers loads it: repacked at the first no-grad forward, gradients lost."""
    from bitsandbytes.nn import Linear4bit

    for layer in _of_type(model.module, Linear4bit):
        layer.support_avx512bf16_for_cpu = True
    return model


def _of_type(module: nn.Module, kind: type[nn.Module]) -> Iterator[Any]:
    return (layer for layer in module.modules() if isinstance(layer, kind))
