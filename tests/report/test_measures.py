"""Every figure of a run against plain counting over its records."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from compressed_lens.comparison.measures import figures
from compressed_lens.report import latex, metrics_table, write_report
from compressed_lens.report.run_data import RunData
from compressed_lens.runner import load_run


@pytest.fixture(scope="module")
def table(run_folder: Path) -> pl.DataFrame:
    return metrics_table(load_run(run_folder))


def plain_values(run: RunData, variant: str, analysis: str, metric: dict) -> dict[tuple[str, int], float]:
    """What each record counts as, straight from the definition of a metric."""
    values = {}
    for row in run.records.filter(variant=variant, analysis=analysis).iter_rows(named=True):
        value = json.loads(row["values"]).get(metric["value"]) if row["failed"] is None else metric["on_failure"]
        if value is not None:
            values[row["item"], row["repeat"]] = float(value)
    return values


def test_every_figure_equals_plain_counting(run_folder: Path, table: pl.DataFrame) -> None:
    run = RunData.read(run_folder)
    seen = 0
    for cell in run.cells.filter(pl.col("metrics").is_not_null()).iter_rows(named=True):
        for metric in json.loads(cell["metrics"]):
            own = plain_values(run, cell["variant"], cell["analysis"], metric)
            base = plain_values(run, "full", cell["analysis"], metric)
            (row,) = table.filter(variant=cell["variant"], analysis=cell["analysis"], metric=metric["name"]).to_dicts()
            assert (row["n"], row["recorded"], row["failed"]) == (len(own), cell["done"], cell["failed_items"])
            assert row["value"] == pytest.approx(statistics.fmean(own.values()))
            assert row["value_low"] <= row["value"] <= row["value_high"]
            seen += 1
            if cell["variant"] == "full":
                assert row["difference"] is None and row["verdict"] == "reference"
                continue
            pairs = [(base[key], own[key]) for key in base.keys() & own.keys()]
            assert row["pairs"] == len(pairs)
            assert row["difference"] == pytest.approx(statistics.fmean(b - a for a, b in pairs), abs=1e-12)
            assert row["low"] <= row["difference"] <= row["high"]
            if metric["unit"] == "rate":
                worse, better = pairs.count((1.0, 0.0)), pairs.count((0.0, 1.0))
                lost, gained = (better, worse) if metric["direction"] == "lower" else (worse, better)
                assert (row["lost"], row["gained"]) == (lost, gained)
            else:
                assert row["lost"] is None
    assert seen == 8 * 6


def test_planted_losses_are_found_and_nothing_else(table: pl.DataFrame) -> None:
    verdicts = {(r["variant"], r["metric"]): r["verdict"] for r in table.to_dicts()}
    assert verdicts["rtn-2bit", "recall"] == verdicts["rtn-2bit", "accuracy"] == "worse"
    assert "worse" in {v for (variant, _), v in verdicts.items() if variant == "rtn-3bit"}
    assert {v for (variant, _), v in verdicts.items() if variant == "gptq-8bit"} <= {"equivalent", "undecided"}
    assert set(table.filter(variant="gptq-8bit")["difference"]) == {0.0}
    assert {v for (variant, _), v in verdicts.items() if variant == "hqq-4bit"} == {"not comparable"}
    assert not [v for v in verdicts.values() if "better" in v]


def test_failed_records_count_as_declared(table: pl.DataFrame) -> None:
    rows = {r["metric"]: r for r in table.filter(variant="rtn-2bit", analysis="nle").to_dicts()}
    failed = 14  # every third of 40
    assert rows["length"]["failed"] == rows["degenerate"]["failed"] == failed
    assert rows["length"]["n"] == 40 - failed and rows["length"]["dropped"] == failed
    assert rows["degenerate"]["n"] == 40 and rows["degenerate"]["value"] == pytest.approx(failed / 40)
    assert (rows["degenerate"]["lost"], rows["degenerate"]["gained"]) == (failed, 0)


def test_repeats_are_resampled_with_their_item(tmp_path: Path, plant_run: Callable, settings: type) -> None:
    run = plant_run(tmp_path / "run", settings(items=12, variants=("full", "rtn-3bit"), repeats=3))
    table = metrics_table(load_run(run)).filter(metric="accuracy", variant="rtn-3bit")
    assert table["n"].item() == 36 and table["pairs"].item() == 36
    found = figures(RunData.read(run).series, {})
    (figure,) = [f for f in found if f.measure.name == "accuracy" and f.variant == "rtn-3bit"]
    assert figure.paired is not None and figure.paired.units == 12 and figure.own.units == 12


def test_csv_holds_the_same_figures(run_folder: Path, table: pl.DataFrame) -> None:
    write_report(run_folder)
    with (run_folder / "metrics.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == table.columns and len(rows) == table.height
    assert [float(r["value"]) for r in rows if r["value"]] == pytest.approx(table["value"].drop_nulls().to_list())


def test_latex_has_one_column_a_variant_and_marks_the_failed_one(table: pl.DataFrame) -> None:
    text = latex(table)
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in body} == {2 + 9 - 1}
    assert r"rtn-2bit$^\dagger$" in text and "failed the integrity gate" in text
    assert r"\textbf{$-$" in text and "n=40" in text
    assert "%" not in text.replace(r"\%", "")
