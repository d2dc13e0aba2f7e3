"""`clens compare` of several runs: what it prints, refuses and exports, on real runs of a small model."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from compressed_lens.cli.main import main

STUDY = """\
name: {name}
models: [reference]
variants: {variants}
tasks: [{{name: testbed-reviews, limit: {limit}}}]
analyses: [accuracy]
settings: {{cache_dir: cache}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of the embedded model: one of full precision and a variant, one of fewer items and the former alone."""
    place = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name, variants, limit in (("monday", "[rtn-2bit]", 24), ("tuesday", "[]", 16)):
            (place / f"{name}.yaml").write_text(STUDY.format(name=name, variants=variants, limit=limit))
            assert main(["run", f"{name}.yaml"]) == 0
    return place / "runs"


def test_another_day_and_fewer_items(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(folder / name) for name in ("monday", "tuesday")]
    out = ["--csv", str(tmp_path), "--parquet", str(tmp_path), "--latex", str(tmp_path)]
    assert main(["compare", *runs, "--all", *out]) == 0
    said = capsys.readouterr().out
    lines = [line.split("\t") for line in said.splitlines()]
    (items,) = [line for line in lines if line[:2] == ["warning", "items"]]
    assert items[2] == "Compared on the 16 items that are in both (8 only in A, 0 only in B)."
    (alone,) = [line for line in lines if line[:2] == ["refused", "partner"]]
    assert alone[2:] == ["Run B has no reference/rtn-2bit; see --pair.", "A:reference/rtn-2bit"]
    assert "1 pairs of cells are compared, 0 are refused, 1 cells or variants have no partner." in said
    assert "of 1 pairs of cells agree in all of their records, to the last digit" in said
    for name in ("checks", "records", "differences"):
        assert pl.read_csv(tmp_path / f"{name}.csv").height == pl.read_parquet(tmp_path / f"{name}.parquet").height > 0
        assert (tmp_path / f"{name}.tex").stat().st_size
    frame = pl.read_parquet(tmp_path / "differences.parquet")
    assert set(frame["relation"]) == {"same model"} and frame["difference"].abs().max() < 1e-4
    assert frame.filter(metric="accuracy")["difference"].to_list() == [0]
    again = pl.read_parquet(tmp_path / "records.parquet").row(0, named=True)
    # Another limit makes other batches, and so other roundings.
    assert again["same"] + again["close"] == again["shared"] == 16 and again["different"] == 0


def test_two_variants_of_one_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(folder / "monday")
    assert main(["compare", run, "--pair", "full=reference/rtn-2bit", "--parquet", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "A:reference/full\tB:reference/rtn-2bit\ttestbed-reviews\taccuracy\taccuracy\t100.0 %" in said
    mine = pl.read_parquet(tmp_path / "differences.parquet").row(0, named=True)
    main(["report", run, "--parquet", str(tmp_path)])
    theirs = (
        pl.read_parquet(tmp_path / "figures.parquet").filter(metric="accuracy", variant="rtn-2bit").row(0, named=True)
    )
    for name in ("difference", "low", "high", "pairs", "p", "p_adjusted", "margin", "verdict", "lost", "gained"):
        assert mine[name] == theirs[name], name


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [(["--pair", "full"], 2, "is no pair of variants"), (["--pair", "full=awq"], 3, "has no variant 'awq'"),
     (["--pair", "full=rtn-2bit", "--measures", "accuracy"], 2, "--measures is for one run")],
)  # fmt: skip
def test_what_cannot_be_asked(
    arguments: list[str], code: int, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(folder / "monday"), *arguments]) == code
    assert message in capsys.readouterr().err


def test_a_folder_without_a_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(folder / "monday", tmp_path / "copy")
    assert main(["compare", str(folder / "monday"), str(tmp_path / "copy")]) == 0
    capsys.readouterr()
    assert main(["compare", str(folder / "monday"), str(tmp_path / "none")]) == 5
    assert "There is no run in" in capsys.readouterr().err
