"""Prompt templates: plain text files with {named} gaps, and a study's own ones in their place."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from compressed_lens.errors import StudyError
from compressed_lens.registry import nearest

_ENDING = ".txt"
_CHOSEN: ContextVar[Mapping[str, str]] = ContextVar("templates", default={})  # noqa: B039 (never changed in place)


@cache
def shipped() -> Mapping[str, str]:
    """Return the templates of the package, by name."""
    folder = files("compressed_lens") / "explanations" / "prompts"
    return {
        p.name.removesuffix(_ENDING): p.read_text(encoding="utf-8")
        for p in folder.iterdir()
        if p.name.endswith(_ENDING)
    }


def current() -> dict[str, str]:
    """Return every template in force, by name: the shipped ones, those of the study in their place."""
    return {**shipped(), **_CHOSEN.get()}


def template(name: str) -> str:
    """Return the text of the template `name` in force."""
    return _CHOSEN.get().get(name) or shipped()[name]


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


@contextmanager
def using(folder: str | Path | None) -> Iterator[None]:
    """Put the templates of a folder in the place of the shipped ones of the same names, for the time of a `with` block.

    Raises:
        StudyError: The folder is missing, a file has another name than a shipped template, or a gap the shipped one
            does not have.
    """
    token = _CHOSEN.set({} if folder is None else _read(Path(folder)))
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def _read(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise StudyError(f"There is no folder of prompt templates {folder}.", fix="See docs/study.md, `prompts`.")
    found = {}
    for file in sorted(folder.glob(f"*{_ENDING}")):
        name = file.name.removesuffix(_ENDING)
        if name not in shipped():
            fix = nearest(name, shipped()) or f"Templates: {', '.join(sorted(shipped()))}."
            raise StudyError(f"{file} is no prompt template: there is none called '{name}'.", fix=fix)
        try:
            text = file.read_text(encoding="utf-8").rstrip("\n")
            strange = sorted(_gaps(text) - _gaps(shipped()[name]))
        except (OSError, ValueError) as error:
            raise StudyError(f"The prompt template {file} cannot be read: {error}.", fix="Write {{ for {.") from error
        if strange or not text.strip():
            wrong = f"has the gap {{{strange[0]}}}" if strange else "is empty"
            gaps = ", ".join(f"{{{gap}}}" for gap in sorted(_gaps(shipped()[name]))) or "none"
            raise StudyError(f"The prompt template {file} {wrong}.", fix=f"Its gaps are: {gaps}.")
        found[name] = text
    return found


def _gaps(text: str) -> set[str]:
    return {gap for _, gap, _, _ in string.Formatter().parse(text) if gap is not None}
