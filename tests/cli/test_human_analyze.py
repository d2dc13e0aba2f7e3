"""`clens human analyze` on a study whose answers were planted in its database, and the section People of the report."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from tests.human.paper_run import build_run

from compressed_lens.cli.main import main
from compressed_lens.human.database import database_url
from compressed_lens.human.findings import COLUMNS, HumanAnalysis
from compressed_lens.human.plan import create
from compressed_lens.human.reading import default_design
from compressed_lens.human.store import Entry, HumanStore

ITEMS, MODELS, VARIANTS = 8, 2, 4


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A human study that every rater finished: gptq-4bit is rated two points lower, and R02 failed the check."""
    run = build_run(tmp_path_factory.mktemp("runs") / "paper", models=MODELS)
    design = default_design()
    small = design.model_copy(update={"sample": design.sample.model_copy(update={"items": ITEMS})})
    folder = create(run, small)
    key = {row["text"]: row for row in pl.read_csv(folder / "key.csv", infer_schema=False).iter_rows(named=True)}
    entries = []
    with HumanStore.open(database_url(folder)) as store:
        for rater, pages in store.blinded().pages.items():
            for page in pages:
                values = dict(page.expected or {})
                if page.text is not None:
                    text = key[page.text]
                    level = 4 - 2 * (text["variant"] == "gptq-4bit") + (hash_of(text["item"], rater) - 1)
                    values = {name: max(1, min(5, level)) for name in ("trustworthiness", "coherence")}
                elif rater == "R02":
                    values = {name: 6 - point if point != 3 else 1 for name, point in values.items()}
                place = {"rater": rater, "position": page.position, "form": f"{rater}-{page.position}"}
                entries.append(Entry(**place, values=values, comment="secret", seconds=20))
        assert set(store.enter(entries)) == {"saved"}
    return run


def hash_of(*parts: str) -> int:
    """Return 0, 1 or 2, the same in every process."""
    return sum(sum(part.encode()) for part in parts) % 3


@pytest.fixture
def run(answered: Path, tmp_path: Path) -> Path:
    return shutil.copytree(answered, tmp_path / "run")


def test_what_people_said_is_printed_and_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["human", "analyze", str(run), "--margin", "1", "--latex", str(run / "tex")]) == 0
    said = capsys.readouterr().out
    assert "1 of" in said and "failed an attention check and is left out: R02." in said
    assert re.search(r"gptq-4bit\tall models\t−[12]\.\d\d\t\[−.*\tworse\t", said)
    assert "Krippendorff" in said and "Judges and people" in said
    assert "undecided: 8 items are too few to call it equivalent" in said
    assert "\ntexts\tdimension\tvariant\tpeople\tcritic\teditor\treader\n" in said and "✓ same way" in said
    assert said.strip().endswith("report.html")
    folder = run / "human" / "main"
    found = HumanAnalysis.from_json((folder / "analysis.json").read_text())
    assert {path.stem for path in (folder / "tables").glob("*.csv")} == set(COLUMNS)
    assert pl.read_csv(folder / "tables" / "differences.csv").height == found.differences.height
    assert (run / "tex" / "differences.tex").is_file()
    assert "equivalent" not in set(found.differences["verdict"])
    page, text = (run / "report.html").read_text(), (run / "report.md").read_text()
    assert '<section id="people">' in page and 'href="#people"' in page and "## People" in text
    for whole in (page, text, (folder / "analysis.json").read_text()):
        assert "secret" not in whole
    assert all(word in text for word in ("Trustworthiness of explanations", "Coherence of counterfactuals", "R02"))
    assert "NaN" not in page[page.index('<section id="people">') : page.index('<section id="texts"')]


def test_clens_judges_reads_what_people_said(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["human", "analyze", str(run)]) == 0
    people = run / "human" / "main" / "people.csv"
    assert "secret" not in people.read_text()
    capsys.readouterr()
    assert main(["judges", str(run), "--ratings", str(people), "--csv", str(run / "out")]) == 0
    assert "Judges and people" in capsys.readouterr().out
    assert pl.read_csv(run / "out" / "people.csv")["n"].to_list() == [ITEMS * MODELS * VARIANTS] * 12


def test_a_csv_of_ratings_says_the_same_as_the_database(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["human", "analyze", str(run), "--exclude", "none"]) == 0
    kept = run / "human" / "main" / "analysis.json"
    first = json.loads(kept.read_text())["tables"]
    assert main(["human", "export", str(run), "--to", "csv", "--out", str(run / "csv")]) == 0
    capsys.readouterr()
    assert main(["human", "analyze", str(run), "--exclude", "none", "--ratings", str(run / "csv" / "ratings.csv")]) == 0
    second = json.loads(kept.read_text())["tables"]
    for table in ("counts", "means", "differences", "agreement", "shifts"):
        assert second[table] == first[table], table


def test_a_report_without_an_analysis_has_no_people(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run)]) == 0
    assert "people" not in (run / "report.html").read_text().split("</nav>")[0].split("<nav")[1]
    assert '<section id="people">' not in (run / "report.html").read_text()
    assert "## People" not in (run / "report.md").read_text()
    (run / "human" / "main" / "analysis.json").write_text("{")
    assert main(["report", str(run)]) == 0
    assert "analysis of the human study is damaged" in (run / "report.html").read_text()
    assert "analysis of the human study is damaged" in (run / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--name", "other"], 5, "no human study 'other'"),
        (["--margin", "0"], 3, "margin of 0 points"),
        (["--exclude", "some"], 2, "exclude"),
        (["--ratings", "nothing.csv"], 3, "nothing.csv"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], code: int, said: str, answered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["human", "analyze", str(answered), *arguments]) == code
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_before_anybody_has_rated_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = build_run(tmp_path / "paper", models=1, items=24)
    design = default_design()
    create(run, design.model_copy(update={"sample": design.sample.model_copy(update={"items": 4})}))
    assert main(["human", "analyze", str(run)]) == 3
    assert "Nobody has rated anything yet" in capsys.readouterr().err
    assert not (run / "human" / "main" / "analysis.json").exists()
