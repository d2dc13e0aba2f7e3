"""Outlier channels, as large language models grow them, given to a small model without changing what it computes.

A model far below its capacity shrugs off coarse rounding. Large models do not, because a few input channels
of their linear layers have weights or activations many times the size of the others, and one scale must serve a
whole group (Dettmers et al. 2022, LLM.int8(); Lin et al. 2024, AWQ). Multiplying such columns by a power of two and
dividing what feeds them by the same power is exact in floating point: every logit keeps every bit.
"""

from __future__ import annotations

from typing import Any

import torch

FACTOR = 8.0
SHARE = 64


def add_outliers(model: Any, *, factor: float = FACTOR, share: int = SHARE, seed: int = 0) -> None:
    """Give every linear layer of a Llama, in place, one outlier input channel in `share`.

    Args:
        model: A `LlamaForCausalLM`; its embeddings and output head stay as they are.
        factor: How much larger the outlier columns become; a power of two, so that nothing is rounded.
        share: Channels per outlier channel.
        seed: Seed of the choice of channels.
    """
    generator = torch.Generator().manual_seed(seed)

    def scales(width: int) -> torch.Tensor:
        chosen = torch.randperm(width, generator=generator)[: width // share]
        return torch.ones(width).index_fill_(0, chosen, factor)

    repeat = model.config.num_attention_heads // model.config.num_key_value_heads
    head = model.config.head_dim
    with torch.no_grad():
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for norm, readers in (
                (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
            ):
                scale = scales(norm.weight.numel())
                norm.weight /= scale
                for reader in readers:
                    reader.weight *= scale
            scale = scales(attention.v_proj.out_features)
            attention.v_proj.weight /= scale[:, None]
            attention.o_proj.weight *= scale.view(-1, 1, head).expand(-1, repeat, -1).reshape(-1)
            scale = scales(mlp.up_proj.out_features)
            mlp.up_proj.weight /= scale[:, None]
            mlp.down_proj.weight *= scale
