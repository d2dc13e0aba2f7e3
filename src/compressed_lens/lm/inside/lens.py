"""Logit lens: what every state of one place would predict if it were read out at once (see `inspections.Lens`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.suffix import Suffix
from compressed_lens.lm.inspections import Lens
from compressed_lens.lm.protocol import Inspect


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A target in the read-outs of states, each tensor [states].

    Attributes:
        log_probability: Natural log-probability of the target.
        rank: 1 + number of tokens with a strictly greater logit.
        top: The likeliest token.
    """

    log_probability: Tensor
    rank: Tensor
    top: Tensor


def run(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer `Lens` requests, in order; equal prompts up to the place are run once."""
    asked = [_Asked.of(inside, request) for request in requests]
    rows = list(dict.fromkeys(one.row for one in asked))
    users: dict[tuple[int, ...], list[int]] = {row: [] for row in rows}
    for number, one in enumerate(asked):
        users[one.row].append(number)
    found: list[dict[str, Any]] = [{} for _ in requests]

    def work(batch: Sequence[int]) -> None:
        chosen = [rows[n] for n in batch]
        # Rows that must run alone must run in one piece, too.
        suffix = Suffix.of(inside.anatomy, inside.passes, chosen, tokens=max(map(len, chosen)) if inside.strict else 1)
        numbers = [number for row in chosen for number in users[row]]
        prompts = [place for place, row in enumerate(chosen) for _ in users[row]]
        columns = [suffix.column(place, asked[number].place) for place, number in zip(prompts, numbers, strict=True)]
        states = torch.stack([state[prompts, columns] for state in suffix.states], dim=1)
        for number, seen in zip(numbers, read(inside, states, [asked[n].token for n in numbers]), strict=True):
            usable = seen.log_probability.isfinite().tolist()
            found[number] = {
                "log_probability": _where(usable, seen.log_probability.tolist()),
                "rank": _where(usable, seen.rank.tolist()),
                "top": [inside.text(token) for token in seen.top.tolist()],
                "token": inside.text(asked[number].token),
                "place": asked[number].place,
            }

    inside.each([len(row) for row in rows], work, batch_tokens)
    return found


def read(inside: Inside, states: Tensor, tokens: Sequence[int]) -> list[Seen]:
    """Read states [rows, states, width] out for one target token a row; logits are held a chunk at a time."""
    rows, layers = states.shape[:2]
    flat = states.flatten(0, 1)
    targets = torch.tensor(tokens, device=states.device).repeat_interleave(layers)
    chunk = inside.passes.logit_budget(len(flat))
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    with torch.no_grad():
        for some, target in zip(torch.split(flat, chunk), torch.split(targets, chunk), strict=True):
            logits = inside.anatomy.logits(some)
            own = logits.gather(1, target[:, None])
            parts.append(((own - logits.logsumexp(1, keepdim=True))[:, 0], 1 + (logits > own).sum(1), logits.argmax(1)))
    values = [torch.cat(part).reshape(rows, layers).cpu() for part in zip(*parts, strict=True)]
    return [Seen(log_probability=a, rank=b, top=c) for a, b, c in zip(*values, strict=True)]


def _where(usable: Sequence[bool], values: Sequence[Any]) -> list[Any]:
    return [value if use else None for use, value in zip(usable, values, strict=True)]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A request in token ids: what is run, where it is looked at, and for what."""

    row: tuple[int, ...]
    place: int
    token: int

    @classmethod
    def of(cls, inside: Inside, request: Inspect) -> _Asked:
        by, reader = cast(Lens, request.by), inside.reader
        place = reader.place(request.prompt, by.mention)
        ids = reader.prompt(request.prompt)
        # Nothing behind the place is seen from it.
        row = ids if inside.strict else ids[: place + 1]
        return cls(row=row, place=place, token=reader.first(request.prompt, by.target, by.mention))
