"""Value neurons by log-probability increase: the exact top ones, how many reach a score, scores of watched ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch

from compressed_lens.errors import ModelError
from compressed_lens.lm.inside.increase import ReadOut
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.search import Field, Found
from compressed_lens.lm.inside.suffix import Look, Suffix
from compressed_lens.lm.inside.writers import Attention, FeedForward
from compressed_lens.lm.inspections import Neuron, Neurons
from compressed_lens.lm.protocol import Inspect


def run(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer requests by `Neurons`, in order."""
    found: dict[int, dict[str, Any]] = {}
    settings = [request.by for request in requests]
    for attention in (False, True):
        places = [n for n, by in enumerate(settings) if isinstance(by, Neurons) and by.attention == attention]
        answers = inside.by_prompt([requests[n] for n in places], partial(_batch, inside), batch_tokens)
        found.update(zip(places, answers, strict=True))
    return [found[n] for n in range(len(requests))]


def check(inside: Inside, request: Inspect) -> None:
    """Check that the neurons watched exist.

    Raises:
        ModelError: One does not.
    """
    by: Neurons = request.by  # type: ignore[assignment]
    anatomy = inside.anatomy
    for block, neuron in by.watch:
        if not (0 <= block < len(anatomy.blocks) and 0 <= neuron < anatomy.neurons(block)):
            raise ModelError(f"The model has no feed-forward neuron {neuron} in block {block}.", fix="Count from 0.")


def _batch(inside: Inside, requests: Sequence[Inspect]) -> list[dict[str, Any]]:
    anatomy = inside.anatomy
    rows = [inside.reader.prompt(request.prompt) for request in requests]
    settings: list[Neurons] = [request.by for request in requests]  # type: ignore[misc]
    look: tuple[Look, ...] = ("attention", "neurons", "weights") if settings[0].attention else ("attention", "neurons")
    suffix = Suffix.of(anatomy, inside.passes, rows, look=look)
    last = suffix.states[-1][:, -1]
    logs = anatomy.logits(last)
    logs.sub_(logs.logsumexp(dim=-1, keepdim=True))
    likeliest = logs.argmax(dim=-1).tolist()
    targets = inside.targets(requests, likeliest)
    own_logs = [float(logs[n, target]) for n, target in enumerate(targets)]
    del logs
    read = ReadOut(anatomy, last, targets)
    answers: list[dict[str, Any]] = []
    for group in _groups(suffix, read.room, anatomy.heads):
        here, own = read.select(group), [settings[n] for n in group.tolist()]
        blocks = range(len(anatomy.blocks))
        field = Field(here, [FeedForward(anatomy, suffix, block, group) for block in blocks])
        tops = [by.top for by in own]
        parts = [_told(one) for one in field.best(tops, [by.reach for by in own])]
        watched = _watched(field, [by.watch for by in own])
        del field
        seen: list[dict[str, Any]] = [{} for _ in own]
        if settings[0].attention:
            lengths = [len(row) for row in rows]
            heads = Field(here, [Attention(anatomy, suffix, block, group, lengths) for block in blocks])
            seen = [{"attention": _told(one)} for one in heads.best(tops, [by.reach_attention for by in own])]
        for n, place in enumerate(group.tolist()):
            answers.append(
                {
                    "ffn": parts[n],
                    **seen[n],
                    "watched": watched[n],
                    "token": inside.text(targets[place]),
                    "log_probability": own_logs[place],
                    "scale": float(read.scale[place]),
                    "known": likeliest[place] == targets[place],
                }
            )
    return answers


def _groups(suffix: Suffix, room: int, heads: int) -> tuple[torch.Tensor, ...]:
    """Return prompts in groups whose states of all blocks are read out at once, and whose bounds are held at once."""
    prompts, blocks = suffix.states[0].shape[0], len(suffix.neurons)
    neurons = sum(part.shape[-1] for part in suffix.neurons)
    neurons = max([neurons, *(part.shape[-1] * part.shape[-2] * heads * blocks for part in suffix.values[:1])])
    passed = prompts * suffix.width * suffix.neurons[0].shape[-1]
    size = max(1, min(room // (2 * blocks), passed // neurons))
    return torch.split(torch.arange(prompts, device=suffix.states[0].device), size)


def _told(found: Found) -> dict[str, Any]:
    return {
        "neurons": [[*neuron, score] for neuron, score in zip(found.neurons, found.scores, strict=True)],
        "reaching": found.reaching,
        "projected": found.projected,
        "of": list(found.of),
    }


def _watched(field: Field, watch: Sequence[Sequence[Neuron]]) -> list[list[float]]:
    """Return the scores of the neurons each prompt watches, in order."""
    prompts = torch.tensor([n for n, neurons in enumerate(watch) for _ in neurons], dtype=torch.long)
    numbers = torch.tensor([field.number(*neuron) for neurons in watch for neuron in neurons], dtype=torch.long)
    scores = iter(field.exact(prompts.to(field.device), numbers.to(field.device)).tolist())
    return [list(islice(scores, len(neurons))) for neurons in watch]
