"""What prompts of one batch have in common at their start: a template, a system prompt, few-shot examples, run once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from compressed_lens.errors import ModelError
from compressed_lens.lm.forward import Passes, positions_of
from compressed_lens.lm.inside.anatomy import Anatomy

Ids = tuple[int, ...]

# A pass of its own must save something: this many tokens of each row, or this share of the longest.
_LEAST, _SHARE = 8, 0.25
# Beginnings are given up for a fuller batch while that costs no more tokens than this: a pass costs something, too.
_CHEAP = 256
_WINDOWS = ("sliding_window", "attention_chunk_size", "attention_window_size", "local_attention", "window_size")
# Places in a window for what is decoded behind the prompts.
_ROOM = 256


@dataclass(frozen=True, kw_only=True)
class Begun:
    """Rows whose first tokens were run; those that all have in common once for all.

    Padding stands between common tokens and the rest of a row, so that rows end together.

    Attributes:
        ids: What is left to run [rows, width - done].
        mask: 1 where a token stands, 0 for padding [rows, width].
        positions: Positions of what is left to run [rows, width - done].
        done: Number of places that were run.
        cache: Their keys and values for every row, those of common tokens stored once until something is put behind
            them; None where nothing was run.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor
    done: int
    cache: Cache | None

    @classmethod
    def of(cls, passes: Passes, rows: Sequence[Sequence[int]], *, tokens: int = 1, share: bool = True) -> Begun:
        """Run what rows have in common at the start where that saves something; the last `tokens` of each are left.

        Raises:
            ModelError: The model keeps no keys and values that the rest could be run against.
        """
        shared = _worth(passes, rows, tokens) if share else 0
        ids, behind = passes.left_padded([row[shared:] for row in rows])
        if not shared:
            return cls(ids=ids, mask=behind, positions=positions_of(behind), done=0, cache=None)
        count = len(rows)
        start = torch.tensor([list(rows[0][:shared])], device=passes.device)
        ones = torch.ones_like(start)
        passes.tokens += shared
        with torch.no_grad():
            output = passes.call(input_ids=start, mask=ones, positions=positions_of(ones), keep=1, use_cache=True)
        cache = _kept(output)
        layers: Any = cache.layers
        for layer in layers:
            layer.keys = layer.keys.expand(count, -1, -1, -1)
            layer.values = layer.values.expand(count, -1, -1, -1)
        mask = torch.cat([ones.expand(count, -1), behind], dim=1)
        return cls(ids=ids, mask=mask, positions=positions_of(mask)[:, shared:], done=shared, cache=cache)

    def on(self, passes: Passes, done: int) -> Begun:
        """Run the rows up to a place they have not passed; return what is left.

        Raises:
            ModelError: As above.
        """
        more = done - self.done
        if not more:
            return self
        with torch.no_grad():
            output = passes.call(
                input_ids=self.ids[:, :more],
                mask=self.mask[:, :done],
                positions=self.positions[:, :more],
                keep=1,
                use_cache=True,
                **self._behind,
            )
        left = {"ids": self.ids[:, more:], "positions": self.positions[:, more:]}
        return replace(self, done=done, cache=_kept(output), **left)

    def rest(self, passes: Passes, *, use_cache: bool) -> Any:
        """Run all that is left; return the model's output. The cache is used up."""
        options = {**self._behind, "use_cache": use_cache or self.cache is not None}
        return passes.call(input_ids=self.ids, mask=self.mask, positions=self.positions, keep=1, **options)

    @property
    def _behind(self) -> dict[str, Any]:
        return {} if self.cache is None else {"past_key_values": self.cache}


def final_states(anatomy: Anatomy, passes: Passes, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return what leaves the last block at the last token of each row [rows, width]."""
    begun = Begun.of(passes, rows)
    found: list[Tensor] = []

    def leave(_: Any, __: Any, output: Any) -> None:
        found.append((output[0] if isinstance(output, tuple) else output)[:, -1].clone())

    handle = anatomy.blocks[-1].module.register_forward_hook(leave)
    try:
        with torch.no_grad():
            begun.rest(passes, use_cache=False)
    finally:
        handle.remove()
    return found[0]


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two rows have in common at their start."""
    least = min(len(one), len(other))
    return next((n for n in range(least) if one[n] != other[n]), least)


def pack_alike(rows: Sequence[Sequence[int]], budget: int) -> list[list[int]]:
    """Return the numbers of rows in batches of at most `budget` tokens, padding included, that begin alike.

    A batch holds one row at least. It ends early where its beginnings would be lost to a row that begins differently.
    """
    batches: list[list[int]] = []
    shared = longest = 0
    for number in sorted(range(len(rows)), key=lambda n: tuple(rows[n])):
        row = rows[number]
        if batches:
            batch = batches[-1]
            still = min(shared, common(rows[batch[0]], row))
            wide = max(longest, len(row))
            if wide * (len(batch) + 1) <= budget and (len(batch) - 1) * (shared - still) <= _CHEAP:
                batch.append(number)
                shared, longest = still, wide
                continue
        batches.append([number])
        shared = longest = len(row)
    return batches


def _kept(output: Any) -> Cache:
    cache = getattr(output, "past_key_values", None)
    if not isinstance(cache, Cache):
        raise ModelError("The model keeps no keys and values that its tokens could be run against.")
    return cache


def _worth(passes: Passes, rows: Sequence[Sequence[int]], tokens: int) -> int:
    """Return how many tokens at the start of all rows are to be run once."""
    longest = max(map(len, rows))
    shared = min(*(common(rows[0], row) for row in rows), min(map(len, rows)) - tokens)
    if not rows[1:] or shared < min(_LEAST, _SHARE * longest) or not passes.takes_positions:
        return 0
    # With padding in the middle, the distance of two places is not that of their positions, which windows measure.
    config = passes.module.config.get_text_config()
    windows = [size for name in _WINDOWS if (size := getattr(config, name, None))]
    return shared if all(longest + _ROOM <= size for size in windows) else 0
