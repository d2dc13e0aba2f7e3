"""Side-by-side texts: which items travel in the page, in what form, and the program that shows them."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from compressed_lens.comparison.series import Measure, Outcome, Variant
from compressed_lens.report.formatting import clipped
from compressed_lens.report.items import CHANGED, FAILED, GAINED, LOST, Items, Told, item_contents
from compressed_lens.report.rendering import TEMPLATES
from compressed_lens.terminal import visible

if TYPE_CHECKING:
    from compressed_lens.report.run_data import RunData

BUDGET = 20_000_000
CHARACTERS = 20_000
_OUTCOMES = 300_000
_FEWEST = 20
_CLOSER = 0.8
_ANSWERS = 3
_WEIGHT = {CHANGED: 1, FAILED: 2, GAINED: 4, LOST: 4}
_PARTS = ("explorer_source.js", "explorer_text.js", "explorer.js")


@dataclass(frozen=True, kw_only=True)
class Block:
    """The embedded items of one (model, task, analysis).

    Attributes:
        data: Columns as JSON, gzipped, as base64; text without any character that HTML reads.
        shown: Rows that are embedded.
        total: Rows there are.
    """

    model: str
    task: str
    analysis: str
    data: str
    shown: int
    total: int


def script() -> str:
    """Return the explorer's program, the one script of the page."""
    parts = [(TEMPLATES / name).read_text(encoding="utf-8") for name in _PARTS]
    return '"use strict";\n(() => {\n' + "".join(parts) + "})();\n"


def blocks(run: RunData, *, budget: int = BUDGET) -> tuple[Block, ...]:
    """Return the items that travel in the page: all of them, or the most telling ones where that would be too much.

    Args:
        run: The run.
        budget: Characters that all blocks may have together. Where they need more, every series gets an equal share
            (what one does not need goes to the others) and, of the series that need more than that, those items are
            embedded that flipped, failed or changed; at least 20 a series, so that very many series may go beyond.
    """
    contents = item_contents(run.items)
    every = [one for one in run.series if one.rows]
    outcomes = sum(len(one.rows) * len(one.outcomes) for one in every)
    share = min(1.0, _OUTCOMES / max(outcomes, 1))
    tables = [Items(series=one) for one in every]

    def encoded(table: Items, limit: int) -> Block:
        series = table.series
        own = standings(run.variant_list, series.model)
        data = block(table, choose(table, limit=limit), contents.get(series.task, {}), own)
        kept = min(limit, len(series.rows))
        return Block(model=series.model, task=series.task, analysis=series.analysis, data=data, shown=kept,
                     total=len(series.rows))  # fmt: skip

    made = [encoded(table, max(_FEWEST, int(share * len(table.series.rows)))) for table in tables]
    allowed = _allowance([len(one.data) for one in made], budget)
    for place, table in enumerate(tables):
        while len(made[place].data) > allowed and made[place].shown > _FEWEST:
            fitting = int(_CLOSER * made[place].shown * min(1.0, allowed / len(made[place].data)))
            made[place] = encoded(table, max(_FEWEST, fitting))
    return tuple(made)


def standings(variants: Iterable[Variant], model: str) -> dict[str, str]:
    """Return how each variant of a model stands: its gate, or "placebo"."""
    return {v.name: "placebo" if v.placebo and v.gate == "passed" else v.gate for v in variants if v.model == model}


def _allowance(sizes: Sequence[int], budget: int) -> float:
    """Return the largest size a block may have: all fit if none is larger and the others stay as they are."""
    left = budget
    for done, size in enumerate(sorted(sizes)):
        if size * (len(sizes) - done) > left:
            return left / (len(sizes) - done)
        left -= size
    return float("inf")


def choose(table: Items, *, limit: int) -> tuple[int, ...]:
    """Choose the most telling rows: flips first, then failures, then changed texts, each variant in turn."""
    every = range(len(table.series.rows))
    if len(every) <= limit:
        return tuple(every)
    places = [place for place in range(len(table.variants)) if place != table.reference]
    weights = [[sum(w for bit, w in _WEIGHT.items() if int(mark) & bit) for mark in table.marks[p]] for p in places]
    queues = [iter(sorted((row for row in every if of[row]), key=lambda row, of=of: -of[row])) for of in weights]  # type: ignore[misc]
    kept: set[int] = set()
    while queues and len(kept) < limit:
        for queue in tuple(queues):
            following = next((row for row in queue if row not in kept), None)
            if following is None:
                queues.remove(queue)
            elif len(kept) < limit:
                kept.add(following)
    rest = (row for row in every if row not in kept)
    return tuple(sorted([*kept, *islice(rest, limit - len(kept))]))


class _Strings:
    """Texts, clipped, made visible and stored once each; -1 is no text."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def refer(self, text: str | None) -> int:
        if text is None:
            return -1
        return self._places.setdefault(visible(clipped(text, CHARACTERS)), len(self._places))

    def __iter__(self) -> Any:
        return iter(self._places)


def block(table: Items, rows: Sequence[int], items: Mapping[str, Mapping[str, Any]], gates: Mapping[str, str]) -> str:
    """Return chosen rows of a series as columns for the page; `templates/explorer_source.js` reads them.

    Args:
        table: The series.
        rows: Indices of the rows.
        items: Content of the task's items by id.
        gates: How each variant stands (`standings`).
    """
    series, strings = table.series, _Strings()
    contents = [items.get(series.rows[row][0], {}) for row in rows]
    fields: dict[str, None] = dict.fromkeys(name for one in contents for name in dict(one.get("fields") or {}))
    reasons: dict[str, int] = {}
    groups: dict[str, int] = {}
    data = {
        **head(table, gates),
        "total": len(series.rows),
        "ids": [visible(series.rows[row][0]) for row in rows],
        "repeats": [series.rows[row][1] for row in rows] if series.repeated else None,
        "group": [groups.setdefault(visible(series.groups[row]), len(groups)) for row in rows],
        "groups": list(groups),
        "fields": [
            [visible(name), [strings.refer(_text((one.get("fields") or {}).get(name))) for one in contents]]
            for name in fields
        ],
        "answers": [[strings.refer(str(answer)) for answer in one.get("answers") or ()][:_ANSWERS] for one in contents],
        "marks": [table.marks[place][list(rows)].tolist() for place in range(len(table.variants))],
        "out": [
            _outcomes(table, [series.outcomes[name][row] for row in rows], strings, reasons) for name in table.variants
        ],
    }
    data["reasons"], data["strings"] = list(reasons), list(strings)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    packed = gzip.compress(text.encode("utf-8"), compresslevel=6, mtime=0)
    return base64.b64encode(packed).decode("ascii")


def head(table: Items, gates: Mapping[str, str]) -> dict[str, Any]:
    """Return what the explorer must know of a series before any item, in JSON types."""
    yes_no = {measure.name for measure in table.yes_no}
    return {
        "variants": list(table.variants),
        "gates": [gates.get(name, "pending") for name in table.variants],
        "reference": table.reference,
        "telling": _telling(table, gates),
        "measures": [_declared(measure, yes_no=measure.name in yes_no) for measure in table.series.measures],
        "curves": [[visible(curve.name), visible(curve.axis), curve.first] for curve in table.curves],
    }


def _telling(table: Items, gates: Mapping[str, str]) -> int:
    """Return the variant that is shown first: the one with the most lost items among those that passed the gate."""
    others = [place for place in range(len(table.variants)) if place != table.reference]
    lost = {place: int(np.count_nonzero(table.marks[place] & LOST)) for place in others}
    return max(others, key=lambda place: (gates.get(table.variants[place]) == "passed", lost[place]), default=0)


def _declared(measure: Measure, *, yes_no: bool) -> dict[str, Any]:
    return {
        "name": visible(measure.name),
        "key": measure.value,
        "direction": measure.direction,
        "unit": measure.unit,
        "over": measure.over,
        "onFailure": measure.on_failure,
        "yesNo": yes_no,
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _outcomes(
    table: Items, outcomes: Sequence[Outcome | None], strings: _Strings, reasons: dict[str, int]
) -> dict[str, Any]:
    """Return one variant's outcomes, a column for each text, fact, curve and rating.

    `state` is 0 for a usable outcome, -1 where nothing is recorded, else 1 + the place of the reason.
    """
    told = [None if outcome is None else table.told(outcome) for outcome in outcomes]
    state = [
        -1 if one is None else 0 if one.failed is None else 1 + reasons.setdefault(visible(one.failed), len(reasons))
        for one in outcomes
    ]
    known = [one for one in told if one is not None]
    texts = dict.fromkeys(name for one in known for name in one.texts)
    facts = dict.fromkeys(name for one in known for name in one.facts)
    places = dict.fromkeys((rating.dimension, rating.judge) for one in known for rating in one.ratings)
    return {
        "state": state,
        "texts": [[name, [strings.refer(None if o is None else o.texts.get(name)) for o in told]] for name in texts],
        "facts": [[name, [None if o is None else o.facts.get(name) for o in told]] for name in facts],
        "lists": [[None if o is None else o.lists[n] for o in told] for n in range(len(table.curves))],
        "ratings": [_rated(place, told, strings) for place in places],
    }


def _rated(place: tuple[str, str], told: Iterable[Told | None], strings: _Strings) -> list[Any]:
    """Return (dimension, judge, words of each row, probabilities of each row)."""
    given = [
        next((r for r in one.ratings if (r.dimension, r.judge) == place), None) if one is not None else None
        for one in told
    ]
    said = [strings.refer(None if one is None or not one.said else one.said) for one in given]
    shares = [None if one is None or not one.probabilities else list(one.probabilities) for one in given]
    return [*map(visible, place), said, shares if any(shares) else None]
