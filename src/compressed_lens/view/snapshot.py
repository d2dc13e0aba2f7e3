"""The run as it is now: series are read when they are opened, one at a time, and a few are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from compressed_lens.comparison.series import Outcome, series_of, variant_list
from compressed_lens.report.build import report_page
from compressed_lens.report.explorer import head, standings
from compressed_lens.report.items import Items, item_contents, said
from compressed_lens.store import Store
from compressed_lens.terminal import visible
from compressed_lens.view.page import served
from compressed_lens.view.query import Found, Query, find

if TYPE_CHECKING:
    import polars as pl

_KEPT = 4
_TITLE = 120

Key = tuple[str, str, str]
"""Model, task and analysis."""


@dataclass(frozen=True, kw_only=True)
class _Frames:
    margins: Mapping[str, float]
    records: pl.DataFrame
    cells: pl.DataFrame
    variants: pl.DataFrame


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One series as it was when it was read.

    Attributes:
        items: Its outcomes.
        contents: Content of the task's items by id.
        gates: How each variant stands.
        stamp: State of the database's files then.
    """

    items: Items
    contents: Mapping[str, Mapping[str, Any]]
    gates: Mapping[str, str]
    stamp: tuple[tuple[int, int], ...]

    @cached_property
    def texts(self) -> list[str]:
        """All texts of each row in lower case, as they are shown."""
        series = self.items.series
        found = []
        for row, (item, _) in enumerate(series.rows):
            outcomes = [every[row] for every in series.outcomes.values()]
            fields, answers = self._content(item)
            written = [text for outcome in outcomes if outcome is not None for text in said(outcome)]
            parts = [item, series.groups[row], *(text for _, text in fields), *answers, *written]
            found.append(visible("\n".join(parts)).lower())
        return found

    @cached_property
    def places(self) -> Mapping[tuple[str, int], int]:
        """Row of each (id as it is shown, repeat)."""
        return {(visible(item), repeat): row for row, (item, repeat) in enumerate(self.items.series.rows)}

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the explorer must know before any item (`report.explorer.head`), and its groups and reasons."""
        series = self.items.series
        failed = [o.failed for every in series.outcomes.values() for o in every if o is not None and o.failed]
        return {
            **head(self.items, self.gates),
            "items": len(series.rows),
            "total": len(series.rows),
            "groups": list(dict.fromkeys(map(visible, series.groups))),
            "reasons": list(dict.fromkeys(map(visible, failed))),
        }

    def find(self, query: Query) -> Found:
        """Answer a query."""
        return find(self.items, query, self.texts if query.search else ())

    def row(self, row: int, found: Found) -> dict[str, Any]:
        """Return what the list shows of a row."""
        item, repeat = self.items.series.rows[row]
        fields, _ = self._content(item)
        change = None if found.change is None or np.isnan(found.change[row]) else float(found.change[row])
        return {
            "id": visible(item),
            "repeat": repeat,
            "group": visible(self.items.series.groups[row]),
            "title": visible(fields[-1][1][:_TITLE]) if fields else "",
            "mark": int(found.marks[row]),
            "change": change,
        }

    def item(self, row: int) -> dict[str, Any]:
        """Return everything about a row, texts whole."""
        series = self.items.series
        item, repeat = series.rows[row]
        fields, answers = self._content(item)
        return {
            "id": visible(item),
            "repeat": repeat,
            "group": visible(series.groups[row]),
            "fields": [[visible(name), visible(text)] for name, text in fields],
            "answers": [visible(answer) for answer in answers],
            "out": [self._outcome(every[row]) for every in series.outcomes.values()],
        }

    def _content(self, item: str) -> tuple[list[tuple[str, str]], list[str]]:
        content = self.contents.get(item, {})
        fields = [(name, str(text)) for name, text in dict(content.get("fields") or {}).items()]
        return fields, [str(answer) for answer in content.get("answers") or ()]

    def _outcome(self, outcome: Outcome | None) -> dict[str, Any] | None:
        if outcome is None:
            return None
        told = self.items.told(outcome)
        return {
            "failed": visible(outcome.failed or ""),
            "texts": [[visible(name), visible(text)] for name, text in told.texts.items()],
            "facts": [[visible(name), value] for name, value in told.facts.items()],
            "lists": list(told.lists),
            "ratings": [
                [visible(r.dimension), visible(r.judge), visible(r.said), list(r.probabilities)] for r in told.ratings
            ],
        }


class RunView:
    """What the server tells of a run, read from its database; nothing is ever written.

    Args:
        folder: Folder of the run.

    Raises:
        RunError: No run there, or a damaged or foreign file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept: OrderedDict[Key, Snapshot] = OrderedDict()
        self._page: tuple[float, tuple[str, str]] | None = None
        self._reading, self._building = Lock(), Lock()
        with Store.open(folder):
            pass

    def series(self) -> list[dict[str, Any]]:
        """Return every (model, task, analysis) of the study that has records."""
        with Store.open(self.folder) as store:
            cells = store.cells()
        found: dict[Key, int] = {}
        for model, task, analysis, done in cells.select("model", "task", "analysis", "done").iter_rows():
            found[model, task, analysis] = found.get((model, task, analysis), 0) + done
        return [
            {"model": model, "task": task, "analysis": analysis, "records": done}
            for (model, task, analysis), done in found.items()
            if done
        ]

    def snapshot(self, key: Key, *, fresh: bool = False) -> Snapshot:
        """Return a series; a `fresh` one is read again if the database has changed.

        Raises:
            KeyError: The run has no such series.
        """
        with self._reading:
            kept, stamp = self._kept.get(key), self._stamp()
            if kept is None or (fresh and kept.stamp != stamp):
                kept = self._read(key, stamp)
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return kept

    def page(self) -> tuple[str, str]:
        """Return the report as it is served, and its Content-Security-Policy.

        The folder's report.html is used if nothing was recorded since it was written; else a new one is made.
        """
        with self._building:
            with Store.open(self.folder) as store:
                changed = store.last_change()
            found = self._written(changed)
            if found is not None:
                return found
            if self._page is None or self._page[0] < changed:
                made = served(report_page(self.folder))
                assert made is not None, "our own page has our own explorer"
                self._page = (changed, made)
            return self._page[1]

    def _written(self, changed: float) -> tuple[str, str] | None:
        file = self.folder / "report.html"
        try:
            return served(file.read_text(encoding="utf-8")) if file.stat().st_mtime >= changed else None
        except OSError:
            return None  # no report yet, or not for us to read

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        stamps = []
        for name in ("run.sqlite", "run.sqlite-wal"):
            try:
                status = (self.folder / name).stat()
            except FileNotFoundError:
                continue
            stamps.append((status.st_mtime_ns, status.st_size))
        return tuple(stamps)

    def _read(self, key: Key, stamp: tuple[tuple[int, int], ...]) -> Snapshot:
        import polars as pl

        model, task, analysis = key
        with Store.open(self.folder) as store:
            cells = store.cells().filter(
                (pl.col("model") == model) & (pl.col("task") == task) & (pl.col("analysis") == analysis)
            )
            if not cells.height:
                raise KeyError(key)
            variants = store.variants_frame()
            contents = item_contents(store.items_frame().filter(pl.col("task") == task))
            frames = _Frames(margins={}, records=store.records_frame(key), cells=cells, variants=variants)
        (series,) = series_of(frames)
        gates = standings(variant_list(variants), model)
        return Snapshot(items=Items(series=series), contents=contents.get(task, {}), gates=gates, stamp=stamp)
