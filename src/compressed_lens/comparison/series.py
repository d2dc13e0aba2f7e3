"""A run's outcomes lined up item by item, and its variants, from frames."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from compressed_lens.analyses.base import Curve, Mosaic, Picture
from compressed_lens.statistics.summaries import Statistic

if TYPE_CHECKING:
    import polars as pl

FULL = "full"
Gate = Literal["reference", "passed", "failed", "unavailable", "pending"]
_GATES: Mapping[str, Gate] = {
    "passed": "passed",
    "marked": "failed",
    "refused": "failed",
    "unavailable": "unavailable",
    "pending": "pending",
}


class RunFrames(Protocol):
    """What the tables need of a run; `runner.Run` and `RunData` are such."""

    @property
    def margins(self) -> Mapping[str, float]:
        """The study's margins."""

    @property
    def records(self) -> pl.DataFrame:
        """One row a record."""

    @property
    def cells(self) -> pl.DataFrame:
        """One row a (model, variant, task, analysis)."""

    @property
    def variants(self) -> pl.DataFrame:
        """One row a (model, variant)."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One variant of one model, as recorded.

    Attributes:
        status: The store's word: passed, marked, refused, unavailable or pending.
        findings: Integrity findings, as `quantization.integrity.findings.Finding` writes them.
        speed: Sums over all sessions: seconds, planned_tokens, executed_tokens, records.
    """

    model: str
    name: str
    status: str
    reason: str
    fingerprint: str
    recipe: Mapping[str, Any]
    audit: Mapping[str, Any]
    findings: tuple[Mapping[str, Any], ...]
    bytes_on_disk: int | None
    memory_bytes: int | None
    speed: Mapping[str, float]
    loaded: Mapping[str, Any]

    @property
    def gate(self) -> Gate:
        """How the variant stands; full precision that failed its own checks is failed too."""
        gate = _GATES.get(self.status, "pending")
        return "reference" if self.name == FULL and gate == "passed" else gate

    @property
    def placebo(self) -> bool:
        """Whether it has full precision's weights under other numerics: a yardstick, no candidate."""
        return "placebo" in self.recipe

    @property
    def broken(self) -> tuple[Mapping[str, Any], ...]:
        """Findings that fail the gate."""
        return tuple(f for f in self.findings if not f.get("passed", True))


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A metric as it was declared when the run was made (`analyses.base.Metric`), open points filled in."""

    name: str
    value: str
    direction: str
    unit: str
    summary: str
    on_failure: float | None = None
    primary: bool = False
    family: str = "other"
    statistic: Statistic = "mean"
    over: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One record: named results, and the reason when there is no usable outcome."""

    values: Mapping[str, Any]
    failed: str | None


@dataclass(frozen=True, kw_only=True)
class Series:
    """The outcomes of one (model, task, analysis) under all its variants, lined up by item and repeat.

    Attributes:
        method: Name of the analysis in the registry.
        settings: Its settings.
        rows: (item, repeat) of each row, in task order.
        groups: Group of each row; "" where there is none.
        outcomes: For each variant, one outcome a row; None where nothing was recorded (yet).
        planned: For each variant, the records the study asks for.
        pictures: What the analysis declared to be drawn beyond its measures.
    """

    model: str
    task: str
    analysis: str
    method: str
    settings: Mapping[str, Any]
    measures: tuple[Measure, ...]
    rows: tuple[tuple[str, int], ...]
    groups: tuple[str, ...]
    outcomes: Mapping[str, tuple[Outcome | None, ...]]
    planned: Mapping[str, int]
    pictures: tuple[Picture, ...] = ()

    @property
    def clusters(self) -> NDArray[np.str_] | None:
        """The item of each row where items have several repeats, which are resampled together; else None."""
        return np.array([item for item, _ in self.rows]) if self.repeated else None

    @property
    def repeated(self) -> bool:
        """Whether any item has several repeats; its rows are then resampled together."""
        return len({item for item, _ in self.rows}) < len(self.rows)

    def column(self, variant: str, measure: Measure) -> NDArray[np.float64]:
        """Return a measure of every row, shape [rows]: NaN where it does not apply or nothing was recorded.

        For an "exp_ratio" that is exp(value / over) of the row alone.
        """
        values, over = self.parts(variant, measure)
        if over is None:
            return values
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            single = np.exp(values / over)
        return np.where(np.isfinite(single), single, np.nan)

    def lists(self, curve: Curve) -> dict[str, NDArray[np.float64]]:
        """Return a curve of every row under each variant, shape [rows, places].

        NaN where a list has no number, and where the record failed. There are as many places as in the longest list.
        """
        given = {name: [_list(outcome, curve.value) for outcome in every] for name, every in self.outcomes.items()}
        width = max((len(one) for every in given.values() for one in every), default=0)
        values = {name: np.full((len(every), width), np.nan) for name, every in given.items()}
        for name, every in given.items():
            for row, one in enumerate(every):
                values[name][row, : len(one)] = one
        return values

    def parts(self, variant: str, measure: Measure) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Return what a measure is computed from: a value of every row and, for an "exp_ratio", what it is over."""
        outcomes = self.outcomes[variant]
        values = np.array([_number(outcome, measure) for outcome in outcomes], dtype=np.float64)
        if measure.over is None:
            return values, None
        below = replace(measure, value=measure.over)
        return values, np.array([_number(outcome, below) for outcome in outcomes], dtype=np.float64)


def variant_list(frame: pl.DataFrame) -> tuple[Variant, ...]:
    """Read the variants frame."""
    return tuple(
        Variant(
            model=row["model"],
            name=row["variant"],
            status=row["status"],
            reason=row["reason"] or "",
            fingerprint=row["fingerprint"] or "",
            recipe=_parsed(row["recipe"]),
            audit=_parsed(row["audit"]),
            findings=tuple(_parsed(row["integrity"]).get("findings", ())),
            bytes_on_disk=row["bytes_on_disk"],
            memory_bytes=row["memory_bytes"],
            speed=_parsed(row["speed"]),
            loaded=_parsed(row["loaded"]),
        )
        for row in frame.iter_rows(named=True)
    )


def gates_of(variants: Iterable[Variant]) -> dict[tuple[str, str], Gate]:
    """Return how each (model, variant) stands at the integrity gate."""
    return {(variant.model, variant.name): variant.gate for variant in variants}


def placebos_of(variants: Iterable[Variant]) -> set[tuple[str, str]]:
    """Return each (model, variant) that is a placebo."""
    return {(variant.model, variant.name) for variant in variants if variant.placebo}


def sound_of(variants: Iterable[Variant]) -> set[tuple[str, str]]:
    """Return each (model, variant) that passed the gate, full precision among them, placebos left out."""
    return {(v.model, v.name) for v in variants if v.gate in {"reference", "passed"} and not v.placebo}


def series_of(run: RunFrames) -> tuple[Series, ...]:
    """Line up a run's records by (model, task, analysis), in the order of the study."""
    found: dict[tuple[str, str, str], dict[tuple[str, int, str], dict[str, Outcome]]] = {}
    columns = ("model", "task", "analysis", "variant", "item", "repeat", "group", "failed", "values")
    for model, task, analysis, variant, item, repeat, group, failed, values in run.records.select(columns).iter_rows():
        rows = found.setdefault((model, task, analysis), {})
        row = rows.setdefault((item, repeat, group or ""), {})
        row[variant] = Outcome(values=json.loads(values), failed=failed)
    places: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for cell in run.cells.iter_rows(named=True):
        places.setdefault((cell["model"], cell["task"], cell["analysis"]), []).append(cell)
    return tuple(_series(key, cells, found.get(key, {})) for key, cells in places.items())


def _series(
    key: tuple[str, str, str],
    cells: list[dict[str, Any]],
    rows: Mapping[tuple[str, int, str], Mapping[str, Outcome]],
) -> Series:
    known: dict[str, Any] = next((cell for cell in cells if cell["metrics"]), {})
    model, task, analysis = key
    return Series(
        model=model,
        task=task,
        analysis=analysis,
        method=known.get("method") or analysis,
        settings=_parsed(known.get("settings")),
        measures=_measures(json.loads(known.get("metrics") or "[]")),
        rows=tuple((row[0], row[1]) for row in rows),
        groups=tuple(row[2] for row in rows),
        outcomes={cell["variant"]: tuple(row.get(cell["variant"]) for row in rows.values()) for cell in cells},
        planned={cell["variant"]: cell["items"] for cell in cells},
        pictures=_pictures(json.loads(known.get("pictures") or "[]")),
    )


def _pictures(declared: list[dict[str, Any]]) -> tuple[Picture, ...]:
    kinds: dict[str, type[Picture]] = {"curve": Curve, "mosaic": Mosaic}
    found = []
    for one in declared:
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in one.items() if k != "kind"}
        found.append(kinds[one["kind"]](**fields))
    return tuple(found)


def _measures(declared: list[dict[str, Any]]) -> tuple[Measure, ...]:
    """Read the metrics of a cell; in runs made before metrics said so, the first one is the primary one."""
    measures = [Measure(**metric) for metric in declared]
    if measures and not any(measure.primary for measure in measures):
        measures[0] = replace(measures[0], primary=True)
    return tuple(measures)


def _number(outcome: Outcome | None, measure: Measure) -> float:
    if outcome is None:
        return math.nan
    if outcome.failed is not None:
        return math.nan if measure.on_failure is None else measure.on_failure
    value = outcome.values.get(measure.value)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return math.nan
    return float(value)


def _list(outcome: Outcome | None, key: str) -> list[float]:
    """Return a list of numbers of a record, NaN in place of None; empty where there is none."""
    value = outcome.values.get(key) if outcome is not None and outcome.failed is None else None
    if not isinstance(value, list):
        return []
    return [float(part) if isinstance(part, int | float) else math.nan for part in value]


def or_none(value: float) -> float | None:
    """Return a number as tables hold it: None for NaN."""
    return None if math.isnan(value) else value


def _parsed(text: str | None) -> dict[str, Any]:
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}
