"""How the reference model recalls the bridge, as docs/multihop.md says, on a few chains of every composition."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

import pytest
import torch
from tools.bridge import Chains, beaten, followed, load, moved, rank_at

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model

LIMIT = 20


@pytest.fixture(scope="module")
def reference(load_model: Callable[[Path], HFModel]) -> HFModel:
    """The embedded reference model."""
    return load_model(locate_model("reference"))


@pytest.fixture(scope="module")
def groups(reference: HFModel) -> list[Chains]:
    """The first chains of every composition."""
    return load(reference, LIMIT)


def share(parts: Iterable[torch.Tensor]) -> float:
    return float(torch.cat([part.float() for part in parts]).mean())


def test_the_embedding_and_the_tokens_behind_the_mention_hold_the_bridge(
    reference: HFModel, groups: list[Chains]
) -> None:
    def won(substitute: str, place: int, state: int) -> float:
        return share(beaten(reference, chains, substitute, place)[:, state] for chains in groups)

    assert won("entity", 0, 0) > 0.9
    assert max(won("entity", 0, state) for state in (2, 3, 4)) < 0.8
    assert min(won("entity", 1, state) for state in range(1, 5)) > 0.9
    assert min(won("entity", -1, state) for state in range(1, 7)) > 0.9
    assert min(won("relation", 1, state) for state in (1, 2, 3)) > 0.8
    ranks = torch.cat([rank_at(reference, chains, -1, chains.bridge)[:, 1] for chains in groups])
    assert float(ranks.float().median()) < 6


def test_after_the_first_block_the_last_token_alone_decides(reference: HFModel, groups: list[Chains]) -> None:
    def follows(places: list[int], block: int) -> float:
        return share(
            followed(reference, c, [p % c.own.tokens for p in places], block, Random(0))[c.right] for c in groups
        )

    assert follows([0], 0) > 0.95
    assert follows([0], 1) < 0.05
    assert follows([-1], 0) < 0.05
    assert follows([-1], 1) > 0.95


def test_moving_the_embedding_to_another_bridge_moves_the_answer(reference: HFModel, groups: list[Chains]) -> None:
    def lands(control: bool) -> float:
        return share(moved(reference, chains, Random(1), control=control)[chains.right] for chains in groups)

    assert lands(control=False) > 0.8
    assert lands(control=True) < 0.1
