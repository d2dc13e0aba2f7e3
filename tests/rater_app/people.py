"""People at the server of a human study: those who do what the pages say, and those who try something else."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import httpx
from tests.human.serving import ServerProcess

from compressed_lens.human.database import database_url
from compressed_lens.human.store import HumanStore

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Loading certificates for each of many clients would take longer than most tests."""
_FORM = re.compile(r'name="form" value="([^"]*)"')


@dataclass(frozen=True, kw_only=True)
class Study:
    """A human study that a real server process serves."""

    run: Path
    folder: Path
    server: ServerProcess
    links: dict[str, str]

    def store(self) -> HumanStore:
        """Open the study's database beside the server."""
        return HumanStore.open(database_url(self.folder))

    def incidents(self) -> list[str]:
        """Return what was noted, the oldest first."""
        with self.store() as store:
            return [what for _, what, _ in store.incidents()]


class Person:
    """A browser: cookies, and the Origin of forms that browsers send; comes from a loopback address of its own.

    Every answer is kept in `answers`, so that a test can look for what must be in none.
    """

    def __init__(self, study: Study, *, source: str = "127.0.0.1") -> None:
        self.study = study
        self.address = study.server.address
        self.answers: list[httpx.Response] = []
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{study.server.port}",
            headers={"host": self.address.removeprefix("http://")},
            transport=httpx.HTTPTransport(verify=_NO_TLS, local_address=source),
            timeout=20,
        )

    def ask(self, verb: str, path: str, **more: Any) -> httpx.Response:
        """Send one request and follow nothing."""
        answer = self.client.request(verb, path, **more)
        self.answers.append(answer)
        return answer

    def get(self, path: str) -> httpx.Response:
        """Open an address and follow where it leads."""
        answer = self.ask("GET", path)
        while answer.is_redirect:
            answer = self.ask("GET", answer.headers["location"])
        return answer

    def send(self, path: str, *, headers: dict[str, str] | None = None, **fields: str | None) -> httpx.Response:
        """Send a form as a page of ours would; a field of None is left out."""
        given = {name.replace("_", "-") if name.startswith("r_") else name: value for name, value in fields.items()}
        return self.ask(
            "POST", path, data={name: value for name, value in given.items() if value is not None},
            headers={"origin": self.address, **(headers or {})},
        )  # fmt: skip

    def form(self, path: str) -> str:
        """Open a page and return its form."""
        return form_of(self.get(path))

    def enter(self, rater: str) -> httpx.Response:
        """Open a rater's personal link."""
        return self.get(f"/r/{self.study.links[rater]}")

    def begin(self, rater: str) -> httpx.Response:
        """Open a rater's link and go as far as the first page to rate."""
        page = self.enter(rater)
        with self.study.store() as store:
            questions = store.questionnaire.comprehension
        answers = {f"q{n}": str(one.correct) for n, one in enumerate(questions)}
        for path, fields in (("/consent", {"answer": "agree"}), ("/instructions", {}), ("/comprehension", answers)):
            sent = self.send(path, form=form_of(page), **fields)
            assert sent.status_code == 303, sent.text
            page = self.get(sent.headers["location"])
        return page

    def rate(self, position: int, form: str | None, points: int = 4, **more: str | None) -> httpx.Response:
        """Send the ratings of a page."""
        point = str(points)
        return self.send(f"/rate/{position}", form=form, r_trustworthiness=point, r_coherence=point, **more)


def form_of(answer: httpx.Response) -> str:
    """Return the hidden field `form` of a page."""
    found = _FORM.search(answer.text)
    assert found is not None, f"no form at {answer.url}: {answer.status_code}"
    return unescape(found[1])
