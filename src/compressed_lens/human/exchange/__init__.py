"""Studies leave for other rating tools and their ratings come back: one file a format, and one line here."""

from __future__ import annotations

from compressed_lens.human.exchange.base import Exchange, Gathered
from compressed_lens.registry import Registry

EXCHANGES: Registry[Exchange] = Registry("format", Exchange, "compressed_lens.exchanges")  # type: ignore[type-abstract]
"""Formats of `clens human export` and `clens human import`."""

_HERE = "compressed_lens.human.exchange"

EXCHANGES.add("csv", f"{_HERE}.csv:CSV", "forms for spreadsheets; ratings as CSV, long or wide")
EXCHANGES.add("potato", f"{_HERE}.potato:POTATO", "a Potato project", source="potato-annotation 2.12")
EXCHANGES.add("label-studio", f"{_HERE}.label_studio:LABEL_STUDIO", "tasks for Label Studio", source="label-studio 1")

__all__ = ["EXCHANGES", "Exchange", "Gathered"]
