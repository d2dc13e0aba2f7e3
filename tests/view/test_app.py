"""The server's answers, its refusals and its headers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient
from tests.browser.big_run import MODEL, make

from compressed_lens.cli.main import main
from compressed_lens.errors import RunError
from compressed_lens.report import write_report
from compressed_lens.runner import load_run
from compressed_lens.store.frames import with_values
from compressed_lens.view.app import create_app
from compressed_lens.view.page import served
from compressed_lens.web import is_local

POLICY = "content-security-policy"
SERIES = {"model": MODEL, "task": "reviews", "analysis": "nle"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("runs") / "run", items=60, variants=("full", "rtn-3bit", "rtn-2bit"))


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(create_app(folder, names=["my.machine"]), base_url="http://127.0.0.1:8377") as opened:
        yield opened


def test_rows_and_items_are_those_of_the_records(client: TestClient, folder: Path) -> None:
    told = client.get("/api/series").json()["series"]
    records = load_run(folder).records
    counts = records.group_by("task", "analysis").len()
    assert {(one["task"], one["analysis"], one["records"]) for one in told} == set(counts.iter_rows())
    head = client.get("/api/head", params=SERIES).json()
    assert head["variants"] == ["full", "rtn-3bit", "rtn-2bit"] and head["items"] == 60
    assert head["gates"][2] == "failed" and head["telling"] == 1, "a variant that failed the gate is not shown first"
    page = client.get("/api/rows", params={**SERIES, "offset": 50, "limit": 20, "item": "reviews-00055"}).json()
    assert [row["id"] for row in page["rows"]] == [f"reviews-{n:05d}" for n in range(50, 60)]
    assert page["total"] == page["counts"]["all"] == 60 and page["place"] == 55
    item = client.get("/api/item", params={**SERIES, "item": "reviews-00007"}).json()
    frame = with_values(records.filter(pl.col("item") == "reviews-00007"), ["explanation"])
    for variant, out in zip(head["variants"], item["out"], strict=True):
        stored = frame.filter((pl.col("variant") == variant) & (pl.col("analysis") == "nle"))
        assert (dict(out["texts"]).get("explanation"), out["failed"]) == (
            stored["explanation"].item(), stored["failed"].item() or ""
        )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/api/head", {**SERIES, "analysis": "nothing"}, 404),
        ("/api/rows", {**SERIES, "variant": "nothing"}, 404),
        ("/api/rows", {**SERIES, "show": "nothing"}, 422),
        ("/api/rows", {**SERIES, "limit": "1001"}, 422),
        ("/api/rows", {**SERIES, "misspelt": "1"}, 422),
        ("/api/item", {**SERIES, "item": "nothing"}, 404),
        ("/api/", {}, 404),
        ("/run.sqlite", {}, 404),
        ("/../run.sqlite", {}, 404),
        ("/docs", {}, 404),
        ("/openapi.json", {}, 404),
    ],
)
def test_everything_else_is_refused(client: TestClient, path: str, query: dict[str, str], status: int) -> None:
    answer = client.get(path, params=query)
    assert answer.status_code == status and "detail" in answer.json()
    assert client.post(path, params=query).status_code in {404, 405}


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8377", 200), ("localhost:8377", 200), ("[::1]:8377", 200), ("192.168.1.7", 200), ("My.Machine:1", 200),
     ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("localhost.evil.example", 421), ("[", 421), ("", 421)],
)  # fmt: skip
def test_requests_under_another_name_are_refused(client: TestClient, host: str, status: int) -> None:
    answer = client.get("/api/series", headers={"host": host})
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_the_page_may_ask_its_own_server_and_nothing_else(client: TestClient, folder: Path) -> None:
    answer = client.get("/")
    assert "connect-src 'self'" in answer.headers["content-security-policy"]
    assert "script-src 'sha256-" in answer.headers["content-security-policy"]
    assert 'data-from="api"' in answer.text and 'class="series"' not in answer.text
    assert not (folder / "report.html").exists(), "viewing writes nothing"


def test_a_report_is_used_again_only_if_it_is_ours_and_newer(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", items=20, variants=("full", "rtn-3bit"))
    page = write_report(folder)
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("<h2>Texts side by side</h2>", "<h2>Kept</h2>"), encoding="utf-8")
    client = TestClient(create_app(folder), base_url="http://127.0.0.1")
    assert "<h2>Kept</h2>" in client.get("/").text
    os.utime(page, (1, 1))
    assert "<h2>Kept</h2>" not in client.get("/").text, "older than the last record"
    assert served(text.replace("script-src 'sha256-", "script-src 'sha256-A")) is None, "another version's page"
    stranger = text.replace("script-src 'sha256-", "script-src 'unsafe-inline' 'sha256-")
    page.write_text(stranger.replace("</main>", "<script>fetch('//x')</script></main>"), encoding="utf-8")
    answer = client.get("/")
    assert "fetch('//x')" not in answer.text and "'unsafe-inline' 'sha256-" not in answer.headers[POLICY]


def test_no_run_and_a_taken_port_are_one_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(RunError, match="There is no run"):
        create_app(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["view", str(folder), "--port", str(taken.getsockname()[1])]) == 2
    assert "Cannot listen at 127.0.0.1" in capsys.readouterr().err


def test_listening_to_others_is_told(folder: Path) -> None:
    assert is_local("127.0.0.1") and is_local("::1") and is_local("localhost")
    assert not is_local("0.0.0.0") and not is_local("my.machine")  # noqa: S104
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-m", "compressed_lens", "view", str(folder), "--host", "0.0.0.0", "--port", "0"]  # noqa: S104
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith("http://localhost:")
        assert "there is no password" in process.stderr.readline()
    finally:
        process.kill()
        process.communicate()
