"""Forward passes of a causal model over rows of unequal length, and the key-value prefix they leave behind."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.cache_utils import Cache

BatchRule = Literal["batched", "strict"]
_LOGIT_ELEMENTS = 1 << 27
_LEAK = 0.02


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """What a pass leaves behind for the tokens that follow.

    Attributes:
        cache: Keys and values.
        mask: 1 where a cached position holds a token, 0 where it is padding [rows, width].
        length: Number of tokens of every row, which is the position of the next one [rows].
    """

    cache: Cache
    mask: Tensor
    length: Tensor

    def select(self, rows: Sequence[int]) -> Prefix:
        """Return a prefix with the given rows, in that order, possibly repeated; this one stays usable."""
        index = torch.tensor(rows, device=self.mask.device)
        branch = copy.copy(self.cache)
        branch.layers = [_shallow(layer) for layer in self.cache.layers]
        branch.reorder_cache(index)  # type: ignore[arg-type]
        return Prefix(cache=branch, mask=self.mask[index], length=self.length[index])


class Passes:
    """Forward passes of one module.

    Attributes:
        module: A causal language model of transformers, in evaluation mode.
        device: Where its input ids go.
        tokens: Number of real (not padding) tokens it has been run on so far.
        trees: Whether it computes the same in a tree as row by row; None until `tree.takes_trees` has found out.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.device: torch.device = self.module.get_input_embeddings().weight.device
        self.tokens = 0
        self.trees: bool | None = None
        accepted = inspect.signature(self.module.forward).parameters
        self._accepts = frozenset(accepted)
        config = self.module.config.get_text_config()
        self.vocabulary: int = config.vocab_size
        limit = getattr(config, "max_position_embeddings", None)
        self.context: int | None = int(limit) if limit else None

    @property
    def takes_positions(self) -> bool:
        """Whether the position of a token can be told, rather than follow from the mask."""
        return "position_ids" in self._accepts

    def start(self, rows: Sequence[Sequence[int]], *, keep: int = 1) -> tuple[Tensor, Prefix | None]:
        """Run rows from their first token, padded on the left.

        Returns:
            Logits of the last `keep` positions [rows, keep, vocabulary] in float32, and the prefix (None when the
            model has no key-value cache that can be branched).
        """
        ids, mask = self.left_padded(rows)
        length = mask.sum(dim=1)
        with torch.no_grad():
            output = self.call(input_ids=ids, mask=mask, positions=positions_of(mask), keep=keep, use_cache=True)
        cache = getattr(output, "past_key_values", None)
        prefix = Prefix(cache=cache, mask=mask, length=length) if isinstance(cache, Cache) else None
        return output.logits[:, -keep:].float(), prefix

    def read(self, rows: Sequence[Sequence[int]], *, keep: int) -> Tensor:
        """Run rows from their first token and leave nothing behind.

        Returns:
            Logits of the last `keep` positions [rows, keep, vocabulary] in float32.
        """
        ids, mask = self.left_padded(rows)
        with torch.no_grad():
            output = self.call(input_ids=ids, mask=mask, positions=positions_of(mask), keep=keep, use_cache=False)
        logits: Tensor = output.logits[:, -keep:].float()
        return logits

    def extend(self, prefix: Prefix, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Prefix]:
        """Run rows that follow `prefix`, padded on the right; the prefix's cache is used up.

        Returns:
            Logits of every new position [rows, longest, vocabulary] in float32 (those of padding mean nothing), and
            the prefix that now ends with these rows.
        """
        width = max(len(row) for row in rows)
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=self.device)
        counts = torch.tensor([len(row) for row in rows], device=self.device)
        new = (torch.arange(width, device=self.device) < counts[:, None]).long()
        # Padding gets position 0: beyond the last token it could leave a learned position table.
        positions = (prefix.length[:, None] + torch.arange(width, device=self.device)) * new
        mask = torch.cat([prefix.mask, new], dim=1)
        self.tokens += int(counts.sum())
        with torch.no_grad():
            output = self.call(
                input_ids=ids, mask=mask, positions=positions, keep=width, use_cache=True, past_key_values=prefix.cache
            )
        after = Prefix(cache=output.past_key_values, mask=mask, length=prefix.length + counts)
        return output.logits[:, -width:].float(), after

    def call(self, *, mask: Tensor, positions: Tensor, keep: int, **kwargs: Any) -> Any:
        """Call the module with an explicit mask and positions, leaving out what its architecture does not take."""
        if "position_ids" in self._accepts:
            kwargs["position_ids"] = positions
        if "logits_to_keep" in self._accepts:
            kwargs["logits_to_keep"] = keep
        return self.module(attention_mask=mask, **kwargs)

    def left_padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return ids and mask [rows, longest], padded on the left; the rows' tokens are counted."""
        width = max(len(row) for row in rows)
        ids = torch.tensor([[*[0] * (width - len(row)), *row] for row in rows], device=self.device)
        counts = torch.tensor([len(row) for row in rows], device=self.device)
        mask = (torch.arange(width, device=self.device) >= (width - counts)[:, None]).long()
        self.tokens += int(counts.sum())
        return ids, mask

    def logit_budget(self, batch_tokens: int) -> int:
        """Return how many positions a pass may keep logits of."""
        return logit_budget(self.vocabulary, batch_tokens)


def logit_budget(vocabulary: int, batch_tokens: int) -> int:
    """Return how many positions a pass may keep logits of, so that they stay within half a gigabyte."""
    return max(1, min(batch_tokens, _LOGIT_ELEMENTS // vocabulary))


def positions_of(mask: Tensor) -> Tensor:
    """Return the position of every token of left-padded rows; padding gets 0."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def batch_rule(passes: Passes) -> BatchRule:
    """Return "strict" for models whose rows depend on their batch mates or on padding, else "batched".

    LLM.int8() takes the union of the outlier columns of every token of a call, padding included, and a dynamic
    per-tensor activation scale is taken over all of them. Some recurrent architectures let padding into their state.
    Such models are run one row at a time, without padding and without reuse of a prefix. (`lm.load` replaces
    LLM.int8() on a CPU by a layer without that dependence.)
    """
    for layer in passes.module.modules():
        if type(layer).__name__ == "Linear8bitLt":
            return "strict"
        scheme = getattr(layer, "quantization_scheme", None)
        activations = getattr(scheme, "input_activations", None)
        if activations is not None and activations.dynamic and activations.strategy == "tensor":
            return "strict"
    return "strict" if getattr(passes.module, "_is_stateful", False) and _padding_leaks(passes) else "batched"


def _padding_leaks(passes: Passes) -> bool:
    """Return whether a short row's logits change, far beyond rounding, when a longer row pads it."""
    short, long = [1, 2, 3], [n % passes.vocabulary for n in range(12)]
    alone, _ = passes.start([short])
    padded, _ = passes.start([short, long])
    return bool((alone[0] - padded[0]).abs().max() > _LEAK * alone.std())


def _shallow(layer: Any) -> Any:
    twin = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, dict | list):
            setattr(twin, name, copy.copy(value))
    return twin
