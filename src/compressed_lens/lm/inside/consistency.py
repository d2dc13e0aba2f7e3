"""Consistency of a two-hop prompt with its one-hop prompt, and its gradient along EntRec.

The score is differentiated once, by every state at the mention's last token: where a direction is added with factor
alpha, the derivative by alpha at 0 is the product of that gradient and the direction. The direction, the gradient of
EntRec by the same state, needs the final norm and the unembedding only. So there is no second-order graph, and what
stands in front of the mention's last token has no graph at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from compressed_lens.lm.inside.anatomy import Anatomy
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.suffix import Entry, Suffix
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


def recall_gradient(anatomy: Anatomy, states: Tensor, tokens: Tensor, *, at_once: int) -> Tensor:
    """Return the gradient, by each state [n, width], of the log-probability of its token when it is read out."""
    parts = []
    for some, token in zip(torch.split(states, at_once), torch.split(tokens, at_once), strict=True):
        with torch.enable_grad():
            state = some.detach().requires_grad_(True)
            recall = anatomy.logits(state).log_softmax(-1).gather(1, token[:, None]).sum()
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
    width = max(map(len, rows))
    # Rows that must run alone must run in one piece, too.
    behind = width if inside.strict else max(len(one.row) - one.place for one in asked)
    suffix = Suffix.of(inside.anatomy, inside.passes, rows, tokens=behind)
    others = {row: place for place, row in enumerate(dict.fromkeys(one.other for one in asked))}
    wanted = inside.passes.read(list(others), keep=1)[:, -1].log_softmax(-1)
    # A graph keeps the activations of every block: no more of them at once than the pass itself had tokens.
    at_once = max(1, len(rows) * width // (suffix.tokens * len(inside.anatomy.blocks)))
    found: list[dict[str, Any]] = []
    for start in range(0, len(asked), at_once):
        some = asked[start : start + at_once]
        other = wanted[[others[one.other] for one in some]]
        found += _rows(inside, suffix, range(start, start + len(some)), some, other)
    return found


def _rows(
    inside: Inside, suffix: Suffix, numbers: range, asked: Sequence[_Asked], other: Tensor
) -> list[dict[str, Any]]:
    """Return the answers for some prompts of a batch, given the log-probabilities after their one-hop prompts."""
    entry = Entry(
        block=0,
        prompts=torch.tensor(numbers, device=other.device),
        states=suffix.states[0][numbers.start : numbers.stop].clone().requires_grad_(True),
    )
    with torch.enable_grad():
        ran = suffix.run([entry], trail=True)
        own = inside.anatomy.logits(ran.trail[-1][:, -1]).log_softmax(-1)
        score = ((own.exp() * other).sum(-1) + (other.exp() * own).sum(-1)) / 2
    slopes = torch.autograd.grad(score.sum(), ran.trail)
    own, scores = own.detach(), score.tolist()

    index = torch.arange(len(asked), device=other.device)
    columns = torch.tensor(
        [suffix.column(number, one.place) for number, one in zip(numbers, asked, strict=True)], device=other.device
    )
    states = torch.stack([state[index, columns].detach() for state in ran.trail], dim=1)
    slope = torch.stack([part[index, columns] for part in slopes], dim=1)
    tokens = torch.tensor([one.token for one in asked], device=other.device).repeat_interleave(states.shape[1])
    direction = recall_gradient(inside.anatomy, states.flatten(0, 1), tokens, at_once=len(asked)).reshape(states.shape)
    gradient = (slope.float() * direction.float()).sum(-1).tolist()

    entropy, other_entropy = ((-one.exp() * one).sum(-1).tolist() for one in (own, other))
    same = (own.argmax(-1) == other.argmax(-1)).tolist()
    return [
        {
            "score": _finite(scores[n]),
            "entropy": _finite(entropy[n]),
            "other_entropy": _finite(other_entropy[n]),
            # Nothing reads the last state anywhere but at the end.
            "gradient": [*map(_finite, inner), _finite(last) if one.place == len(one.row) - 1 else None],
            "same_top": same[n],
        }
        for n, (one, (*inner, last)) in enumerate(zip(asked, gradient, strict=True))
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
