"""What ran, how it stands at the integrity gate, what it costs, and outcomes by group."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from compressed_lens.comparison.series import FULL, Gate, Measure, Series, Variant
from compressed_lens.report.formatting import amount, counted, listed, number, settings_text, size
from compressed_lens.report.run_data import RunData

if TYPE_CHECKING:
    import polars as pl

_MOST_GROUPS = 60
_FINGERPRINT = 12
_SHOWN = frozenset({"session", "started", "seed"})


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """What one variant takes; shares are of the largest variant of its model, in per cent."""

    variant: Variant
    disk: str
    disk_share: float
    memory: str
    memory_share: float
    relative: str
    rate: str
    rate_share: float
    seconds: str
    tokens: str
    bits: str
    kernel: str


@dataclass(frozen=True, kw_only=True)
class GroupTable:
    """One measure by group (relation, genre, ...) and variant; cells are (value, count, worse by this share)."""

    model: str
    task: str
    label: str
    variants: tuple[tuple[str, Gate], ...]
    rows: tuple[tuple[str, tuple[tuple[str, int, float], ...]], ...]


def facts(run: RunData) -> tuple[tuple[str, str], ...]:
    """Return what ran, as (what, told)."""
    study = run.study
    last = run.environments[-1] if run.environments else {}
    started = [e["started"] for e in run.environments if "started" in e]
    models = [
        f"{m['name']} ({m.get('path') or 'checkpoints only'}"
        f"{', revision ' + m['revision'] if m.get('revision') else ''}, computes in {m.get('dtype', 'auto')})"
        for m in study.get("models", ())
    ]
    trusted = [m["name"] for m in study.get("models", ()) if m.get("trust_remote_code")]
    done = run.records.height
    planned = int(run.cells["items"].sum() or 0)
    told = [
        ("Study", str(study.get("name", run.folder.name))),
        ("Models" if len(models) > 1 else "Model", "; ".join(models)),
        ("Records", f"{done:,} of {planned:,}" + ("" if done >= planned else f" ({planned - done:,} not recorded)")),
        ("Seed", str(study.get("seed", ""))),
        ("Started", _day(min(started)) if started else ""),
        ("Sessions", f"{len(run.environments)}" if len(run.environments) > 1 else ""),
        ("Code that came with a model", f"was run for {listed(trusted)}" if trusted else "was not run"),
    ]
    told += [(_heading(name), _told(name, value)) for name, value in last.items() if name not in _SHOWN]
    return tuple((what, text) for what, text in told if text)


def _heading(name: str) -> str:
    return name.removesuffix("_bytes").replace("_", " ").capitalize()


def _told(name: str, value: Any) -> str:
    if name.endswith("_bytes") and isinstance(value, int):
        return size(value)
    return str(value)[:_FINGERPRINT] if name == "revision" and value else _flat(value)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return settings_text(value)
    if isinstance(value, list | tuple):
        return "; ".join(_flat(part) for part in value)
    return "" if value is None else str(value)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def task_rows(run: RunData) -> tuple[tuple[str, str, tuple[tuple[str, str], ...], str], ...]:
    """Return (task, kind and items, (analysis, settings) pairs, notes) of each task."""
    analyses: dict[str, dict[str, str]] = {}
    for series in run.series:
        analyses.setdefault(series.task, {})[series.analysis] = settings_text(series.settings)
    rows = []
    for row in run.tasks.iter_rows(named=True):
        info = json.loads(row["info"] or "{}")
        rejected = info.get("rejected") or ()
        notes = [str(info.get("notes") or "")]
        if rejected:
            notes.append(f"{counted(len(rejected), 'row')} of the source could not become items.")
        if info.get("labels"):
            notes.insert(0, f"Labels: {', '.join(map(str, info['labels']))}.")
        told = tuple(analyses.get(row["task"], {}).items())
        kind = f"{row['kind']}, {counted(row['items'], 'item')}"
        rows.append((row["task"], kind, told, " ".join(note for note in notes if note)))
    return tuple(rows)


def recipe_text(variant: Variant) -> str:
    """Return how a variant was made, in one line."""
    if variant.name == FULL:
        return "the model as it stands"
    plain = {key: value for key, value in variant.recipe.items() if not isinstance(value, dict | list)}
    made = [str(plain.pop(key)) for key in ("recipe", "method") if key in plain]
    return ", ".join(part for part in (*made, settings_text(plain)) if part)


def fingerprint_text(variant: Variant) -> str:
    """Return the start of the digest of the variant's weights."""
    return variant.fingerprint[:_FINGERPRINT]


def cost_rows(variants: Sequence[Variant]) -> tuple[CostRow, ...]:
    """Return size, memory and speed of every variant that was measured."""
    rows = []
    for variant in variants:
        if variant.bytes_on_disk is None and variant.memory_bytes is None:
            continue
        peers = [v for v in variants if v.model == variant.model]
        full = next((v for v in peers if v.name == FULL), None)
        disk, rate = variant.bytes_on_disk, _rate(variant)
        relative = number(disk / full.bytes_on_disk, digits=2) if disk and full and full.bytes_on_disk else ""
        rows.append(
            CostRow(
                variant=variant,
                disk=size(disk),
                disk_share=_share(disk, [v.bytes_on_disk for v in peers]),
                memory=size(variant.memory_bytes),
                memory_share=_share(variant.memory_bytes, [v.memory_bytes for v in peers]),
                relative=relative,
                rate=number(rate),
                rate_share=_share(rate, [_rate(v) for v in peers]),
                seconds=number(variant.speed.get("seconds")),
                tokens=number(variant.speed.get("executed_tokens")),
                bits=number(_bits(variant)),
                kernel=str(variant.loaded.get("kernel") or ""),
            )
        )
    return tuple(rows)


def _rate(variant: Variant) -> float | None:
    seconds = variant.speed.get("seconds") or 0
    return variant.speed.get("executed_tokens", 0) / seconds if seconds > 0 else None


def _bits(variant: Variant) -> float | None:
    bits = variant.audit.get("bits_per_weight")
    return float(bits) if isinstance(bits, int | float) else None


def _share(value: float | None, peers: Iterable[float | None]) -> float:
    largest = max((peer for peer in peers if peer), default=0)
    return round(100 * (value or 0) / largest, 1) if largest else 0.0


def group_tables(all_series: Iterable[Series], gates: Mapping[tuple[str, str], Gate]) -> tuple[GroupTable, ...]:
    """Return a table by group for the primary (else the first) directed rate of every series with several groups."""
    tables = []
    for series in all_series:
        groups = list(dict.fromkeys(series.groups))
        rates = [m for m in series.measures if m.direction != "neither" and m.unit == "rate"]
        measure = next((m for m in rates if m.primary), next(iter(rates), None))
        if measure is None or not 1 < len(groups) <= _MOST_GROUPS:
            continue
        variants = tuple((name, gates.get((series.model, name), "pending")) for name in series.outcomes)
        columns = {name: series.column(name, measure) for name, _ in variants}
        member = {group: np.array([g == group for g in series.groups]) for group in groups}
        rows = tuple(
            (group or "(none)", tuple(_group_cell(columns, name, member[group], measure) for name, _ in variants))
            for group in sorted(groups)
        )
        tables.append(
            GroupTable(model=series.model, task=series.task, label=measure.name, variants=variants, rows=rows)
        )
    return tuple(tables)


def _group_cell(columns: Mapping[str, Any], name: str, member: Any, measure: Measure) -> tuple[str, int, float]:
    values, base = columns[name][member], columns.get(FULL, columns[name])[member]
    applied = values[~np.isnan(values)]
    pairs = ~(np.isnan(values) | np.isnan(base))
    change = float((values - base)[pairs].mean()) if pairs.any() else 0.0
    loss = -change if measure.direction == "higher" else change
    mean = float(applied.mean()) if len(applied) else math.nan
    return amount(mean, measure.unit), len(applied), loss


def pending(frame: pl.DataFrame) -> int:
    """Return how many cells are not finished and still may be."""
    return int(frame["status"].is_in(["pending", "partial"]).sum())
