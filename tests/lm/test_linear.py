"""Dense weights of linear layers in every format, against the layer's own forward pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from compressed_lens.errors import ModelError
from compressed_lens.lm.linear import dense_copy, dense_weight, is_quantized, linear_layers, packing


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def bnb_layer(kind: str, *, compress_statistics: bool = False) -> nn.Module:
    from bitsandbytes.nn.modules import Int8Params, Linear4bit, Linear8bitLt, Params4bit

    if kind == "int8":
        layer: Any = Linear8bitLt(64, 32, has_fp16_weights=False)
        layer.weight = Int8Params(seeded(32, 64) * 0.1, requires_grad=False).to("cpu")
    else:
        form: dict[str, Any] = {"quant_type": kind, "compress_statistics": compress_statistics}
        layer = Linear4bit(64, 32, compute_dtype=torch.float32, **form)
        layer.weight = Params4bit(seeded(32, 64) * 0.1, requires_grad=False, **form).to("cpu")
        layer.support_avx512bf16_for_cpu = False
    return layer.eval()  # type: ignore[no-any-return]


def conv1d() -> Conv1D:
    layer = Conv1D(32, 64)
    nn.init.normal_(layer.bias)
    return layer


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda: nn.Linear(64, 32), 0),
        (lambda: nn.Linear(64, 32).to(torch.bfloat16), 0),
        (conv1d, 0),
        (lambda: bnb_layer("nf4"), 0.2),
        (lambda: bnb_layer("fp4"), 0.2),
        (lambda: bnb_layer("nf4", compress_statistics=True), 0.2),
        (lambda: bnb_layer("int8"), 0.02),
    ],
)
def test_the_dense_weight_is_what_the_layer_multiplies_by(build: Callable[[], nn.Module], error: float) -> None:
    layer: Any = build()
    weight = dense_weight(layer)
    assert (weight.shape, weight.dtype) == ((32, 64), torch.float32)
    dtype = layer.weight.dtype if layer.weight.is_floating_point() else torch.float32
    inputs = seeded(5, 64).to(dtype)
    bias = 0 if layer.bias is None else layer.bias.float()
    with torch.no_grad():
        expected = inputs.float() @ weight.T + bias
        # LLM.int8() of the bare library rounds the inputs too.
        tolerance = 0.05 if dtype is not torch.float32 or type(layer.weight).__name__ == "Int8Params" else 1e-5
        assert torch.allclose(layer(inputs).float(), expected, atol=tolerance)
    assert is_quantized(layer) == (error > 0)
    if error:
        original = seeded(32, 64) * 0.1
        assert 0 < (weight - original).norm() / original.norm() < error


@pytest.mark.parametrize("double", [False, True])
def test_a_weight_that_the_avx512_kernel_has_repacked_is_still_read_right(double: bool) -> None:
    import bitsandbytes.functional as bnb

    layer: Any = bnb_layer("nf4", compress_statistics=double)
    before = dense_weight(layer).clone()
    layer.weight.data, layer.weight.quant_state = bnb._convert_weight_packed_for_cpu(
        layer.weight.data, layer.weight.quant_state
    )
    assert (dense_weight(layer) - before).norm() / before.norm() < 0.004  # its scales are bfloat16
    assert layer.weight.quant_state.packing_format_for_cpu


@pytest.mark.parametrize("shape", [(96, 32), (32, 96), (10, 48), (64, 172), (64, 64), (7, 34)])
@pytest.mark.parametrize("double", [False, True])
def test_four_bits_are_read_right_where_rows_hold_no_whole_blocks(shape: tuple[int, int], double: bool) -> None:
    from bitsandbytes.nn.modules import Linear4bit, Params4bit

    weight = seeded(*shape) * 0.1
    layer: Any = Linear4bit(shape[1], shape[0])
    layer.weight = Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=double).to("cpu")
    assert 0.05 < (dense_weight(layer) - weight).norm() / weight.norm() < 0.11


def test_packing_names_bits_and_groups() -> None:
    nf4, int8 = packing(bnb_layer("nf4")), packing(bnb_layer("int8"))
    assert nf4 is not None and (nf4.format, nf4.bits, nf4.group_size) == ("bitsandbytes nf4", 4, 64)
    assert int8 is not None and (int8.bits, int8.group_size) == (8, -1)
    assert packing(nn.Linear(4, 4)) is None


def test_anything_else_is_no_linear_layer() -> None:
    with pytest.raises(ModelError, match="Embedding is not a linear layer"):
        dense_weight(nn.Embedding(4, 4))


def test_linear_layers_are_found_by_name(stories_folder: Path, tiny_gpt2_folder: Path) -> None:
    from compressed_lens.lm.load import load_module

    stories = linear_layers(load_module(stories_folder, device="cpu").module)
    assert len(stories) == 5 * 7 + 1
    assert list(stories)[-1] == "lm_head"
    gpt2 = linear_layers(load_module(tiny_gpt2_folder, device="cpu").module)
    assert sum(isinstance(layer, Conv1D) for layer in gpt2.values()) == 8
    assert dense_weight(gpt2["transformer.h.0.attn.c_attn"]).shape == (96, 32)


def test_a_dense_copy_shares_nothing_and_keeps_ties(stories_folder: Path) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from compressed_lens.lm.load import load_module

    full = load_module(stories_folder, device="cpu").module
    twin = dense_copy(full)
    assert twin.lm_head.weight is twin.model.embed_tokens.weight
    assert not {p.data_ptr() for p in twin.parameters()} & {p.data_ptr() for p in full.parameters()}
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    module = AutoModelForCausalLM.from_pretrained(stories_folder, quantization_config=config, dtype=torch.float32)
    dense = dense_copy(module)
    assert sum(is_quantized(layer) for layer in linear_layers(module).values()) == 35
    assert not any(is_quantized(layer) for layer in linear_layers(dense).values())
    assert all(type(layer) is nn.Linear for layer in linear_layers(dense).values())
    for name, layer in linear_layers(module).items():
        assert torch.equal(dense_weight(layer), dense_weight(linear_layers(dense)[name]))
