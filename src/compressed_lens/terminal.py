"""Text that is safe to show: what a model or a data file says must not act on the reader's terminal or page."""

from __future__ import annotations

import re

# C0 and C1 controls except tab and newline, and the marks that reorder text: they move the cursor, recolour the
# terminal or hide part of a line.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

# The same for pages, with what XML cannot hold; a page shows it in place of dropping it.
_UNSHOWN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_CONTROL_PICTURES = 0x2400
_SPACE = 0x20


def clean(text: str) -> str:
    """Return `text` without terminal control characters."""
    return _UNSAFE.sub("", text)


def visible(text: str) -> str:
    """Return `text` with what would disturb the page made visible.

    Control characters become their pictures (NUL is U+2400); bidirectional overrides, isolates, and noncharacters,
    which XML cannot hold, are spelled out as [U+202E]; halves of broken surrogate pairs become U+FFFD. Nothing else
    changes.
    """
    return _UNSHOWN.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < _SPACE:
        return chr(_CONTROL_PICTURES + code)
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else f"[U+{code:04X}]"  # noqa: PLR2004
