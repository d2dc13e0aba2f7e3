"""Word lists: plain text files, one entry a line, which a user may read and replace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from compressed_lens.errors import StudyError
from compressed_lens.ids import digest

Lists = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class WordFile:
    """Lists by name, and the digest of their content."""

    lists: Lists
    digest: str

    def pinned(self, setting: str, expected: str) -> str:
        """Return the digest, which enters a cell's identity; a digest given in the study must be this one.

        Raises:
            StudyError: The study was written for another content.
        """
        if expected and expected != self.digest:
            raise StudyError(
                f"The setting {setting} is {expected!r}, but the word file has the digest {self.digest}.",
                fix="Restore the file, or leave the setting out to use the words as they are now.",
            )
        return self.digest


@cache
def shipped(name: str) -> str:
    """Return the text of the shipped list `name` (a file of this folder, without ".txt")."""
    return (files(__name__) / f"{name}.txt").read_text(encoding="utf-8")


def parse(text: str, *, default: str) -> dict[str, tuple[str, ...]]:
    """Return lists by name: "[name]" starts one, "#" a comment; entries before any name belong to `default`."""
    found: dict[str, list[str]] = {}
    name = default
    for line in text.splitlines():
        entry = line.split("#")[0].strip()
        if entry.startswith("[") and entry.endswith("]"):
            name = entry[1:-1].strip()
        elif entry:
            found.setdefault(name, []).append(entry)
    return {key: tuple(dict.fromkeys(entries)) for key, entries in found.items()}


def load(path: str, *, names: tuple[str, ...], default: str) -> WordFile:
    """Return the lists of a user's file.

    Args:
        path: Text file, UTF-8.
        names: Lists it may hold; at least one must have an entry.
        default: Name of the list whose entries stand before any "[name]".

    Raises:
        StudyError: The file cannot be read, holds a list of another name, or nothing.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"The word file {path} cannot be read ({error}).", fix="Give a UTF-8 text file.") from error
    lists = parse(text, default=default)
    unknown = [name for name in lists if name not in names]
    if unknown or not lists:
        wrong = f"has a list [{unknown[0]}]" if unknown else "holds no word"
        known = ", ".join(f"[{name}]" for name in names)
        raise StudyError(f"The word file {path} {wrong}.", fix=f"Write one entry a line; lists: {known}.")
    return WordFile(lists=lists, digest=digest(lists))
