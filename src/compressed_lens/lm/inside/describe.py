"""Entity description: states of one prompt put into another prompt that repeats its last word."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor

from compressed_lens.lm.inside.decoding import Ids, check, greedy, last_states, numbers
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.suffix import Entry, Suffix
from compressed_lens.lm.inspections import Describe
from compressed_lens.lm.protocol import Inspect

__all__ = ["check", "run"]


def run(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer `Describe`: the repeating prompt is run once, and every patched row is one token put behind it."""
    blocks = len(inside.anatomy.blocks)
    asked = [cast(Describe, request.by) for request in requests]
    cut = [
        inside.reader.prompt(request.prompt)[: inside.reader.place(request.prompt, by.mention) + 1]
        for request, by in zip(requests, asked, strict=True)
    ]
    states = last_states(inside, cut, batch_tokens=batch_tokens)
    sources = [numbers(by.sources, by.stride, blocks=blocks, last=blocks) for by in asked]
    targets = [numbers(by.targets, by.stride, blocks=blocks, last=blocks - 1) for by in asked]
    texts: dict[tuple[int, int, int], str] = {}
    shared: dict[tuple[Ids, int], list[int]] = defaultdict(list)
    for n, by in enumerate(asked):
        shared[inside.reader.prompt(by.identity), by.max_new_tokens].append(n)
    for (identity, limit), own in shared.items():
        # Rows that join at one block stand together, so that the blocks below it are left out for all of a batch.
        rows = sorted((t, n, s) for n in own for t in targets[n] for s in sources[n])
        put = [(t, states[n][s]) for t, n, s in rows]
        said = _described(inside, identity, put, limit=limit, batch_tokens=batch_tokens)
        texts.update(((n, s, t), text) for (t, n, s), text in zip(rows, said, strict=True))
    return [
        {
            "sources": sources[n],
            "targets": targets[n],
            "texts": [[texts[n, s, t] for t in targets[n]] for s in sources[n]],
            "states": blocks + 1,
        }
        for n in range(len(requests))
    ]


def _described(
    inside: Inside, identity: Ids, put: Sequence[tuple[int, Tensor]], *, limit: int, batch_tokens: int
) -> list[str]:
    """Return the continuation of `identity` for every (target, state put there)."""
    one = Suffix.of(inside.anatomy, inside.passes, [identity])
    found: dict[int, str] = {}

    def work(batch: Sequence[int]) -> None:
        chosen = sorted(batch, key=lambda n: put[n][0])
        entries = []
        for target, group in groupby(chosen, key=lambda n: put[n][0]):
            states = torch.stack([put[n][1] for n in group])
            entries.append(
                Entry(block=target, prompts=torch.zeros(len(states), dtype=torch.long), states=states[:, None])
            )
        said = greedy(inside, one.run(entries, keep=True), [identity] * len(chosen), limit)
        found.update(zip(chosen, said, strict=True))

    inside.each([len(identity) + limit] * len(put), work, batch_tokens)
    return [found[n] for n in range(len(put))]
