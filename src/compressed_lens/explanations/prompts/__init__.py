"""Prompt templates: plain text files with {named} gaps, which a user may read and replace."""

from __future__ import annotations

import string
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def template(name: str) -> str:
    """Return the text of the shipped template `name` (a file of this folder, without ".txt")."""
    return (files(__name__) / f"{name}.txt").read_text(encoding="utf-8")


def fill(text: str, /, **values: Any) -> str:
    """Return `text` with every {gap} replaced by its value; the values themselves are never parsed.

    Raises:
        KeyError: The template names a gap that was not given.
    """
    pieces = []
    for literal, gap, _, _ in string.Formatter().parse(text):
        pieces.append(literal)
        if gap is not None:
            pieces.append(str(values[gap]))
    return "".join(pieces)
