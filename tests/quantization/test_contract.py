"""What every preset must do on a real model, whatever the technique."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from compressed_lens.ids import folder_digest
from compressed_lens.lm.linear import dense_copy, dense_weight, is_quantized, linear_layers
from compressed_lens.lm.load import Loaded, load_module
from compressed_lens.quantization import RECIPES, Prepared, prepare, resolve

from .conftest import TEXTS, short

PRESETS = RECIPES.names()
INTEGER = [name for name in PRESETS if not name.startswith("bnb")]
LARGEST_ERROR = {8: 0.02, 4: 0.2, 3: 0.4, 2: 0.9}
IDS = torch.tensor([[1, 403, 407, 261, 378, 286, 397, 398]])


@pytest.fixture(scope="module")
def loaded(prepared: Callable[[str], Prepared]) -> Callable[[str], Loaded]:
    kept: dict[str, Loaded] = {}

    def get(name: str) -> Loaded:
        if name not in kept:
            kept[name] = load_module(prepared(name).folder, device="cpu")
            kept[name].module.generate(IDS, max_new_tokens=4, do_sample=False, pad_token_id=2)
        return kept[name]

    return get


def logits_and_gradient(module: Any) -> tuple[torch.Tensor, torch.Tensor]:
    embedded = module.get_input_embeddings()(IDS).detach().requires_grad_()
    logits = module(inputs_embeds=embedded, use_cache=False).logits
    logits[0, -1, 30].backward()
    return logits.detach(), embedded.grad


@pytest.mark.parametrize("name", PRESETS)
def test_every_layer_is_quantized_to_the_declared_bits_within_the_error_bound(
    name: str, prepared: Callable[[str], Prepared], own_stories: Path
) -> None:
    made, bits = prepared(name), resolve(name).bits
    audit = made.audit
    assert (audit.quantized_layers, audit.linear_layers) == (35, 36)
    assert {layer.bits for layer in audit.layers} == {bits}
    assert bits < audit.bits_per_weight < bits + 1.8  # layers of 4,096 weights: the scales and tables weigh much
    # GPTQ trades the error of weights for that of outputs.
    largest = LARGEST_ERROR[bits] * (2 if name.startswith("gptq") else 1)
    assert all(layer.weight_error is not None and 0 < layer.weight_error < largest for layer in audit.layers)
    assert made.bytes_on_disk == audit.bytes_on_disk < 0.45 * audit.base_bytes
    assert audit.base_untouched
    assert {"transformers", "torch"} < set(audit.versions)
    assert made.fingerprint == folder_digest(made.folder) != folder_digest(own_stories)


@pytest.mark.parametrize("name", PRESETS)
def test_gradients_after_a_generation_are_those_of_the_dense_copy(name: str, loaded: Callable[[str], Loaded]) -> None:
    module = loaded(name).module
    logits, gradient = logits_and_gradient(module)
    dense_logits, dense_gradient = logits_and_gradient(dense_copy(module))
    assert torch.allclose(logits, dense_logits, atol=1e-5)
    assert torch.cosine_similarity(gradient.flatten(), dense_gradient.flatten(), 0) > 0.999
    assert 0.99 < gradient.norm() / dense_gradient.norm() < 1.01
    assert gradient.norm() > 1


@pytest.mark.parametrize("name", PRESETS)
def test_a_row_does_not_depend_on_its_batch(name: str, loaded: Callable[[str], Loaded]) -> None:
    module = loaded(name).module
    rows = torch.randint(3, 500, (8, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = module(rows).logits.log_softmax(-1)
        alone = torch.cat([module(row[None]).logits for row in rows]).log_softmax(-1)
    assert (together - alone).abs().max() < 1e-4


@pytest.mark.parametrize("name", PRESETS)
def test_the_second_time_comes_from_the_cache(
    name: str, prepared: Callable[[str], Prepared], own_stories: Path, cache_dir: Path
) -> None:
    first = prepared(name)
    before = {path: path.stat().st_mtime_ns for path in first.folder.parent.rglob("*")}
    again = prepare(own_stories, short(name), cache_dir=cache_dir, calibration=TEXTS)
    assert again.cached
    assert (again.folder, again.fingerprint, again.audit) == (first.folder, first.fingerprint, first.audit)
    assert before == {path: path.stat().st_mtime_ns for path in first.folder.parent.rglob("*")}


@pytest.mark.parametrize("name", PRESETS)
def test_tokenizer_template_and_licence_are_copied_byte_for_byte(
    name: str, prepared: Callable[[str], Prepared], own_stories: Path
) -> None:
    folder = prepared(name).folder
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja", "LICENSE"):
        assert (folder / file).read_bytes() == (own_stories / file).read_bytes(), file


@pytest.mark.parametrize("name", INTEGER)
def test_plain_transformers_gives_the_same_logits_and_text(
    name: str, prepared: Callable[[str], Prepared], loaded: Callable[[str], Loaded]
) -> None:
    from transformers import AutoModelForCausalLM

    plain, ours = AutoModelForCausalLM.from_pretrained(prepared(name).folder), loaded(name).module
    with torch.no_grad():
        assert torch.allclose(plain(IDS).logits, ours(IDS).logits, atol=1e-4)
    greedy = {"max_new_tokens": 24, "do_sample": False, "pad_token_id": 2}
    assert torch.equal(plain.generate(IDS, **greedy), ours.generate(IDS, **greedy))


@pytest.mark.parametrize("name", INTEGER)
def test_every_group_takes_no_more_values_than_its_bits_allow(name: str, loaded: Callable[[str], Loaded]) -> None:
    bits = resolve(name).bits
    layers = {n: layer for n, layer in linear_layers(loaded(name).module).items() if is_quantized(layer)}
    for layer_name, size in (("model.layers.0.self_attn.q_proj", 64), ("model.layers.4.mlp.down_proj", 172)):
        groups = dense_weight(layers[layer_name]).reshape(-1, size)
        assert max(len(group.unique()) for group in groups) <= 2**bits


def test_round_to_nearest_is_what_its_definition_says(loaded: Callable[[str], Loaded], own_stories: Path) -> None:
    base = linear_layers(load_module(own_stories, device="cpu").module)
    for bits in (2, 3, 4, 8):
        quantized = linear_layers(loaded(f"rtn-{bits}bit").module)
        for name, size in (("model.layers.1.mlp.gate_proj", 64), ("model.layers.2.mlp.down_proj", 172)):
            groups = dense_weight(base[name]).reshape(-1, size)
            scale = groups.abs().amax(1, keepdim=True) / ((2**bits - 1) / 2)
            oracle = (groups / scale).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale
            assert torch.allclose(dense_weight(quantized[name]).reshape(-1, size), oracle, atol=1e-6), (bits, name)


def test_the_error_of_round_to_nearest_falls_with_every_bit(prepared: Callable[[str], Prepared]) -> None:
    errors = [prepared(f"rtn-{bits}bit").audit.weight_error for bits in (2, 3, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 3 * errors[2]


def test_gptq_makes_the_output_of_layers_more_exact_than_rounding(
    loaded: Callable[[str], Loaded], own_stories: Path
) -> None:
    base = load_module(own_stories, device="cpu")
    inputs: dict[str, torch.Tensor] = {}
    name = "model.layers.0.self_attn.q_proj"
    layer = linear_layers(base.module)[name]
    hook = layer.register_forward_hook(lambda module, args, output: inputs.setdefault(name, args[0]))
    for text in TEXTS[:1]:
        base.module(torch.tensor([base.tokenizer(text)["input_ids"][:64]]))
    hook.remove()
    exact = inputs[name] @ dense_weight(layer).T

    def error(preset: str) -> float:
        weight = dense_weight(linear_layers(loaded(preset).module)[name])
        return float((inputs[name] @ weight.T - exact).norm())

    for bits in (2, 3, 4):
        assert error(f"gptq-{bits}bit") < error(f"rtn-{bits}bit")
