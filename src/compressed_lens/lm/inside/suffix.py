"""The one primitive: rows of one or a few tokens, run from any block upward against a cached prefix.

A change at one position moves nothing before it. So a batch of prompts is run once, keys and values of all but the last
tokens are kept, and whatever is changed among those last tokens is run again from its own block upward: all variations
of all prompts are rows of one batch, which grows as rows join at their block. The blocks are the model's own, called
with what the model itself handed them. What all prompts of the batch begin with is run once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from compressed_lens.errors import ModelError
from compressed_lens.lm.forward import Passes, Prefix
from compressed_lens.lm.inside.anatomy import Anatomy, Block
from compressed_lens.lm.inside.beginning import Begun

Part = Literal["attention", "ffn", "neurons"]
Look = Literal["attention", "ffn", "neurons", "weights"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Rows that join at one block.

    Attributes:
        block: The first block they pass; the number of blocks for states that pass none.
        prompts: Which prompt of the batch each row continues [rows].
        states: What enters that block [rows, tokens, width].
    """

    block: int
    prompts: Tensor
    states: Tensor


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A change inside a block, to every row that passes it.

    Attributes:
        part: "attention" or "ffn": what that sub-layer adds to the residual stream; "neurons": the inputs of the down
            projection.
        change: Given that tensor [rows, tokens, channels] and the number of each of its rows (as counted over the
            entries in the order given), returns it changed.
    """

    block: int
    part: Part
    change: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What came out.

    Attributes:
        states: After the last block, before the final norm [rows, tokens, width], in the order of the entries.
        trail: With `trail`, what entered every block, and what left the last [blocks + 1]; one entry only.
        prefix: With `keep`, the rows' keys and values, to go on from.
    """

    states: Tensor
    trail: tuple[Tensor, ...] = ()
    prefix: Prefix | None = None


@dataclass(kw_only=True)
class _Call:
    """What the model handed to one block."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


class _Behind:
    """Stands in for a cache during one call of one block: puts new keys and values behind the prefix's."""

    def __init__(self, keys: Tensor | None, values: Tensor | None) -> None:
        self._keys, self._values = keys, values
        self.new: tuple[Tensor, Tensor] | None = None

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return all keys and values the rows see."""
        self.new = (keys, values)
        if self._keys is None or self._values is None:
            return keys, values
        return torch.cat([self._keys, keys], dim=-2), torch.cat([self._values, values], dim=-2)


class Suffix:
    """A batch of prompts, ready to have its last tokens run again.

    Attributes:
        states: What enters every block, and what leaves the last one [blocks + 1], each [prompts, tokens, width]: the
            states of the last tokens as the model computes them, without gradients.
        attention: With "attention", what each block's attention adds [prompts, tokens, width].
        ffn: With "ffn", what each block's feed-forward part adds.
        neurons: With "neurons", the inputs of each down projection [prompts, tokens, neurons].
        weights: With "weights", attention weights [prompts, heads, tokens, padded length]; 0 on padding.
        values: With "weights", value vectors [prompts, key-value heads, padded length, head width]; a sliding window
            holds the end of the prompt only, and so do the weights.
        width: Length of the longest prompt; rows are padded on the left, or behind the beginning that all share.
        tokens: Number of last tokens.
    """

    def __init__(self, anatomy: Anatomy, passes: Passes) -> None:
        self._anatomy = anatomy
        self._passes = passes
        self.states: list[Tensor] = []
        self.attention: list[Tensor] = []
        self.ffn: list[Tensor] = []
        self.neurons: list[Tensor] = []
        self.weights: list[Tensor] = []
        self.values: list[Tensor] = []
        self.width = self.tokens = self._count = 0
        self._calls: list[_Call] = []
        self._keys: list[tuple[Tensor | None, Tensor | None]] = []
        self._own: list[tuple[Tensor, Tensor]] = []
        self._cache: Cache
        self._mask: Tensor
        self._length: Tensor

    @classmethod
    def of(
        cls,
        anatomy: Anatomy,
        passes: Passes,
        rows: Sequence[Sequence[int]],
        *,
        tokens: int = 1,
        look: Collection[Look] = (),
    ) -> Suffix:
        """Run prompts once and keep what their last `tokens` tokens need.

        Args:
            anatomy: The model's parts.
            passes: The model's forward passes.
            rows: Token ids of the prompts.
            tokens: How many of the last tokens may be run again; at most the longest row.
            look: What else to keep.
        """
        suffix = cls(anatomy, passes)
        with torch.no_grad(), anatomy.eager() if "weights" in look else nullcontext():
            # Whoever asks for weights counts places from the right.
            begun = Begun.of(passes, rows, tokens=tokens, share="weights" not in look)
            suffix._count, suffix.width = begun.mask.shape
            suffix.tokens = min(tokens, suffix.width)
            suffix._mask, suffix._length = begun.mask, begun.mask.sum(dim=1)
            suffix._run_once(begun, frozenset(look))
        return suffix

    def column(self, row: int, place: int) -> int:
        """Return where the token `place` of a prompt stands among the last tokens."""
        return place - int(self._length[row]) + self.tokens

    def run(
        self, entries: Sequence[Entry], *, edits: Sequence[Edit] = (), trail: bool = False, keep: bool = False
    ) -> Ran:
        """Run rows from their block upward; gradients flow where they are switched on and a state asks for them."""
        sizes = [len(entry.prompts) for entry in entries]
        starts = [sum(sizes[:n]) for n in range(len(sizes))]
        order = sorted(range(len(entries)), key=lambda n: entries[n].block)
        device = self.states[0].device
        joined, passed, states, path = 0, 0, self.states[0][:0], []
        numbers = prompts = torch.zeros(0, dtype=torch.long, device=device)
        new: list[tuple[Tensor, Tensor, Tensor]] = []
        for block in range(len(self._anatomy.blocks) + 1):
            while joined < len(order) and entries[order[joined]].block == block:
                entry, start = entries[order[joined]], starts[order[joined]]
                own = torch.arange(start, start + len(entry.prompts), device=device)
                numbers = torch.cat([numbers, own])
                prompts = torch.cat([prompts, entry.prompts.to(device)])
                states = torch.cat([states, entry.states.to(states.dtype)])
                joined += 1
            path.append(states)
            if block < len(self._anatomy.blocks) and len(numbers):
                states, cached = self._block(block, states, prompts, numbers, edits)
                passed += len(numbers) * self.tokens
                if keep:
                    new.append((*cached, numbers))
            elif keep and block < len(self._anatomy.blocks):
                new.append((*self._own[block], numbers))
        # A token that joins half-way up has cost half a token.
        self._passes.tokens += round(passed / len(self._anatomy.blocks))
        back = torch.argsort(numbers)
        prefix = self._prefix(prompts[back], new) if keep else None
        return Ran(states=states[back], trail=tuple(path) if trail else (), prefix=prefix)

    def through(self, block: int, states: Tensor) -> Tensor:
        """Pass what enters a block, one row for every prompt in order [prompts, tokens, width], through it alone."""
        self._passes.tokens += self._count * self.tokens if block == 0 else 0
        return self._block(block, states, None, torch.arange(self._count, device=states.device), ())[0]

    def _run_once(self, begun: Begun, look: frozenset[Look]) -> None:
        layers: Any
        blocks, split = self._anatomy.blocks, self.width - self.tokens
        begun = begun.on(self._passes, split)
        if split:
            if begun.cache is None or len(begun.cache.layers) != len(blocks):
                raise ModelError("The model keeps no keys and values that its tokens could be run against.")
            layers = begun.cache.layers
            self._keys = [(layer.keys, layer.values) for layer in layers]
        else:
            self._keys = [(None, None)] * len(blocks)
        self._calls = [_Call() for _ in blocks]
        with ExitStack() as hooks:
            for block in blocks:
                hooks.enter_context(self._watching(block, look))
            self._cache = begun.rest(self._passes, use_cache=True).past_key_values
        layers = self._cache.layers
        self._own = [(layer.keys[..., -self.tokens :, :], layer.values[..., -self.tokens :, :]) for layer in layers]
        if "weights" in look:
            for (_, before), (_, own) in zip(self._keys, self._own, strict=True):
                self.values.append(own if before is None else torch.cat([before, own], dim=-2))

    @contextmanager
    def _watching(self, block: Block, look: frozenset[Look]) -> Iterator[None]:
        last = block.index == len(self._anatomy.blocks) - 1
        call = self._calls[block.index]

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call.args, call.kwargs = (args[1:] if args else ()), dict(kwargs)
            self.states.append(args[0] if args else call.kwargs.pop("hidden_states"))

        def leave(_: nn.Module, __: Any, output: Any) -> None:
            self.states.append(_first(output))

        handles = [block.module.register_forward_pre_hook(enter, with_kwargs=True)]
        if last:
            handles.append(block.module.register_forward_hook(leave))
        if "attention" in look:
            handles.append(_keeping(block.attention_writer, self.attention))
        if "ffn" in look:
            handles.append(_keeping(block.ffn_writer, self.ffn))
        if "neurons" in look and block.down is not None:
            neurons = self.neurons
            handles.append(block.down.register_forward_pre_hook(lambda _, args: neurons.append(args[0])))
        if "weights" in look:
            weights = self.weights
            handles.append(block.attention.register_forward_hook(lambda _, __, output: weights.append(output[1])))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _block(
        self, index: int, states: Tensor, prompts: Tensor | None, numbers: Tensor, edits: Sequence[Edit]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Pass rows through one block; return what leaves it, and the rows' own keys and values.

        `prompts` tells which prompt each row continues; None: one row for each, in order.
        """
        block, call = self._anatomy.blocks[index], self._calls[index]
        behind = _Behind(*(_rows(part, prompts) for part in self._keys[index]))

        def turn(value: Any) -> Any:
            return _turned(value, behind, self._count, prompts)

        with ExitStack() as hooks:
            for edit in edits:
                if edit.block == index:
                    hooks.enter_context(_editing(block, edit, numbers))
            output = block.module(states, *map(turn, call.args), **{k: turn(v) for k, v in call.kwargs.items()})
        assert behind.new is not None
        return _first(output), behind.new

    def _prefix(self, prompts: Tensor, new: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Prefix:
        """Return the keys and values of every row, its own behind those of its prompt."""
        branch = Prefix(cache=self._cache, mask=self._mask, length=self._length).select(prompts.tolist())
        for index, (keys, values, numbers) in enumerate(new):
            parts = []
            for before, fresh, usual in zip(self._keys[index], (keys, values), self._own[index], strict=True):
                # A sliding window shorter than the suffix has kept the end of it only.
                own = usual.index_select(0, prompts)
                if len(numbers):
                    own = own.index_copy(0, numbers, fresh[..., -own.shape[-2] :, :])
                parts.append(own if before is None else torch.cat([before.index_select(0, prompts), own], dim=-2))
            layer: Any = branch.cache.layers[index]
            # A sliding window keeps the end only, and counts what it has seen.
            kept = layer.keys.shape[-2]
            layer.keys, layer.values = parts[0][..., -kept:, :], parts[1][..., -kept:, :]
        return branch


def _rows(part: Tensor | None, prompts: Tensor | None) -> Tensor | None:
    return part if part is None or prompts is None else part.index_select(0, prompts)


def _turned(value: Any, behind: _Behind, count: int, prompts: Tensor | None) -> Any:
    """Return what a block was handed for `count` prompts, for rows that continue `prompts` and stand behind `behind`.

    On its own, since a function within a method that calls itself keeps all it sees alive.
    """
    if isinstance(value, Cache):
        return behind
    if isinstance(value, Tensor) and count > 1 and value.dim() and value.shape[0] == count:
        return _rows(value, prompts)
    return tuple(_turned(part, behind, count, prompts) for part in value) if isinstance(value, tuple) else value


def _first(output: Any) -> Tensor:
    state: Tensor = output[0] if isinstance(output, tuple) else output
    return state


def _keeping(module: nn.Module, kept: list[Tensor]) -> Any:
    return module.register_forward_hook(lambda _, __, output: kept.append(_first(output)))


@contextmanager
def _editing(block: Block, edit: Edit, numbers: Tensor) -> Iterator[None]:
    def after(_: nn.Module, __: Any, output: Any) -> Any:
        changed = edit.change(_first(output), numbers)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    if edit.part == "neurons":
        if block.down is None:
            raise ModelError("A mixture of experts has no down projection whose inputs could be changed.")
        handle = block.down.register_forward_pre_hook(lambda _, args: (edit.change(args[0], numbers), *args[1:]))
    else:
        writer = block.attention_writer if edit.part == "attention" else block.ffn_writer
        handle = writer.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()
