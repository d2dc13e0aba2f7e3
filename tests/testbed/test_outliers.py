"""Outlier channels change the weights a quantizer sees and not one bit of what the model computes."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from compressed_lens.testbed.outliers import FACTOR, SHARE, add_outliers


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config).eval()


def test_logits_keep_every_bit(model: LlamaForCausalLM) -> None:
    changed = copy.deepcopy(model)
    add_outliers(changed)
    ids = torch.arange(1, 40)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, changed(ids).logits)


def test_every_linear_layer_has_its_share_of_outlier_columns(model: LlamaForCausalLM) -> None:
    changed = copy.deepcopy(model)
    add_outliers(changed)
    before = dict(model.named_modules())
    for name, layer in changed.model.named_modules():
        if not isinstance(layer, torch.nn.Linear):
            continue
        ratio = layer.weight.norm(dim=0) / before[f"model.{name}"].weight.norm(dim=0)
        grown = int((ratio > FACTOR / 2).sum())
        assert grown >= layer.in_features // SHARE, name
        assert grown <= layer.in_features // 8, name


def test_four_bits_lose_more_with_outliers(model: LlamaForCausalLM) -> None:
    def error(weight: torch.Tensor) -> float:
        scale = weight.abs().amax(dim=1, keepdim=True) / 7
        return float(((weight / scale).round() * scale - weight).norm() / weight.norm())

    changed = copy.deepcopy(model)
    add_outliers(changed)
    before, after = (m.model.layers[0].mlp.gate_proj.weight.detach() for m in (model, changed))
    ordinary = (after == before).all(dim=0)
    scale = after.abs().amax(dim=1, keepdim=True) / 7
    rounded = ((after / scale).round() * scale)[:, ordinary]
    plain = float((rounded - before[:, ordinary]).norm() / before[:, ordinary].norm())
    assert plain > 2 * error(before)
