"""Verdicts as readers see them: a symbol each, told apart without colour."""

from __future__ import annotations

from collections.abc import Mapping

from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.verdicts import only_survivors

SYMBOLS: Mapping[str, str] = {
    "worse": "▼",
    "better": "▲",
    "different": "◆",
    "equivalent": "■",
    "non-inferior": "□",
    "undecided": "○",
    "not measured": "–",
    "not comparable": "–",
    "reference": "",
    "failed": "✕",
    "unavailable": "–",
}
"""One shape a verdict, in text and in drawings: triangles moved, squares held, the circle is open."""
LEANING: Mapping[str, str] = {"worse": "▽", "better": "△", "different": "◇"}
"""Of an undecided measure whose uncorrected p is below 5 %."""


def symbol(figure: Figure) -> str:
    """Return the symbol of a measure's verdict; that of the integrity gate where the variant failed it."""
    if figure.gate == "failed":
        return SYMBOLS["failed"]
    return LEANING.get(figure.leaning) or SYMBOLS[figure.verdict]


def words(figure: Figure) -> str:
    """Return a measure's verdict in words, with its leaning and what would decide it."""
    if figure.verdict in {"reference", "not comparable"}:
        return {"reference": "full precision", "not comparable": "nothing to compare"}[figure.verdict]
    told = str(figure.verdict)
    if figure.leaning:
        told += f", leaning {figure.leaning}"
    if figure.verdict == "undecided" and figure.paired is not None and only_survivors(figure.paired, figure.unpaired):
        told += f"; {figure.unpaired:,} items of full precision's failed"
    if figure.needed is not None:
        told += f"; needs n = {figure.needed:,}"
    return told
