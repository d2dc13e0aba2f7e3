"""`clens compare` and `clens rank`: what they print and what they export."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from compressed_lens.cli.main import main

TABLE = "model,prec,acc,ppl\nm,full,9,9\nm,a,3,1\nm,b,2,2\nn,a,1,\nn,b,1,4\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    return path


def test_rank(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.parent / "out"
    assert main(["rank", str(table), "--csv", str(out), "--parquet", str(out), "--latex", str(out)]) == 0
    said = capsys.readouterr().out
    assert "Lower is better in: ppl; higher in all others." in said and "ranked only in the rows" in said
    rows = [line.split("\t") for line in said.splitlines() if line[:1].isdigit()]
    assert [(row[0], row[1], row[3]) for row in rows] == [("1.17", "a", "3"), ("1.83", "b", "3")]
    told = pl.read_parquet(out / "ranking.parquet")
    assert told["critical_difference"].null_count() == 2, "of three rows"
    assert pl.read_csv(out / "ranking.csv", schema=told.schema).equals(told)
    assert r"\toprule" in (out / "ranking.tex").read_text()


def test_rank_of_a_part(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rank", str(table), "--columns", "p*", "--models", "m", "--lower", "ppl", "--rule", "common"]) == 0
    said = capsys.readouterr().out
    assert "1 model, 1 column, 1 row" in said and "have a value in every row" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--columns", "bleu"], "no column 'bleu'"), (["--lower", "bleu"], "no column of numbers 'bleu'"),
     (["--models", "x*"], "no model 'x*'"), (["--variants", "c"], "no variant 'c'")],
)  # fmt: skip
def test_rank_of_what_is_not_there(
    arguments: list[str], message: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rank", str(table), *arguments]) == 3
    assert message in capsys.readouterr().err


def test_rank_of_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    assert main(["rank", str(empty)]) == 3
    assert "is no CSV table" in capsys.readouterr().err


def test_compare_of_a_run(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = finished / "tables"
    assert main(["compare", str(finished), "--all", "--csv", str(out)]) == 0
    said = capsys.readouterr().out
    assert "Transitions from full precision" in said and "needs two quantized variants" in said
    assert not out.exists(), "a run of full precision alone has nothing to export"
    assert main(["compare", str(finished), "--measures", "acuracy"]) == 3
    assert "no metric 'acuracy'" in capsys.readouterr().err
