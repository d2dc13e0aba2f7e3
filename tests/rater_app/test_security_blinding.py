"""Nothing that leaves the server tells of model, variant, task, analysis or item: all pages of a study are read."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
from collections.abc import Collection, Iterator
from html.parser import HTMLParser
from itertools import pairwise

import httpx
import polars as pl
import pytest
from tests.human.paper_run import build_run
from tests.human.serving import ADMIN_TOKEN, serving
from tests.rater_app.people import Person, Study, form_of

from compressed_lens.human.plan import create
from compressed_lens.human.reading import default_design

FULL = re.compile(r"(?<![a-z])full(?![a-z])", re.IGNORECASE)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Four items under four variants: 16 raters of five pages."""
    root = tmp_path_factory.mktemp("blinding")
    run = build_run(root / "gptq-against-awq", models=1, items=8)
    default = default_design()
    sample = default.sample.model_copy(update={"items": 4, "separate_items": False})
    folder = create(run, default.model_copy(update={"sample": sample}))
    with serving(run, root / "server.log") as server:
        made = Study(run=run, folder=folder, server=server, links={})
        with made.store() as store:
            made.links.update(store.new_links())
        yield made


def telling(study: Study) -> set[str]:
    """Return the words that would tell, taken from the key, and those they are made of."""
    key = pl.read_csv(study.folder / "key.csv", infer_schema=False)
    names = {name for column in ("model", "variant", "task", "analysis", "item") for name in key[column].unique()}
    assert {"gptq-4bit", "awq-4bit", "esnli", "nle", "Qwen2.5-7B-Instruct"} <= names
    parts = {part for name in names for part in re.split(r"[-.#]", name) if re.fullmatch("[A-Za-z]{3,}", part)}
    # `counterfactual` is the kind of the text as well, which raters see; `full` is looked for by itself; and there is
    # no page without "instructions".
    more = {"quantiz", "quantis", "4bit", "8bit", study.run.name}
    return (names | parts | more) - {"full", "counterfactual", "Instruct"}


class Values(HTMLParser):
    """Gathers the attributes of a page, except of links to languages."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{name}={value}" for name, value in attrs]


def leaks(answer: httpx.Response, words: re.Pattern[str]) -> list[str]:
    """Return what an answer tells in its head, address or body."""
    head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
    found = words.findall(f"{head}\n{answer.request.url}\n{answer.text}")
    places = [head, answer.text]
    if answer.headers.get("content-type", "").startswith("text/html"):
        values = Values()
        values.feed(answer.text)
        places = [head, *values.found]
    return found + [f"full in {place}" for place in places if FULL.search(place)]


def any_of(words: Collection[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, sorted(words)))})", re.IGNORECASE)


def test_what_would_tell_is_found() -> None:
    words = any_of({"gptq-4bit", "Qwen"})
    request = httpx.Request("GET", "http://localhost/rate/1")
    html = {"content-type": "text/html"}
    for text, found in (
        ("<p class='GPTQ-4bit'>", ["GPTQ-4bit"]), ("<p>by qwen2.5</p>", ["qwen"]), ("<p>full text</p>", []),
        ("<p data-v='full'>", ["full in data-v=full"]), ("<p>carefully</p>", []),
    ):  # fmt: skip
        assert leaks(httpx.Response(200, text=text, headers=html, request=request), words) == found
    assert leaks(httpx.Response(200, headers={"x-variant": "full"}, request=request), words)


def test_no_answer_tells_what_a_text_is_of(whole: Study) -> None:
    people = [Person(whole) for _ in whole.links]
    for number, (person, rater) in enumerate(zip(people, whole.links, strict=True)):
        page = person.begin(rater)
        if number == 0:
            wander(person)
        while page.url.path.startswith("/rate/"):
            position = int(page.url.path.rpartition("/")[2])
            page = person.get(person.rate(position, form_of(page), 1 + (number + position) % 5).headers["location"])
        if number:
            page = person.get(person.send("/comments", form=form_of(page), comment="=1+1").headers["location"])
        assert page.url.path == ("/done" if number else "/comments")
    people[0].send("/withdraw", form=people[0].form("/withdraw"), answer="yes")
    people[0].get("/withdrawn")
    people += [errors(whole), administer(whole)]
    answers = [answer for person in people for answer in person.answers]
    statuses = {answer.status_code for answer in answers}
    assert len(answers) > 16 * 5 * 2 and statuses >= {200, 303, 400, 403, 404, 405, 409, 413, 421, 422}
    words = any_of(telling(whole))
    told = [(answer.request.method, answer.request.url.path, leaks(answer, words)) for answer in answers]
    assert [one for one in told if one[2]] == []


def test_the_order_of_rows_tells_nothing_either(whole: Study) -> None:
    with sqlite3.connect(whole.folder / "ratings.sqlite") as database:
        rows = database.execute("SELECT text, cell FROM texts ORDER BY rowid").fetchall()
    assert [text for text, _ in rows] == sorted(text for text, _ in rows), "texts are not in the order of their codes"
    key = {row["text"]: row for row in pl.read_csv(whole.folder / "key.csv", infer_schema=False).iter_rows(named=True)}
    for column in ("cell", "variant", "item"):
        ordered = [key[text][column] for text, _ in rows]
        changes = sum(one != other for one, other in pairwise(ordered))
        assert changes >= len(rows) // 2, f"texts stand together by {column}"


def wander(person: Person) -> None:
    """See the pages beside the way, in both languages, and those of mistakes."""
    beside = ("/instructions", "/pause", "/withdraw")
    for path in (*beside, "/rate/1?lang=de", *beside, "/withdraw?lang=en"):
        person.get(path)
    page = person.get("/rate/1")
    person.send("/rate/1", form=form_of(page), r_trustworthiness="3")
    person.rate(1, "forged")
    person.rate(1, form_of(page), 2)
    person.rate(1, form_of(page), 4)
    person.get("/rate/1")


def errors(study: Study) -> Person:
    """Ask for what is refused."""
    stranger = Person(study, source="127.0.0.90")
    own = {"origin": study.server.address, "content-type": "application/x-www-form-urlencoded"}
    for path in ("/", "/rate/1", "/nothing", "/r/x", f"/r/{'a' * 26}", "/join/x", "/key.csv", "/admin", "/health"):
        stranger.get(path)
    stranger.ask("PUT", "/")
    stranger.ask("GET", "/", headers={"host": "evil.example"})
    stranger.ask("POST", "/consent", content=b"a" * 70_000, headers=own)
    stranger.ask("POST", "/consent", content=b"a=1&a=2", headers=own)
    stranger.send("/admin/login", token="wrong")  # noqa: S106
    quiz = Person(study)
    with study.store() as store:
        quiz.study.links.update(store.new_links(["R01"]))
    page = quiz.enter("R01")
    page = quiz.get(quiz.send("/consent", form=form_of(page), answer="agree").headers["location"])
    page = quiz.get(quiz.send("/instructions", form=form_of(page)).headers["location"])
    again = quiz.send("/comprehension", form=form_of(page), q0="0", q1="0", q2="0")
    quiz.get(quiz.send("/comprehension", form=form_of(again), q0="0", q1="0", q2="0").headers["location"])
    quiz.ask("POST", "/rate/1", content=b"a=1&a=2", headers=own)
    stranger.answers += quiz.answers
    return stranger


def administer(study: Study) -> Person:
    """Do all that the admin can, and check what comes of it."""
    admin = Person(study, source="127.0.0.91")
    admin.send("/admin/login", token=ADMIN_TOKEN)
    page = admin.get("/admin")
    table = admin.get("/admin/ratings.csv")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert len(rows) == 2 * 15 * 5 and {row["cell"] for row in rows} == {f"C{n:02}" for n in range(1, 9)} | {""}
    assert all(1 <= int(row["rating"]) <= 5 for row in rows)
    assert "=1+1" not in {row["comment"] for row in rows}, "a formula for a spreadsheet"
    assert all(code in page.text for code in ("C01", "C08", "R16"))
    page = admin.send("/admin/link", form=form_of(page), rater="R05")
    page = admin.send("/admin/withdraw", form=form_of(page), rater="R06")
    admin.get("/admin?lang=de")
    admin.send("/admin/logout", form=form_of(page))
    return admin
