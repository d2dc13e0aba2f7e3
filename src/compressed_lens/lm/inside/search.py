"""The neurons with the highest increases, found best-first by their bounds: exact, and few are projected."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from compressed_lens.lm.inside.increase import ReadOut
from compressed_lens.lm.inside.writers import Writer

_SHARE = 8
_LEAST = 16
_PART = 4096


@dataclass(frozen=True, kw_only=True)
class Found:
    """The top neurons of one prompt.

    Attributes:
        neurons: (block, what the writer calls it) of each, best first.
        scores: Their increases, in nats.
        reaching: Number of neurons with at least the score asked for; None where none was.
        projected: How many were projected to the vocabulary.
        of: How many there are in each block.
    """

    neurons: tuple[tuple[int, ...], ...]
    scores: tuple[float, ...]
    reaching: int | None
    projected: int
    of: tuple[int, ...]


class Field:
    """All neurons of one kind of some prompts, counted through the blocks.

    Args:
        read: The prompts' read-out.
        writers: One a block.
    """

    def __init__(self, read: ReadOut, writers: Sequence[Writer]) -> None:
        self._read = read
        self._writers = writers
        self._prompts = len(read.targets)
        every = torch.arange(self._prompts, device=read.targets.device)
        # All blocks at once: matrix products of a few rows are slow.
        self._base = read.base(torch.cat([writer.state for writer in writers]), every.repeat(len(writers)))
        self._firsts = [0, *accumulate(writer.count for writer in writers)][:-1]
        self._starts = torch.tensor(self._firsts, device=read.targets.device)

    @property
    def device(self) -> torch.device:
        """Where the numbers of prompts and neurons go."""
        return self._starts.device

    def bounds(self) -> Tensor:
        """Return what no neuron's increase exceeds [prompts, neurons]; minus infinity where there is no neuron."""
        found = []
        for block, writer in enumerate(self._writers):
            states = slice(block * self._prompts, (block + 1) * self._prompts)
            moves = writer.moves(self._base.away[states])
            found.append(self._base.bound(moves, states).masked_fill_(moves == -torch.inf, -torch.inf))
        return torch.cat(found, dim=1)

    def number(self, block: int, neuron: int) -> int:
        """Return a neuron's number among all."""
        return self._firsts[block] + neuron

    def exact(self, prompts: Tensor, neurons: Tensor) -> Tensor:
        """Return the increases [n] of neurons [n], by number, of prompts [n]."""
        blocks = torch.bucketize(neurons, self._starts, right=True) - 1
        states = blocks * self._prompts + prompts
        found = torch.empty(len(neurons), device=neurons.device)
        for part in torch.split(states.argsort(stable=True), _PART):
            vectors = [self._base.away[:0]]
            runs, sizes = torch.unique_consecutive(blocks[part], return_counts=True)
            for block, own in zip(runs.tolist(), torch.split(part, sizes.tolist()), strict=True):
                vectors.append(self._writers[block].vectors(prompts[own], neurons[own] - self._starts[block]))
            found[part] = self._read.increases(self._base, torch.cat(vectors), states[part])
        return found

    def best(self, tops: Sequence[int], reach: Sequence[float | None]) -> list[Found]:
        """Return each prompt's top neurons, and how many reach a score; exact.

        Neurons are projected in the order of their bounds until no bound left exceeds the last of the top, nor
        reaches the score.

        Args:
            tops: How many, for each prompt; 0 for none.
            reach: Score to be reached, or None.
        """
        open_bounds = self.bounds()
        device, size = open_bounds.device, open_bounds.shape[1]
        longest = max(tops)
        aim = torch.tensor([torch.inf if r is None else r for r in reach], device=device)[:, None]
        last = torch.tensor(tops, device=device)[:, None] - 1
        scores = torch.full((len(tops), longest + 1), -torch.inf, device=device)
        kept = torch.zeros_like(scores, dtype=torch.long)
        reaching = torch.zeros_like(last)
        projected = torch.zeros_like(last)
        # At first the tops themselves and whatever may reach; then a few at a time, as the bar has mostly stopped.
        room = max(longest, int((open_bounds >= aim).sum(dim=1).max()))
        while room:
            bounds, numbers = open_bounds.topk(min(room, size), dim=1)
            bar = torch.where(last < 0, torch.inf, scores.gather(1, last.clamp(min=0)))
            wanted = (bounds > bar) | ((bounds >= aim) & (bounds > -torch.inf))
            if not wanted.any():
                break
            prompts = wanted.nonzero()[:, 0]
            tried = torch.full_like(bounds, -torch.inf)
            tried[wanted] = self.exact(prompts, numbers[wanted])
            open_bounds.scatter_(1, numbers, torch.where(wanted, -torch.inf, bounds))
            reaching += (tried >= aim).sum(dim=1, keepdim=True)
            projected += wanted.sum(dim=1, keepdim=True)
            scores, order = torch.cat([scores, tried], dim=1).topk(longest + 1, dim=1)
            kept = torch.cat([kept, numbers], dim=1).gather(1, order)
            room = max(longest // _SHARE, _LEAST)
        sizes = list(zip(*(writer.present() for writer in self._writers), strict=True))
        found = []
        for n, top in enumerate(tops):
            held = [score for score in scores[n, :top].tolist() if score > -math.inf]
            neurons = tuple(self._name(number, n) for number in kept[n, : len(held)].tolist())
            reached = None if reach[n] is None else int(reaching[n])
            found.append(
                Found(neurons=neurons, scores=tuple(held), reaching=reached, projected=int(projected[n]), of=sizes[n])
            )
        return found

    def _name(self, number: int, prompt: int) -> tuple[int, ...]:
        block = bisect_right(self._firsts, number) - 1
        return (block, *self._writers[block].name(number - self._firsts[block], prompt))
