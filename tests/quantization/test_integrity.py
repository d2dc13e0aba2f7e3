"""The parts of the integrity gate, each against a brute-force oracle."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.quantization.broken import foreign_tokenizer, packed_awq_8bit
from torch import nn

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.linear import Packing
from compressed_lens.lm.protocol import Prompt
from compressed_lens.quantization.integrity import Finding, Integrity
from compressed_lens.quantization.integrity.findings import finding
from compressed_lens.quantization.integrity.forward import continuation, gradients, logits, token_losses
from compressed_lens.quantization.integrity.gate import left_out
from compressed_lens.quantization.integrity.probes import SHORT_TOKENS, build, paragraphs
from compressed_lens.quantization.integrity.text import degenerate
from compressed_lens.quantization.integrity.weights import round_to_nearest, weight_error

IDS = (1, 40, 77, 300, 41, 9, 12, 250)


def small_llama(positions: int = 512, **changes: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=512, max_position_embeddings=positions, initializer_range=0.2, **{**sizes, **changes}
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def wrapped(module: nn.Module) -> HFModel:
    return HFModel(module, foreign_tokenizer(512), weights="small")


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", [4, 24, -1])
def test_round_to_nearest_picks_the_nearest_grid_point(bits: int, group: int) -> None:
    weight = torch.randn(6, 12, generator=torch.Generator().manual_seed(bits))
    found = round_to_nearest(weight, bits, group).reshape(-1, group if group > 0 else 12)
    for block, rounded in zip(weight.reshape(-1, group if group > 0 else 12), found, strict=True):
        scale = float(block.abs().max()) / ((2**bits - 1) / 2)
        grid = [code * scale for code in range(-(2 ** (bits - 1)), 2 ** (bits - 1))]
        for value, got in zip(block.tolist(), rounded.tolist(), strict=True):
            assert abs(got - value) == pytest.approx(min(abs(g - value) for g in grid), abs=1e-5)


def test_weight_error_of_rounding_is_one_and_a_single_overflow_shows_in_its_group() -> None:
    full = torch.randn(256, 256, generator=torch.Generator().manual_seed(1)) / 16
    how = Packing(format="x", bits=8, group_size=64, symmetric=True)
    ours = round_to_nearest(full, 8, 64)
    sound = weight_error(ours, full, how, rescaled=False)
    assert sound.layer == pytest.approx(1.0, abs=1e-4)
    assert sound.group == pytest.approx(1.0, abs=0.01)
    ours[5, 70] -= 255 * float(full[5, 64:128].abs().max()) / 127.5
    overflowed = weight_error(ours, full, how, rescaled=False)
    assert overflowed.group > 40
    assert overflowed.layer < 5


def test_weight_error_sees_through_scales_moved_between_layers() -> None:
    maker = torch.Generator().manual_seed(2)
    full = torch.randn(48, 128, generator=maker)
    columns, rows = torch.rand(128, generator=maker) + 0.5, torch.rand(48, 1, generator=maker) + 0.5
    how = Packing(format="x", bits=4, group_size=32, symmetric=True)
    ours = round_to_nearest(full * columns * rows, 4, 32)
    assert weight_error(ours, full, how, rescaled=False).layer > 2
    found = weight_error(ours, full, how, rescaled=True)
    assert found.layer == pytest.approx(1.0, abs=0.1)
    assert weight_error(ours.flip(0), full, how, rescaled=True).layer > 5


def test_unclamped_packing_differs_from_clamped_only_where_codes_overflow() -> None:
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(3))
    wrong = (packed_awq_8bit(weight, clamp=False) - packed_awq_8bit(weight, clamp=True)).abs() > 1e-6
    assert 0 < int(wrong.sum()) < 0.1 * weight.numel()
    assert (packed_awq_8bit(weight, clamp=True) - weight).abs().max() < 0.03


@pytest.mark.parametrize(
    ("ids", "stuck"),
    [
        ([5] * 24, True),
        ([0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8], True),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9], True),
        ([7, 8] * 12, True),
        ([7, 8, 9] * 8, True),
        ([7, 8, 9, 10] * 6, False),
        (list(range(1, 25)), False),
        ([5, 5, 5], False),
        ([5] * 12 + list(range(6, 18)), False),
    ],
)
def test_degenerate(ids: list[int], stuck: bool) -> None:
    assert degenerate(ids) is stuck


def test_integrity_survives_json_and_says_the_worst() -> None:
    good = finding("a", "sound", "fine", value=0.5, limit=1.0)
    infinite = finding("b", "broken", "bad", value=math.inf, limit=1.0)
    verdict = Integrity(passed=False, findings=(good, infinite, finding("c", "degraded", "so so")), seconds=0.5)
    assert Integrity.from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False))) == verdict
    assert verdict.summary() == "failed: b"
    assert verdict.broken == (infinite,)
    assert infinite == Finding(check="b", passed=False, value=None, limit=1.0, message="bad", severity="broken")
    assert Integrity(passed=True, findings=(good,)).summary() == "sound"


def test_probes_are_short_and_long_fixed_and_inside_the_context() -> None:
    model = wrapped(small_llama(positions=160))
    asked = build(model, [Prompt(text="a question"), Prompt(text="far too long " * 300)])
    assert asked.probes[0].prompt.text == "a question"
    assert asked == build(model, [Prompt(text="a question"), Prompt(text="far too long " * 300)])
    lengths = [len(p.ids) for p in asked.of("short")]
    assert max(lengths) <= SHORT_TOKENS and len(lengths) == 13  # 12 of its own and the caller's
    assert 1 in [len(p.ids) - 1 for p in asked.of("short")] or min(lengths) <= 3
    assert all(SHORT_TOKENS < len(p.ids) <= 128 for p in asked.of("long"))
    assert all(len(t) <= 160 for t in asked.texts)
    assert sum(map(len, asked.texts)) >= sum(len(model.encode(Prompt(text=t))) for t in paragraphs())
    for ordered, mixed in zip(asked.texts, asked.shuffled, strict=True):
        assert sorted(ordered) == sorted(mixed) and ordered != mixed


def test_losses_are_the_library_s_own() -> None:
    module = small_llama()
    ids = torch.tensor([IDS])
    assert float(token_losses(module, IDS).mean()) == pytest.approx(float(module(ids, labels=ids).loss), abs=1e-5)
    assert torch.allclose(logits(module, IDS), module(ids).logits[0], atol=1e-5)


def test_continuation_is_greedy_decoding() -> None:
    module = small_llama()
    ids = torch.tensor([IDS])
    kept = module.generate(ids, max_new_tokens=10, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert continuation(module, IDS, 10) == kept[0, len(IDS) :].tolist()


def test_gradients_are_those_of_finite_differences_and_no_parameter_keeps_one() -> None:
    module = small_llama().double().requires_grad_(True)
    found = gradients(module, IDS, 17)
    assert all(p.grad is None for p in module.parameters())
    assert len(found.layers) == 3
    table = module.get_input_embeddings()
    embedded = table(torch.tensor([IDS])).detach()
    for token, width in [(0, 3), (4, 20), (7, 60)]:
        step = torch.zeros_like(embedded)
        step[0, token, width] = 2e-3
        with torch.no_grad():
            above, below = (module(inputs_embeds=embedded + s).logits[0, -1, 17] for s in (step, -step))
        assert float(found.embeddings[token, width]) == pytest.approx(float(above - below) / 4e-3, rel=1e-2, abs=1e-4)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, set()),
        (
            {"ignore": ["lm_head", "re:.*down_proj$"]},
            {"lm_head", *(f"model.layers.{i}.mlp.down_proj" for i in range(3))},
        ),
        (
            {"llm_int8_skip_modules": ["self_attn"]},
            {f"model.layers.{i}.self_attn.{p}_proj" for i in range(3) for p in "qkvo"},
        ),
        ({"modules_to_not_convert": ["model.layers.1.mlp.up_proj"]}, {"model.layers.1.mlp.up_proj"}),
    ],
)
def test_left_out_reads_what_each_library_writes(config: dict[str, Any] | None, expected: set[str]) -> None:
    module = small_llama()
    module.config = SimpleNamespace(quantization_config=config)
    assert left_out(module) == expected
