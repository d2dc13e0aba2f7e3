"""What would tell raters whose text they read: names of the run's models and variants in the text itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from compressed_lens.human.design import Shown
from compressed_lens.runner.results import Run

_SHORTEST = 3
_PARTS = re.compile(r"[A-Za-z0-9]+")
_FIRST_WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True, kw_only=True)
class Hints:
    """Names that may not be shown: `names` in any case and spacing, `families` (Qwen, Llama) as they are written."""

    names: re.Pattern[str]
    families: re.Pattern[str]

    @classmethod
    def of(cls, run: Run) -> Hints:
        """Collect the names of all models and variants of a run.

        A name of one lower-case word (`full`, `reference`) is ordinary English and gives nothing away. The first word
        of a model's name counts where it is written with a capital, and so does the technique of a variant.
        """
        models: set[str] = set()
        for model in run.study.models:
            models |= {model.name, PurePath(model.path or "").name}
        told = [
            json.loads(text) for text in (*run.variants["recipe"].drop_nulls(), *run.variants["audit"].drop_nulls())
        ]
        techniques = {str(one["method"]) for one in told if one and one.get("method") not in {None, "none"}}
        names = {name for name in (*models, *run.variants["variant"]) if not (name.isalpha() and name.islower())}
        families = {first.group() for name in models if (first := _FIRST_WORD.match(name))}
        return cls(
            names=_any_of((_loose(name) for name in sorted(names | techniques, key=len, reverse=True)), re.IGNORECASE),
            families=_any_of(name for name in sorted(families) if not name.islower() and len(name) >= _SHORTEST),
        )

    def found(self, shown: Shown) -> str:
        """Return the first hint in anything that raters read of a text, or an empty string."""
        for text in _read(shown):
            hint = self.names.search(text) or self.families.search(text)
            if hint is not None:
                return hint.group()
        return ""


def _loose(name: str) -> str:
    """Return a pattern for a name with any punctuation or blanks between its parts."""
    return r"[\W_]*".join(_PARTS.findall(name))


def _any_of(patterns: Iterator[str] | list[str], flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    told = [pattern for pattern in patterns if len(pattern) >= _SHORTEST]
    # Without any name: a pattern that matches nowhere.
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(told)})(?![A-Za-z0-9])" if told else r"(?!)", flags)


def _read(shown: Shown) -> Iterator[str]:
    yield from (shown.instruction, shown.label, shown.text, shown.edited)
    for name, text in shown.fields:
        yield from (name, text)
