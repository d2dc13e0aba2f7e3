"""The words of the interface: one YAML file a language, all with the same keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from compressed_lens.errors import StudyError
from compressed_lens.templates import fill

LOCALES = Path(__file__).parent / "locales"
_PLURAL = {"one", "other"}


@dataclass(frozen=True, kw_only=True)
class Locale:
    """The interface in one language; call it with a key to get a text.

    Attributes:
        language: Tag the file is named by.
        texts: Text by dotted key; a text that depends on a count has the forms `one` (exactly 1) and `other`.
    """

    language: str
    texts: Mapping[str, str | Mapping[str, str]]

    def __call__(self, key: str, /, **gaps: Any) -> str:
        """Return the text of `key` with its {gaps} filled; `count` chooses the form where there are two.

        Raises:
            KeyError: There is no such key, or a gap was not given.
        """
        text = self.texts[key]
        if not isinstance(text, str):
            text = text["one" if gaps["count"] == 1 else "other"]
        return fill(text, **gaps)

    def number(self, value: float, decimals: int) -> str:
        """Write a number as the language does."""
        return f"{value:.{decimals}f}".replace("-", "\u2212").replace(".", self("decimal"))


@cache
def locale(language: str) -> Locale:
    """Return the interface in `language`, or in the language it is a regional form of (de for de-AT).

    Raises:
        StudyError: There is none.
    """
    for tag in (language, language.partition("-")[0]):
        if tag in available():
            content = yaml.safe_load((LOCALES / f"{tag}.yaml").read_text(encoding="utf-8"))
            return Locale(language=tag, texts=dict(_flat(content, "")))
    raise StudyError(
        f"There is no interface in the language '{language}'.",
        fix=f"Languages: {', '.join(available())}; docs/human-pages.md tells how to add one.",
    )


@cache
def available() -> tuple[str, ...]:
    """Return the tags of all languages of the interface."""
    return tuple(sorted(path.stem for path in LOCALES.glob("*.yaml")))


def _flat(content: Mapping[str, Any], place: str) -> Iterator[tuple[str, str | Mapping[str, str]]]:
    for key, value in content.items():
        if isinstance(value, Mapping) and set(value) != _PLURAL:
            yield from _flat(value, f"{place}{key}.")
        else:
            yield f"{place}{key}", value
