"""The paper's study in a real browser: 48 people, 720 ratings, and everything that goes wrong on the way."""

from __future__ import annotations

import asyncio
import csv
import json
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.browser.rater import TRICKS, Person, Study
from tests.human.line import Line
from tests.human.paper_run import build_run
from tests.human.serving import ServerProcess, clens, run_apart, serving

from compressed_lens.human.ratings import read_ratings
from compressed_lens.human.reading import default_design
from compressed_lens.human.store import HumanStore

if TYPE_CHECKING:
    from playwright.async_api import Browser

RATERS, TEXTS_EACH, RATINGS = 48, 15, 720
AT_ONCE = 6
LIMIT_S = 1_800
WITHDRAWING = ("R06", "R31")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the paper's grid: 3 models, 4 precisions."""
    return build_run(tmp_path_factory.mktemp("paper") / "run")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_48_raters_give_exactly_720_ratings_whatever_happens(
    kind: str, run: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    playwright = pytest.importorskip("playwright.async_api", reason="needs Playwright (pip install playwright)")
    from tools.chromium import launching

    database = request.getfixturevalue("postgres_url") if kind == "postgres" else None
    clens("human", "create", run, "--preset", "paper", "--name", kind, database=database)
    clens("human", "links", run, "--name", kind, "--out", tmp_path / "links.csv", database=database)
    with (tmp_path / "links.csv").open(newline="") as file:
        links = {row["rater"]: _path(row["link"]) for row in csv.DictReader(file)}
    assert len(links) == RATERS

    async def replace(rater: str) -> str:
        """Give the place of someone who withdrew to the next person, as the command line does."""
        asked = ("human", "links", run, "--name", kind, "--rater", rater)
        return _path(await asyncio.to_thread(clens, *asked, database=database))

    async def take_part() -> list[Person]:
        async with playwright.async_playwright() as driver:
            browser = await driver.chromium.launch(**launching())
            return await _take_part(browser, server, links, replace)

    with serving(run, tmp_path / "log", name=kind, database=database) as server:
        people = run_apart(take_part())

    assert server.kills == 2
    assert sum(one.conflicts for one in people) >= 1  # somebody was asked which of two answers counts
    _compare(people, run / "human" / kind, database)


async def _take_part(
    browser: Browser, server: ServerProcess, links: Mapping[str, str], replace: Callable[[str], Awaitable[str]]
) -> list[Person]:
    """Let everybody take part, some at once, while the server is killed twice."""
    questionnaire = default_design().questionnaire
    study = Study(browser=browser, address=server.address, questionnaire=questionnaire, replace=replace)
    seats = asyncio.Semaphore(AT_ONCE)
    people: list[Person] = []

    async def take_part(person: Person) -> None:
        async with seats:
            await person.take_part()

    async with AsyncExitStack() as lines, asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        lines.callback(lambda: print(f"{study.confirmed} confirmed", *study.troubles, sep="\n"))
        for seed, (rater, link) in enumerate(links.items()):
            line = await lines.enter_async_context(Line([server.port]))
            people.append(Person(study, line, rater=rater, link=link, tricks=_tricks(seed, rater), seed=seed))
            group.create_task(take_part(people[-1]))
        group.create_task(_kill(server, study))
    return people


def _tricks(seed: int, rater: str) -> Mapping[int, str]:
    """Return what happens at which page to one rater: three things, and each thing to seven raters or so."""
    places = random.Random(seed).sample(range(2, TEXTS_EACH - 1), 3)
    tricks = {place: TRICKS[(seed + 7 * number) % len(TRICKS)] for number, place in enumerate(places)}
    return {**tricks, **({5: "withdraw"} if rater in WITHDRAWING else {})}


async def _kill(server: ServerProcess, study: Study) -> None:
    """Kill the server twice while several people are sending ratings, and start it again on its port."""
    for share in (0.3, 0.7):
        while study.confirmed < share * RATINGS or study.submitting < 3:
            await asyncio.sleep(0.002)
        await asyncio.sleep(random.Random(share).uniform(0, 0.05))
        server.kill()
        await asyncio.sleep(0.5)
        await asyncio.to_thread(server.start)


def _compare(people: list[Person], folder: Path, database: str | None) -> None:
    """What people saw accepted is what is stored: every rating once, with its points."""
    with (folder / "assignment.csv").open(newline="") as file:
        texts = {(row["rater"], int(row["position"])): row["text"] for row in csv.DictReader(file)}
    ledger = {(one.rater, position): points for one in people for position, points in one.ledger.items()}
    assert len(ledger) == len(texts)

    with HumanStore.open(database or f"sqlite:///{folder / 'ratings.sqlite'}") as store:
        rows = {(row["rater"], row["position"]): row for row in store.ratings().to_dicts()}
        raters = store.raters()
        assert len(rows) == store.ratings().height, "no rating is doubled"
    assert {key: json.loads(row["values"]) for key, row in rows.items()} == ledger
    assert len([row for row in rows.values() if not row["check"]]) == RATINGS
    checks = {key: row for key, row in rows.items() if row["check"]}
    assert sorted(rater for rater, _ in checks) == sorted(one.id for one in raters)
    changed = {(one.rater, position) for one in people for position in one.revised}
    for key, row in checks.items():
        assert row["passed"] == (ledger[key] == json.loads(row["expected"]))
        assert row["passed"] or key in changed
    assert [(one.step, one.answered) for one in raters] == [("done", one.pages) for one in raters]
    assert {one.id: one.comment for one in raters} == {one.rater: f"All in all, {one.rater}." for one in people}
    assert {one.id for one in raters if one.generation > 1} == set(WITHDRAWING)

    for one in people:
        for position in one.ledger:
            row = rows[one.rater, position]
            # A page that was answered with one form was never revised, however often that form was sent.
            assert (row["revisions"] >= 1) if position in one.changed else True, (one.rater, position)
            assert (row["revisions"] == 0) or position in one.revised, (one.rater, position)
            assert row["comment"].replace("\r\n", "\n") == one.comments.get(position, "")

    long = read_ratings(folder, database).long
    stored = {(row["rater"], row["text"], row["dimension"]): row["rating"] for row in long.to_dicts()}
    assert long.height == len(stored) == RATINGS * 2
    meant = {(*key, name): point for key, points in ledger.items() if texts[key] for name, point in points.items()}
    assert stored == {(rater, texts[rater, position], name): point for (rater, position, name), point in meant.items()}
    copies = Counter(text for text in texts.values() if text)
    assert set(copies.values()) == {2}


def _path(told: str) -> str:
    """Return the path of the personal link in what the command line printed."""
    found = re.search(r"/r/\w+", told)
    assert found is not None, told
    return found[0]
