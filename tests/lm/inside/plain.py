"""What plain forwards without padding and cache give: the oracle of everything that looks inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from compressed_lens.lm.hf import HFModel


def plain_states(model: HFModel, row: Sequence[int]) -> list[Tensor]:
    """Return what enters every block and what leaves the last one, by one plain forward [tokens, width] each."""
    seen: list[Tensor] = []
    blocks = model._inside.anatomy.blocks
    hooks = [
        b.module.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
        )
        for b in blocks
    ]
    hooks.append(
        blocks[-1].module.register_forward_hook(
            lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out)
        )
    )
    with torch.no_grad():
        model.module(torch.tensor([list(row)]))
    for hook in hooks:
        hook.remove()
    return [state[0] for state in seen]


def plain_logits(model: HFModel, row: Sequence[int], replaced: dict[int, dict[int, Tensor]] | None = None) -> Tensor:
    """Return the logits [tokens, vocabulary] of a plain forward without padding and cache.

    Args:
        model: The model.
        row: Token ids.
        replaced: Block to place to the state that enters the block there instead.
    """

    def enter(changes: dict[int, Tensor]) -> Any:
        def hook(_: Any, args: Any, kwargs: Any) -> Any:
            state = (args[0] if args else kwargs["hidden_states"]).clone()
            for place, value in changes.items():
                state[:, place] = value
            return ((state, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": state})

        return hook

    blocks = model._inside.anatomy.blocks
    hooks = [
        blocks[n].module.register_forward_pre_hook(enter(changes), with_kwargs=True)
        for n, changes in (replaced or {}).items()
    ]
    with torch.no_grad():
        logits: Tensor = model.module(torch.tensor([list(row)])).logits[0].float()
    for hook in hooks:
        hook.remove()
    return logits
