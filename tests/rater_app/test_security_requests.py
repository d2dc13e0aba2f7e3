"""Requests that no page of ours sends: other hosts and sites, odd addresses, odd bodies, wrong methods."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from tests.rater_app.people import Person, Study, form_of

from compressed_lens.rater_app.guard import MOST_BYTES

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
CLOSE = b"Connection: close\r\n"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def person(study: Study) -> Person:
    return Person(study)


@pytest.fixture(scope="module")
def rater(study: Study) -> Person:
    """R23, at the first page."""
    made = Person(study)
    made.begin("R23")
    return made


def raw(study: Study, request: bytes, source: str = "127.0.0.1") -> bytes:
    """Send bytes as they are, and return what comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", study.server.port), timeout=10, source_address=(source, 0)) as line:
        line.sendall(request)
        got = b""
        while part := line.recv(65536):
            got += part
        return got


def host(study: Study) -> bytes:
    return f"Host: localhost:{study.server.port}\r\n".encode()


def test_another_host_gets_nothing(study: Study, person: Person) -> None:
    port = study.server.port
    others = (
        "evil.example", f"evil.example:{port}", "localhost.evil.example", "10.0.0.1", "", "localhost@evil",
        "evil@localhost", "localhost:99999", "[::1", "localhost.:1", "localhost/..",
    )  # fmt: skip
    for name in others:
        answer = person.ask("GET", f"/r/{study.links['R24']}", headers={"host": name})
        assert answer.status_code == 421 and "set-cookie" not in answer.headers, name
    two = b"GET / HTTP/1.1\r\n" + host(study) + host(study) + CLOSE + b"\r\n"
    assert raw(study, two).split()[1] in {b"400", b"421"}
    assert raw(study, b"GET / HTTP/1.0\r\n\r\n").split()[1] == b"421"
    for name in ("localhost", f"localhost:{port}", "127.0.0.1:1234", f"[::1]:{port}", "LocalHost"):
        assert person.ask("GET", "/", headers={"host": name}).status_code == 403, "an own name"
    assert person.ask("GET", "/health", headers={"host": "10.0.0.1"}).text == "ok"
    assert "another host was asked for" in study.incidents()


def test_forms_of_other_sites_are_refused(study: Study, person: Person) -> None:
    person.begin("R33")
    form = person.form("/rate/1")
    own = study.server.address
    elsewhere: list[dict[str, str]] = [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": own + "0"},
        {"origin": own.replace("localhost", "127.0.0.1")},
        {"origin": own.replace("http", "https")},
        {"origin": f"{own}.evil.example"},
        {"origin": own, "sec-fetch-site": "cross-site"},
        {"origin": own, "sec-fetch-site": "same-site"},
        {"origin": "", "sec-fetch-site": "none"},
        {"origin": "null", "sec-fetch-site": "none"},
        {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
    ]
    for headers in elsewhere:
        assert person.rate(1, form, headers=headers).status_code == 403, headers
    fields = {"form": form, "r-trustworthiness": "1", "r-coherence": "1"}
    for headers in ({}, {"sec-fetch-site": "none"}, {"sec-fetch-site": "cross-site"}):
        assert person.ask("POST", "/rate/1", data=fields, headers=headers).status_code == 403, headers
    twice = [("origin", own), ("origin", "https://evil.example")]
    assert person.ask("POST", "/rate/1", data=fields, headers=twice).status_code == 403
    with study.store() as store:
        assert store.rater("R33").answered == 0
    assert "a form from another site" in study.incidents()
    same = {"origin": "null", "sec-fetch-site": "same-origin"}
    assert person.rate(1, form, headers=same).status_code == 303, "a browser that hides its origin from everyone"


def test_odd_addresses_lead_nowhere(study: Study, rater: Person) -> None:
    paths = (
        "/r/../admin", "/r/%2e%2e/admin", "/r/%2e%2e%2fadmin", "/r/..%2f..%2fetc%2fpasswd", "//admin",
        "//evil.example/", "/r//", "/r/", "/r/%00", "/r/a%00b", "/rate/1%00", "/rate/01", "/rate/1e3", "/rate/%31%2f",
        "/rate/%D9%A1",
        "/rate/99999999999999999999", "/rate/1/", "/admin/", "/admin/..", "/admin/ratings.csv/x", "/ratings.sqlite",
        "/key.csv", "/human/main/key.csv", "/static/../key.csv", "/.git/config", "/docs", "/openapi.json", "/redoc",
        "/%0d%0aset-cookie:x=1", "/rate/%0d%0aset-cookie:x=1", "/\\evil.example", "/%ff%fe", "/r/'%20OR%201=1--",
        "/r/{{7*7}}", "/r/<script>alert(1)</script>", "/join/../../admin", "/R/aaaa", "/favicon.ico/x",
    )  # fmt: skip
    cookie = "; ".join(f"{name}={value}" for name, value in rater.client.cookies.items())
    for path in paths:
        request = f"GET {path} HTTP/1.1\r\nCookie: {cookie}\r\n".encode() + host(study) + CLOSE + b"\r\n"
        head, _, page = raw(study, request, "127.0.0.83").partition(b"\r\n\r\n")
        assert head.split()[1] in {b"400", b"404"}, path
        assert b"set-cookie" not in head.lower() and b"location" not in head.lower(), path
        assert b"<script" not in page and b"49" not in page.partition(b"<main")[2] and b"root:" not in page, path
    assert "an unknown address" in study.incidents()


def test_long_addresses_and_heads_are_refused(study: Study, person: Person) -> None:
    assert person.ask("GET", "/r/" + "a" * 3000).status_code == 414
    assert person.ask("GET", "/?" + "a" * 3000).status_code == 414
    get = b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n" + host(study) + b"\r\n"
    assert b" 400 " in raw_or_cut(study, get)
    many = b"GET / HTTP/1.1\r\n" + host(study) + b"".join(b"X-%d: y\r\n" % n for n in range(20_000)) + b"\r\n"
    assert b" 400 " in raw_or_cut(study, many)
    assert person.get("/health").text == "ok"


def raw_or_cut(study: Study, request: bytes) -> bytes:
    """Send bytes, where the server may stop to listen in the middle."""
    try:
        return raw(study, request)
    except OSError:
        return b" 400 "


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 4096):
        yield b"a" * 4096


def test_large_bodies_are_refused(study: Study, person: Person) -> None:
    person.begin("R34")
    own = {"origin": study.server.address, "content-type": FORM}
    before = len(study.incidents())
    for size in (MOST_BYTES + 1, 4 * MOST_BYTES):
        assert person.ask("POST", "/rate/1", content=b"a" * size, headers=own).status_code == 413
        assert person.ask("POST", "/rate/1", content=chunks(size + 4096), headers=own).status_code == 413, "chunked"
    assert b" 413 " in raw_or_413(study, 50_000_000)
    assert "a body that is too large" in study.incidents()[before:]
    form = person.form("/rate/1")
    assert person.rate(1, form, comment="c" * (MOST_BYTES // 2)).status_code == 303
    with study.store() as store:
        assert len(store.page("R34", 1).comment) == 4000


def raw_or_413(study: Study, size: int) -> bytes:
    """Announce a body and send only as much as the server takes."""
    own = f"Origin: {study.server.address}\r\nContent-Type: {FORM}\r\n".encode()
    head = b"POST /consent HTTP/1.1\r\n" + host(study) + own
    with socket.create_connection(("127.0.0.1", study.server.port), timeout=10) as line:
        line.sendall(head + f"Content-Length: {size}\r\n\r\n".encode())
        try:
            while size > 0:
                size -= line.send(b"a" * min(size, 65536))
        except OSError:
            return b" 413 "  # it hung up on us
        return line.recv(65536)


def test_malformed_forms_are_refused(study: Study, person: Person) -> None:
    person.begin("R35")
    own = {"origin": study.server.address, "content-type": FORM}
    form = person.form("/rate/1")
    good = f"form={form}&r-trustworthiness=4&r-coherence=4"
    bodies = {
        "thousands of fields": good + "&a=b" * 5000,
        "201 fields": good + "&a=b" * 198,
        "a rating twice": good + "&r-coherence=5",
        "a form twice": good + f"&form={form}",
        "bad UTF-8": good + "&comment=%ff%fe%80",
        "half a character": good + "&comment=%ed%a0%80",
        "raw bytes": good + "&comment=\u00e9",
        "no number": f"form={form}&r-trustworthiness=4&r-coherence=four",
        "beyond the scale": f"form={form}&r-trustworthiness=4&r-coherence=6",
        "below the scale": f"form={form}&r-trustworthiness=4&r-coherence=0",
        "negative": f"form={form}&r-trustworthiness=4&r-coherence=-1",
        "a fraction": f"form={form}&r-trustworthiness=4&r-coherence=4.5",
        "other digits": f"form={form}&r-trustworthiness=4&r-coherence=%D9%A3",
        "very long number": f"form={form}&r-trustworthiness=4&r-coherence={'4' * 5000}",
        "empty rating": f"form={form}&r-trustworthiness=4&r-coherence=",
    }
    before = len(study.incidents())
    for what, body in bodies.items():
        answer = person.ask("POST", "/rate/1", content=body.encode(), headers=own)
        assert answer.status_code == 400, what
    assert any(what.startswith("a malformed form") for what in study.incidents()[before:])
    kinds = ("text/plain", "multipart/form-data; boundary=x", "application/json", "", f"{FORM}, text/plain")
    for kind in kinds:
        answer = person.ask("POST", "/rate/1", content=good.encode(), headers={**own, "content-type": kind})
        assert answer.status_code == 415, kind
    missing = person.ask("POST", "/rate/1", content=f"form={form}&r-coherence=4".encode(), headers=own)
    assert missing.status_code == 422 and 'role="alert"' in missing.text
    with study.store() as store:
        assert store.rater("R35").answered == 0
    odd = good + "&comment=%00a%08b%1b[31m%0D%0Ac&unknown=1&r-other=9"
    assert person.ask("POST", "/rate/1", content=odd.encode(), headers=own).status_code == 303
    with study.store() as store:
        assert store.page("R35", 1).comment == "ab[31m\nc"


def test_wrong_methods_are_refused(study: Study, rater: Person) -> None:
    for path in ("/", "/consent", "/rate/1", "/admin", "/health", f"/r/{study.links['R24']}"):
        for verb in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"):
            answer = rater.ask(verb, path, headers={"origin": study.server.address})
            assert answer.status_code == 405, f"{verb} {path}"
            assert "access-control-allow-origin" not in answer.headers
    own = {"origin": study.server.address, "content-type": FORM}
    for path in ("/", "/pause", "/done", "/admin", "/health", f"/r/{study.links['R24']}", "/join/x"):
        assert rater.ask("POST", path, headers=own).status_code == 405, path
    assert rater.ask("GET", "/admin/logout").status_code == 405
    assert rater.ask("GET", "/admin/link?lang=de").headers["location"] == "/admin?lang=de", "for the links to languages"


def test_head_is_get_without_the_page(rater: Person) -> None:
    for path in ("/rate/1", "/pause", "/health", "/admin/login", "/nothing"):
        head, got = rater.ask("HEAD", path), rater.ask("GET", path)
        assert head.status_code == got.status_code and head.content == b""
        assert head.headers["content-length"] == got.headers["content-length"]


def test_every_answer_has_its_headers(study: Study, person: Person, rater: Person) -> None:
    link = f"/r/{study.links['R24']}"
    paths = ("/", "/consent", "/rate/1", "/pause", "/nothing", "/health", "/admin/login", "/admin", link)
    answers = [one.ask("GET", path) for path in paths for one in (person, rater)]
    own = {"origin": study.server.address, "content-type": FORM}
    answers += [
        person.ask("GET", "/", headers={"host": "evil.example"}),
        person.ask("PUT", "/"),
        person.ask("POST", "/consent", headers=own),
        person.ask("POST", "/consent", content=b"a" * 70_000, headers=own),
    ]
    assert {answer.status_code for answer in answers} >= {200, 303, 403, 404, 405, 413, 421}
    for answer in answers:
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, answer.url
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script" not in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and "form-action 'self'" in policy and "base-uri 'none'" in policy
        assert "server" not in answer.headers and "strict-transport-security" not in answer.headers


def test_a_forwarded_address_is_not_believed_without_a_proxy(study: Study) -> None:
    guesser = Person(study, source="127.0.0.82")
    for n in range(25):
        last = guesser.ask("GET", f"/r/{'a' * 26}", headers={"x-forwarded-for": f"203.0.113.{n}"})
    assert last.status_code == 429


def test_markup_in_texts_is_shown_and_not_run(study: Study) -> None:
    pages = []
    for number in (25, 26, 27):
        person = Person(study)
        page = person.begin(f"R{number}")
        for position in range(1, 7):
            pages.append(page.text)
            page = person.get(person.rate(position, form_of(page)).headers["location"])
    together = "".join(pages)
    assert "&lt;script&gt;" in together and "&lt;img src=x" in together, "no hostile text was drawn"
    for mark in ("<script", "<img", "javascript:alert(1)'>", ' onerror="', "\x1b", "\x07", "\x00"):
        assert mark not in together, mark
