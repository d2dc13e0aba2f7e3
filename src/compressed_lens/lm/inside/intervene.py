"""Sets of feed-forward neurons scaled at the last token, in all their blocks at once; every set is one row."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compressed_lens.errors import ModelError
from compressed_lens.lm.inside.anatomy import Anatomy
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.suffix import Edit, Entry, Suffix
from compressed_lens.lm.inspections import Intervene, Neuron
from compressed_lens.lm.protocol import Inspect


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A set of neurons to be scaled, after a prompt.

    Attributes:
        prompt: Which prompt of the batch.
        target: Token whose log-probability is read.
        neurons: The set.
        factor: What they are multiplied by.
    """

    prompt: int
    target: int
    neurons: Collection[Neuron] = ()
    factor: float = 1.0


def run(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer `Intervene`.

    Raises:
        ModelError: The model is a mixture of experts, has no such neuron, or too few of them for random sets.
    """
    anatomy, reader = inside.anatomy, inside.reader
    asked: list[Intervene] = [request.by for request in requests]  # type: ignore[misc]
    prompts = [reader.prompt(request.prompt) for request in requests]
    targets = [reader.first(request.prompt, by.target) for request, by in zip(requests, asked, strict=True)]
    sizes = [anatomy.neurons(block.index) for block in anatomy.blocks]
    drawn = [random_sets(by.sets, sizes, draws=by.draws, seed=by.seed) for by in asked]
    found: dict[int, dict[str, Any]] = {}

    def work(batch: Sequence[int]) -> None:
        suffix = Suffix.of(anatomy, inside.passes, [prompts[n] for n in batch])
        rows = [
            _Row(prompt=place, target=targets[n], neurons=neurons, factor=asked[n].factor)
            for place, n in enumerate(batch)
            for neurons in ((), *asked[n].sets, *(one for draws in drawn[n] for one in draws))
        ]
        room = min(batch_tokens // suffix.width, inside.passes.logit_budget(batch_tokens))
        size = 1 if inside.strict else max(1, room)
        read = iter([one for start in range(0, len(rows), size) for one in _read(anatomy, suffix, rows[start:][:size])])
        for n in batch:
            before, top = next(read)
            given = [next(read) for _ in asked[n].sets]
            random_ones = [[next(read) for _ in range(asked[n].draws)] for _ in asked[n].sets]
            found[n] = {
                "before": before,
                "log_probability": [value for value, _ in given],
                "kept": [token == top for _, token in given],
                "random": [[value for value, _ in draws] for draws in random_ones],
                "random_kept": [[token == top for _, token in draws] for draws in random_ones],
                "sizes": sizes,
                "token": inside.text(targets[n]),
            }

    inside.each([len(prompt) for prompt in prompts], work, batch_tokens)
    return [found[n] for n in range(len(requests))]


def check(inside: Inside, request: Inspect) -> None:
    """Check that the neurons of an `Intervene` exist and leave enough others for its random sets.

    Raises:
        ModelError: They do not.
    """
    by: Intervene = request.by  # type: ignore[assignment]
    sizes = [inside.anatomy.neurons(block.index) for block in inside.anatomy.blocks]
    random_sets(by.sets, sizes, draws=min(by.draws, 1), seed=by.seed)


def random_sets(
    sets: Sequence[Collection[Neuron]], sizes: Sequence[int], *, draws: int, seed: int
) -> list[list[tuple[Neuron, ...]]]:
    """Return `draws` random sets for each of `sets`, with as many neurons in each block and none of `sets`.

    Args:
        sets: Sets of (block, index).
        sizes: Number of neurons of every block.
        draws: How many for each set.
        seed: The draw of a block depends on it, on the number of the draw and on the block's neurons alone.

    Raises:
        ModelError: A neuron does not exist, or too few are left to draw from.
    """
    used = {neuron for neurons in sets for neuron in neurons}
    for block, index in used:
        if not (0 <= block < len(sizes) and 0 <= index < sizes[block]):
            raise ModelError(
                f"There is no neuron {index} in block {block}.",
                fix="Neurons found in one model can only be looked up in models of the same shape.",
            )
    found: list[list[tuple[Neuron, ...]]] = []
    for neurons in sets:
        counts = Counter(block for block, _ in set(neurons))
        found.append([])
        for draw in range(draws):
            chosen: list[Neuron] = []
            for block, count in sorted(counts.items()):
                free = [index for index in range(sizes[block]) if (block, index) not in used]
                if len(free) < count:
                    raise ModelError(
                        f"Block {block} has {len(free)} other neurons, too few for a random set of {count}.",
                        fix="Flag fewer neurons.",
                    )
                picked = random.Random(f"{seed} {draw} {block}").sample(free, count)
                chosen += [(block, index) for index in sorted(picked)]
            found[-1].append(tuple(chosen))
    return found


def _read(anatomy: Anatomy, suffix: Suffix, rows: Sequence[_Row]) -> list[tuple[float, int]]:
    """Return the target's log-probability and the likeliest token of every row."""
    device = suffix.states[0].device
    last = len(anatomy.blocks)
    lowest = [min((block for block, _ in row.neurons), default=last) for row in rows]
    order = sorted(range(len(rows)), key=lambda n: lowest[n])
    entries: list[Entry] = []
    scaled: list[list[tuple[int, int, float]]] = [[] for _ in range(last)]
    for block in range(last + 1):
        prompts = torch.tensor([rows[n].prompt for n in order if lowest[n] == block], device=device)
        if len(prompts):
            entries.append(Entry(block=block, prompts=prompts, states=suffix.states[block][prompts]))
    for number, n in enumerate(order):
        for block, index in set(rows[n].neurons):
            scaled[block].append((number, index, rows[n].factor))
    edits = [Edit(block=block, part="neurons", change=_Scaling(own)) for block, own in enumerate(scaled) if own]
    with torch.no_grad():
        logits = anatomy.logits(suffix.run(entries, edits=edits).states[:, -1])
        targets = torch.tensor([rows[n].target for n in order], device=device)
        values = logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(dim=-1)
        read = dict(zip(order, zip(values.tolist(), logits.argmax(dim=-1).tolist(), strict=True), strict=True))
    return [read[n] for n in range(len(rows))]


class _Scaling:
    """Multiplies neurons of some rows: (number of the row, index of the neuron, factor)."""

    def __init__(self, scaled: Sequence[tuple[int, int, float]]) -> None:
        self._scaled = scaled

    def __call__(self, inputs: Tensor, numbers: Tensor) -> Tensor:
        """Return the inputs of a down projection [rows, tokens, neurons] with the last token's neurons scaled."""
        places = {number: place for place, number in enumerate(numbers.tolist())}
        factors = torch.ones_like(inputs[:, -1])
        rows = torch.tensor([places[number] for number, _, _ in self._scaled], device=inputs.device)
        neurons = torch.tensor([index for _, index, _ in self._scaled], device=inputs.device)
        values = torch.tensor([factor for _, _, factor in self._scaled], device=inputs.device)
        factors[rows, neurons] = values.to(factors.dtype)
        return torch.cat([inputs[:, :-1], (inputs[:, -1] * factors)[:, None]], dim=1)
