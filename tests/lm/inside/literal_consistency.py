"""The consistency score and its gradient the published way: a second-order graph through everything.

alpha is a number of its own for every state of every prompt. The gradient of EntRec is kept differentiable while the
whole prompt is run again with alpha times it added to the state at the mention's last token, and the score is
differentiated by every alpha at once, through one graph that holds every token of all passes, as Yang et al. (2024) do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    p, q = own.float().log_softmax(-1), other.float().log_softmax(-1)
    return 0.5 * ((p.exp() * q).sum(-1) + (q.exp() * p).sum(-1))


def recall(model: HFModel, states: Tensor, tokens: Tensor) -> Tensor:
    """Return EntRec of states [n, width], by the model's own norm and head."""
    return model._inside.anatomy.logits(states).log_softmax(-1).gather(1, tokens[:, None])[:, 0]


def second_order(model: HFModel, asked: Sequence[Asked], *, twice: bool = False) -> tuple[Tensor, Tensor]:
    """Return scores [n] and gradients [n, blocks]: of every state that enters a block.

    Three passes over whole prompts, each with its graph: one for the states and, by a differentiable gradient, the
    directions; one of the two-hop prompts with the directions added; one of the one-hop prompts. Prompts are padded on
    the left. `twice` runs both prompts once for either cross entropy, as the published code does.
    """
    modules = [block.module for block in model._inside.anatomy.blocks]
    ids, mask = _padded([one.row for one in asked])
    columns = torch.tensor([one.place + ids.shape[1] - len(one.row) for one in asked])
    rows = torch.arange(len(asked))
    tokens = torch.tensor([one.token for one in asked])
    alphas = [torch.zeros(len(asked), requires_grad=True) for _ in modules]
    with torch.enable_grad():
        states: list[Tensor] = []
        with _entering(modules, lambda _, state: states.append(state)):
            _logits(model, ids, mask)
        directions = []
        for state in states:
            value = recall(model, state[rows, columns], tokens)
            directions.append(torch.autograd.grad(value.sum(), state, create_graph=True)[0])

        def add(block: int, state: Tensor) -> Tensor:
            added = torch.zeros_like(state)
            added[rows, columns] = directions[block][rows, columns]
            return state + alphas[block][:, None, None] * added

        def both() -> Tensor:
            with _entering(modules, add):
                own = _logits(model, ids, mask)
            return consistency(own, _logits(model, *_padded([one.other for one in asked])))

        score = (both() + both()) / 2 if twice else both()
        found = torch.autograd.grad(score.sum(), alphas, create_graph=True)
    return score.detach(), torch.stack([one.detach() for one in found], dim=1)


def _logits(model: HFModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the logits after rows; a graph runs from the embeddings on."""
    embedded = model.module.get_input_embeddings()(ids).detach().requires_grad_(True)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    output = model.module(inputs_embeds=embedded, attention_mask=mask, position_ids=positions, use_cache=False)
    logits: Tensor = output.logits[:, -1]
    return logits


@contextmanager
def _entering(modules: Sequence[Any], change: Callable[[int, Tensor], Tensor | None]) -> Iterator[None]:
    """Change what enters every block, or only look at it."""

    def hook(number: int) -> Any:
        def enter(_: Any, args: Any, kwargs: Any) -> Any:
            state = args[0] if args else kwargs["hidden_states"]
            changed = change(number, state)
            state = state if changed is None else changed
            return ((state, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": state})

        return enter

    handles = [m.register_forward_pre_hook(hook(n), with_kwargs=True) for n, m in enumerate(modules)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[*[0] * (width - len(row)), *row] for row in rows])
    mask = torch.tensor([[*[0] * (width - len(row)), *[1] * len(row)] for row in rows])
    return ids, mask
