"""Log-probability increase the plain way: one unpadded forward, every vector to the vocabulary in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.linear import dense_weight


@dataclass(frozen=True)
class Plain:
    """What one forward leaves at the last token."""

    entered: list[Tensor]  # what enters each block, and what leaves the last
    attention: list[Tensor]  # what each attention adds
    ffn: list[Tensor]
    neurons: list[Tensor]
    weights: list[Tensor]  # [heads, seen]
    values: list[Tensor]  # [key-value heads, seen, head width]


def plain(model: HFModel, row: Sequence[int]) -> Plain:
    seen: dict[str, list[Tensor]] = {name: [] for name in ("in", "out", "attention", "ffn", "neurons")}
    anatomy = model._inside.anatomy

    def last(value: Any) -> Tensor:
        return (value[0] if isinstance(value, tuple) else value)[0, -1].double()

    hooks = []
    for block in anatomy.blocks:
        hooks += [
            block.module.register_forward_pre_hook(
                lambda _, args, kwargs: seen["in"].append(last(args[0] if args else kwargs["hidden_states"])),
                with_kwargs=True,
            ),
            block.module.register_forward_hook(lambda _, __, out: seen["out"].append(last(out))),
            (block.attention_norm or block.attention).register_forward_hook(
                lambda _, __, out: seen["attention"].append(last(out))
            ),
            (block.ffn_norm or block.ffn).register_forward_hook(lambda _, __, out: seen["ffn"].append(last(out))),
        ]
        assert block.down is not None
        hooks.append(block.down.register_forward_pre_hook(lambda _, args: seen["neurons"].append(last(args[0]))))
    with torch.no_grad(), anatomy.eager():
        out = model.module(torch.tensor([list(row)]), output_attentions=True, past_key_values=DynamicCache())
    for hook in hooks:
        hook.remove()
    # A cache that knows nothing of the model keeps what lies outside a sliding window, too.
    values = [layer.values[0].double() for layer in out.past_key_values.layers]
    return Plain(
        entered=[*seen["in"], seen["out"][-1]],
        attention=seen["attention"],
        ffn=seen["ffn"],
        neurons=seen["neurons"],
        weights=[w[0, :, -1].double() for w in out.attentions],
        values=values,
    )


def scale_of(norm: nn.Module, state: Tensor) -> Tensor:
    """What a norm divides by, and whether it centres, by its class."""
    if isinstance(norm, nn.LayerNorm):
        return (state.var(unbiased=False) + norm.eps).sqrt()
    eps = getattr(norm, "variance_epsilon", None) or getattr(norm, "eps", None)
    return (state.square().mean() + eps).sqrt()


def linear_norm(norm: Any, vectors: Tensor, scale: Tensor) -> Tensor:
    """The norm's linear part with the given scale."""
    if isinstance(norm, nn.LayerNorm):
        vectors = vectors - vectors.mean(dim=-1, keepdim=True)
    gain = norm.weight.detach().double()
    return vectors / scale * (1 + gain if "Gemma" in type(norm).__name__ else gain)


class Brute:
    """Every increase of one prompt and target, by projecting everything."""

    def __init__(self, model: HFModel, row: Sequence[int], target: int | None = None) -> None:
        self.anatomy = model._inside.anatomy
        self.plain = plain(model, row)
        self._model = model
        self._scale = scale_of(self.anatomy.final_norm, self.plain.entered[-1])
        self._matrix = dense_weight(self.anatomy.head).double()
        self.target = int(self.read(self.plain.entered[-1]).argmax()) if target is None else target

    def read(self, states: Tensor) -> Tensor:
        """Log-softmax of the frozen read-out of states [..., width]."""
        bias = getattr(self.anatomy.final_norm, "bias", None)
        state = linear_norm(self.anatomy.final_norm, states, self._scale) + (0 if bias is None else bias.double())
        head = getattr(self.anatomy.head, "bias", None)
        return (state @ self._matrix.T + (0 if head is None else head.double())).log_softmax(-1)

    def increases(self, state: Tensor, vectors: Tensor) -> Tensor:
        return self.read(state + vectors)[..., self.target] - self.read(state)[self.target]

    def ffn_vectors(self, block: int) -> Tensor:
        """What every neuron of a block writes, and the bias as the last row [neurons + 1, width]."""
        parts = self.anatomy.blocks[block]
        weight = dense_weight(parts.down).double()  # type: ignore[arg-type]
        bias = getattr(parts.down, "bias", None)
        rows = torch.cat([self.plain.neurons[block][:, None] * weight.T, self._bias(bias)])
        if parts.ffn_norm is None:
            return rows
        return linear_norm(parts.ffn_norm, rows, scale_of(parts.ffn_norm, rows.sum(dim=0)))

    def attention_vectors(self, block: int) -> Tensor:
        """What every attention neuron writes [heads, head width, seen, width], without the bias."""
        parts = self.anatomy.blocks[block]
        values, weights = self.plain.values[block], self.plain.weights[block]
        values = values.repeat_interleave(self.anatomy.heads // len(values), dim=0)
        weights = weights[:, -values.shape[1] :]
        out = dense_weight(parts.out).double().reshape(self.anatomy.width, self.anatomy.heads, -1)
        vectors = torch.einsum("hp,hpd,whd->hdpw", weights, values, out)
        if parts.attention_norm is None:
            return vectors
        total = vectors.sum(dim=(0, 1, 2)) + self._bias(getattr(parts.out, "bias", None))[0]
        return linear_norm(parts.attention_norm, vectors, scale_of(parts.attention_norm, total))

    def ffn_scores(self) -> Tensor:
        """[blocks, neurons]."""
        return torch.stack(
            [
                self.increases(self.plain.entered[n] + self.plain.attention[n], self.ffn_vectors(n)[:-1])
                for n in range(len(self.anatomy.blocks))
            ]
        )

    def attention_scores(self) -> list[Tensor]:
        """One [heads, head width, seen] a block."""
        return [
            self.increases(self.plain.entered[n], self.attention_vectors(n)) for n in range(len(self.anatomy.blocks))
        ]

    def _bias(self, bias: Tensor | None) -> Tensor:
        return torch.zeros(1, self.anatomy.width, dtype=torch.double) if bias is None else bias.detach().double()[None]
