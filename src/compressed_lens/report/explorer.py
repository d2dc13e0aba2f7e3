"""Side-by-side texts: which items are embedded in the page, and in what form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressed_lens.analyses.base import Curve
from compressed_lens.comparison.series import FULL, Gate, Measure, Outcome, Series
from compressed_lens.report.formatting import clipped, visible

if TYPE_CHECKING:
    import polars as pl

ITEMS_PER_SERIES = 200
_FEWEST = 20
_OUTCOMES = 12_000
CHARACTERS = 4_000
_SMALL = 400
_SHORT = 8
_NUMBERS = 12
_FLIPPED, _FAILED, _CHANGED = 4, 2, 1


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The rows of a series that are shown, and what happened to each under each variant.

    Attributes:
        rows: Indices into `Series.rows`, in the order of the task.
        marks: For each variant, one number a chosen row: 4 flipped + 2 failed (on either side) + 1 another text.
        total: Rows there are.
    """

    rows: tuple[int, ...]
    marks: Mapping[str, tuple[int, ...]]
    total: int


def items_per_series(all_series: Sequence[Series]) -> int:
    """Return how many items of each series are embedded: 200, or fewer where there are many series and variants.

    Twelve numbers of a drawn list weigh as much as another outcome.
    """
    columns = sum(len(series.outcomes) * (1 + _list_length(series) / _NUMBERS) for series in all_series)
    return max(_FEWEST, min(ITEMS_PER_SERIES, int(_OUTCOMES / max(columns, 1))))


def _list_length(series: Series) -> int:
    """Return how many numbers the curves of one record have."""
    outcomes = (o for every in series.outcomes.values() for o in every if o is not None and o.failed is None)
    first: Mapping[str, Any] = next((o.values for o in outcomes), {})
    return sum(len(value) for key in _drawn(series) if isinstance(value := first.get(key), list))


def _drawn(series: Series) -> dict[str, Curve]:
    """Return the curves that were declared, by the key of their list."""
    return {one.value: one for one in series.pictures if isinstance(one, Curve)}


def choose(series: Series, *, limit: int = ITEMS_PER_SERIES) -> Chosen:
    """Choose the most telling rows: flips first, then failures, then changed texts, each variant in turn."""
    reference = series.outcomes.get(FULL)
    variants = [name for name in series.outcomes if name != FULL]
    every = range(len(series.rows))
    marks = {
        name: [
            _mark(reference[row] if reference else None, series.outcomes[name][row], series.measures) for row in every
        ]
        for name in variants
    }
    queues = [iter(sorted(every, key=lambda row, name=name: -marks[name][row])) for name in variants]  # type: ignore[misc]
    kept: set[int] = set(every) if len(every) <= limit or not queues else set()
    while len(kept) < min(limit, len(every)):
        for queue in queues:
            following = next((row for row in queue if row not in kept), None)
            if following is not None and len(kept) < limit:
                kept.add(following)
    rows = tuple(sorted(kept)[:limit])
    return Chosen(
        rows=rows, marks={name: tuple(values[row] for row in rows) for name, values in marks.items()}, total=len(every)
    )


def _mark(reference: Outcome | None, other: Outcome | None, measures: Sequence[Measure]) -> int:
    if other is None:
        return 0
    mark = 0
    if other.failed is not None or (reference is not None and reference.failed is not None):
        mark += _FAILED
    if reference is None:
        return mark
    if _flips(reference, other, measures):
        mark += _FLIPPED
    if _texts(reference.values) != _texts(other.values):
        mark += _CHANGED
    return mark


def _flips(reference: Outcome, other: Outcome, measures: Iterable[Measure]) -> list[str]:
    """Return the measures whose truth value differs between two outcomes."""
    changed = []
    for measure in measures:
        sides = [_truth(outcome, measure) for outcome in (reference, other)]
        if measure.direction != "neither" and None not in sides and sides[0] != sides[1]:
            changed.append(measure.name)
    return changed


def _truth(outcome: Outcome, measure: Measure) -> bool | None:
    value = measure.on_failure if outcome.failed is not None else outcome.values.get(measure.value)
    return bool(value) if value in (0, 1) else None


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in values.items() if isinstance(value, str)}


def block(series: Series, chosen: Chosen, items: Mapping[str, Mapping[str, Any]], gates: Mapping[str, Gate]) -> str:
    """Return one series as JSON for the page.

    Texts are clipped, made visible and stored once each; an outcome refers to them by number, so that a
    variant that said the same as full precision costs a few bytes. `<`, `>` and `&` are escaped, so no
    text can end the element that holds it.
    """
    strings: dict[str, int] = {}
    drawn = _drawn(series)

    def refer(text: str) -> int:
        return strings.setdefault(visible(clipped(text, CHARACTERS)), len(strings))

    def told(outcome: Outcome | None) -> list[Any] | None:
        if outcome is None:
            return None
        texts = [[name, refer(text)] for name, text in _texts(outcome.values).items()]
        facts = {
            name: _small(value)
            for name, value in outcome.values.items()
            if not isinstance(value, str) and name not in drawn
        }
        lists = [_numbers(outcome.values.get(name)) for name in drawn]
        told = [texts, {name: value for name, value in facts.items() if value is not None}, outcome.failed or ""]
        return [*told, lists] if any(lists) else told

    variants = list(series.outcomes)
    rows = []
    for position, row in enumerate(chosen.rows):
        item, repeat = series.rows[row]
        content = items.get(item, {})
        rows.append(
            {
                "id": visible(item),
                "repeat": repeat,
                "group": visible(series.groups[row]),
                "fields": [
                    [visible(name), refer(str(text))] for name, text in dict(content.get("fields") or {}).items()
                ],
                "answers": [refer(str(answer)) for answer in content.get("answers") or ()][:3],
                "out": [told(series.outcomes[name][row]) for name in variants],
                "marks": [chosen.marks[name][position] if name in chosen.marks else 0 for name in variants],
            }
        )
    data = {
        "variants": variants,
        "gates": [gates.get(name, "pending") for name in variants],
        "reference": variants.index(FULL) if FULL in variants else None,
        "good": [[m.value, m.direction] for m in series.measures],
        "curves": [[visible(curve.name), visible(curve.axis), curve.first] for curve in drawn.values()],
        "items": rows,
        "strings": list(strings),
        "total": chosen.total,
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _small(value: Any) -> Any:
    """Return numbers and truth values as they are, lists (the start of long ones) and short mappings as text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(f"{value:.4g}")
    rest = ""
    if isinstance(value, list) and len(value) > _SHORT:
        value, rest = value[:_SHORT], f" … {len(value)} values"
    if isinstance(value, list):
        value = [float(f"{part:.4g}") if isinstance(part, float) else part for part in value]
    text = visible(json.dumps(value, ensure_ascii=False)) + rest
    return text if len(text) <= _SMALL else None


def _numbers(value: Any) -> list[float | None] | None:
    """Return a list of numbers with three digits each, which is more than a line of 150 points can show."""
    if not isinstance(value, list):
        return None
    return [
        int(part) if isinstance(part, bool) else float(f"{part:.3g}") if isinstance(part, int | float) else None
        for part in value
    ]


def item_contents(frame: pl.DataFrame) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return what each task's items hold: task, then item id, then content."""
    contents: dict[str, dict[str, Mapping[str, Any]]] = {}
    for task, item, content in frame.select("task", "item", "content").iter_rows():
        contents.setdefault(task, {})[item] = json.loads(content)
    return contents
