"""A run as it stands on disk, finished or not, as Polars frames. Columns are described in docs/runs.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressed_lens.errors import DependencyError, GateError
from compressed_lens.store import Store
from compressed_lens.study.schema import Study

if TYPE_CHECKING:
    import polars

METRICS = ("model", "variant", "task", "analysis", "metric", "value", "n", "n_failed", "direction", "unit", "summary")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder. Frames are read when first asked for and kept; call `load_run` again to see later records."""

    folder: Path

    @cached_property
    def study(self) -> Study:
        """The study as it was last run."""
        with Store.open(self.folder) as store:
            return store.study

    @property
    def margins(self) -> Mapping[str, float]:
        """How large a loss would matter, as the study says."""
        return self.study.margins

    @cached_property
    def records(self) -> polars.DataFrame:
        """One row a record."""
        with Store.open(self.folder) as store:
            return store.records_frame()

    @cached_property
    def cells(self) -> polars.DataFrame:
        """One row a (model, variant, task, analysis), with how far it got."""
        with Store.open(self.folder) as store:
            return store.cells()

    @cached_property
    def variants(self) -> polars.DataFrame:
        """One row a (model, variant): status, recipe, audit, integrity, size, memory and speed."""
        with Store.open(self.folder) as store:
            return store.variants_frame()

    @cached_property
    def tasks(self) -> polars.DataFrame:
        """One row a task."""
        with Store.open(self.folder) as store:
            return store.tasks_frame()

    @cached_property
    def items(self) -> polars.DataFrame:
        """One row an item of a task."""
        with Store.open(self.folder) as store:
            return store.items_frame()

    @cached_property
    def environments(self) -> list[dict[str, Any]]:
        """Where each session of the run was made, oldest first."""
        with Store.open(self.folder) as store:
            return store.environments()

    @property
    def exit_code(self) -> int:
        """0 when every cell is done; 6 when a variant was unavailable, 7 when the gate refused one, else 1."""
        statuses = set(self.variants["status"])
        if "unavailable" in statuses:
            return DependencyError.exit_code
        if "refused" in statuses:
            return GateError.exit_code
        return 0 if set(self.cells["status"]) <= {"done"} else 1

    def metrics(self) -> polars.DataFrame:
        """Return one row a (model, variant, task, analysis, metric): its mean, or other statistic, over the items.

        Differences to full precision with their intervals are in `report.metrics_table`. Failed records count as the
        metric's `on_failure` value where it has one; where it has none they are left
        out, and `n_failed` counts them. `value` is null where nothing counts.
        """
        import polars as pl

        outcomes: dict[str, list[tuple[Mapping[str, Any], bool]]] = {}
        parts = self.records.unique(["cell", "item", "repeat"]).select("cell", "values", "failed")
        for cell, values, failed in parts.iter_rows():
            outcomes.setdefault(cell, []).append((json.loads(values), failed is not None))
        rows = []
        for cell in self.cells.iter_rows(named=True):
            found = outcomes.get(cell["cell"], [])
            for metric in json.loads(cell["metrics"] or "[]"):
                counted, value = metric_values(metric, found), metric_summary(metric, found)
                place = (cell["model"], cell["variant"], cell["task"], cell["analysis"], metric["name"])
                told = (metric["direction"], metric["unit"], metric["summary"])
                rows.append((*place, value, len(counted), sum(failed for _, failed in found), *told))
        kinds = {"value": pl.Float64, "n": pl.Int64, "n_failed": pl.Int64}
        frame = pl.DataFrame(rows, schema={name: kinds.get(name, pl.String) for name in METRICS}, orient="row")
        statuses = self.variants.select("model", "variant", "status")
        return frame.join(statuses, on=["model", "variant"], how="left", maintain_order="left")


def metric_values(metric: Mapping[str, Any], outcomes: Sequence[tuple[Mapping[str, Any], bool]]) -> list[float]:
    """Return the number each outcome counts as for `metric`; those it does not apply to are left out."""
    counted = []
    for values, failed in outcomes:
        value = metric["on_failure"] if failed else values.get(metric["value"])
        if value is not None:
            counted.append(float(value))
    return counted


def metric_summary(metric: Mapping[str, Any], outcomes: Sequence[tuple[Mapping[str, Any], bool]]) -> float | None:
    """Return the one number the outcomes give for `metric`, or None when it applies to none of them."""
    over = metric.get("over")
    if over is not None:
        outcomes = [(values, failed) for values, failed in outcomes if not failed and values.get(over) is not None]
    counted = metric_values(metric, outcomes)
    statistic = metric.get("statistic", "mean")
    if not counted or statistic == "mean":
        return sum(counted) / len(counted) if counted else None
    from compressed_lens.statistics.summaries import summary

    below = [float(values[over]) for values, _ in outcomes if values.get(metric["value"]) is not None] if over else None
    return summary(counted, below, statistic=statistic)


def load_run(folder: str | Path) -> Run:
    """Open a run folder for reading; a run that is still going is read as far as it got.

    Raises:
        RunError: No run there, or a damaged or foreign database.
    """
    path = Path(folder).expanduser()
    Store.open(path).close()
    return Run(folder=path)
