"""Ratings of other tools in the study's database, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from tests.human.exchange.study import DATA, study

from compressed_lens.errors import DataError
from compressed_lens.human.exchange import EXCHANGES, Gathered
from compressed_lens.human.exchange.bring import bring
from compressed_lens.human.exchange.ratings import COLUMNS, csv_of, long_ratings
from compressed_lens.human.store import HumanStore

FOUR_TWO = {"trustworthiness": 4, "coherence": 2}


@pytest.fixture
def store(database_url: str) -> Iterator[HumanStore]:
    with HumanStore.create(database_url, study()) as made:
        yield made


def gathered(form: str) -> tuple[Gathered, ...]:
    return EXCHANGES.get(form).read(DATA / form, study().questionnaire)


def one(rater: str = "R03", page: str = "t001", values: Mapping[str, int] = FOUR_TWO, **more: str) -> Gathered:
    return Gathered(rater=rater, page=page, values=values, place=f"{rater} {page}", **more)  # type: ignore[arg-type]


def held(store: HumanStore) -> dict[tuple[str, str], tuple[dict[str, int], str]]:
    return {
        (row["rater"], row["text"] or "check"): (json.loads(row["values"]), row["comment"])
        for row in store.ratings().iter_rows(named=True)
    }


def test_potatos_ratings_are_held_and_twice_changes_nothing(store: HumanStore) -> None:
    done = bring(store, gathered("potato"), source="potato")
    assert (done.new, done.known, done.raters) == (8, 0, 3)
    assert len(done.incomplete) == 1 and "R03" in done.incomplete[0] and "t001" in done.incomplete[0]
    before = store.ratings()
    assert held(store)["R01", "t002"] == ({"trustworthiness": 4, "coherence": 5}, 'fine, "really"; ü')
    assert before["passed"].to_list().count(True) == 2  # both attention checks were answered as asked
    assert {rater.id: rater.step for rater in store.raters()} == {"R01": "done", "R02": "rating", "R03": "rating"}
    again = bring(store, gathered("potato"), source="potato")
    assert (again.new, again.known) == (0, 8)
    assert store.ratings().equals(before)
    assert [told[1:] for told in store.incidents()] == [("imported", "8 ratings from potato")]


def test_the_same_from_two_tools_is_known_and_the_rest_is_added(store: HumanStore) -> None:
    bring(store, [found for found in gathered("potato") if found.rater == "R01"], source="potato")
    done = bring(store, gathered("label-studio"), source="label-studio")
    assert (done.new, done.known, done.raters) == (3, 4, 2)
    assert ("R02", "t004") not in held(store)  # skipped there


def test_a_text_without_checks_is_enough_to_be_done(store: HumanStore) -> None:
    bring(store, [found for found in gathered("potato") if "check" not in found.page], source="csv")
    assert store.rater("R01").step == "done"
    assert store.rater("R01").opened is not None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([one("R09"), one("bob", "t001")], "no rater R09, bob"),
        ([one(page="t002"), one("R01", "t004")], "2 of the ratings are not in the assignment: R03 t002, R01 t004"),
        ([one(page="check-R01-02")], "1 of the ratings are not in the assignment: R03 check-R01-02"),
        ([one(), one(values={**FOUR_TWO, "coherence": 3})], "1 of the ratings have two different answers: R03 t001"),
        ([one(), one(comment="and why")], "two different answers"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    store: HumanStore, more: list[Gathered], said: str
) -> None:
    with pytest.raises(DataError) as caught:
        bring(store, [one(page="t004"), *more], source="csv")
    assert said in str(caught.value)
    assert store.ratings().is_empty()
    assert {rater.step for rater in store.raters()} == {"consent"}


def test_another_answer_than_the_held_one_is_refused_with_a_count(store: HumanStore) -> None:
    bring(store, gathered("potato"), source="potato")
    before = store.ratings()
    changed = [replace(found, values={"trustworthiness": 3, "coherence": 4}) for found in gathered("potato")]
    changed = [found for found in changed if found.rater != "R03"]
    with pytest.raises(
        DataError, match="7 of the ratings differ from what the database holds: R01 t002, .* and 4 more"
    ):
        bring(store, [*changed, one()], source="csv")
    assert store.ratings().equals(before)


def test_who_withdrew_does_not_come_back(store: HumanStore) -> None:
    bring(store, gathered("potato"), source="potato")
    store.withdraw("R02")
    with pytest.raises(DataError, match="R02 withdrew"):
        bring(store, gathered("potato"), source="potato")
    assert not [rater for rater, _ in held(store) if rater == "R02"]


def test_an_open_place_that_was_filled_elsewhere_is_given_to_nobody(store: HumanStore) -> None:
    bring(store, gathered("potato"), source="potato")
    assert store.join(store.new_open_link(), "code") is None


def test_exported_ratings_come_back(store: HumanStore, tmp_path_factory: pytest.TempPathFactory) -> None:
    bring(store, [*gathered("potato"), one(comment="=1+1")], source="potato")
    frame = long_ratings(store.ratings())
    assert frame.schema == COLUMNS and frame.height == 18
    file = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    file.write_text(csv_of(frame))
    assert "'=1+1" in file.read_text()
    before = store.ratings()
    done = bring(store, EXCHANGES.get("csv").read(file, study().questionnaire), source="csv")
    assert (done.new, done.known) == (0, 9)
    for rater in ("R01", "R02", "R03"):
        store.withdraw(rater)
        store.new_links([rater])
    assert store.ratings().is_empty()
    assert bring(store, EXCHANGES.get("csv").read(file, study().questionnaire), source="csv").new == 9
    same = [name for name in before.columns if name != "saved"]
    assert store.ratings().select(same).equals(before.select(same))


def test_nothing_to_bring_is_no_error(store: HumanStore) -> None:
    done = bring(store, [one(values={})], source="csv")
    assert (done.new, done.known, done.incomplete) == (0, 0, ())
