"""Small random models of every supported family, and the reference model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model

_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "pad_token_id": None,
}
_SMALL = {"n_positions": 96, "n_embd": 32, "n_layer": 3, "n_head": 4, "initializer_range": 0.3}
FAMILIES: dict[str, dict[str, Any]] = {
    "LlamaConfig": _SIZES,
    "Qwen2Config": _SIZES,
    "Qwen3Config": {**_SIZES, "head_dim": 8},
    "MistralConfig": {**_SIZES, "sliding_window": 5},
    "Gemma2Config": {**_SIZES, "head_dim": 8, "sliding_window": 5},
    "Gemma3TextConfig": {**_SIZES, "head_dim": 8, "sliding_window": 5},
    "PhiConfig": _SIZES,
    "Phi3Config": _SIZES,
    "GPT2Config": _SMALL,
    "GPTNeoXConfig": _SIZES,
}
CAUSAL = tuple(FAMILIES)


def random_model(family: str, tokenizer: Any) -> HFModel:
    """Return a small random model of a family; biases and norms are random, too."""
    import transformers

    torch.manual_seed(3)
    size = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 1}
    module = transformers.AutoModelForCausalLM.from_config(getattr(transformers, family)(**FAMILIES[family], **size))
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return HFModel(module, tokenizer, weights=family, name=family)


@pytest.fixture(scope="session", params=CAUSAL)
def family(request: pytest.FixtureRequest, chat_tokenizer: Any) -> HFModel:
    """Each family in turn."""
    return random_model(request.param, chat_tokenizer)


@pytest.fixture(scope="session")
def reference(load_model: Callable[..., HFModel]) -> HFModel:
    """The embedded reference model."""
    return load_model(locate_model("reference"))
