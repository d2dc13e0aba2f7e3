"""The way through a study: steps, changes of mind, languages, double clicks."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from tests.rater_app.people import Person, Study, form_of

from compressed_lens.human.store import HumanStore
from compressed_lens.rater_app.forms import new_form


@pytest.fixture
def person(study: Study) -> Person:
    return Person(study)


def test_pages_can_be_changed_until_the_end(study: Study, person: Person) -> None:
    page = person.begin("R28")
    for position in range(1, 7):
        page = person.get(person.rate(position, form_of(page), 3).headers["location"])
    assert page.url.path == "/comments"
    earlier = person.get("/rate/2")
    assert earlier.text.count(" checked") >= 2, "what was chosen is shown"
    assert person.rate(2, form_of(earlier), 5).headers["location"] == "/rate/3"
    last = person.get("/rate/6")
    assert person.rate(6, form_of(last), 1).headers["location"] == "/comments"
    form = person.form("/comments")
    old = person.send("/comments", form="old", comment="long words")
    assert old.status_code == 403 and "long words</textarea>" in old.text, "the comment is not lost"
    assert person.send("/comments", form=form, comment="fine").headers["location"] == "/done"
    assert person.send("/comments", form=form, comment="other").headers["location"] == "/done"
    for path in ("/rate/2", "/comments", "/consent", "/"):
        assert person.get(path).url.path == "/done", path
    late = person.rate(2, form_of(earlier), 1)
    assert (late.status_code, late.headers["location"]) == (303, "/done")
    with study.store() as store:
        rater = store.rater("R28")
        assert (rater.step, rater.comment, rater.answered) == ("done", "fine", 6)
        points = {row["position"]: (row["values"], row["revisions"]) for row in of(store, "R28")}
    assert points[2] == ('{"trustworthiness": 5, "coherence": 5}', 1)
    assert Person(study).enter("R28").url.path == "/done", "the link still leads there"


def of(store: HumanStore, rater: str) -> Iterator[dict[str, object]]:
    return (row for row in store.ratings().iter_rows(named=True) if row["rater"] == rater)


def test_who_declines_stays_out(study: Study, person: Person) -> None:
    form = form_of(person.enter("R29"))
    assert person.send("/consent", form=form, answer="decline").headers["location"] == "/declined"
    assert person.send("/consent", form=form, answer="agree").headers["location"] == "/declined", "too late"
    assert person.get("/rate/1").url.path == "/declined"


def test_the_language_is_kept(study: Study) -> None:
    person = Person(study)
    person.client.headers["accept-language"] = "fr, de-AT;q=0.8, en;q=0.5"
    assert '<html lang="de"' in person.enter("R30").text
    switched = person.ask("GET", "/consent?lang=en")
    assert (switched.status_code, switched.headers["location"]) == (303, "/consent")
    assert '<html lang="en"' in person.get("/consent").text
    assert '<html lang="en"' in person.get("/consent?lang=xx").text
    assert '<html lang="de"' in person.ask("GET", "/nothing").text, "no session is asked for a page that is not there"


def test_another_language_keeps_what_is_chosen(study: Study, person: Person) -> None:
    form = form_of(person.begin("R40"))
    page = person.send("/rate/1", form=form, lang="de", r_coherence="2", comment="half done")
    assert page.status_code == 200 and '<html lang="de"' in page.text and "half done</textarea>" in page.text
    assert re.findall('id="r-([a-z]+-[0-9])"[^>]* checked', page.text) == ["coherence-2"]
    assert 'role="alert"' not in page.text and not list(study_ratings(study, "R40")), "nothing is saved or missing"
    assert person.rate(1, form_of(page), 3).status_code == 303
    other = person.send("/rate/2", form=form_of(person.get("/rate/2")), lang="xx", r_coherence="2")
    assert '<html lang="de"' in other.text, "a language that is not there changes nothing"


def study_ratings(study: Study, rater: str) -> list[dict[str, object]]:
    with study.store() as store:
        return list(of(store, rater))


def test_the_time_of_a_page_counts_from_its_first_showing(study: Study, person: Person) -> None:
    person.begin("R41")
    secret = person.client.cookies["clens_rater"]
    form = new_form(secret, "/rate/1", now=time.time() - 100)
    missing = person.send("/rate/1", form=form, r_coherence="2")
    switched = person.send("/rate/1", form=form_of(missing), lang="de", r_coherence="2")
    assert person.rate(1, form_of(switched)).status_code == 303
    (row,) = study_ratings(study, "R41")
    assert 100 <= float(str(row["seconds"])) < 160


def test_cookies_last_as_long_as_the_session(person: Person) -> None:
    person.begin("R42")
    given = person.ask("GET", "/rate/1").headers.get_list("set-cookie")
    assert len(given) == 2 and all("Max-Age=43200" in one for one in given), "a page does not put off their end"
    assert person.client.cookies["clens_rater"] in given[0]


def test_a_new_link_loses_nothing(study: Study, person: Person) -> None:
    page = person.get(person.rate(1, form_of(person.begin("R43")), 4).headers["location"])
    with study.store() as store:
        study.links.update(store.new_links(["R43"]))
    assert "not saved" in person.rate(2, form_of(page), 5).text
    assert person.enter("R43").url.path == "/rate/2"
    again = person.rate(2, form_of(page), 5)
    assert again.status_code == 403 and again.text.count(" checked") == 2, "sent again, the choice is there"
    assert person.rate(2, form_of(again), 5).status_code == 303
    assert [row["position"] for row in study_ratings(study, "R43")] == [1, 2]


def test_without_cookies_a_page_says_so(study: Study) -> None:
    link = f"{study.server.address}/r/{study.links['R44']}"
    first = httpx.get(link)
    answer = httpx.get(f"{study.server.address}{first.headers['location']}")
    assert answer.status_code == 403 and "cookies" in answer.text


def test_clicking_twice_at_once_is_one_rating(study: Study, person: Person) -> None:
    form = form_of(person.begin("R31"))
    cookies = dict(person.client.cookies)

    def click(_: int) -> int:
        fields = {"form": form, "r-trustworthiness": "4", "r-coherence": "2"}
        origin = {"origin": study.server.address}
        return httpx.post(f"{study.server.address}/rate/1", data=fields, headers=origin, cookies=cookies).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(click, range(16))) == {303}
    with study.store() as store:
        assert [(row["position"], row["revisions"]) for row in of(store, "R31")] == [(1, 0)]
