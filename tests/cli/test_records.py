"""Exported records are the run's records, in every format and under every filter."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from compressed_lens.cli.main import main
from compressed_lens.runner import load_run

READERS = {"csv": pl.read_csv, "jsonl": pl.read_ndjson, "parquet": pl.read_parquet}


@pytest.mark.parametrize("form", READERS)
def test_a_file_holds_every_record(form: str, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = finished.parent / f"records.{form}"
    assert main(["records", str(finished), "--format", form, "--output", str(file)]) == 0
    assert capsys.readouterr().out == f"2 records in {file}\n"
    expected = load_run(finished).records
    found = READERS[form](file, schema=expected.schema) if form == "csv" else READERS[form](file)
    assert found.select("variant", "item", "values").equals(expected.select("variant", "item", "values"))


@pytest.mark.parametrize("form", READERS)
def test_standard_output_holds_the_same_bytes(form: str, finished: Path) -> None:
    command = [sys.executable, "-m", "compressed_lens", "records", str(finished), "-f", form]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    assert READERS[form](io.BytesIO(data))["item"].cast(pl.String).to_list() == ["1", "2"]


def test_filters(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def lines(*arguments: str) -> int:
        assert main(["records", str(finished), "-o", str(finished / "out.csv"), *arguments]) == 0
        capsys.readouterr()
        return pl.read_csv(finished / "out.csv").height

    assert lines("--variants", "full", "--tasks", "mine", "--analyses", "accuracy") == 2
    failed = load_run(finished).records["failed"].is_not_null().sum()
    assert lines("--failed") == failed
