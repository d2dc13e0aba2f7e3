"""Where the toolkit keeps what it makes for itself."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Return the folder of everything that can be made again: $CLENS_CACHE, or a folder in the user's cache."""
    own = os.environ.get("CLENS_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "compressed-lens"
