"""`clens human export` and `clens human import` on a study drawn from a run."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path

import polars as pl
import pytest
from tests.human.paper_run import HOSTILE, MODELS, TASK, VARIANTS, build_run

from compressed_lens.cli.main import main

SMALL = ("--items", "4", "--ratings", "1", "--per-rater", "8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_run(tmp_path_factory.mktemp("exchange") / "run", models=2, items=14, hostile=True)
    assert main(["human", "create", str(folder), *SMALL]) == 0
    return folder


def export(run: Path, out: Path, form: str, *more: str) -> int:
    return main(["human", "export", str(run), "--to", form, "--out", str(out), *more])


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.mark.parametrize("form", ["csv", "potato", "label-studio"])
def test_no_file_of_an_export_tells_what_is_hidden(run: Path, tmp_path: Path, form: str) -> None:
    assert export(run, tmp_path / "out", form) == 0
    key = rows(run / "human" / "main" / "key.csv")
    hidden = {*MODELS, *VARIANTS[1:], TASK, "nle", *(row["cell"] for row in key), *(row["item"] for row in key)}
    told = "\n".join(path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file())
    words = set(told.replace('"', " ").replace(",", " ").replace("<", " ").replace(">", " ").split())
    assert not hidden & words
    assert not any(name in told for name in (*MODELS, *VARIANTS[1:], TASK))
    assert all(row["text"] in told for row in key)


@pytest.mark.parametrize("form", ["csv", "potato", "label-studio"])
def test_hostile_text_is_in_the_export_and_harms_no_file(run: Path, tmp_path: Path, form: str) -> None:
    assert export(run, tmp_path / "out", form) == 0
    for path in (tmp_path / "out").rglob("*.html"):
        assert "<script" not in path.read_text()
    for path in (tmp_path / "out").rglob("*.json"):
        json.loads(path.read_text())
    if form == "potato":
        lines = (tmp_path / "out" / "data" / "items.jsonl").read_text().split("\n")
        shown = [json.loads(line)["shown"] for line in lines if line]
        assert any("&lt;" in one for one in shown)
        assert not any(part in one for one in shown for part in ("<script", "<img", "<input", "</form", "<!--"))
    assert any("title = 'owned'" in text for text in HOSTILE)


def test_forms_filled_in_a_spreadsheet_come_back(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(run, tmp_path / "out", "csv") == 0
    assert "forms/R01.csv" in capsys.readouterr().out
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert rows(tmp_path / "out" / "ratings.csv") == []
    forms = sorted((tmp_path / "out" / "forms").glob("*.csv"))
    given = {}
    for number, form in enumerate(forms):
        filled = rows(form)
        for place, row in enumerate(filled):
            row["trustworthiness"], row["coherence"] = str(1 + (number + place) % 5), str(1 + place % 5)
            given[row["rater"], row["text"]] = int(row["trustworthiness"])
        with form.open("w", encoding="utf-8-sig", newline="") as opened:
            writer = csv.DictWriter(opened, filled[0], delimiter=";")
            writer.writeheader()
            writer.writerows(filled)
    command = ["human", "import", str(run), str(tmp_path / "out" / "forms"), "--from", "csv"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{len(given)} new ratings, 0 known before, of {len(forms)} raters\n"
    assert main(command) == 0
    assert capsys.readouterr().out == f"0 new ratings, {len(given)} known before, of {len(forms)} raters\n"

    assert export(run, tmp_path / "blind", "csv", "--parquet") == 0
    blind = rows(tmp_path / "blind" / "ratings.csv")
    found = {(row["rater"], row["text"]): int(row["rating"]) for row in blind if row["dimension"] == "trustworthiness"}
    assert found == given
    assert not {"model", "variant", "item"} & set(blind[0])
    assert pl.read_parquet(tmp_path / "blind" / "ratings.parquet").height == 2 * len(given)

    capsys.readouterr()
    assert export(run, tmp_path / "open", "csv", "--unblind") == 0
    assert "keep them from raters" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "open").iterdir()) == ["assignment.csv", "ratings.csv", "texts.csv"]
    key = {row["text"]: row for row in rows(run / "human" / "main" / "key.csv")}
    told = rows(tmp_path / "open" / "ratings.csv")
    assert len(told) == 2 * len(given)
    for row in told:
        for name in ("model", "variant", "task", "analysis", "item"):
            assert row[name] == ("" if row["check"] == "true" else key[row["text"]][name])


def test_what_cannot_be_done_is_one_sentence(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    for arguments, code, said in (
        (["export", str(run), "--to", "potatoes", "--out", str(tmp_path / "x")], 2, "Did you mean 'potato'?"),
        (["export", str(run), "--to", "potato", "--out", str(tmp_path / "there")], 5, "exists already"),
        (["export", str(run), "--to", "potato", "--out", str(tmp_path / "x"), "--unblind"], 2, "Use --to csv"),
        (["export", str(run), "--to", "csv", "--out", str(tmp_path / "x"), "--language", "fr"], 2, "no language 'fr'"),
        (["export", str(run), "--to", "csv", "--out", str(tmp_path / "x"), "--name", "b"], 5, "no human study 'b'"),
        (["import", str(run), str(tmp_path / "none.csv"), "--from", "csv"], 3, "cannot be read"),
    ):
        assert main(["human", *arguments]) == code
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not (tmp_path / "x").exists()
