"""Trees of prompts that begin alike, against one row at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from compressed_lens.lm.forward import Passes
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Message, Prompt, Score, Trace
from compressed_lens.lm.tree import Branch, Tree, Unit, plant, read_trees, takes_trees

TOLERANCE = 1e-4
WORDS = "a man in a red coat walks his dog in the park while it rains".split()
LABELS = ("good", "bad", "neither of the two", "neither")
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "pad_token_id": None,
}
GPT2: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.3}
TAKING: dict[str, dict[str, Any]] = {
    "LlamaConfig": SIZES,
    "Qwen2Config": SIZES,
    "Qwen3Config": {**SIZES, "head_dim": 8},
    "GPT2Config": GPT2,
    "GPTNeoXConfig": {**SIZES, "num_key_value_heads": None},
}
REFUSING: dict[str, dict[str, Any]] = {
    "MistralConfig": {**SIZES, "sliding_window": 8},
    "Qwen2Config": {**SIZES, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "Gemma3TextConfig": {**SIZES, "head_dim": 8, "sliding_window": 8},
    "BloomConfig": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3},
    "MambaConfig": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "initializer_range": 0.3},
    "Lfm2Config": {**SIZES, "layer_types": ["conv", "full_attention"]},
}


def build(name: str, settings: dict[str, Any], tokenizer: Any, **how: Any) -> HFModel:
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, name)(**settings, vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=1)
    module = transformers.AutoModelForCausalLM.from_config(config, **how)
    return HFModel(module, tokenizer, weights=name)


def family() -> list[Prompt]:
    """Cuts of a thought after one question, edits of another, a repeated prompt, and one that is like no other."""
    question = Message(role="user", content="Is the film good or bad? Say what you think of the film.")
    cuts = [Prompt(messages=(question,), prefill=" ".join(WORDS[:n]) + " So:") for n in range(1, 12, 2)]
    edits = [
        Prompt(text="The capital is: " + " ".join([*WORDS[:n], "not", *WORDS[n:]]) + ". Answer:") for n in (2, 6, 9, 12)
    ]
    return [*cuts, cuts[0], Prompt(text="Où est le café?"), *edits]


def check(model: HFModel, prompts: list[Prompt]) -> None:
    """Compare scores and traces at two budgets with one row at a time; some tree must have been grown."""
    alone = HFModel(model.module, model.tokenizer, weights="alone", rule="strict")
    scores = [Score(prompt=p, continuations=LABELS[n % 2 :]) for n, p in enumerate(prompts)]
    traces = [Trace(prompt=p, continuation=" ".join(WORDS[: 1 + n % 3])) for n, p in enumerate(prompts)]
    expected = alone.score(scores)
    expected_traces = alone.trace(traces)
    for budget in (1 << 16, 220):
        before = model.forward_tokens
        for found, plain in zip(model.score(scores, batch_tokens=budget), expected, strict=True):
            assert found.log_probabilities == pytest.approx(plain.log_probabilities, abs=TOLERANCE)
            assert (found.greedy, found.tokens) == (plain.greedy, plain.tokens)
        for one, other in zip(model.trace(traces, batch_tokens=budget), expected_traces, strict=True):
            assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=TOLERANCE)
            assert one.log_odds == pytest.approx(other.log_odds, abs=TOLERANCE)
        if budget > 220:
            rows = {tuple(model.encode(p)) for p in prompts}
            assert model.forward_tokens - before < 1.4 * sum(map(len, rows))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", TAKING)
def test_a_tree_computes_what_rows_do(name: str, attention: str, chat_tokenizer: Any) -> None:
    model = build(name, TAKING[name], chat_tokenizer, attn_implementation=attention)
    assert takes_trees(model._passes)
    assert model.forward_tokens == 0
    check(model, family())


def test_the_reference_model_takes_trees(load_model: Callable[[Path], HFModel]) -> None:
    model = load_model(locate_model("reference"))
    assert takes_trees(model._passes)
    check(model, family())


@pytest.mark.parametrize("name", REFUSING)
def test_windows_states_and_relative_positions_go_the_plain_way(name: str, chat_tokenizer: Any) -> None:
    model = build(name, REFUSING[name], chat_tokenizer)
    requests = [Score(prompt=p, continuations=LABELS) for p in family()]
    found = model.score(requests)
    assert model._passes.trees is False
    for one, plain in zip(found, model.score(requests, batch_tokens=1), strict=True):
        assert one.log_probabilities == pytest.approx(plain.log_probabilities, abs=TOLERANCE)


def test_rope_that_moves_with_the_length_goes_the_plain_way(chat_tokenizer: Any) -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    assert not takes_trees(build("LlamaConfig", {**SIZES, "rope_parameters": rope}, chat_tokenizer)._passes)


def test_a_model_that_reads_the_order_of_nodes_is_found_out(
    chat_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("LlamaConfig", SIZES, chat_tokenizer)
    plain = Passes.call

    def without_positions(self: Passes, *, positions: torch.Tensor, **kwargs: Any) -> Any:
        order = torch.arange(positions.shape[1]).expand_as(positions)
        return plain(self, positions=order, **kwargs)

    monkeypatch.setattr(Passes, "call", without_positions)
    assert not takes_trees(model._passes)


def test_the_strict_rule_never_grows_a_tree(tiny_llama: HFModel) -> None:
    strict = HFModel(tiny_llama.module, tiny_llama.tokenizer, weights="strict", rule="strict")
    prompts = list(dict.fromkeys(family()))
    strict.trace([Trace(prompt=p, continuation="a") for p in prompts])
    assert strict.forward_tokens == sum(len(strict.encode(p)) for p in prompts)


def nodes(rows: list[tuple[int, ...]]) -> int:
    """The number of distinct beginnings, counted one by one."""
    return len({row[: n + 1] for row in rows for n in range(len(row))})


def units(rows: list[tuple[int, ...]]) -> list[Unit]:
    return [Unit(branches=(Branch(ids=row, start=len(row) - 1),), plain=len(row)) for row in rows]


def test_every_distinct_beginning_is_one_node(tiny_llama: HFModel) -> None:
    dice = torch.Generator().manual_seed(5)
    stem = tuple(range(5, 45))
    rows = []
    for _ in range(20):
        cut = int(torch.randint(10, 40, (), generator=dice))
        rows.append((*stem[:cut], *torch.randint(50, 60, (6,), generator=dice).tolist()))
    passes = Passes(tiny_llama.module)
    trees, rest = plant(passes, units(rows), batch_tokens=1 << 16, strict=False)
    inside = sorted(index for tree in trees for index in tree.units)
    assert sorted(inside + rest) == list(range(20))
    assert len(inside) > 15
    for tree in trees:
        assert len(tree) == nodes([rows[i] for i in tree.units])
        assert len(tree) <= 0.7 * sum(len(rows[i]) for i in tree.units)
        for node in range(len(tree)):
            ancestors: list[int] = []
            while (above := tree.parents[ancestors[-1] if ancestors else node]) >= 0:
                ancestors.append(above)
            assert set(tree.mask()[node].nonzero()[0].tolist()) == {node, *ancestors}
            assert tree.depths[node] == len(ancestors)
    before = passes.tokens
    read_trees(passes, trees)
    assert passes.tokens - before == sum(map(len, trees))


def test_rows_that_share_little_are_left_alone(tiny_llama: HFModel) -> None:
    rows = [(1, 2, 3, n, *range(20, 40)) for n in range(10, 16)]
    trees, rest = plant(Passes(tiny_llama.module), units(rows), batch_tokens=1 << 16, strict=False)
    assert (trees, rest) == ([], list(range(6)))


def test_a_tree_is_bounded_by_the_budget(tiny_llama: HFModel) -> None:
    stem = tuple(range(5, 45))
    rows = [(*stem, *(50 + n + k for k in range(8))) for n in range(30)]
    passes = Passes(tiny_llama.module)
    whole, _ = plant(passes, units(rows), batch_tokens=1 << 16, strict=False)
    parts, rest = plant(passes, units(rows), batch_tokens=100, strict=False)
    assert len(parts) > len(whole)
    assert all(len(tree) <= 100 for tree in parts)
    assert sorted([i for tree in parts for i in tree.units] + rest) == list(range(30))
    assert plant(passes, units(rows), batch_tokens=1, strict=False)[0] == []


def test_an_overlap_is_the_number_of_nodes_already_there() -> None:
    tree = Tree()
    tree.add(0, Unit(branches=(Branch(ids=(1, 2, 3), start=0), Branch(ids=(1, 4), start=0)), plain=4))
    assert len(tree) == 4
    assert tree.overlap(Unit(branches=(Branch(ids=(1, 2, 9), start=0), Branch(ids=(1, 4, 5), start=0)), plain=5)) == 3
    assert tree.overlap(Unit(branches=(Branch(ids=(2, 3), start=0),), plain=2)) == 0
