"""Links, sessions and forms that are somebody else's, forged, altered, old or sent twice: refused, and told of."""

from __future__ import annotations

import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from tests.human.serving import ADMIN_TOKEN
from tests.rater_app.people import Person, Study, form_of

from compressed_lens.rater_app.entrance import WRONG_A_MINUTE
from compressed_lens.rater_app.forms import new_form

SESSION = "clens_rater"


@pytest.fixture
def person(study: Study) -> Person:
    return Person(study)


def saved(study: Study, rater: str) -> list[tuple[int, str, int]]:
    """Return (position, points, revisions) of everything a rater has saved."""
    with study.store() as store:
        rows = store.ratings().iter_rows(named=True)
        return [(row["position"], row["values"], row["revisions"]) for row in rows if row["rater"] == rater]


def answered(*points: int) -> list[tuple[int, str, int]]:
    values = [f'{{"trustworthiness": {one}, "coherence": {one}}}' for one in points]
    return [(position, value, 0) for position, value in enumerate(values, 1)]


def test_a_page_is_saved_once_whatever_is_sent_again(study: Study, person: Person) -> None:
    form = form_of(person.begin("R01"))
    first = person.rate(1, form, 4)
    assert (first.status_code, first.headers["location"]) == (303, "/rate/2")
    assert person.rate(1, form, 4).headers["location"] == "/rate/2", "a double click"
    replayed = person.rate(1, form, 2)
    assert replayed.status_code == 409 and saved(study, "R01") == answered(4), "a replay changed a rating"
    with_comment = person.rate(1, form, 4, comment="more")
    assert with_comment.status_code == 409 and saved(study, "R01") == answered(4)
    assert person.rate(1, form_of(replayed), 2).status_code == 303
    assert saved(study, "R01") == [(1, answered(2)[0][1], 1)], "the rater chose the other rating on the new page"


def test_forms_of_others_are_refused(study: Study, person: Person) -> None:
    mine = form_of(person.begin("R02"))
    other = Person(study)
    theirs = form_of(other.begin("R03"))
    later = person.form("/withdraw")
    nonce, issued, attempts, code = mine.split(".")
    secret = person.client.cookies[SESSION]
    old = new_form(secret, "/rate/1", now=time.time() - 13 * 3600)
    early = new_form(secret, "/rate/1", now=time.time() + 3600)
    forged = {
        "another rater's": theirs,
        "another page's": later,
        "with another key": new_form(other.client.cookies[SESSION], "/rate/1", now=time.time()),
        "altered nonce": f"{'A' * 16}.{issued}.{attempts}.{code}",
        "altered time": f"{nonce}.{int(issued) + 1}.{attempts}.{code}",
        "altered code": f"{nonce}.{issued}.{attempts}.{'0' * 64}",
        "too old": old,
        "from the future": early,
        "cut short": mine[:-1],
        "empty": "",
        "missing": None,
        "not ASCII": "ü" * 16 + mine[16:],
        "very long": mine + "0" * 30_000,
    }
    before = len(study.incidents())
    for what, form in forged.items():
        answer = person.rate(1, form, 5)
        assert answer.status_code == 403, what
        assert 'role="alert"' in answer.text and chosen(answer) == 2, f"{what}: the choice was lost"
    assert saved(study, "R02") == []
    assert "a form that is not ours, or too old" in study.incidents()[before:]
    assert "a form that is not ours, or too old: R02" in study.server.log
    assert person.rate(1, mine, 3).status_code == 303 and saved(study, "R02") == answered(3), "the real one still holds"


def test_every_form_needs_its_proof(study: Study, person: Person) -> None:
    page = person.enter("R04")
    consent = form_of(page)
    for form in (None, "", "x", form_of(Person(study).enter("R05"))):
        assert person.send("/consent", form=form, answer="agree").status_code == 403
    with study.store() as store:
        assert store.rater("R04").step == "consent"
    person.send("/consent", form=consent, answer="agree")
    for path in ("/instructions", "/comprehension", "/comments", "/rate/1"):
        answer = person.send(path, form=consent, answer="agree", r_trustworthiness="1", r_coherence="1")
        assert answer.status_code == 403 or answer.headers["location"] == "/instructions", path
    assert person.send("/withdraw", form=consent, answer="yes").status_code == 403
    with study.store() as store:
        assert store.rater("R04").step == "instructions"


def test_steps_cannot_be_skipped(study: Study, person: Person) -> None:
    person.enter("R06")
    for path in ("/instructions", "/comprehension", "/rate/1", "/rate/6", "/comments", "/done", "/excluded"):
        answer = person.ask("GET", path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/consent"), path
    person.begin("R06")
    assert person.get("/rate/4").url.path == "/rate/1"
    secret = person.client.cookies[SESSION]
    ahead = person.rate(4, new_form(secret, "/rate/4", now=time.time()))
    assert (ahead.status_code, ahead.headers["location"]) == (303, "/rate/1") and saved(study, "R06") == []
    assert person.ask("GET", "/comments").headers["location"] == "/rate/1"


def test_wrong_attempts_count_once_each(study: Study, person: Person) -> None:
    page = person.enter("R07")
    page = person.get(person.send("/consent", form=form_of(page), answer="agree").headers["location"])
    page = person.get(person.send("/instructions", form=form_of(page)).headers["location"])
    wrong = {f"q{n}": "0" for n in range(3)}
    form = form_of(page)
    for _ in range(3):
        again = person.send("/comprehension", form=form, **wrong)
        assert again.status_code == 422
    with study.store() as store:
        assert (store.rater("R07").attempts, store.rater("R07").step) == (1, "comprehension")
    assert person.send("/comprehension", form=form_of(again), q0="99").status_code == 400
    missing = person.send("/comprehension", form=form_of(again), q0="0")
    assert missing.status_code == 422
    over = person.send("/comprehension", form=form_of(missing), **wrong)
    assert (over.status_code, over.headers["location"]) == (303, "/excluded")
    assert person.get("/rate/1").url.path == "/excluded"


def test_nobody_reads_another_raters_pages(study: Study, person: Person) -> None:
    mine = person.begin("R08")
    others = [Person(study).begin(rater) for rater in ("R09", "R10")]
    with study.store() as store:
        shown = {rater: [store.page(rater, 1).shown] for rater in ("R08", "R09", "R10")}
    assert all(page.status_code == 200 for page in others)
    asked = "/rate/1?rater=R09", "/rate/1?position=2", "/rate/1/R09", "/rate/R09", "/R09/rate/1", "/rate/0", "/rate/-1"
    for path in asked:
        answer = person.get(path)
        assert answer.status_code == 404 or body(answer) == body(mine), path
    assert shown["R08"] != shown["R09"]


def chosen(answer: httpx.Response) -> int:
    """Return how many points a page shows as chosen."""
    return len(re.findall(r"<input type=\"radio\"[^>]* checked", answer.text))


def body(answer: httpx.Response) -> str:
    return re.sub(r'name="form" value="[^"]*"', "", answer.text)


def test_without_a_session_there_is_nothing(study: Study) -> None:
    stranger = Person(study)
    pages = ("/", "/consent", "/instructions", "/comprehension", "/rate/1", "/pause", "/comments", "/done", "/withdraw")
    for path in pages:
        assert stranger.ask("GET", path).status_code == 403, path
    for path in ("/consent", "/instructions", "/comprehension", "/rate/1", "/comments", "/withdraw"):
        answer = stranger.send(path, form="x", answer="agree")
        assert answer.status_code == 403 and "not saved" in answer.text, path
    assert "set-cookie" not in {name for answer in stranger.answers for name in answer.headers}


def test_a_session_that_ended_says_so_and_comes_back(study: Study, person: Person) -> None:
    form = form_of(person.begin("R11"))
    with sqlite3.connect(study.folder / "ratings.sqlite") as database:
        database.execute("DELETE FROM sessions WHERE rater = 'R11'")
    answer = person.rate(1, form, 5)
    assert answer.status_code == 403 and "not saved" in answer.text and saved(study, "R11") == []
    assert "session has ended" in person.ask("GET", "/rate/1").text
    person.enter("R11")
    again = person.rate(1, form, 5)
    assert again.status_code == 403 and chosen(again) == 2, "the choice is there, to be sent again"
    assert person.rate(1, form_of(again), 5).status_code == 303 and saved(study, "R11") == answered(5)


def test_a_session_ends_after_its_hours(study: Study, person: Person) -> None:
    person.begin("R12")
    with sqlite3.connect(study.folder / "ratings.sqlite") as database:
        database.execute("UPDATE sessions SET touched = touched - 13 * 3600 WHERE rater = 'R12'")
    assert "session has ended" in person.ask("GET", "/rate/1").text


def test_a_cookie_that_is_brought_along_is_never_taken_up(study: Study) -> None:
    for planted in ("x" * 43, "", "x" * 4000, "R13", "' OR 1=1 --"):
        victim = Person(study)
        victim.client.cookies.set(SESSION, planted, domain="127.0.0.1")
        victim.client.cookies.set("clens_link", f"{study.links['R14']}.{'0' * 64}", domain="127.0.0.1")
        answer = victim.ask("GET", f"/r/{study.links['R13']}", headers={"cookie": f"{SESSION}={planted}"})
        given = re.findall(rf"{SESSION}=([^;]+)", " ".join(answer.headers.get_list("set-cookie")))
        assert len(given) == 1 and given[0] != planted and len(given[0]) >= 43
    attacker = Person(study)
    attacker.enter("R14")
    victim = Person(study)
    victim.client.cookies.update(attacker.client.cookies)
    secret = attacker.client.cookies[SESSION]
    victim.ask("GET", f"/r/{study.links['R13']}")
    assert victim.client.cookies[SESSION] != secret, "another rater's session was taken up"


def test_a_personal_link_cannot_be_slipped_in(study: Study, person: Person) -> None:
    person.begin("R15")
    link = f"{study.server.address}/r/{study.links['R15']}"
    assert link in person.get("/pause").text
    own = person.client.cookies[SESSION]
    forged = f"{SESSION}={own}; clens_link={study.links['R14']}.{'0' * 64}"
    answer = httpx.get(f"{study.server.address}/pause", headers={"cookie": forged})
    assert answer.status_code == 200 and study.links["R14"] not in answer.text


def test_cookies_are_kept_from_scripts_and_other_sites(study: Study, person: Person) -> None:
    answer = person.ask("GET", f"/r/{study.links['R16']}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/"), "the token stays in the address bar"
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 2
    for cookie in cookies:
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; ")), cookie
    login = person.send("/admin/login", token=ADMIN_TOKEN)
    assert {"HttpOnly", "Path=/admin", "SameSite=strict"} <= set(login.headers["set-cookie"].split("; "))


def test_a_withdrawn_rater_is_gone(study: Study, person: Person) -> None:
    form = form_of(person.begin("R17"))
    person.rate(1, form, 4)
    leave = person.form("/withdraw")
    assert person.send("/withdraw", form=leave, answer="no").status_code == 422
    cookies = dict(person.client.cookies)
    gone = person.send("/withdraw", form=leave, answer="yes")
    assert gone.headers["location"].startswith("/withdrawn") and not person.client.cookies
    person.client.cookies.update(cookies)
    assert person.send("/withdraw", form=leave, answer="yes").headers["location"].startswith("/withdrawn"), "twice"
    assert person.rate(1, form, 4).status_code == 403 and saved(study, "R17") == []
    assert Person(study).enter("R17").status_code == 404, "the link of someone who withdrew still works"


def test_guessing_links_is_limited_and_told_of(study: Study) -> None:
    guesser = Person(study, source="127.0.0.77")
    statuses = [guesser.ask("GET", f"/r/{letter * 26}").status_code for letter in "abcdefghijklmnopqrstuvwxyz"]
    assert statuses[:WRONG_A_MINUTE] == [404] * WRONG_A_MINUTE
    assert set(statuses[WRONG_A_MINUTE:]) <= {404, 429} and statuses[-1] == 429
    right = guesser.ask("GET", f"/r/{study.links['R18']}")
    assert right.status_code == 429 and right.headers["retry-after"], "a hit must not be told from a miss"
    assert Person(study, source="127.0.0.78").enter("R18").status_code == 200, "others are not held up"
    assert {"a link that is not valid", "too many wrong links"} <= set(study.incidents())
    assert "too many wrong links" in study.server.log


def test_right_links_are_not_limited(study: Study) -> None:
    class_room = [Person(study, source="127.0.0.79") for _ in range(2 * WRONG_A_MINUTE)]
    with ThreadPoolExecutor(len(class_room)) as pool:
        assert set(pool.map(lambda one: one.enter("R19").status_code, class_room)) == {200}


def test_guessing_the_admin_token_is_limited_and_told_of(study: Study) -> None:
    guesser = Person(study, source="127.0.0.80")
    statuses = [guesser.send("/admin/login", token=f"guess-{n}").status_code for n in range(WRONG_A_MINUTE + 5)]
    assert statuses[0] == 403 and statuses[-1] == 429
    assert guesser.send("/admin/login", token=ADMIN_TOKEN).status_code == 429
    assert {"a wrong admin token", "too many wrong admin tokens"} <= set(study.incidents())


def test_nothing_of_the_admin_without_the_token(study: Study, person: Person) -> None:
    person.begin("R20")
    for cookies in ({}, {"clens_admin": "x"}, {"clens_admin": new_form("x" * 43, "admin session", now=time.time())}):
        person.client.cookies.update(cookies)
        for path in ("/admin", "/admin/ratings.csv"):
            assert person.ask("GET", path).headers["location"] == "/admin/login"
        for path in ("/admin/withdraw", "/admin/link", "/admin/logout"):
            assert person.send(path, form="x", rater="R20").status_code == 403
    for token in ("", ADMIN_TOKEN[:-1], ADMIN_TOKEN + "x", ADMIN_TOKEN.upper(), "\x00", "ü"):
        assert person.send("/admin/login", token=token).status_code == 403
    with study.store() as store:
        assert store.rater("R20").step == "rating"


def test_the_admin_needs_a_form_of_the_own_session(study: Study) -> None:
    admin = Person(study, source="127.0.0.81")
    admin.send("/admin/login", token=ADMIN_TOKEN)
    page = admin.get("/admin")
    other = Person(study, source="127.0.0.81")
    other.send("/admin/login", token=ADMIN_TOKEN)
    for form in (form_of(other.get("/admin")), "", None, "x"):
        assert admin.send("/admin/withdraw", form=form, rater="R21").status_code == 403
    assert admin.send("/admin/link", form=form_of(page), rater="R99").status_code == 400
    page = admin.get("/admin")
    made = admin.send("/admin/link", form=form_of(page), rater="R21")
    link = re.search(r"http://localhost:\d+/r/([a-z2-7]{26})", made.text)
    assert link is not None and Person(study).enter("R21").status_code == 404, "the old link still works"
    assert Person(study).get(f"/r/{link[1]}").status_code == 200
    assert admin.send("/admin/link", form=form_of(page), rater="R21").headers["location"] == "/admin", "a reload"
    assert Person(study).get(f"/r/{link[1]}").status_code == 200, "a reload ended the new link"
    cookie = dict(admin.client.cookies)
    admin.send("/admin/logout", form=form_of(admin.get("/admin")))
    admin.client.cookies.update(cookie)
    assert admin.ask("GET", "/admin").headers["location"] == "/admin/login", "the session outlives its end"


def test_nothing_secret_is_logged_or_stored(study: Study) -> None:
    person = Person(study)
    person.begin("R22")
    person.rate(1, "forged", 4, comment="a comment that is nobody's business")
    secrets = [*study.links.values(), ADMIN_TOKEN, *person.client.cookies.values(), "nobody's business"]
    stored = b"".join(path.read_bytes() for path in study.folder.glob("ratings.sqlite*"))
    for secret in secrets:
        assert secret not in study.server.log
        assert secret.encode() not in stored
