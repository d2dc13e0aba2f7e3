"""`clens view` as a real process, in a real browser."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.browser.big_run import HOSTILE, MODEL, REASONS, Record
from tests.browser.conftest import Watched, explore

from compressed_lens.report.build import report_page
from compressed_lens.store import Store
from compressed_lens.store.store import plain
from compressed_lens.terminal import visible

Visit = Callable[..., Watched]


@pytest.fixture(scope="module")
def served(small_folder: Path) -> Iterator[str]:
    """Address of a running `clens view`; stopped by Ctrl-C in the end, which must be a clean exit."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    process = subprocess.Popen(
        [sys.executable, "-m", "compressed_lens", "view", str(small_folder), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        yield address
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 0 and "Traceback" not in said, said
    finally:
        if process.poll() is None:
            process.kill()


@pytest.fixture(scope="module")
def copy(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report as a file, elsewhere."""
    file = tmp_path_factory.mktemp("copy") / "report.html"
    file.write_text(report_page(small_folder), encoding="utf-8")
    return file


def test_the_served_explorer_shows_every_record(visit: Visit, served: str, small_folder: Path) -> None:
    before = {path.name for path in small_folder.iterdir()}
    watched = visit(served)
    page = explore(watched)
    assert page.inner_text("#shown") == "200 of 200 items."
    page.select_option("#pick-variant", "rtn-3bit")
    page.check("input[name=show][value=lost]")
    page.wait_for_selector("#shown:not(:has-text('200 of 200'))")
    lost = int(page.inner_text("#shown").split()[0])
    with urllib.request.urlopen(  # noqa: S310 (our own address)
        f"{served}api/rows?model={MODEL}&task=reviews&analysis=nle&variant=rtn-3bit&show=lost&limit=1000"
    ) as answer:
        assert len(json.load(answer)["rows"]) == lost > 0
    page.check("input[name=show][value=all]")
    page.wait_for_selector("#shown >> text=200 of 200 items.")
    page.focus("#list")
    page.keyboard.press("End")
    page.wait_for_selector("#row-199[aria-selected=true]")
    page.wait_for_selector(".source >> text=reviews-00199")
    assert watched.complaints == [] and all(url.startswith(served) for url in watched.requests)
    assert page.locator("svg.forest").count() > 10, "the report is there, too"
    assert {path.name for path in small_folder.iterdir()} - before <= {"run.sqlite-wal", "run.sqlite-shm"}


def test_hostile_texts_are_whole_and_harmless(visit: Visit, served: str) -> None:
    watched = visit(f"{served}#item=reviews-00005&task=reviews&analysis=nle&variant=rtn-3bit")
    page = watched.page
    for number in (5, 1, 4):
        page.goto(f"{served}#item=reviews-{number:05d}&task=reviews&analysis=nle&variant=rtn-3bit")
        page.wait_for_selector(f".source >> text=reviews-{number:05d}")
        full = page.locator(".side-card").first
        if full.get_by_role("button", name="Show all").count():
            full.get_by_role("button", name="Show all").first.click()
        assert full.locator(".text").first.evaluate("(node) => node.textContent") == visible(plain(HOSTILE[number]))
    assert watched.complaints == [] and page.title() == "big · Compressed Lens"


def test_what_is_recorded_meanwhile_is_shown_on_reload(visit: Visit, served: str, small_folder: Path) -> None:
    address = f"{served}#item=&task=facts&analysis=recall"
    page = visit(address).page
    page.wait_for_selector(".side-card")
    count = int(page.inner_text("#shown").split()[0])
    with Store.open(small_folder, write=True) as store:
        cell = store.cells().filter(variant="full", task="facts", analysis="recall")["cell"].item()
        store.write_record(cell, "facts-99999", 0, Record({"answer": "late", "correct": True}), group="speaks")
    page.reload()
    page.wait_for_selector(f"#shown >> text={count + 1} of {count + 1} items.")
    page.fill("#search", "late")
    page.wait_for_selector(".source >> text=facts-99999")
    assert "Nothing recorded." in page.inner_text(".side-card >> nth=1")


def test_only_this_machine_is_listened_to(served: str) -> None:
    port = int(served.rsplit(":", 1)[1].strip("/"))
    outside = socket.gethostbyname(socket.gethostname())
    if outside.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError):
        socket.create_connection((outside, port), timeout=2)


@pytest.mark.parametrize(
    "query",
    [
        {"variant": ""},
        {"variant": "rtn-3bit", "show": "gained"},
        {"variant": "rtn-3bit", "measure": "length"},
        {"variant": "", "measure": "named", "show": "lost"},
        {"variant": "rtn-2bit", "measure": "refused", "group": "about a lamp"},
        {"variant": "gptq-4bit", "reason": REASONS[2], "search": "PURCHASE"},
        {"variant": "", "search": "likes", "show": "changed"},
    ],
)
def test_the_file_and_the_server_answer_alike(visit: Visit, served: str, copy: Path, query: dict[str, str]) -> None:
    query = {name: visible(value) for name, value in query.items()}
    place = {"task": "reviews", "analysis": "nle", **query}
    page = visit(f"{copy.as_uri()}#item=&{urlencode(place)}").page
    page.wait_for_selector(".side-card, #detail p.fine")
    with urllib.request.urlopen(f"{served}api/rows?model={MODEL}&{urlencode(place)}") as answer:  # noqa: S310
        told = json.load(answer)
    assert page.inner_text("#shown").split()[0] == str(told["total"])
    counts = [int(text) for text in page.locator("#show small").all_inner_texts()]
    assert counts == [told["counts"][name] for name in ("all", "lost", "gained", "changed", "failed")] and counts[0]
    rows = [text.split(" · ") for text in page.locator("#rows small").all_inner_texts()]
    shown = [next(part for part in row if part.startswith("reviews-")) for row in rows]
    assert shown == [row["id"] for row in told["rows"]][: len(shown)]
