"""Where the browser is and how it is started, for pictures and for tests of both kinds of Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Error, sync_playwright


def launching() -> dict[str, Any]:
    """Return what Playwright's `chromium.launch` needs here."""
    named = [os.environ.get("CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))]
    path = next((one for one in named if one), None)  # else the one that Playwright may have brought
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return {"executable_path": path, "args": ["--no-sandbox"] if root else []}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser for a script.

    Raises:
        SystemExit: There is none.
    """
    with sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(**launching())
        except Error as error:
            raise SystemExit("No Chromium found; on Debian: apt-get install chromium, or set CHROMIUM.") from error
        yield browser
        browser.close()
