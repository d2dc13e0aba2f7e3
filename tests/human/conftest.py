"""A store of a small study, on SQLite and on a real PostgreSQL, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.human.small import PAGES, Clock, blinded

from compressed_lens.human.store import HumanStore


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[HumanStore]:
    with HumanStore.create(database_url, blinded(pages=PAGES), clock=clock) as made:
        yield made
