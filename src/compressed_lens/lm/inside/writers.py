"""What neurons write: vectors added to the residual stream at the last token, that add up to their sub-layer's output.

A feed-forward neuron n writes m_n W_down[:, n] (m: inputs of the down projection, after the gate). An attention neuron
(head, index in head, position) writes weight x value x its column of W_O. Where the sub-layer has a norm behind it, the
norm's scale is held at the sub-layer's own output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from compressed_lens.lm.inside.anatomy import Anatomy, Frozen, freeze
from compressed_lens.lm.inside.suffix import Suffix


class Writer(Protocol):
    """The neurons of one sub-layer, at the last token of some prompts."""

    count: int

    @property
    def state(self) -> Tensor:
        """What the sub-layer's output is added to [prompts, width]."""

    def moves(self, directions: Tensor) -> Tensor:
        """Return u @ v for every neuron's vector v and each prompt's u; minus infinity where there is no neuron."""

    def vectors(self, prompts: Tensor, neurons: Tensor) -> Tensor:
        """Return the vectors of neurons [n] of prompts [n]."""

    def name(self, neuron: int, prompt: int) -> tuple[int, ...]:
        """Return what a neuron is called after its block."""

    def present(self) -> list[int]:
        """Return the number of neurons of each prompt."""


class FeedForward:
    """The neurons of a block's feed-forward part.

    Args:
        anatomy: The model's parts.
        suffix: Prompts run with "neurons" and "attention" looked at.
        block: The block.
        prompts: Which prompts.

    Attributes:
        count: Number of neurons.
    """

    def __init__(self, anatomy: Anatomy, suffix: Suffix, block: int, prompts: Tensor) -> None:
        self._anatomy, self._block = anatomy, block
        self._values = suffix.neurons[block][prompts, -1].float()
        self._state = suffix.states[block][prompts, -1].float() + suffix.attention[block][prompts, -1].float()
        self.count = self._values.shape[1]
        self._held = feed_forward_norm(anatomy, block, self._values)

    @property
    def state(self) -> Tensor:
        """The residual stream after the block's attention."""
        return self._state

    def moves(self, directions: Tensor) -> Tensor:
        """Return u @ v for every neuron's vector v and each prompt's u."""
        if self._held is not None:
            directions = self._held.adjoint(directions)
        return (directions @ self._anatomy.down_weight(self._block)).mul_(self._values)

    def vectors(self, prompts: Tensor, neurons: Tensor) -> Tensor:
        """Return the vectors of neurons [n] of prompts [n]."""
        columns = self._anatomy.down_weight(self._block)[:, neurons].T
        found = columns * self._values[prompts, neurons][:, None]
        return found if self._held is None else self._held.linear(found, prompts)

    def name(self, neuron: int, prompt: int) -> tuple[int, ...]:
        """Return the neuron's index."""
        return (neuron,)

    def present(self) -> list[int]:
        """Return the number of neurons of each prompt."""
        return [self.count] * len(self._values)


class Attention:
    """The neurons of a block's attention: (head, index in head, position), one behind the other in that order.

    Positions that the attention does not see (padding, outside a window) have none.

    Args:
        anatomy: The model's parts.
        suffix: Prompts run with "weights" looked at.
        block: The block.
        prompts: Which prompts.
        lengths: Number of tokens of every prompt of the suffix.

    Attributes:
        count: Number of places for neurons, those without one included.
    """

    def __init__(self, anatomy: Anatomy, suffix: Suffix, block: int, prompts: Tensor, lengths: Sequence[int]) -> None:
        self._anatomy, self._block = anatomy, block
        self._values = suffix.values[block][prompts].float()
        self._weights = suffix.weights[block][prompts][:, :, -1, -self._values.shape[2] :].float()
        self._state = suffix.states[block][prompts, -1].float()
        self._group = anatomy.heads // self._values.shape[1]
        self._seen, self._size = self._values.shape[2:]
        self._start = [self._seen - lengths[n] for n in prompts.tolist()]
        self.count = anatomy.heads * self._size * self._seen
        parts = anatomy.blocks[block]
        self._held: Frozen | None = None
        if parts.attention_norm is not None:
            mixed = self._products().sum(dim=-1).flatten(1)
            self._held = freeze(parts.attention_norm, mixed @ anatomy.out_weight(block).T + _bias(parts.out))

    @property
    def state(self) -> Tensor:
        """What enters the block."""
        return self._state

    def moves(self, directions: Tensor) -> Tensor:
        """Return u @ v for every neuron's vector v and each prompt's u; minus infinity where there is no neuron."""
        if self._held is not None:
            directions = self._held.adjoint(directions)
        written = (directions @ self._anatomy.out_weight(self._block)).reshape(-1, self._anatomy.heads, self._size, 1)
        found = self._products().mul_(written)
        return found.masked_fill_((self._weights == 0)[:, :, None], -torch.inf).flatten(1)

    def vectors(self, prompts: Tensor, neurons: Tensor) -> Tensor:
        """Return the vectors of neurons [n] of prompts [n]."""
        place = neurons % self._seen
        column = neurons // self._seen
        head, index = column // self._size, column % self._size
        values = self._weights[prompts, head, place] * self._values[prompts, head // self._group, place, index]
        found = self._anatomy.out_weight(self._block)[:, column].T * values[:, None]
        return found if self._held is None else self._held.linear(found, prompts)

    def name(self, neuron: int, prompt: int) -> tuple[int, ...]:
        """Return head, index in the head, and position among the prompt's own tokens."""
        column, place = divmod(neuron, self._seen)
        return (*divmod(column, self._size), place - self._start[prompt])

    def present(self) -> list[int]:
        """Return the number of neurons of each prompt."""
        return ((self._weights != 0).sum(dim=(1, 2)) * self._size).tolist()

    def _products(self) -> Tensor:
        """Return weight times value [prompts, heads, head width, positions]."""
        values = self._values.repeat_interleave(self._group, dim=1).transpose(2, 3)
        return values * self._weights[:, :, None]


def ffn_output(anatomy: Anatomy, suffix: Suffix, block: int) -> Tensor:
    """Return what the neurons of a block add up to at the last token, bias and norm included [prompts, width]."""
    total = _written(anatomy, block, suffix.neurons[block][:, -1].float())
    norm = anatomy.blocks[block].ffn_norm
    return total if norm is None else freeze(norm, total).linear(total)


def heads_output(anatomy: Anatomy, suffix: Suffix, block: int) -> Tensor:
    """Return what each head writes at the last token, and the bias as one more row [prompts, heads + 1, width]."""
    weights = suffix.weights[block][:, :, -1].float()
    values = suffix.values[block].float()
    values = values.repeat_interleave(anatomy.heads // values.shape[1], dim=1)
    mixed = torch.einsum("bhp,bhpd->bhd", weights[..., -values.shape[2] :], values)
    matrix = anatomy.out_weight(block)
    written = torch.einsum("bhd,whd->bhw", mixed, matrix.reshape(matrix.shape[0], anatomy.heads, -1))
    last = torch.zeros_like(written[:, :1]) + _bias(anatomy.blocks[block].out)
    written = torch.cat([written, last], dim=1)
    norm = anatomy.blocks[block].attention_norm
    if norm is None:
        return written
    rows = torch.arange(len(written), device=written.device).repeat_interleave(written.shape[1])
    return freeze(norm, written.sum(dim=1)).linear(written.flatten(0, 1), rows).reshape(written.shape)


def feed_forward_norm(anatomy: Anatomy, block: int, values: Tensor) -> Frozen | None:
    """Return the norm behind a feed-forward part, held at what its neurons [rows, neurons] write; None without one."""
    parts = anatomy.blocks[block]
    if parts.ffn_norm is None:
        return None
    return freeze(parts.ffn_norm, _written(anatomy, block, values))


def _written(anatomy: Anatomy, block: int, values: Tensor) -> Tensor:
    """Return what a block's neurons [rows, neurons] write together, bias included, in front of a norm [rows, width]."""
    return values @ anatomy.down_weight(block).T + _bias(anatomy.blocks[block].down)


def _bias(layer: Any) -> Tensor | float:
    bias = getattr(layer, "bias", None)
    return 0.0 if bias is None else bias.detach().float()
