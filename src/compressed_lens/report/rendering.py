"""Templates of our own pages: where they are, and how foreign text is made safe in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from compressed_lens.terminal import visible

TEMPLATES = Path(__file__).parent / "templates"


def environment(folder: Path = TEMPLATES) -> Environment:
    """Return a Jinja environment for a folder of templates: it escapes everything and refuses a name it does not know.

    Control and bidirectional characters in foreign text become visible. A template is read once.
    """
    return Environment(
        loader=FileSystemLoader(folder),
        auto_reload=False,
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style() -> Markup:
    """Return the style sheet of every page."""
    return Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))  # noqa: S704 (our own file)


def _finalize(value: Any) -> Any:
    """Make foreign text safe to look at; markup of ours passes."""
    return visible(value) if type(value) is str else value
