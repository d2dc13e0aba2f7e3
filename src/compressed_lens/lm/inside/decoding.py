"""What patching methods share: which states, the states of a prompt's last token, and decoding of changed rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from compressed_lens.errors import ModelError
from compressed_lens.lm.generation import Decoder, Decoding, end_tokens
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.suffix import Ran, Suffix
from compressed_lens.lm.inspections import BackPatch, Describe, States
from compressed_lens.lm.protocol import Inspect

Ids = tuple[int, ...]


def numbers(states: States, stride: int, *, blocks: int, last: int) -> list[int]:
    """Return the states that are meant, in a model with so many blocks.

    Args:
        states: By number, "all", or "early": the lower half.
        stride: Every how many-th of "all" or "early", from 0 on.
        blocks: How many blocks the model has; it has one state more.
        last: The last state that may be meant.

    Raises:
        ModelError: One of the numbers is not among them.
    """
    if not isinstance(states, tuple):
        return list(range(0, (last if states == "all" else min(last, blocks // 2)) + 1, stride))
    for number in states:
        if not 0 <= number <= last:
            raise ModelError(
                f"There is no state {number} to be used in a model of {blocks} blocks.",
                fix=f"Give numbers from 0 to {last}.",
            )
    return list(states)


def check(inside: Inside, request: Inspect) -> None:
    """Check the states that a `Describe` or `BackPatch` names.

    Raises:
        ModelError: The model does not have one of them.
    """
    by, blocks = cast(Describe | BackPatch, request.by), len(inside.anatomy.blocks)
    numbers(by.sources, by.stride, blocks=blocks, last=blocks)
    numbers(by.targets, by.stride, blocks=blocks, last=blocks - 1)


def last_states(inside: Inside, rows: Sequence[Ids], *, batch_tokens: int) -> list[Tensor]:
    """Return all states of the last token of each row [states, width]; a row given twice is run once."""
    unique = list(dict.fromkeys(rows))
    found: dict[Ids, Tensor] = {}

    def work(batch: Sequence[int]) -> None:
        one = Suffix.of(inside.anatomy, inside.passes, [unique[n] for n in batch])
        states = torch.stack([state[:, -1] for state in one.states], dim=1)
        found.update(zip((unique[n] for n in batch), states, strict=True))

    inside.each([len(row) for row in unique], work, batch_tokens)
    return [found[row] for row in rows]


def greedy(inside: Inside, ran: Ran, rows: Sequence[Ids], limit: int) -> list[str]:
    """Return the greedy continuation of rows that were run, changed, with `keep`.

    Args:
        inside: The model.
        ran: What came out.
        rows: The ids each row stands for; it ends where the context is full.
        limit: Most new tokens.
    """
    if ran.prefix is None:
        raise ModelError("Rows can only be decoded when their keys and values were kept.")
    context = inside.passes.context
    started = [
        Decoding(prompt=row, limit=limit if context is None else min(limit, context - len(row)), stop=())
        for row in rows
    ]
    decoder = Decoder(inside.passes, inside.tokenizer, end_tokens(inside.passes.module, inside.tokenizer))
    answers = decoder.follow(started, inside.anatomy.logits(ran.states[:, -1:]), ran.prefix)
    return [answer.text for answer in answers]
