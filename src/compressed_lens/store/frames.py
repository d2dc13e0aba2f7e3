"""What a run holds, as Polars frames. Columns are described in docs/runs.md and are part of the public interface."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars

Rows = Callable[..., list[Any]]

_INTEGERS = frozenset({"position", "repeat", "items", "done", "failed_items", "bytes_on_disk", "memory_bytes"})

RECORDS = ("model", "variant", "task", "analysis", "cell", "item", "repeat", "group", "failed", "values")
CELLS = (
    *("model", "variant", "task", "analysis", "cell", "status", "items", "done", "failed_items"),
    *("method", "settings", "metrics", "pictures"),
)
VARIANTS = (
    *("model", "variant", "position", "status", "reason", "fingerprint", "recipe", "audit", "integrity"),
    *("bytes_on_disk", "memory_bytes", "speed", "loaded"),
)
TASKS = ("task", "kind", "items", "fingerprint", "info")
ITEMS = ("task", "item", "position", "content")


def _frame(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> polars.DataFrame:
    import polars as pl

    schema = {name: pl.Int64 if name in _INTEGERS else pl.String for name in columns}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def records(rows: Rows, place: tuple[str, str, str] | None = None) -> polars.DataFrame:
    """Return one row a record of the present study, in grid order and then in item order.

    Args:
        rows: Runs a query.
        place: Only those of this (model, task, analysis).
    """
    only = "" if place is None else "WHERE g.model = ? AND g.task = ? AND g.analysis = ?"
    return _frame(
        RECORDS,
        rows(
            f"""SELECT g.model, g.variant, g.task, g.analysis, r.cell, r.item, r.repeat, r.grp, r.failed, r."values"
            FROM grid g JOIN cells c USING (cell) JOIN records r USING (cell)
            LEFT JOIN items i ON i.fingerprint = c.task_fingerprint AND i.item = r.item
            {only} ORDER BY g.position, i.position, r.item, r.repeat""",  # noqa: S608 (our own words)
            place or (),
        ),
    )


def cells(rows: Rows) -> polars.DataFrame:
    """Return one row a cell of the present study, in grid order."""
    kept = rows("SELECT 1 FROM pragma_table_info('cells') WHERE name = 'pictures'")
    pictures = "c.pictures" if kept else "iif(c.cell IS NULL, NULL, '[]')"  # a run from before there were any
    return _frame(
        CELLS,
        rows(
            f"""SELECT g.model, g.variant, g.task, g.analysis, g.cell,
            CASE WHEN v.status IN ('unavailable', 'refused') THEN v.status
                 WHEN g.cell IS NULL OR r.done IS NULL AND g.items > 0 THEN 'pending'
                 WHEN coalesce(r.done, 0) < g.items THEN 'partial' ELSE 'done' END,
            g.items, coalesce(r.done, 0), coalesce(r.failed, 0), c.method, c.settings, c.metrics,
            {pictures}
            FROM grid g LEFT JOIN cells c USING (cell) LEFT JOIN variants v USING (model, variant)
            LEFT JOIN (SELECT cell, count(*) AS done, count(failed) AS failed FROM records GROUP BY cell) r USING (cell)
            ORDER BY g.position"""  # noqa: S608 (our own words)
        ),
    )


def variants(rows: Rows) -> polars.DataFrame:
    """Return one row a (model, variant) of the present study, `full` first; work of all sessions added up.

    A placebo is known as one by its `recipe` even where it could not be made.
    """
    ((study,),) = rows("SELECT value FROM meta WHERE key = 'study'") or (("{}",),)
    placebos = {v["name"]: v["placebo"] for v in json.loads(study).get("variants", ()) if v.get("placebo")}
    spent: dict[str, dict[str, float]] = {}
    for build, text in rows("SELECT build, amounts FROM work ORDER BY session"):
        total = spent.setdefault(build, {})
        for name, amount in json.loads(text).items():
            total[name] = total.get(name, 0) + amount
    found = rows(
        """SELECT v.model, v.variant, v.position, v.status, v.reason, b.fingerprint, b.recipe, b.audit, b.integrity,
        b.bytes_on_disk, b.memory_bytes, b.loaded, v.build
        FROM variants v LEFT JOIN builds b USING (build) ORDER BY v.position"""
    )
    told = [
        (*row[:6], row[6] or _placebo(placebos.get(row[1])), *row[7:11], json.dumps(spent.get(row[12], {})), row[11])
        for row in found
    ]
    return _frame(VARIANTS, told)


def _placebo(settings: dict[str, Any] | None) -> str | None:
    """Return the recipe of a placebo that has no build; None for any other variant."""
    if settings is None:
        return None
    return json.dumps({"placebo": {name: value for name, value in settings.items() if value is not None}})


def tasks(rows: Rows) -> polars.DataFrame:
    """Return one row a task of the present study."""
    return _frame(TASKS, rows("SELECT task, kind, items, fingerprint, info FROM tasks ORDER BY task"))


def items(rows: Rows) -> polars.DataFrame:
    """Return one row an item of the present study's tasks, in task order."""
    return _frame(
        ITEMS,
        rows(
            """SELECT t.task, i.item, i.position, i.content FROM tasks t JOIN items i USING (fingerprint)
            ORDER BY t.task, i.position"""
        ),
    )


def with_values(frame: polars.DataFrame, names: Sequence[str]) -> polars.DataFrame:
    """Return `frame` with a column for each of `names`, taken from its `values`; null where absent.

    A column is Float64 where all its values are numbers, Boolean where all are truth values, else
    String (lists and mappings as JSON).
    """
    import polars as pl

    parsed = [json.loads(text) for text in frame["values"]]
    return frame.with_columns(_column(pl, name, [values.get(name) for values in parsed]) for name in names)


def _column(pl: Any, name: str, values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        return pl.Series(name, values, dtype=pl.Boolean)
    if known and all(isinstance(value, int | float) for value in known):
        return pl.Series(name, [None if v is None else float(v) for v in values], dtype=pl.Float64)
    texts = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
    return pl.Series(name, texts, dtype=pl.String)
