"""The database of a human study, every test on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.human.small import BAD, EXPECTED, GOOD, PAGES, Clock, blinded, fill, put, questionnaire, start

from compressed_lens.human.store import Entry, HumanStore


def test_what_is_made_is_what_is_opened(database_url: str) -> None:
    given = blinded(pages=PAGES)
    HumanStore.create(database_url, given).close()
    with HumanStore.open(database_url) as store:
        assert store.questionnaire == given.questionnaire
        assert [rater.id for rater in store.raters()] == list(given.pages)
        assert {(rater.step, rater.language, rater.pages, rater.answered) for rater in store.raters()} == {
            ("consent", "en", PAGES, 0)
        }
        cells = [cell for cell, _ in given.texts.values()]
        assert {cell for cell, _ in store.wanted()} <= set(cells)
        assert sum(store.wanted().values()) == 4 * (PAGES - 1)
        assert store.ratings().is_empty()
        assert "values" in store.ratings().columns


def test_a_step_is_taken_once_and_from_its_own_step_alone(store: HumanStore, clock: Clock) -> None:
    assert not store.move("R01", step="rating", to="done")
    assert store.move("R01", step="consent", to="instructions")
    assert not store.move("R01", step="consent", to="declined")
    assert (store.rater("R01").step, store.rater("R01").consented) == ("instructions", clock.now)
    assert store.move("R02", step="consent", to="declined")
    assert store.rater("R02").consented is None
    store.set_language("R01", "de")
    assert store.rater("R01").language == "de"
    with pytest.raises(ValueError, match="fr"):
        store.set_language("R01", "fr")


def test_an_attempt_is_counted_once(store: HumanStore) -> None:
    assert store.attempt("R01", passed=True, attempts=0) == "consent"
    store.move("R01", step="consent", to="comprehension")
    assert store.attempt("R01", passed=False, attempts=0) == "comprehension"
    assert store.attempt("R01", passed=False, attempts=0) == "comprehension"
    assert store.rater("R01").attempts == 1
    assert store.attempt("R01", passed=False, attempts=1) == "excluded"
    assert store.attempt("R01", passed=True, attempts=2) == "excluded"
    store.move("R02", step="consent", to="comprehension")
    assert store.attempt("R02", passed=False, attempts=0) == "comprehension"
    assert store.attempt("R02", passed=True, attempts=1) == "rating"
    assert store.rater("R02").attempts == 2


def test_twenty_wrong_answers_at_once_are_one(store: HumanStore) -> None:
    store.move("R01", step="consent", to="comprehension")
    with ThreadPoolExecutor(20) as pool:
        steps = set(pool.map(lambda _: store.attempt("R01", passed=False, attempts=0), range(20)))
    assert steps == {"comprehension"} and store.rater("R01").attempts == 1


def test_from_the_first_page_to_the_end(store: HumanStore, clock: Clock) -> None:
    start(store)
    given = blinded(pages=PAGES)
    for position, planned in enumerate(given.pages["R01"], start=1):
        assert store.first_unanswered("R01") == position
        page = store.page("R01", position)
        if planned.text is None:
            assert (page.shown, page.expected) == (None, EXPECTED)
        else:
            assert (page.shown, page.expected) == (given.texts[planned.text][1], None)
        assert (page.values, page.comment, page.revisions) == ({}, "", 0)
        with pytest.raises(KeyError):
            store.page("R01", position + 1)
        with pytest.raises(KeyError):
            put(store, position + 1, "early")
        clock.now += 30
        assert put(store, position, f"f{position}", comment="ß \U0001f600\0") == "saved"
        assert store.page("R01", position).values == GOOD
        assert store.page("R01", position).comment == "ß \U0001f600"
    assert store.first_unanswered("R01") is None
    assert (store.rater("R01").step, store.rater("R01").answered) == ("comments", PAGES)
    for none in (0, -1, PAGES + 1):
        with pytest.raises(KeyError):
            store.page("R01", none)
        with pytest.raises(KeyError):
            put(store, none, "none")
    assert put(store, 2, "changed", BAD) == "saved"  # until the end
    assert store.rater("R01").step == "comments"
    store.finish("R01", comment="thanks", form="end")
    ended = store.rater("R01")
    assert (ended.step, ended.comment, ended.finished) == ("done", "thanks", clock.now)
    clock.now += 5
    store.finish("R01", comment="other", form="end")
    store.finish("R01", comment="other", form="end 2")
    assert store.rater("R01") == ended
    assert put(store, 2, "late") == "conflict"
    assert put(store, 2, "changed", BAD) == "repeated"
    assert store.page("R01", 2).values == BAD
    store.finish("R02", comment="nothing rated", form="end")
    assert store.rater("R02").step == "consent"


def test_without_comments_the_last_page_is_the_end(database_url: str, clock: Clock) -> None:
    with HumanStore.create(database_url, blinded(asked=questionnaire(comments=False)), clock=clock) as store:
        fill(store)
        assert (store.rater("R01").step, store.rater("R01").finished) == ("done", clock.now)


def test_a_form_counts_once(store: HumanStore) -> None:
    start(store)
    assert put(store, 1, "a") == "saved"
    assert put(store, 1, "a") == "repeated"  # double click, reload, lost answer
    assert put(store, 1, "a", BAD) == "conflict"  # a replay with other values
    assert put(store, 1, "a", comment="other words") == "conflict"
    assert store.page("R01", 1).values == GOOD and store.page("R01", 1).revisions == 0
    assert put(store, 1, "b", BAD) == "saved"  # the page was asked for again, or stood in another tab
    assert put(store, 1, "a") == "repeated"  # Back, then sending the old page again
    assert put(store, 1, "b", GOOD) == "conflict"
    page = store.page("R01", 1)
    assert (page.values, page.revisions) == (BAD, 1)
    assert put(store, 2, "a") == "conflict"  # a form of another page
    assert store.first_unanswered("R01") == 2
    row = store.ratings().row(0, named=True)
    assert (row["revisions"], row["seconds"], store.ratings().height) == (1, 20.0, 1)
    start(store, "R02")
    assert put(store, 1, "a", rater="R02") == "saved"  # forms are of their rater


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"trustworthiness": 3},
        {**GOOD, "other": 3},
        {"trustworthiness": 0, "coherence": 3},
        {"trustworthiness": 6, "coherence": 3},
        {"trustworthiness": 3.0, "coherence": 3},
        {"trustworthiness": True, "coherence": 3},
        {"trustworthiness": "3", "coherence": 3},
    ],
    ids=str,
)
def test_only_whole_answers_are_saved(store: HumanStore, values: dict[str, int]) -> None:
    start(store)
    with pytest.raises(ValueError, match="rat"):
        put(store, 1, "f", values)
    assert store.ratings().is_empty() and store.rater("R01").answered == 0


def test_words_of_a_request_that_no_form_has(store: HumanStore) -> None:
    start(store)
    for form in ("", "x" * 201):
        with pytest.raises(ValueError, match="form"):
            put(store, 1, form)
    with pytest.raises(ValueError, match="seconds"):
        store.save("R01", 1, values=GOOD, comment="", seconds=float("nan"), form="f")
    assert store.save("R01", 1, values=GOOD, comment="é" * 20_000, seconds=-3, form="f") == "saved"
    row = store.ratings().row(0, named=True)
    assert (row["seconds"], len(row["comment"])) == (0.0, 10_000)
    assert put(store, 2, "g", comment="half \ud83d a face") == "saved"


def test_nobody_rates_before_the_first_page_or_as_somebody_else(store: HumanStore) -> None:
    assert put(store, 1, "f") == "conflict"
    assert store.ratings().is_empty()
    for call in (
        lambda: put(store, 1, "f", rater="R99"),
        lambda: store.rater("R99"),
        lambda: store.page("R99", 1),
        lambda: store.first_unanswered("R99"),
        lambda: store.open_session("R99"),
        lambda: store.set_language("R99", "de"),
        lambda: store.move("R99", step="consent", to="instructions"),
        lambda: store.attempt("R99", passed=True, attempts=0),
        lambda: store.finish("R99", comment="", form="f"),
        lambda: store.withdraw("R99"),
    ):
        with pytest.raises(KeyError):
            call()


def test_a_double_click_from_many_threads_is_one_rating(store: HumanStore) -> None:
    start(store)
    with ThreadPoolExecutor(20) as pool:
        same = list(pool.map(lambda _: put(store, 1, "one"), range(20)))
        tabs = list(pool.map(lambda n: put(store, 2, f"tab {n}", {**GOOD, "coherence": n % 5 + 1}), range(20)))
    assert sorted(same) == ["repeated"] * 19 + ["saved"]
    assert tabs == ["saved"] * 20
    first, second = store.ratings().rows(named=True)
    assert (first["revisions"], second["revisions"]) == (0, 19)
    assert store.rater("R01").answered == 2


def test_ratings_are_one_frame(store: HumanStore, clock: Clock) -> None:
    fill(store, "R02")
    start(store, "R01")
    put(store, 1, "x", BAD, comment="mine")
    frame = store.ratings()
    assert frame["rater"].to_list() == ["R01"] + ["R02"] * PAGES
    assert frame["position"].to_list() == [1, *range(1, PAGES + 1)]
    given = blinded(pages=PAGES)
    for row in frame.rows(named=True):
        planned = given.pages[row["rater"]][row["position"] - 1]
        assert (row["text"], row["check"]) == (planned.text, planned.text is None)
        if planned.text is None:
            assert (row["cell"], row["kind"], row["passed"]) == (None, None, True)
            assert json.loads(row["expected"]) == json.loads(row["values"]) == EXPECTED
        else:
            cell, shown = given.texts[planned.text]
            assert (row["cell"], row["kind"], row["passed"]) == (cell, shown.kind, None)
        assert row["saved"] == clock.now
    assert json.loads(frame["values"][0]) == BAD and frame["comment"][0] == "mine"
    put(store, 2, "y")
    put(store, 3, "z", BAD)
    assert store.ratings().filter(check=True)["passed"].to_list() == [False, True]


def test_withdrawing_deletes_all_of_a_person_and_frees_the_place(
    store: HumanStore, database_url: str, tmp_path: Path
) -> None:
    opened = store.new_open_link()
    joined = store.join(opened, "prolific-5f0c77")
    assert joined is not None and joined[0].id == "R01"
    secret = store.open_session("R01")
    store.set_language("R01", "de")
    fill(store, "R01")
    put(store, 2, "again", BAD, comment="my dentist is Dr. Zahnweh")
    store.finish("R01", comment="greetings from Musterhausen", form="end")
    fill(store, "R02")
    store.withdraw("R01")
    left = store.rater("R01")
    assert (left.step, left.answered, left.code, left.comment) == ("withdrawn", 0, "", "")
    assert (left.opened, left.consented, left.finished, left.language) == (None, None, None, "en")
    assert left.attempts == 0 and left.generation == 2
    assert store.rater_of_session(secret) is None and store.rater_of_link(joined[1]) is None
    assert set(store.ratings()["rater"]) == {"R02"}
    assert put(store, 1, "late") == "conflict"
    assert [what for _, what, _ in store.incidents()] == ["withdrawn"]
    if database_url.startswith("sqlite"):
        held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert not any(word in held for word in (b"5f0c77", b"Zahnweh", b"Musterhausen"))
    # The next person
    token = store.new_links(["R01"])["R01"]
    new = store.rater_of_link(token)
    assert new is not None and (new.step, new.generation) == ("consent", 2)
    fill(store, "R01")
    assert store.rater("R01").answered == PAGES


def test_a_page_on_its_way_when_all_is_withdrawn_is_not_saved(store: HumanStore) -> None:
    fill(store, pages=3)
    store.withdraw("R01")
    assert put(store, 4, "late") == "conflict" and store.ratings().is_empty()


def test_withdrawing_while_pages_are_sent(store: HumanStore) -> None:
    start(store)
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(put, store, 1, f"f{n}") for n in range(30)]
        gone = pool.submit(store.withdraw, "R01")
        sent += [pool.submit(put, store, 1, f"g{n}") for n in range(30)]
        gone.result()
        assert {one.result() for one in sent} <= {"saved", "conflict"}
    assert store.ratings().is_empty() and store.rater("R01").step == "withdrawn"


def entry(position: int, form: str, values: dict[str, int] = GOOD) -> Entry:
    return Entry(rater="R01", position=position, values=values, comment="", seconds=0, form=form)


def test_answers_from_elsewhere_come_all_or_none(store: HumanStore) -> None:
    assert store.enter([entry(5, "i5")]) == ("saved",)
    mixed = [entry(1, "i1"), entry(5, "i5"), entry(5, "new", BAD)]
    assert store.enter(mixed) == ("saved", "repeated", "conflict")
    assert store.ratings()["position"].to_list() == [5], "a part was written"
    with pytest.raises(KeyError):
        store.enter([entry(1, "i1"), entry(PAGES + 1, "none")])
    assert store.rater("R01").answered == 1
    assert store.enter(mixed[:2]) == ("saved", "repeated")
    assert store.rater("R01").answered == 2


def test_answers_from_elsewhere(store: HumanStore) -> None:
    def enter(position: int, form: str, values: dict[str, int] = GOOD) -> str:
        return store.enter([entry(position, form, values)])[0]

    assert enter(5, "i5") == "saved"
    assert enter(5, "i5") == enter(5, "other form") == "repeated"
    assert enter(5, "i5", BAD) == enter(5, "new", BAD) == "conflict"
    rater = store.rater("R01")
    assert (rater.step, rater.answered) == ("rating", 1) and rater.opened is not None
    with pytest.raises(KeyError):
        enter(PAGES + 1, "none")
    for position in (1, 2, 4, 6):
        assert store.rater("R01").step == "rating"
        assert enter(position, f"i{position}") == "saved"
    rater = store.rater("R01")
    assert (rater.step, rater.answered) == ("done", PAGES - 1) and rater.finished is not None
    assert set(store.ratings()["revisions"]) == {0}


def test_incidents_are_kept_in_order_and_not_for_ever(
    store: HumanStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compressed_lens.human.store._INCIDENTS", 5)
    for n in range(8):
        clock.now += 1
        store.note("form refused", f"{n} " + "x" * 500)
    kept = store.incidents()
    assert [detail[0] for _, _, detail in kept] == list("34567")
    assert [at for at, _, _ in kept] == sorted(at for at, _, _ in kept)
    assert len(kept[0][2]) == 200


def test_two_stores_see_one_database(store: HumanStore, database_url: str) -> None:
    with HumanStore.open(database_url) as other:
        token = store.new_links()["R01"]
        assert other.rater_of_link(token) is not None
        start(other)
        assert put(store, 1, "f") == "saved" and put(other, 1, "f") == "repeated"
        other.withdraw("R01")
        assert store.rater("R01").step == "withdrawn"


def test_many_saves_are_quick(database_url: str) -> None:
    with HumanStore.create(database_url, blinded(raters=1, pages=150)) as store:
        start(store)
        began = time.process_time()
        for n in range(150):
            assert put(store, n + 1, f"f{n}") == "saved"
        spent = (time.process_time() - began) / 150
    assert spent < 0.02  # seconds of a core


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "50 % of #1? yes & no"
    folder.mkdir()
    from compressed_lens.human.database import FILE, sqlite_url

    with HumanStore.create(sqlite_url(folder / FILE), blinded()) as store:
        store.new_links()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes[FILE] == 0o600 and set(modes.values()) == {0o600}
    with HumanStore.open(sqlite_url(folder / FILE)) as store:
        assert len(store.raters()) == 4
