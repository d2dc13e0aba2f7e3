"""Batches of unequal length against single rows, on small random models of architectures that treat positions,
windows, padding and caches in their own ways."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.protocol import Generate, Prompt, Score

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "pad_token_id": None,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "MistralConfig": {**SIZES, "sliding_window": 8},
    "Gemma3TextConfig": {**SIZES, "head_dim": 8, "sliding_window": 8},
    "BloomConfig": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3},
    "OPTConfig": {
        "hidden_size": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "init_std": 0.3,
        "word_embed_proj_dim": 32,
        "max_position_embeddings": 256,
    },
    "MambaConfig": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "initializer_range": 0.3},
    "Lfm2Config": {**SIZES, "layer_types": ["conv", "full_attention", "conv"]},
    "RecurrentGemmaConfig": {**SIZES, "head_dim": 8, "lru_width": 32, "attention_window_size": 8},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_do_not_depend_on_their_batch(name: str, chat_tokenizer: Any, prompts: list[Prompt]) -> None:
    import transformers

    torch.manual_seed(0)
    size = {"vocab_size": len(chat_tokenizer), "bos_token_id": 0, "eos_token_id": 1}
    config = getattr(transformers, name)(**CONFIGS[name], **size)
    module = transformers.AutoModelForCausalLM.from_config(config)
    model = HFModel(module, chat_tokenizer, weights=name)
    assert model.batch_rule == ("strict" if name == "RecurrentGemmaConfig" else "batched")
    few = prompts[:6]
    requests = [Generate(prompt=p, max_new_tokens=5) for p in few]
    assert model.generate(requests) == model.generate(requests, batch_tokens=1)
    scores = [Score(prompt=p, continuations=("good", "neither of the two")) for p in few]
    found = model.score(scores)
    plain = HFModel(module, chat_tokenizer, weights=name, rule="strict").score(scores)
    for one, other in zip(found, plain, strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-4)
    states = model.hidden_states(few)
    assert states.std() > 0.01
    torch.testing.assert_close(states, model.hidden_states(few, batch_tokens=1), atol=1e-4, rtol=1e-3)
