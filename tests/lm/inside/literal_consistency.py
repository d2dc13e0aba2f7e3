"""The consistency score and its gradient the published way: a second-order graph through everything.

alpha is a number of its own for every state of every prompt. The gradient of EntRec is kept differentiable while the
whole prompt is run with alpha times it added to the state at the mention's last token, and the score is differentiated
by alpha, all through one graph that holds every token of both prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compressed_lens.lm.hf import HFModel


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Prompts of one length each: both in token ids, the mention's last token, the bridge's first token."""

    row: Sequence[int]
    other: Sequence[int]
    place: int
    token: int


def consistency(own: Tensor, other: Tensor) -> Tensor:
    """Return the score of two rows of logits [n, vocabulary]."""
    p, q = own.float().softmax(-1), other.float().softmax(-1)
    return 0.5 * ((p * q.log()).sum(-1) + (q * p.log()).sum(-1))


def recall(model: HFModel, states: Tensor, tokens: Tensor) -> Tensor:
    """Return EntRec of states [n, width], by the model's own norm and head."""
    return torch.log(model._inside.anatomy.logits(states).softmax(-1)).gather(1, tokens[:, None])[:, 0]


def second_order(model: HFModel, asked: Sequence[Asked]) -> tuple[Tensor, Tensor]:
    """Return scores [n] and gradients [n, blocks]: of every state that enters a block.

    Prompts are padded on the left.
    """
    blocks = model._inside.anatomy.blocks
    ids, mask = _padded([one.row for one in asked])
    other_ids, other_mask = _padded([one.other for one in asked])
    width = ids.shape[1]
    rows = torch.arange(len(asked))
    columns = torch.tensor([one.place + width - len(one.row) for one in asked])
    tokens = torch.tensor([one.token for one in asked])
    alphas = [torch.zeros(len(asked), requires_grad=True) for _ in blocks]
    directions: list[Tensor] = []

    def enter(number: int) -> Any:
        def hook(_: Any, args: Any, kwargs: Any) -> Any:
            state = args[0] if args else kwargs["hidden_states"]
            state = state if state.requires_grad else state.detach().requires_grad_(True)
            value = recall(model, state[rows, columns], tokens)
            (slope,) = torch.autograd.grad(value.sum(), state, create_graph=True)
            directions.append(slope[rows, columns])
            added = torch.zeros_like(state)
            added[rows, columns] = alphas[number][:, None] * directions[-1]
            changed = state + added
            return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": changed})

        return hook

    with ExitStack() as hooks, torch.enable_grad():
        handles = [b.module.register_forward_pre_hook(enter(n), with_kwargs=True) for n, b in enumerate(blocks)]
        for handle in handles:
            hooks.callback(handle.remove)
        own = model.module(input_ids=ids, attention_mask=mask, position_ids=_positions(mask), use_cache=False).logits
        hooks.pop_all().close()
        embedded = model.module.get_input_embeddings()(other_ids).detach().requires_grad_(True)
        other = model.module(
            inputs_embeds=embedded, attention_mask=other_mask, position_ids=_positions(other_mask), use_cache=False
        ).logits
        score = consistency(own[:, -1], other[:, -1])
        found = torch.autograd.grad(score.sum(), alphas, create_graph=True)
    return score.detach(), torch.stack([one.detach() for one in found], dim=1)


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[*[0] * (width - len(row)), *row] for row in rows])
    mask = torch.tensor([[*[0] * (width - len(row)), *[1] * len(row)] for row in rows])
    return ids, mask


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(1) - 1).clamp(min=0)
