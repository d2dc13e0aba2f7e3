"""Exported tables: stable columns that a manifest explains, and records as they were written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from compressed_lens.cli.main import main
from compressed_lens.report.columns import COLUMNS, OF_TABLE, TABLES
from compressed_lens.report.comparisons import Comparisons
from compressed_lens.report.run_data import RunData
from compressed_lens.report.tables import manifest, meaning, report_tables, run_digest


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, plant_run: Callable, settings: type) -> RunData:
    return RunData.read(plant_run(tmp_path_factory.mktemp("runs") / "facts", settings(items=30, chains=True)))


@pytest.fixture(scope="module")
def tables(run: RunData) -> dict[str, pl.DataFrame]:
    return report_tables(run, Comparisons.of(run, run.figures))


def test_every_column_is_explained(run: RunData, tables: dict[str, pl.DataFrame]) -> None:
    told = manifest(run, tables, ending="csv", version="1.2")
    assert {one["name"] for one in told["tables"]} == set(tables)
    for one in told["tables"]:
        assert one["what"] and one["rows"] == tables[one["name"]].height and one["file"] == f"{one['name']}.csv"
        assert [column["name"] for column in one["columns"]] == tables[one["name"]].columns
        assert not [column["name"] for column in one["columns"] if not column["what"]]
    assert told["run"] == {"name": "planted", "digest": run_digest(run), "seed": 7}


def test_every_frame_of_a_table_is_explained_even_if_this_run_has_none() -> None:
    from compressed_lens import comparison
    from compressed_lens.comparison.items import reaches_frame

    frames = {
        "correlations": comparison.agreements_frame(()), "ranking": comparison.rankings_frame(()),
        "size_trends": comparison.trends_frame(()), "size_choices": comparison.choices_frame(()),
        "uses": comparison.use_frame(()), "transitions": comparison.transitions_frame(()),
        "curves": comparison.curves_frame(()), "hops": comparison.hop_tables_frame(()),
        "saturation": comparison.saturations_frame(()), "bottleneck": comparison.bottlenecks_frame(()),
        "figures": comparison.figures_frame(()), "effects": comparison.effects_frame(()),
        "overall": comparison.overall_frame(()), "power": reaches_frame(()),
    }  # fmt: skip
    assert not [
        (name, column) for name, frame in frames.items() for column in frame.columns if not meaning(name, column)
    ]
    assert set(frames) <= set(TABLES) and set(OF_TABLE) <= set(TABLES)


def test_nothing_is_explained_that_is_never_written(tables: dict[str, pl.DataFrame]) -> None:
    for name, columns in OF_TABLE.items():
        if name in tables:
            assert set(columns) <= set(tables[name].columns), name
    assert all(text.endswith((".", "scale")) for text in COLUMNS.values())


def test_records_are_those_of_the_run(run: RunData, tables: dict[str, pl.DataFrame]) -> None:
    total = 0
    for name, frame in tables.items():
        if not name.startswith("records_"):
            continue
        raw = run.records.filter(pl.col("analysis") == name.removeprefix("records_"))
        total += frame.height
        assert frame.select("model", "variant", "task", "item", "repeat", "failed").equals(
            raw.select("model", "variant", "task", "item", "repeat", "failed")
        )
        for values, row in zip(raw["values"], frame.iter_rows(named=True), strict=True):
            for key, value in json.loads(values).items():
                kept = row[key]
                assert kept == value or json.loads(kept) == value
    assert total == run.records.height


def test_values_with_the_name_of_a_column(run: RunData) -> None:
    from dataclasses import replace

    from compressed_lens.report.tables import record_tables

    values = pl.Series("values", ['{"group": "red", "values": [1], "item": 3}', '{"group": "blue", "values": null}'])
    odd = replace(run, records=run.records.filter(analysis="recall").head(2).with_columns(values))
    (frame,) = record_tables(odd).values()
    assert frame["value_group"].to_list() == ["red", "blue"] and frame["values"].to_list() == ["[1]", None]
    assert frame["value_item"].to_list() == [3.0, None] and frame["item"][0].startswith("facts-")


def test_the_command_writes_what_the_manifest_says(run: RunData, tmp_path: Path) -> None:
    folders = {"csv": tmp_path / "csv", "parquet": tmp_path / "pq"}
    paper = tmp_path / "tex"
    arguments = ["--csv", str(folders["csv"]), "--parquet", str(folders["parquet"]), "--latex", str(paper)]
    assert main(["report", str(run.folder), *arguments]) == 0
    for ending, folder in folders.items():
        told = json.loads((folder / "manifest.json").read_text())
        assert {path.name for path in folder.iterdir()} == {"manifest.json", *(one["file"] for one in told["tables"])}
        for one in told["tables"]:
            read = pl.read_csv if ending == "csv" else pl.read_parquet
            frame = read(folder / one["file"])
            assert frame.height == one["rows"] and frame.columns == [column["name"] for column in one["columns"]]
    names = {path.stem for path in paper.iterdir()} - {"all"}
    assert set(re.findall(r"\\input\{(.*?)\}", (paper / "all.tex").read_text())) == names


def test_the_digest_is_of_what_was_asked(run: RunData) -> None:
    from dataclasses import replace

    assert run_digest(run) == run_digest(replace(run, records=run.records.head(3)))
    assert run_digest(run) != run_digest(replace(run, cells=run.cells.head(3)))
