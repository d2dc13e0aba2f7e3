"""Where the server is asked: behind a proxy with https, on other machines, by people of a recruitment platform."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.human.serving import ServerProcess, serving
from tests.human.small import blinded

from compressed_lens.cli.main import main
from compressed_lens.human.database import sqlite_url
from compressed_lens.human.plan import create
from compressed_lens.human.reading import default_design
from compressed_lens.human.store import HumanStore
from compressed_lens.rater_app.app import create_app
from compressed_lens.rater_app.guard import Address
from compressed_lens.web import origin_of

PUBLIC = "https://study.example.org"
TOKEN = "an admin token of the tests"  # noqa: S105


@contextmanager
def opened(tmp_path: Path, *, url: str = "", peer: str = "127.0.0.1") -> Iterator[tuple[TestClient, HumanStore]]:
    """Give a client of the app, in this process, and its store."""
    with HumanStore.create(sqlite_url(tmp_path / "ratings.sqlite"), blinded(raters=4)) as store:
        app = create_app(store, address=Address(url=url), admin_token=TOKEN)
        with TestClient(app, base_url=url or "http://localhost:8378", client=(peer, 5)) as client:
            yield client, store


def test_behind_a_proxy_with_https(tmp_path: Path) -> None:
    with opened(tmp_path, url=PUBLIC) as (client, store):
        links = store.new_links()
        first = client.get(f"/r/{links['R01']}", follow_redirects=False)
        cookies = first.headers.get_list("set-cookie")
        assert len(cookies) == 2 and all(one.startswith("__Host-clens_") and "; Secure" in one for one in cookies)
        assert first.headers["strict-transport-security"] == "max-age=31536000"
        page = client.get("/")
        form = re.search('name="form" value="([^"]+)"', page.text)
        assert form is not None
        sent = {"form": form[1], "answer": "agree"}
        for origin in ("http://study.example.org", "https://study.example.org.evil.example", "http://localhost:8378"):
            assert client.post("/consent", data=sent, headers={"origin": origin}).status_code == 403, origin
        done = client.post("/consent", data=sent, headers={"origin": PUBLIC}, follow_redirects=False)
        assert done.status_code == 303
        assert f"{PUBLIC}/r/{links['R01']}" in client.get("/pause").text
        for host in ("localhost:8378", "127.0.0.1", "study.example.org:8378", "example.org"):
            assert client.get("/pause", headers={"host": host}).status_code == 421, host
        assert client.get("/pause", headers={"host": "study.example.org:443"}).status_code == 200
        login = client.post("/admin/login", data={"token": TOKEN}, headers={"origin": PUBLIC}, follow_redirects=False)
        assert "; Secure" in login.headers["set-cookie"] and "SameSite=strict" in login.headers["set-cookie"]


def test_each_visitor_behind_the_proxy_has_a_limit_of_the_own(tmp_path: Path) -> None:
    with opened(tmp_path, url=PUBLIC) as (client, store):
        links = store.new_links()
        for n in range(25):
            forged = f"203.0.113.{n}, 198.51.100.7"
            last = client.get(f"/r/{'a' * 26}", headers={"x-forwarded-for": forged})
        assert last.status_code == 429, "what comes first in the header was written by the visitor"
        right = client.get(f"/r/{links['R01']}", headers={"x-forwarded-for": "198.51.100.8"})
        assert right.status_code == 200


@pytest.mark.parametrize(
    ("url", "peer", "forwarded", "visitor"),
    [
        ("", "127.0.0.1", "198.51.100.7", "127.0.0.1"),
        (PUBLIC, "127.0.0.1", "198.51.100.7", "198.51.100.7"),
        (PUBLIC, "172.18.0.2", "1.1.1.1, 198.51.100.7", "198.51.100.7"),
        (PUBLIC, "8.8.8.8", "198.51.100.7", "8.8.8.8"),
        (PUBLIC, "127.0.0.1", "unknown", "127.0.0.1"),
        (PUBLIC, "::1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", "::ffff:127.0.0.1", "", "127.0.0.1"),
        ("", "testclient", "", "testclient"),
    ],
)
def test_who_a_visitor_is(url: str, peer: str, forwarded: str, visitor: str) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert Address(url=url).visitor({"client": (peer, 1), "headers": headers}) == visitor


@pytest.mark.parametrize(
    ("address", "host", "welcome"),
    [
        (Address(host="0.0.0.0"), "192.168.1.5:8378", True),  # noqa: S104
        (Address(host="0.0.0.0"), "evil.example", False),  # noqa: S104
        (Address(host="lab-server"), "lab-server:8378", True),
        (Address(host="lab-server"), "lab-server.evil.example", False),
        (Address(url="http://lab-server:8378"), "lab-server:8378", True),
        (Address(url="http://lab-server:8378"), "lab-server", False),
        (Address(url=PUBLIC), "STUDY.example.org", True),
        (Address(), "192.168.1.5", False),
    ],
)
def test_under_which_names_it_is_asked(address: Address, host: str, welcome: bool) -> None:
    assert address.welcomes(host) is welcome


def test_origins() -> None:
    assert origin_of("HTTPS://Study.Example.org:443") == PUBLIC and origin_of("http://[::1]:80") == "http://[::1]"
    assert origin_of("http://a:8378") == "http://a:8378"
    for wrong in ("http://a/b", "http://a?b", "http://a#b", "http://me@a", "http://a:b", "http://", "http://[", ""):
        assert origin_of(wrong) == "", wrong


def test_people_of_a_platform_join_once(tmp_path: Path) -> None:
    with opened(tmp_path) as (client, store):
        token = store.new_open_link()
        path = f"/join/{token}?PROLIFIC_PID=5f3c_A-b&STUDY_ID=64study&SESSION_ID=9"
        for _ in range(3):
            assert client.get(path).url.path == "/consent"
            client.cookies.clear()
        assert [rater.code for rater in store.raters()] == ["5f3c_A-b", "", "", ""], "a reload took a place"
        stored = b"".join(file.read_bytes() for file in tmp_path.glob("ratings.sqlite*"))
        assert b"5f3c_A-b" in stored and b"64study" not in stored
        wrong = ("", "?PROLIFIC_PID=", "?PROLIFIC_PID=a b", f"?code={'a' * 65}", "?code=a&PROLIFIC_PID=b", "?code=%00")
        for query in wrong:
            assert client.get(f"/join/{token}{query}").status_code == 400, query
        assert client.get(f"/join/{'a' * 26}?code=x").status_code == 404
        for number in range(3):
            assert client.get(f"/join/{token}?code=P{number}").status_code == 200
        client.cookies.clear()
        full = client.get(f"/join/{token}?code=late")
        assert full.status_code == 403 and not client.cookies
        assert client.get(path).status_code == 200, "who is in stays in"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.human.paper_run import build_run

    made = build_run(tmp_path_factory.mktemp("runs") / "run", models=1, items=8)
    default = default_design()
    sample = default.sample.model_copy(update={"items": 2, "separate_items": False})
    create(made, default.model_copy(update={"sample": sample}))
    return made


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "without https"),  # noqa: S104
        (["--host", "0.0.0.0", "--url", "http://lab:8378"], "without https"),  # noqa: S104
        (["--url", "http://study.example.org"], "without https"),
        (["--url", "https://study.example.org/path"], "not the address of a server"),
        (["--url", "study.example.org"], "not the address of a server"),
        (["--host", "203.0.113.1", "--url", PUBLIC], "Cannot listen at"),
    ],
)
def test_addresses_that_are_refused(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["human", "serve", str(run), "--port", "0", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_short_admin_token_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLENS_HUMAN_ADMIN_TOKEN", "short")
    assert main(["human", "serve", str(run), "--port", "0"]) == 2
    assert "fewer than 16" in capsys.readouterr().err


def test_a_run_without_a_human_study_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["human", "serve", str(tmp_path), "--port", "0"]) == 5
    assert "clens human create" in capsys.readouterr().err


def test_it_stops_when_asked_to(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path / "log") as server:
        assert f"{server.address}/admin\n" in server.log and "admin token" not in server.log
        assert server.stop() == 0
        assert "Traceback" not in server.log
        assert isinstance(server, ServerProcess)
