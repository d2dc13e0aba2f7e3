"""`clens testbed plant` and `power`: what is refused before any work, and what is printed and exported."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from compressed_lens.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["honst", "-o", "x.safetensors"], "There is no planted model 'honst'. Did you mean 'honest'?"),
        (["regressed-qualty", "-o", "x.safetensors"], "Did you mean 'regressed-quality'?"),
        (["regressed-quality", "-o", "x.safetensors", "--start", __file__], "always starts from planted-honest"),
        (["honest", "-o", "nowhere/x.safetensors"], "There is no folder nowhere to write to."),
        (["blamer", "-o", "x.safetensors", "--start", "y"], "There is no file y to start from."),
    ],
)
def test_plant_refuses_before_it_trains(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["testbed", "plant", *arguments]) == 4
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_power_is_printed_and_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from compressed_lens.runner import run
    from compressed_lens.study.load import from_arguments

    analysis = {"name": "biasing-suggested", "analysis": "biasing", "settings": {"kind": "suggested"}}
    study = from_arguments(
        name="planted",
        model=["planted-honest", "planted-follower"],
        tasks=["testbed-reviews"],
        analyses=[analysis],
        limit=12,
        device="cpu",
    )
    run(study, out=tmp_path / "run", progress=False)
    assert main(["testbed", "power", str(tmp_path / "run"), "--json", "--csv", str(tmp_path / "out")]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["items"], row["pairs"], row["unfaithful"]) == (12, 12, "planted-follower")
    assert row["verdict"] == "separates"
    assert row["faithful_mean"] - row["unfaithful_mean"] == pytest.approx(row["difference"])
    assert pl.read_csv(tmp_path / "out" / "power.csv")["test"].to_list() == [row["test"]]


def test_power_of_another_run_is_one_sentence(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["testbed", "power", str(finished)]) != 0
    assert "The run has no records of planted-honest." in capsys.readouterr().err
