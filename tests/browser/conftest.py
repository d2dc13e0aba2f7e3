"""Pages in a real browser that note everything a page should not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.browser.big_run import make

from compressed_lens.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE = {"width": 390, "height": 800}


class Watched:
    """What a page did besides being shown: all of these lists should stay empty, except the first request."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self._complain(message.type, message.text))
        page.on("pageerror", lambda error: self._complain("error", str(error)))
        page.on("dialog", lambda dialog: (self._complain("dialog", dialog.message), dialog.dismiss()))

    def _complain(self, kind: str, text: str) -> None:
        self.complaints.append(f"{kind}: {text}")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Open an address in a fresh, watched window; animations are off unless asked for."""
    contexts = []

    def opened(address: str, **settings: Any) -> Watched:
        chosen: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **settings}
        context = browser.new_context(**chosen)
        contexts.append(context)
        context.set_default_timeout(10_000)
        watched = Watched(context.new_page())
        watched.page.goto(address)
        return watched

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def big_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 100,000 records, with its report."""
    folder = make(tmp_path_factory.mktemp("runs") / "big")
    write_report(folder)
    return folder


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with 200 items and four variants, and without a report."""
    variants = ("full", "gptq-4bit", "rtn-3bit", "rtn-2bit")
    return make(tmp_path_factory.mktemp("runs") / "small", items=200, variants=variants)


def explore(watched: Watched) -> Page:
    """Go to the explorer and wait for its first item."""
    watched.page.evaluate("document.getElementById('texts').scrollIntoView()")
    watched.page.wait_for_selector(".side-card")
    return watched.page
