"""Plain forwards the gate makes by itself, one sequence at a time: the batch shape at which kernels fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


def _device(module: nn.Module) -> torch.device:
    embeddings: Any = module.get_input_embeddings()  # type: ignore[operator]
    device: torch.device = next(embeddings.parameters()).device
    return device


@torch.no_grad()
def logits(module: nn.Module, ids: Sequence[int]) -> Tensor:
    """Return the logits after every token of one sequence: float32, on the CPU, [tokens, vocabulary]."""
    tensor = torch.tensor([list(ids)], device=_device(module))
    found: Tensor = module(input_ids=tensor, use_cache=False).logits[0].float().cpu()
    return found


def token_losses(module: nn.Module, ids: Sequence[int]) -> Tensor:
    """Return -log p of every token but the first, in nats: float32 [tokens - 1]."""
    return losses_of(logits(module, ids), ids)


def losses_of(given: Tensor, ids: Sequence[int]) -> Tensor:
    """Return -log p of every token but the first from the logits [tokens, vocabulary] of the sequence."""
    found = given[:-1].log_softmax(-1)
    return -found.gather(1, torch.tensor(list(ids[1:])).unsqueeze(1)).squeeze(1)


def divergence(truth: Tensor, other: Tensor) -> Tensor:
    """Return KL(truth || other) at every position, in nats, from two tensors of logits [tokens, vocabulary].

    Rows of padding that only one of them has at the end of its vocabulary are left out.
    """
    size = min(truth.shape[-1], other.shape[-1])
    p, q = truth[:, :size].log_softmax(-1), other[:, :size].log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).clamp_min(0.0)


@torch.no_grad()
def continuation(module: nn.Module, ids: Sequence[int], tokens: int) -> list[int]:
    """Return the `tokens` most likely next tokens, each step fed alone with the cache; the end token is no end."""
    device = _device(module)
    step = torch.tensor([list(ids)], device=device)
    cache = None
    chosen: list[int] = []
    for _ in range(tokens):
        out = module(input_ids=step, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        step = out.logits[:, -1:].argmax(-1).to(device)
        chosen.append(int(step))
    return chosen


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Gradients of one logit with respect to the residual stream.

    Attributes:
        embeddings: At the output of the embedding layer, float32 [tokens, width].
        layers: At the output of each decoder layer, in order, same shape.
    """

    embeddings: Tensor
    layers: tuple[Tensor, ...]


def gradients(module: nn.Module, ids: Sequence[int], target: int) -> Gradients:
    """Return the gradients of the last position's logit of token `target`; no parameter gets a gradient.

    Raises:
        RuntimeError: torch cannot differentiate the model.
    """
    seen: list[Tensor] = []

    def start(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        leaf = output.detach().requires_grad_(True)
        seen.append(leaf)
        return leaf

    def passing(_module: nn.Module, _inputs: Any, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    embeddings: Any = module.get_input_embeddings()  # type: ignore[operator]
    hooks = [embeddings.register_forward_hook(start)]
    hooks.extend(layer.register_forward_hook(passing) for layer in decoder_layers(module))
    try:
        with torch.enable_grad():
            tensor = torch.tensor([list(ids)], device=_device(module))
            score = module(input_ids=tensor, use_cache=False).logits[0, -1, target].float()
            found = torch.autograd.grad(score, seen, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    kept = [torch.zeros_like(at) if g is None else g for g, at in zip(found, seen, strict=True)]
    first, *rest = (g[0].float().cpu() for g in kept)
    return Gradients(embeddings=first, layers=tuple(rest))


def decoder_layers(module: nn.Module) -> Sequence[nn.Module]:
    """Return the longest list of modules in the model: its decoder layers."""
    lists = [list(m) for m in module.modules() if isinstance(m, nn.ModuleList)]
    return max(lists, key=len, default=[])
