"""Packing within a token budget, and halving when memory runs out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressed_lens.errors import ModelError
from compressed_lens.lm.batching import pack, run_halving


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 200))
def test_every_row_is_packed_once_and_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = pack(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget for batch in batches)
    order = [lengths[i] for batch in batches for i in batch]
    assert order == sorted(order, reverse=True)


def test_memory_that_runs_out_halves_the_batch_and_loses_no_row() -> None:
    done: list[int] = []
    sizes: list[int] = []

    def work(batch: Sequence[int]) -> None:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.extend(batch)

    run_halving(range(10), work)
    assert done == list(range(10))
    assert sizes == [10, 5, 3, 2, 5, 3, 2]


def test_a_real_allocation_failure_is_recognised() -> None:
    def work(batch: Sequence[int]) -> None:
        torch.empty(1 << 60, dtype=torch.uint8)

    with pytest.raises(ModelError, match="out of memory on a single row"):
        run_halving([0, 1], work)


def test_other_errors_pass_through() -> None:
    def work(batch: Sequence[int]) -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        run_halving([0, 1], work)
