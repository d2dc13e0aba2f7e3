"""Batches within a token budget, sorted by length, halved when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from compressed_lens.errors import ModelError

T = TypeVar("T")


def pack(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return the indices of `lengths` in batches, longest first.

    A batch holds at most `budget` tokens once its rows are padded to the longest, and at least one row.
    """
    batches: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if room <= 0:
            batches.append([])
            room = max(1, budget // max(1, lengths[index]))
        batches[-1].append(index)
        room -= 1
    return batches


def run_halving(batch: Sequence[T], work: Callable[[Sequence[T]], None]) -> None:
    """Call `work(batch)`; when memory runs out, call it on the halves instead, down to single rows.

    `work` must have no lasting effect when it fails.

    Raises:
        ModelError: One row alone does not fit into memory.
    """
    try:
        work(batch)
        return
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        if len(batch) == 1:
            raise ModelError(
                "The model runs out of memory on a single row.",
                fix="Use shorter prompts, a smaller model or more memory.",
            ) from error
    # Outside the handler, where the traceback no longer keeps the failed batch's tensors alive.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = (len(batch) + 1) // 2
    run_halving(batch[:middle], work)
    run_halving(batch[middle:], work)


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text
