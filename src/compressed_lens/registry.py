"""Lazy registries: a name, one line about it, and where the code lives; plug-ins through entry points."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from compressed_lens.errors import StudyError

T = TypeVar("T")


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest of `valid`, or an empty string."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"Did you mean '{close[0]}'?" if close else ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One registered name.

    Attributes:
        target: `module:attribute`, imported on first use.
        summary: What it is, in one line.
        cost: What it costs to run, in a few words.
        source: Paper, library or data set it comes from.
    """

    name: str
    target: str
    summary: str
    cost: str = ""
    source: str = ""


class Registry(Generic[T]):
    """Names to lazily imported objects of one type.

    Args:
        kind: Word used in messages, such as "task".
        base: Type every loaded object must be an instance of.
        group: Entry-point group other packages may register under.
    """

    def __init__(self, kind: str, base: type[T], group: str) -> None:
        self.kind = kind
        self._base = base
        self._group = group
        self._own: dict[str, Entry] = {}

    def add(self, name: str, target: str, summary: str, *, cost: str = "", source: str = "") -> None:
        """Register `name`; nothing is imported."""
        self._own[name] = Entry(name=name, target=target, summary=summary, cost=cost, source=source)

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """All entries by name, those of installed plug-ins included."""
        found = {
            ep.name: Entry(name=ep.name, target=ep.value, summary=f"plug-in {ep.value}")
            for ep in entry_points(group=self._group)
        }
        return {**found, **self._own}

    def names(self) -> list[str]:
        """Return every registered name, in order of registration."""
        return [*self._own, *(n for n in self.entries if n not in self._own)]

    def get(self, name: str) -> T:
        """Import and return the object called `name`.

        Raises:
            StudyError: The name is unknown, or its object has the wrong type.
        """
        entry = self.entries.get(name)
        if entry is None:
            known = self.names()
            fix = nearest(name, known) or f"One of: {', '.join(known)}."
            raise StudyError(f"Unknown {self.kind} '{name}'.", fix=fix)
        module, _, attribute = entry.target.partition(":")
        loaded: Any = getattr(importlib.import_module(module), attribute)
        if not isinstance(loaded, self._base):
            raise StudyError(f"The {self.kind} '{name}' ({entry.target}) is not a {self._base.__name__}.")
        return loaded
