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

from compressed_lens.lm.inside.beginning import final_states
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.suffix import Suffix
from compressed_lens.lm.inspections import Consistency
from compressed_lens.lm.protocol import Inspect

Ids = tuple[int, ...]
_COPIES = 4
# A power of two changes no digit; it keeps small gradients of half precision from vanishing.
_LOUDER = 2.0**10


def run(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer `Consistency` requests, in order; equal one-hop prompts are run once."""
    asked = [_Asked.of(inside, request) for request in requests]
    found: list[dict[str, Any]] = [{} for _ in requests]
    others = _ends(inside, list(dict.fromkeys(one.other for one in asked)), batch_tokens)
    # As many tokens of a batch have a gradient as its longest way from mention to end has: like goes with like.
    kinds: dict[int, list[int]] = {}
    for number, one in enumerate(asked):
        kinds.setdefault((len(one.row) - 1 - one.place).bit_length(), []).append(number)
    for numbers in kinds.values():

        def work(batch: Sequence[int], numbers: Sequence[int] = numbers) -> None:
            chosen = [asked[numbers[n]] for n in batch]
            ends = torch.stack([others[one.other] for one in chosen])
            for n, values in zip(batch, _together(inside, chosen, ends), strict=True):
                found[numbers[n]] = values

        inside.alike([asked[number].row for number in numbers], work, batch_tokens)
    return found


def recall_gradient(inside: Inside, states: Tensor, tokens: Tensor) -> Tensor:
    """Return the gradient, by each state [n, width], of the log-probability of its token when it is read out."""
    parts = []
    at_once = _at_once(inside, len(states))
    for some, token in zip(torch.split(states, at_once), torch.split(tokens, at_once), strict=True):
        state, logits = _read(inside, some)
        by_logits = -logits.detach().softmax(-1)
        by_logits.scatter_add_(1, token[:, None], torch.ones_like(by_logits[:, :1]))
        parts.append(_back(state, logits, by_logits))
    return torch.cat(parts)


def _read(inside: Inside, states: Tensor) -> tuple[Tensor, Tensor]:
    """Read states out; return them and their logits, which have a graph."""
    with torch.enable_grad():
        state = states.detach().requires_grad_(True)
        return state, inside.anatomy.logits(state)


def _back(state: Tensor, logits: Tensor, by_logits: Tensor) -> Tensor:
    """Return the gradient by states, given that by their logits, which is a closed form of both scores here."""
    return torch.autograd.grad(logits, state, by_logits.mul_(_LOUDER))[0].float() / _LOUDER


def _ends(inside: Inside, rows: Sequence[Ids], batch_tokens: int) -> dict[Ids, Tensor]:
    """Return what leaves the last block at the last token of each row."""
    found: dict[Ids, Tensor] = {}

    def work(batch: Sequence[int]) -> None:
        chosen = [rows[n] for n in batch]
        found.update(zip(chosen, final_states(inside.anatomy, inside.passes, chosen), strict=True))

    inside.alike(rows, work, batch_tokens)
    return found


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


def _together(inside: Inside, asked: Sequence[_Asked], ends: Tensor) -> list[dict[str, Any]]:
    rows = [one.row for one in asked]
    # Rows that must run alone must run in one piece, too.
    behind = max(map(len, rows)) if inside.strict else max(len(one.row) - one.place for one in asked)
    suffix = Suffix.of(inside.anatomy, inside.passes, rows, tokens=behind)
    at_once = _at_once(inside, len(asked))
    parts = [
        _scored(inside, own, other)
        for own, other in zip(torch.split(suffix.states[-1][:, -1], at_once), torch.split(ends, at_once), strict=True)
    ]
    slope = torch.zeros_like(suffix.states[-1], dtype=torch.float32)
    slope[:, -1] = torch.cat([part.slope for part in parts])
    values = [value for part in parts for value in part.values]

    index = torch.arange(len(asked), device=slope.device)
    columns = torch.tensor([suffix.column(n, one.place) for n, one in enumerate(asked)], device=slope.device)
    tokens = torch.tensor([one.token for one in asked], device=slope.device)
    gradient = []
    for layer in reversed(range(len(suffix.states))):
        if layer < len(inside.anatomy.blocks):
            slope = _pulled(suffix, layer, slope)
        direction = recall_gradient(inside, suffix.states[layer][index, columns], tokens)
        gradient.append((slope[index, columns] * direction).sum(-1).tolist())
    return [
        # Nothing reads the last state anywhere but at the end.
        {**value, "gradient": [*map(_finite, slopes[:0:-1]), _finite(slopes[0]) if at_the_end else None]}
        for value, slopes, at_the_end in zip(
            values, zip(*gradient, strict=True), (one.place == len(one.row) - 1 for one in asked), strict=True
        )
    ]


@dataclass(frozen=True, kw_only=True)
class _Score:
    """Scores of some prompts: what is answered of them, and the gradient by their last states [n, width]."""

    values: list[dict[str, Any]]
    slope: Tensor


def _scored(inside: Inside, states: Tensor, ends: Tensor) -> _Score:
    """Score last states [n, width] of two-hop prompts against those of their one-hop prompts."""
    with torch.no_grad():
        other = inside.anatomy.logits(ends).log_softmax(-1)
    state, logits = _read(inside, states)
    own = logits.detach().log_softmax(-1)
    p, q = own.exp(), other.exp()
    forth, back = (p * other).sum(-1), (q * own).sum(-1)
    score = (forth + back) / 2
    entropy, other_entropy = (-(p * own).sum(-1)).tolist(), (-(q * other).sum(-1)).tolist()
    same = (own.argmax(-1) == other.argmax(-1)).tolist()
    values = [
        {"score": _finite(a), "entropy": _finite(b), "other_entropy": _finite(c), "same_top": d}
        for a, b, c, d in zip(score.tolist(), entropy, other_entropy, same, strict=True)
    ]
    by_logits = (other - forth[:, None] - 1).mul_(p).add_(q).div_(2)
    # It sums to zero, and the likeliest token's is a small difference of large numbers: take it from the others'.
    top = own.argmax(-1, keepdim=True)
    by_logits.scatter_(1, top, 0.0).scatter_(1, top, -by_logits.sum(-1, keepdim=True))
    return _Score(values=values, slope=_back(state, logits, by_logits))


def _at_once(inside: Inside, rows: int) -> int:
    """Return how many rows may have logits with a graph: about four copies, so a quarter of what a pass may keep."""
    return max(1, min(-(-rows // _COPIES), inside.passes.logit_budget(rows)))


def _pulled(suffix: Suffix, block: int, slope: Tensor) -> Tensor:
    """Return the gradient by what enters a block, given that by what leaves it, both float32.

    One block's graph lives at a time. Small gradients go through it as large ones: half precision would lose them.
    """
    size = slope.abs().amax(dim=(1, 2), keepdim=True)
    size = torch.where(size > 0, 2.0 ** size.log2().floor(), 1.0)
    with torch.enable_grad():
        entered = suffix.states[block].detach().requires_grad_(True)
        left = suffix.through(block, entered)
    return torch.autograd.grad(left, entered, (slope / size).to(left.dtype))[0].float() * size


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
