"""Everything a run's report shows, as tables for other programs, with a manifest that says what each column is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compressed_lens import comparison
from compressed_lens.comparison.items import reaches, reaches_frame
from compressed_lens.comparison.outcomes import OutcomeTable
from compressed_lens.ids import digest
from compressed_lens.judging.agreement import judge_ratings
from compressed_lens.report.columns import COLUMNS, OF_TABLE, TABLES
from compressed_lens.report.comparisons import Comparisons
from compressed_lens.report.run_data import RunData
from compressed_lens.store.frames import with_values

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

RECORDS = "records_"
_KEYS = ("model", "variant", "task", "item", "repeat", "group", "failed")
_FORMAT = 1


def report_tables(run: RunData, compared: Comparisons) -> dict[str, pl.DataFrame]:
    """Return every table of a run's report, by name; names and columns are stable. Tables without a row are left out.

    Args:
        run: The run.
        compared: Its comparisons.

    Returns:
        The tables `columns.TABLES` names, and for every analysis `records_<analysis>`: one row a record, its values as
        columns (lists and mappings as JSON; a value called like a column of the record itself as `value_<name>`).
    """
    figures = run.figures
    tables = {
        "variants": variants_frame(run),
        "figures": comparison.figures_frame(figures),
        "uses": comparison.use_frame(comparison.use_verdicts(figures, run.variant_list)),
        "overall": comparison.overall_frame(comparison.overall(run.series, figures)),
        "effects": comparison.effects_frame(comparison.effects(run.series, run.gates, margins=run.margins)),
        "power": reaches_frame(reaches(figures)),
        "transitions": comparison.transitions_frame(compared.transitions),
        "outcomes": outcomes_frame(compared.outcomes),
        "correlations": comparison.agreements_frame(compared.agreements),
        "ranking": comparison.rankings_frame(compared.rankings),
        "size_trends": comparison.trends_frame(compared.trends),
        "size_choices": comparison.choices_frame(compared.choices),
        "curves": comparison.curves_frame(compared.curves),
        "hops": comparison.hop_tables_frame(compared.hop_tables),
        "saturation": comparison.saturations_frame(compared.saturations),
        "bottleneck": comparison.bottlenecks_frame(compared.bottlenecks),
        "ratings": judge_ratings(run.records, run.cells),
        **record_tables(run),
    }
    return {name: frame for name, frame in tables.items() if not frame.is_empty()}


def record_tables(run: RunData) -> dict[str, pl.DataFrame]:
    """Return the records of each analysis, their values as columns, by `records_<analysis>`."""
    return {
        f"{RECORDS}{analysis}": _flat(part)
        for (analysis,), part in run.records.group_by(["analysis"], maintain_order=True)
    }


def _flat(records: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    names = list(dict.fromkeys(name for text in records["values"] for name in json.loads(text)))
    values = with_values(records.select("values"), [name for name in names if name != "values"])
    if "values" in names:
        values = values.with_columns(with_values(records.select("values"), ["values"])["values"])
    renamed = {name: f"value_{name}" for name in names if name in _KEYS}
    return pl.concat([records.select(_KEYS), values.select(names).rename(renamed)], how="horizontal")


def variants_frame(run: RunData) -> pl.DataFrame:
    """Return one row a (model, variant): gate, why, sizes, kernel, recipe (JSON) and fingerprint."""
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("model", "variant"), pl.String),
        "placebo": pl.Boolean,
        **dict.fromkeys(("gate", "reason", "fingerprint", "recipe"), pl.String),
        "bits_per_weight": pl.Float64,
        **dict.fromkeys(("bytes_on_disk", "memory_bytes", "parameters"), pl.Int64),
        **dict.fromkeys(("dtype", "device", "kernel"), pl.String),
        "seconds": pl.Float64,
        "executed_tokens": pl.Int64,
    }
    rows = [
        (
            *(v.model, v.name, v.placebo, v.gate, v.reason, v.fingerprint, json.dumps(v.recipe, sort_keys=True)),
            *(v.audit.get("bits_per_weight"), v.bytes_on_disk, v.memory_bytes, v.loaded.get("parameters")),
            *(v.loaded.get("dtype"), v.loaded.get("device"), v.loaded.get("kernel")),
            *(v.speed.get("seconds"), v.speed.get("executed_tokens")),
        )
        for v in run.variant_list
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def outcomes_frame(tables: Iterable[OutcomeTable]) -> pl.DataFrame:
    """Return outcome classes, one row a (model, task, analysis, variant, outcome), with `count` of `items`."""
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("model", "task", "analysis", "variant", "outcome"), pl.String),
        **dict.fromkeys(("count", "items"), pl.Int64),
    }
    rows = [
        (table.model, table.task, table.analysis, variant, name, count, table.items)
        for table in tables
        for variant, counts in table.counts
        for name, count in zip(table.classes, counts, strict=True)
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def run_digest(run: RunData) -> str:
    """Return the identity of what a run asked: the same weights, items, prompts, analyses, settings and seed.

    The digest of its cells' identities; two runs that share it may differ only in machine and versions.
    """
    return digest(sorted({cell for cell in run.cells["cell"] if cell}))


def manifest(run: RunData, tables: Mapping[str, pl.DataFrame], *, ending: str, version: str) -> dict[str, Any]:
    """Describe exported tables: file, rows, and name, type and meaning of every column, as JSON types.

    Args:
        run: The run.
        tables: What was written.
        ending: Of the files: "csv" or "parquet".
        version: Of compressed-lens.
    """
    return {
        "format": _FORMAT,
        "tool": f"compressed-lens {version}",
        "run": {"name": run.study.get("name"), "digest": run_digest(run), "seed": run.study.get("seed")},
        "tables": [
            {
                "name": name,
                "file": f"{name}.{ending}",
                "what": TABLES.get(name, f"Records of the analysis {name.removeprefix(RECORDS)}, one row a record."),
                "rows": frame.height,
                "columns": [
                    {"name": column, "type": str(kind), "what": meaning(name, column)}
                    for column, kind in frame.schema.items()
                ],
            }
            for name, frame in tables.items()
        ],
    }


def meaning(table: str, column: str) -> str:
    """Say what a column of a table holds."""
    told = OF_TABLE.get(table, {}).get(column) or COLUMNS.get(column, "")
    if table.startswith(RECORDS) and column not in _KEYS:
        return f"The record's value '{column}'; null where it has none."
    return told
