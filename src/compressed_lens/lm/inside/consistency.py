"""Consistency of a two-hop prompt with its one-hop prompt, and its gradient along EntRec.

The score is differentiated once, by every state at the mention's last token: where a direction is added with factor
alpha, the derivative by alpha at 0 is the product of that gradient and the direction. The direction, the gradient of
EntRec by the same state, needs the final norm and the unembedding only. So there is no second-order graph, and the
gradient goes down block by block, each run again for the tokens from the mention's last one on: never more than one
block's graph is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.suffix import Suffix
from compressed_lens.lm.inspections import Consistency
from compressed_lens.lm.protocol import Inspect

Ids = tuple[int, ...]


def run(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer `Consistency` requests, in order; equal one-hop prompts of a batch are run once."""
    asked = [_Asked.of(inside, request) for request in requests]
    found: list[dict[str, Any]] = [{} for _ in requests]

    def work(batch: Sequence[int]) -> None:
        for number, values in zip(batch, _together(inside, [asked[n] for n in batch]), strict=True):
            found[number] = values

    inside.each([len(one.row) for one in asked], work, batch_tokens)
    return found


def recall_gradient(inside: Inside, states: Tensor, tokens: Tensor) -> Tensor:
    """Return the gradient, by each state [n, width], of the log-probability of its token when it is read out."""
    parts = []
    at_once = max(1, inside.passes.logit_budget(len(states)))
    for some, token in zip(torch.split(states, at_once), torch.split(tokens, at_once), strict=True):
        with torch.enable_grad():
            state = some.detach().requires_grad_(True)
            recall = inside.anatomy.logits(state).log_softmax(-1).gather(1, token[:, None]).sum()
        parts.append(torch.autograd.grad(recall, state)[0])
    return torch.cat(parts)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A request in token ids."""

    row: Ids
    other: Ids
    place: int
    token: int

    @classmethod
    def of(cls, inside: Inside, request: Inspect) -> _Asked:
        by, reader = cast(Consistency, request.by), inside.reader
        return cls(
            row=reader.prompt(request.prompt),
            other=reader.prompt(by.other),
            place=reader.place(request.prompt, by.mention),
            token=reader.first(request.prompt, by.target, by.mention),
        )


def _together(inside: Inside, asked: Sequence[_Asked]) -> list[dict[str, Any]]:
    rows = [one.row for one in asked]
    # Rows that must run alone must run in one piece, too.
    behind = max(map(len, rows)) if inside.strict else max(len(one.row) - one.place for one in asked)
    suffix = Suffix.of(inside.anatomy, inside.passes, rows, tokens=behind)
    others = {row: place for place, row in enumerate(dict.fromkeys(one.other for one in asked))}
    other = inside.passes.read(list(others), keep=1)[:, -1].log_softmax(-1)[[others[one.other] for one in asked]]

    final = suffix.states[-1][:, -1].detach().requires_grad_(True)
    with torch.enable_grad():
        own = inside.anatomy.logits(final).log_softmax(-1)
        score = ((own.exp() * other).sum(-1) + (other.exp() * own).sum(-1)) / 2
    slope = torch.zeros_like(suffix.states[-1])
    slope[:, -1] = torch.autograd.grad(score.sum(), final)[0]
    own, scores = own.detach(), score.tolist()
    entropy, other_entropy = ((-one.exp() * one).sum(-1).tolist() for one in (own, other))
    same = (own.argmax(-1) == other.argmax(-1)).tolist()
    del own, other, score

    index = torch.arange(len(asked), device=final.device)
    columns = torch.tensor([suffix.column(n, one.place) for n, one in enumerate(asked)], device=final.device)
    tokens = torch.tensor([one.token for one in asked], device=final.device)
    gradient = []
    for layer in reversed(range(len(suffix.states))):
        if layer < len(inside.anatomy.blocks):
            slope = _pulled(suffix, layer, slope)
        direction = recall_gradient(inside, suffix.states[layer][index, columns], tokens)
        gradient.append((slope[index, columns].float() * direction.float()).sum(-1).tolist())
    return [
        {
            "score": _finite(scores[n]),
            "entropy": _finite(entropy[n]),
            "other_entropy": _finite(other_entropy[n]),
            # Nothing reads the last state anywhere but at the end.
            "gradient": [*map(_finite, inner), _finite(last) if one.place == len(one.row) - 1 else None],
            "same_top": same[n],
        }
        for n, (one, (last, *after)) in enumerate(zip(asked, zip(*gradient, strict=True), strict=True))
        for inner in [after[::-1]]
    ]


def _pulled(suffix: Suffix, block: int, slope: Tensor) -> Tensor:
    """Return the gradient by what enters a block, given that by what leaves it; one block's graph lives at a time."""
    with torch.enable_grad():
        entered = suffix.states[block].detach().requires_grad_(True)
        left = suffix.through(block, entered)
    return torch.autograd.grad(left, entered, slope)[0]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
