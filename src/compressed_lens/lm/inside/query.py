"""Query neurons: what, at the positions they read, activates the top attention value neurons."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from compressed_lens.errors import ModelError
from compressed_lens.lm.inside.anatomy import Anatomy, freeze
from compressed_lens.lm.inside.increase import ReadOut
from compressed_lens.lm.inside.inside import Inside
from compressed_lens.lm.inside.search import Field, Found
from compressed_lens.lm.inside.suffix import Suffix
from compressed_lens.lm.inside.writers import Attention, feed_forward_norm
from compressed_lens.lm.inspections import QueryNeurons
from compressed_lens.lm.protocol import Inspect

_CLOSE = 2e-2


def run(inside: Inside, requests: Sequence[Inspect], *, batch_tokens: int) -> list[dict[str, Any]]:
    """Answer requests by `QueryNeurons`, in order."""
    # The neurons of every block are kept at every position here, not of one at a time.
    room = max(1, batch_tokens // len(inside.anatomy.blocks))
    return inside.by_prompt(requests, partial(_batch, inside), room)


def check(inside: Inside, request: Inspect) -> None:
    """Check, by the first request a model gets, that its values are what a known projection reads.

    Raises:
        ModelError: They are not.
    """
    if __name__ not in inside.proven:
        try:
            _batch(inside, [request])
        except ModelError as error:
            inside.proven[__name__] = error
        else:
            inside.proven[__name__] = None
    if reason := inside.proven[__name__]:
        raise reason


def _batch(inside: Inside, requests: Sequence[Inspect]) -> list[dict[str, Any]]:
    anatomy = inside.anatomy
    rows = [inside.reader.prompt(request.prompt) for request in requests]
    settings: list[QueryNeurons] = [request.by for request in requests]  # type: ignore[misc]
    one = Suffix.of(anatomy, inside.passes, rows, look=("attention", "weights"))
    last = one.states[-1][:, -1]
    likeliest = anatomy.logits(last).argmax(dim=-1).tolist()
    targets = inside.targets(requests, likeliest)
    every = torch.arange(len(rows), device=last.device)
    lengths = [len(row) for row in rows]
    writers = [Attention(anatomy, one, block, every, lengths) for block in range(len(anatomy.blocks))]
    field = Field(ReadOut(anatomy, last, targets), writers)
    tops = field.best([by.values for by in settings], [None] * len(rows))
    del field, writers
    whole = Suffix.of(anatomy, inside.passes, rows, tokens=max(lengths), look=("attention", "ffn", "neurons"))
    keys = _Keys(anatomy, whole, one.values, tops)
    parts, neurons = keys.parts(), keys.neurons()
    answers = []
    for n, by in enumerate(settings):
        flat = neurons[n].flatten()
        scores, numbers = flat.topk(min(by.top, len(flat)))
        size = neurons.shape[2]
        best = zip(numbers.tolist(), scores.tolist(), strict=True)
        answers.append(
            {
                "embedding": float(parts[n, 0, 0]),
                "attention": parts[n, 1:, 0].tolist(),
                "ffn": parts[n, 1:, 1].tolist(),
                "neurons": [[*divmod(number, size), score] for number, score in best if score > 0],
                "of": [size] * neurons.shape[1],
                "total": sum(tops[n].scores) if tops[n].scores else None,
                "token": inside.text(targets[n]),
                "known": likeliest[n] == targets[n],
            }
        )
    return answers


class _Keys:
    """The directions by which value neurons read the residual stream, each with its share of the increase."""

    def __init__(self, anatomy: Anatomy, whole: Suffix, values: Sequence[Tensor], tops: Sequence[Found]) -> None:
        self._anatomy, self._whole = anatomy, whole
        device = whole.states[0].device
        told = [
            (n, *neuron, score)
            for n, top in enumerate(tops)
            for neuron, score in zip(top.neurons, top.scores, strict=True)
        ]
        names = torch.tensor([one[:5] for one in told], dtype=torch.long, device=device).reshape(-1, 5)
        self._prompts, self._blocks, self._heads, self._channels, places = names.unbind(dim=1)
        columns = [whole.column(prompt, place) for prompt, *_, place in names.tolist()]
        self._places = torch.tensor(columns, dtype=torch.long, device=device)
        self._count = len(tops)
        self._keys = torch.zeros(len(told), anatomy.width, device=device)
        read = torch.zeros(len(told), device=device)
        for block in range(len(anatomy.blocks)):
            own = (self._blocks == block).nonzero()[:, 0]
            if len(own):
                self._keys[own] = self._directions(block, own, values[block])
                read[own] = (self._at(whole.states[block], own) * self._keys[own]).sum(dim=1)
        scores = torch.tensor([one[-1] for one in told], device=device)
        # A neuron that reads nothing of its state has nothing to share out.
        self._shares = torch.where(read == 0, 0.0, scores / read)

    def parts(self) -> Tensor:
        """Return what the embedding (first), and each block's attention and FFN, give [prompts, 1 + blocks, 2]."""
        blocks = len(self._anatomy.blocks)
        found = torch.zeros(self._count, 1 + blocks, 2, device=self._keys.device)
        every = torch.arange(len(self._keys), device=self._keys.device)
        self._add(found[:, 0, 0], every, self._at(self._whole.states[0], every))
        for block in range(blocks):
            later = (self._blocks > block).nonzero()[:, 0]
            self._add(found[:, 1 + block, 0], later, self._at(self._whole.attention[block], later))
            self._add(found[:, 1 + block, 1], later, self._at(self._whole.ffn[block], later))
        return found

    def neurons(self) -> Tensor:
        """Return what each feed-forward neuron gives [prompts, blocks, neurons]."""
        found = []
        for block in range(len(self._anatomy.blocks)):
            later = (self._blocks > block).nonzero()[:, 0]
            values = self._at(self._whole.neurons[block], later)
            keys = self._keys[later]
            held = feed_forward_norm(self._anatomy, block, values)
            if held is not None:
                keys = held.adjoint(keys)
            given = (keys @ self._anatomy.down_weight(block)).mul_(values).mul_(self._shares[later, None])
            total = torch.zeros(self._count, given.shape[1], device=given.device)
            found.append(total.index_add_(0, self._prompts[later], given))
        return torch.stack(found, dim=1)

    def _directions(self, block: int, own: Tensor, values: Tensor) -> Tensor:
        """Return the directions by which channels of a block's values read its states, the norm's scale held."""
        norm, rows, bias = self._anatomy.value_reader(block)
        heads, seen, size = values.shape[1:]
        head = self._heads[own] // (self._anatomy.heads // heads)
        numbers = head * size + self._channels[own]
        states = self._at(self._whole.states[block], own)
        held = freeze(norm, states)
        read = (rows[numbers] * (held.linear(states) + held.bias)).sum(dim=1)
        read = read if bias is None else read + bias[numbers]
        behind = self._whole.width - seen
        there = values[self._prompts[own], head, self._places[own] - behind, self._channels[own]].float()
        if (read - there).abs().max() > _CLOSE * there.abs().max():
            raise ModelError(
                f"The values of block {block} are not what their projection reads off the residual stream.",
                fix="Leave out query neurons for this model.",
            )
        return held.adjoint(rows[numbers])

    def _at(self, states: Tensor, keys: Tensor) -> Tensor:
        """Return what stands where some keys read."""
        return states[self._prompts[keys], self._places[keys]].float()

    def _add(self, total: Tensor, keys: Tensor, vectors: Tensor) -> None:
        given = (vectors * self._keys[keys]).sum(dim=1) * self._shares[keys]
        total.index_add_(0, self._prompts[keys], given)
