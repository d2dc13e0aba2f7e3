"""Where the browser is and how it is started, for tests of both kinds of Playwright."""

from __future__ import annotations

import os
import shutil
from typing import Any


def launching() -> dict[str, Any]:
    """Return what Playwright's `chromium.launch` needs here."""
    named = [os.environ.get("CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))]
    path = next((one for one in named if one), None)  # else the one that Playwright may have brought
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return {"executable_path": path, "args": ["--no-sandbox"] if root else []}
