"""The plain rendering of what is done to feed-forward neurons: full forwards with a hook on the down projection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inside.integrated import quadrature
from compressed_lens.lm.inspections import Neuron, Rule


@contextmanager
def neurons_changed(model: HFModel, block: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change the neurons of the last token [rows, neurons] in every forward pass."""

    def hook(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (torch.cat([args[0][:, :-1], change(args[0][:, -1])[:, None]], dim=1), *args[1:])

    handle = model._inside.anatomy.down(block).register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def probability(model: HFModel, row: Sequence[int], token: int, copies: int = 1) -> Tensor:
    """Return P(token) of `copies` equal rows, by a plain forward without padding and cache."""
    logits = model.module(torch.tensor([list(row)] * copies), use_cache=False).logits[:, -1].float()
    chosen: Tensor = logits.softmax(dim=-1)[:, token]
    return chosen


def neurons_of(model: HFModel, row: Sequence[int], block: int) -> Tensor:
    """Return the neurons of the last token [neurons]."""
    seen: list[Tensor] = []

    def look(values: Tensor) -> Tensor:
        seen.append(values[0].detach().clone())
        return values

    with torch.no_grad(), neurons_changed(model, block, look):
        probability(model, row, 0)
    return seen[0]


def scaled_probability(model: HFModel, row: Sequence[int], token: int, block: int, alpha: float) -> float:
    """Return P(token) with all neurons of a block times alpha."""
    with torch.no_grad(), neurons_changed(model, block, lambda values: values * alpha):
        return float(probability(model, row, token)[0])


def attributions(model: HFModel, row: Sequence[int], token: int, rule: Rule, steps: int) -> list[Tensor]:
    """Return integrated gradients of the neurons of every block, block by block and step by step [blocks][neurons]."""
    found = []
    for block in range(len(model._inside.anatomy.blocks)):
        actual = neurons_of(model, row, block)
        total = torch.zeros_like(actual)
        for alpha, weight in quadrature(rule, steps):
            scaled = (alpha * actual).requires_grad_(True)
            with torch.enable_grad(), neurons_changed(model, block, lambda _, s=scaled: s[None]):  # type: ignore[misc]
                value = probability(model, row, token)[0]
            total += weight * torch.autograd.grad(value, scaled)[0]
        found.append(actual * total)
    return found


def intervened(model: HFModel, row: Sequence[int], neurons: Sequence[Neuron], factor: float) -> Tensor:
    """Return the log-probabilities of the next token with a set of neurons times `factor` [vocabulary]."""

    def scaling(block: int) -> Callable[[Tensor], Tensor]:
        def change(values: Tensor) -> Tensor:
            values = values.clone()
            values[:, [i for b, i in set(neurons) if b == block]] *= factor
            return values

        return change

    with torch.no_grad(), ExitStack() as hooks:
        for block in {block for block, _ in neurons}:
            hooks.enter_context(neurons_changed(model, block, scaling(block)))
        logits: Tensor = model.module(torch.tensor([list(row)]), use_cache=False).logits[0, -1].float()
    return logits.log_softmax(dim=-1)
