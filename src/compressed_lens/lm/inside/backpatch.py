"""Back-patching: a later state of a token put back into an earlier layer, and the prompt read on from there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor

from compressed_lens.lm.inside.decoding import Ids, check, greedy, last_states, numbers
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.suffix import Entry, Suffix
from compressed_lens.lm.inspections import BackPatch
from compressed_lens.lm.protocol import Inspect

__all__ = ["check", "run"]


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A prompt whose state `target` at the place is replaced."""

    prompt: Ids
    target: int
    state: Tensor


def run(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer `BackPatch`: tokens before the place are run once; each pair of states is a row of those from it on."""
    blocks = len(inside.anatomy.blocks)
    asked = [cast(BackPatch, request.by) for request in requests]
    prompts = [inside.reader.prompt(request.prompt) for request in requests]
    places = [inside.reader.place(request.prompt, by.mention) for request, by in zip(requests, asked, strict=True)]
    givers = [
        prompts[n][: places[n] + 1]
        if by.donor is None
        else inside.reader.prompt(by.donor)[: inside.reader.place(by.donor, by.donor_mention) + 1]
        for n, by in enumerate(asked)
    ]
    states = last_states(inside, givers, batch_tokens=batch_tokens)
    pairs = [
        [
            (source, target)
            for source in numbers(by.sources, by.stride, blocks=blocks, last=blocks)
            for target in numbers(by.targets, by.stride, blocks=blocks, last=blocks - 1)
            if source > target
        ]
        for by in asked
    ]
    texts: dict[tuple[int, int, int], str] = {}
    # Rows of one batch have the same number of tokens behind the place, so that none is run for nothing.
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for n, by in enumerate(asked):
        alike[len(prompts[n]) - places[n], by.max_new_tokens].append(n)
    for (tokens, limit), own in alike.items():
        rows = [(n, s, t) for n in own for s, t in pairs[n]]
        put = [_Row(prompt=prompts[n], target=t, state=states[n][s]) for n, s, t in rows]
        said = _read_on(inside, put, tokens=tokens, limit=limit, batch_tokens=batch_tokens)
        texts.update(zip(rows, said, strict=True))
    return [
        {
            "pairs": [list(pair) for pair in pairs[n]],
            "texts": [texts[n, s, t] for s, t in pairs[n]],
            "states": blocks + 1,
        }
        for n in range(len(requests))
    ]


def _read_on(inside: Inside, put: Sequence[_Row], *, tokens: int, limit: int, batch_tokens: int) -> list[str]:
    """Return the continuation of every row; the place is `tokens` before the end in all of them."""
    found: dict[int, str] = {}

    def work(batch: Sequence[int]) -> None:
        chosen = sorted(batch, key=lambda n: put[n].target)
        column = {prompt: n for n, prompt in enumerate(dict.fromkeys(put[n].prompt for n in chosen))}
        one = Suffix.of(inside.anatomy, inside.passes, list(column), tokens=tokens)
        entries = []
        for target, members in groupby(chosen, key=lambda n: put[n].target):
            rows = [put[n] for n in members]
            where = torch.tensor([column[row.prompt] for row in rows], device=inside.passes.device)
            states = one.states[target][where].clone()
            states[:, 0] = torch.stack([row.state for row in rows])
            entries.append(Entry(block=target, prompts=where, states=states))
        said = greedy(inside, one.run(entries, keep=True), [put[n].prompt for n in chosen], limit)
        found.update(zip(chosen, said, strict=True))

    inside.each([len(row.prompt) + limit for row in put], work, batch_tokens)
    return [found[n] for n in range(len(put))]
