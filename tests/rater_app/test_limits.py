"""Limits in memory, forms by themselves, and what is said when something of ours breaks."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger
from tests.human.small import blinded

from compressed_lens.human.database import sqlite_url
from compressed_lens.human.store import HumanStore
from compressed_lens.rater_app.app import create_app
from compressed_lens.rater_app.entrance import PAGES_A_MINUTE
from compressed_lens.rater_app.forms import Malformed, choice, new_form, read_fields, read_form, words
from compressed_lens.rater_app.guard import Address
from compressed_lens.rater_app.limits import Incidents, Limit

TOKEN = "an admin token of the tests"  # noqa: S105


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_no_key_gets_more_than_its_share(pauses: list[float]) -> None:
    clock = Clock()
    limit = Limit(10, clock=clock)
    taken = []
    for pause in pauses:
        clock.now += pause
        if limit.take("one"):
            taken.append(clock.now)
    for start in taken:
        for minutes in (1, 2, 3):
            within = sum(start <= at < start + 60 * minutes for at in taken)
            assert within <= 10 * (minutes + 1), "ten at once, and ten a minute"
    assert limit.take("another"), "keys do not share"


def test_tries_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    limit = Limit(2, clock=clock)
    assert [limit.take("a") for _ in range(3)] == [True, True, False]
    clock.now = 29.9
    assert not limit.is_open("a") and limit.is_open("b")
    clock.now = 30
    assert limit.is_open("a") and [limit.take("a"), limit.take("a")] == [True, False]
    monkeypatch.setattr("compressed_lens.rater_app.limits._MOST_KEYS", 10)
    for n in range(100):
        clock.now += 0.001
        assert limit.take(f"k{n}") and limit.take(f"k{n}")
    assert len(limit._left) <= 11 and not limit.take("k99"), "the newest are remembered"


def test_incidents_of_a_kind_are_told_thirty_times_a_minute() -> None:
    noted: list[tuple[str, str]] = []
    incidents = Incidents(lambda what, detail: noted.append((what, detail)))
    for _ in range(100):
        incidents.tell("one", "R01")
    incidents.tell("two")
    assert noted == [("one", "R01")] * 30 + [("two", "")]


def test_a_form_holds_for_its_session_purpose_and_hours() -> None:
    form = new_form("secret", "/rate/1", now=1000.0, attempts=2)
    read = read_form(form, "secret", "/rate/1", now=1000.0 + 3600, hours=1)
    assert read is not None and (read.issued, read.attempts) == (1000.0, 2)
    assert read_form(form, "other", "/rate/1", now=1000.0, hours=1) is None
    assert read_form(form, "secret", "/rate/2", now=1000.0, hours=1) is None
    assert read_form(form, "secret", "/rate/1", now=1001.0 + 3600, hours=1) is None
    assert read_form(form, "secret", "/rate/1", now=900.0, hours=1) is None
    assert new_form("secret", "/rate/1", now=1000.0) != new_form("secret", "/rate/1", now=1000.0)


@given(st.integers(0, 150), st.characters(codec="ascii"))
def test_a_form_with_another_character_is_none(place: int, character: str) -> None:
    form = new_form("secret", "/rate/1", now=1000.0)
    altered = form[:place] + character + form[place + 1 :]
    assert altered == form or read_form(altered, "secret", "/rate/1", now=1000.0, hours=1) is None


@given(st.binary(max_size=300))
def test_any_body_is_read_or_malformed(body: bytes) -> None:
    try:
        fields = read_fields(body)
    except Malformed:
        return
    assert all(character < "\ud800" or character > "\udfff" for value in fields.values() for character in value)


def test_choices_and_words() -> None:
    assert choice("3", 5, first=1) == 3 and choice(None, 5, first=1) is None and choice("0", 2, first=0) == 0
    for wrong in ("0", "6", "", "-1", "1.0", " 1", "\u0661", "1" * 4):
        with pytest.raises(Malformed):
            choice(wrong, 5, first=1)
    assert words(" a\r\nb\rc\x00\x1b[0m\x7f ") == "a\nb\nc[0m" and len(words("x" * 9000)) == 4000


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    store = HumanStore.create(sqlite_url(tmp_path / "ratings.sqlite"), blinded())
    app = create_app(store, address=Address(), admin_token=TOKEN)
    client = TestClient(app, base_url="http://localhost:8378", raise_server_exceptions=False)
    client.get(f"/r/{store.new_links()['R01']}")
    return client


def test_a_session_has_a_limit_of_pages(client: TestClient) -> None:
    statuses = [client.get("/pause").status_code for _ in range(PAGES_A_MINUTE + 20)]
    assert statuses[:100] == [200] * 100 and statuses[-1] == 429


def test_trouble_with_the_database_tells_no_details(client: TestClient, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ratings.sqlite") as database:
        database.execute("DROP TABLE sessions")
    answer = client.get("/")
    assert answer.status_code == 503 and "sessions" not in answer.text and "sqlite" not in answer.text


def test_a_bug_tells_no_details(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = " ".join(("what", "was", "sent"))  # no line of a traceback has it as it stands

    def broken(*_: object) -> None:
        raise ZeroDivisionError(sent)

    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}")
    monkeypatch.setattr(HumanStore, "rater_of_session", broken)
    answer = client.get("/")
    logger.remove(sink)
    assert answer.status_code == 500 and re.search("<h1[^>]*>Something went wrong", answer.text)
    assert "ZeroDivisionError" in "".join(lines) and sent not in answer.text + "".join(lines)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
