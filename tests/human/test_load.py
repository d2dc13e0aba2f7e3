"""A short version of benchmarks/human_load.py, and two servers on one database."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from benchmarks.human_load import BURSTS, Load, Way, attend, measure, prepare
from tests.human.line import Line
from tests.human.paper_run import build_run
from tests.human.serving import run_apart, serving

from compressed_lens.human.ratings import read_ratings

FEW = ("--items", "4", "--models", "Qwen2.5-7B-Instruct", "--raters", "8")
"""2 kinds x 4 items x 4 precisions x 2 ratings by 8 raters: 8 texts and a check each."""
RATINGS, PAGES = 64, 72


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return build_run(tmp_path / "run", items=10)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else None


def test_raters_at_once(run: Path, tmp_path: Path, database: str | None) -> None:
    links = prepare(run, tmp_path, *FEW, database=database)
    with serving(run, tmp_path / "log", database=database) as server:
        load = measure(server, links, burst=True)
    assert not load.errors
    assert len(load.milliseconds["save /rate"]) == PAGES < BURSTS * len(links)
    assert_complete(run, database)


def test_two_servers_share_a_database(run: Path, tmp_path: Path, database: str | None) -> None:
    links = prepare(run, tmp_path, *FEW, database=database)
    with (
        serving(run, tmp_path / "first", database=database) as first,
        serving(run, tmp_path / "second", database=database) as second,
    ):

        async def through_a_balancer() -> Load:
            async with Line([first.port, second.port]) as line:  # each request to one of the two
                load = await attend(Way(address=first.address, proxy=line.address), links, burst=True)
                assert min(line.connections.values()) > PAGES // 2
                return load

        load = run_apart(through_a_balancer())
    assert not load.errors
    assert_complete(run, database)


def assert_complete(run: Path, database: str | None) -> None:
    """Every text of every rater is rated, once, on both dimensions."""
    with (run / "human" / "main" / "assignment.csv").open(newline="") as file:
        wanted = {(row["rater"], row["text"]) for row in csv.DictReader(file) if row["text"]}
    assert len(wanted) == RATINGS
    long = read_ratings(run / "human" / "main", database).long
    stored = sorted(long.select("rater", "text", "dimension").iter_rows())
    assert stored == sorted((*pair, name) for pair in wanted for name in ("trustworthiness", "coherence"))
    assert set(long["revisions"]) == {0}
