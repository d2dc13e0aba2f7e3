"""Who comes in: links, the open link and sessions; every test on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.human.small import Clock, blinded, questionnaire

from compressed_lens.human.store import HumanStore


def test_a_link_is_a_secret_of_128_bits_and_only_its_digest_is_kept(
    store: HumanStore, database_url: str, tmp_path: Path, clock: Clock
) -> None:
    links = store.new_links()
    assert set(links) == {"R01", "R02", "R03", "R04"}
    assert all(len(token) == 26 and token == token.lower() for token in links.values())
    assert store.new_links() == {}  # all have one
    found = store.rater_of_link(links["R02"])
    assert found is not None and (found.id, found.opened) == ("R02", clock.now)
    clock.now += 5
    again = store.rater_of_link(links["R02"])
    assert again is not None and again.opened == clock.now - 5
    assert store.rater("R01").opened is None
    secret = store.open_session("R02")
    if database_url.startswith("sqlite"):
        held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert not any(word.encode() in held for word in (*links.values(), secret))


@pytest.mark.parametrize("token", ["", "x", "a" * 26, "A" * 500, "ä\0\ud800", "' OR 1=1 --"])
def test_other_words_open_nothing(store: HumanStore, token: str) -> None:
    store.new_links()
    assert store.rater_of_link(token) is None
    assert store.rater_of_session(token) is None
    with pytest.raises(KeyError):
        store.join(token, "code")


def test_a_new_link_ends_the_old_one_and_its_sessions(store: HumanStore) -> None:
    links = store.new_links()
    secret, other = store.open_session("R01"), store.open_session("R02")
    new = store.new_links(["R01"])
    assert store.rater_of_link(links["R01"]) is None and store.rater_of_session(secret) is None
    assert store.rater_of_link(new["R01"]) is not None
    assert store.rater_of_link(links["R02"]) is not None and store.rater_of_session(other) is not None
    with pytest.raises(KeyError):
        store.new_links(["R01", "R99"])
    assert store.rater_of_link(new["R01"]) is not None  # nothing was done


def test_who_joins_has_the_same_place_every_time(store: HumanStore) -> None:
    links = store.new_links(["R01"])
    opened = store.new_open_link()
    first = store.join(opened, "5f0c")
    again = store.join(opened, "5f0c")
    assert first is not None and again is not None
    assert first[0].id == again[0].id == "R02"  # R01 has a link that somebody may hold
    assert first[0].code == "5f0c" and first[0].opened is not None
    for _, token in (first, again):
        found = store.rater_of_link(token)
        assert found is not None and found.id == "R02"
    places = [store.join(opened, f"code {n}") for n in range(3)]
    assert [None if place is None else place[0].id for place in places] == ["R03", "R04", "R01"]
    assert store.rater_of_link(links["R01"]) is None  # another person has the place now
    assert store.join(opened, "one more") is None
    known = store.join(opened, "5f0c")
    assert known is not None and known[0].id == "R02"
    with pytest.raises(ValueError, match="character"):
        store.join(opened, "")


def test_a_new_open_link_ends_the_old_one(store: HumanStore) -> None:
    old, new = store.new_open_link(), store.new_open_link()
    with pytest.raises(KeyError):
        store.join(old, "code")
    assert store.join(new, "code") is not None


def test_fifty_at_once_for_ten_places(database_url: str) -> None:
    with HumanStore.create(database_url, blinded(raters=10)) as store, ThreadPoolExecutor(50) as pool:
        opened = store.new_open_link()
        codes = [f"code {n % 25}" for n in range(50)]
        places = list(pool.map(lambda code: store.join(opened, code), codes))
        given = {code: place[0].id for code, place in zip(codes, places, strict=True) if place is not None}
        for code, place in zip(codes, places, strict=True):
            assert (place[0].id if place is not None else None) == given.get(code)
        assert len(given) == len(set(given.values())) == 10
        assert {rater.code for rater in store.raters()} == set(given)


def test_a_session_ends_when_it_was_idle_too_long(store: HumanStore, clock: Clock) -> None:
    secret, second = store.open_session("R01"), store.open_session("R01")
    for _ in range(5):
        clock.now += 11 * 3600
        found = store.rater_of_session(secret)
        assert found is not None and found.id == "R01"
    assert store.rater_of_session(second) is None  # unused for 55 hours
    clock.now += 12 * 3600 + 1
    assert store.rater_of_session(secret) is None
    clock.now -= 12 * 3600
    assert store.rater_of_session(secret) is None  # gone, not asleep


def test_a_short_session_is_kept_awake_by_pages(database_url: str, clock: Clock) -> None:
    with HumanStore.create(database_url, blinded(asked=questionnaire(session_hours=0.01)), clock=clock) as store:
        secret = store.open_session("R01")
        for _ in range(20):
            clock.now += 17.0
            assert store.rater_of_session(secret) is not None
        clock.now += 37.0
        assert store.rater_of_session(secret) is None


def test_a_place_that_was_given_back_can_be_joined(store: HumanStore) -> None:
    opened = store.new_open_link()
    for n in range(4):
        assert store.join(opened, f"code {n}") is not None
    assert store.join(opened, "fifth") is None
    store.withdraw("R03")
    joined = store.join(opened, "fifth")
    assert joined is not None and (joined[0].id, joined[0].step, joined[0].generation) == ("R03", "consent", 2)
    assert store.join(opened, "code 2") is None  # nothing of that person is known any more
