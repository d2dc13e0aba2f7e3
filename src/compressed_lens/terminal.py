"""Text that is safe to print: what a model or a data file says must not act on the reader's terminal."""

from __future__ import annotations

import re

# C0 and C1 controls except tab and newline, and the marks that reorder text: they move the cursor, recolour the
# terminal or hide part of a line.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Return `text` without terminal control characters."""
    return _UNSAFE.sub("", text)
