"""`clens power`: questions before a study, and the reach of a run."""

from __future__ import annotations

import contextlib
from pathlib import Path

import polars as pl
import pytest
from tests.cli.conftest import STUDY, lay_out

from compressed_lens.cli.main import main
from compressed_lens.statistics import items_for_margin, items_for_rates


def test_questions_about_a_yes_or_no(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", "--flips", "0.05", "--difference", "0.02", "--margin", "0.02", "--items", "500"]) == 0
    said = dict(line.split("\t") for line in capsys.readouterr().out.splitlines() if "\t" in line)
    assert said["items to show a difference of 0.02"] == f"{items_for_rates(0.035, 0.015):,}"
    within = said["items to show equivalence within ±0.02, if there is no difference"]
    assert within == f"{items_for_margin(0.02, 0.05**0.5, rate=True):,}"
    assert said["difference that 500 items show"] == "0.028"


def test_questions_about_an_amount(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", "--sd", "0.8", "--difference", "0.1", "--items", "200"]) == 0
    said = capsys.readouterr().out
    assert "\t503\n" in said and "\t0.158\n" in said
    assert main(["power", "--flips", "0.01", "--items", "20"]) == 0
    assert "none: no more than 0.01 of the items change" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--difference", "0.1"], "One spread is needed"),
        (["--flips", "0.1", "--sd", "1", "--items", "5"], "One spread is needed"),
        (["--flips", "0.1"], "Nothing is asked"),
        (["--flips", "1.5", "--items", "5"], "spread is out of range"),
        (["--sd", "1", "--margin", "-1"], "out of range"),
        (["--flips", "0.01", "--difference", "0.02"], "no difference exceeds 0.01"),
        (["--flips", "0.1", "--items", "5", "--csv", "x"], "Only the table of a run"),
        (["x", "--flips", "0.1"], "spreads and margins of its own"),
    ],
)
def test_impossible_questions(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_llama_folder: Path) -> Path:
    """A run of a random model, and of the same under another kernel of attention."""
    folder = tmp_path_factory.mktemp("small")
    lay_out(folder, tiny_llama_folder)
    (folder / "study.yaml").write_text(STUDY.replace("[full]", "[placebo-eager]"))
    rows = [f"{n},text {n},{'good' if n % 2 else 'bad'}" for n in range(24)]
    (folder / "data.csv").write_text("id,text,kind\n" + "\n".join(rows) + "\n")
    with contextlib.chdir(folder):
        assert main(["run", "study.yaml", "--quiet", "--out", "run"]) == 0
    return folder / "run"


def test_reach_of_a_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", str(run), "--csv", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t")[-2:] == ["verdict", "pairs to decide"]
    (told,) = pl.read_csv(tmp_path / "power.csv").to_dicts()
    assert (told["variant"], told["metric"], told["pairs"]) == ("placebo-eager", "accuracy", 24)
    assert (told["verdict"], told["for_margin"], told["needed"]) == ("undecided", 189, 189)
    assert lines[1].split("\t")[-3:] == ["189", "undecided", "189"]


def test_effects_are_exported_with_the_comparison(run: Path, tmp_path: Path) -> None:
    assert main(["compare", str(run), "--csv", str(tmp_path)]) == 0
    (told,) = pl.read_csv(tmp_path / "effects.csv").to_dicts()
    assert told["mcnemar_p"] == 1.0 and told["margin"] == 0.02 and told["p_non_inferior"] > 0.025


def test_a_run_with_nothing_to_compare(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", str(finished)]) == 0
    assert "no confirmatory measure of a variant beside full precision" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value"), [("--difference", "nan"), ("--difference", "0"), ("--margin", "inf"), ("--items", "0")]
)
def test_numbers_out_of_range(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", "--sd", "1", option, value]) == 2
    assert "is out of range. Give a number above zero." in capsys.readouterr().err
