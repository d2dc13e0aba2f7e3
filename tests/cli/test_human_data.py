"""`clens human links`, `status` and `withdraw` on a study of a run of the paper's grid."""

from __future__ import annotations

import csv
import re
import shutil
import stat
from pathlib import Path

import pytest
from tests.human.paper_run import build_run

from compressed_lens.cli.main import main
from compressed_lens.human.database import database_url
from compressed_lens.human.plan import create
from compressed_lens.human.reading import default_design, design_yaml
from compressed_lens.human.store import HumanStore

HIDDEN = ("gptq", "Qwen", "esnli", "nle")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = build_run(tmp_path_factory.mktemp("data") / "run", models=1, variants=("full", "gptq-4bit"), items=16)
    create(run, default_design("pilot"))
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def opened(run: Path) -> HumanStore:
    return HumanStore.open(database_url(run / "human" / "main"))


def rate(run: Path, rater: str = "R01") -> None:
    with opened(run) as store:
        store.move(rater, step="consent", to="rating")
        while (position := store.first_unanswered(rater)) is not None:
            values = {d.name: 3 + n for n, d in enumerate(store.questionnaire.dimensions)}
            store.save(rater, position, values=values, comment="my secret", seconds=20, form=str(position))


def test_links_are_printed_once_and_open_the_study(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["human", "links", str(run), "--url", "https://study.example.org/"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["rater", "link"]
    with opened(run) as store:
        assert [rater for rater, _ in rows[1:]] == [rater.id for rater in store.raters()]
        for rater, link in rows[1:]:
            address, token = link.rsplit("/", 1)
            found = store.rater_of_link(token)
            assert address == "https://study.example.org/r" and found is not None and found.id == rater
    assert main(["human", "links", str(run)]) == 0
    again = capsys.readouterr()
    assert not again.out and "Every rater has a link" in again.err
    assert main(["human", "links", str(run), "--rater", "R02", "R01"]) == 0
    new = dict(line.split("\t") for line in capsys.readouterr().out.splitlines()[1:])
    assert set(new) == {"R01", "R02"} and new["R01"] not in {link for _, link in rows}
    with opened(run) as store:
        assert store.rater_of_link(rows[1][1].rsplit("/", 1)[1]) is None


def test_links_go_to_a_file_of_ones_own(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "links.csv"
    assert main(["human", "links", str(run), "--out", str(out)]) == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600 and not capsys.readouterr().out
    rows = list(csv.DictReader(out.open()))
    with opened(run) as store:
        assert all(store.rater_of_link(row["link"].rsplit("/", 1)[1]) for row in rows) and len(rows) > 1
    before = out.read_bytes()
    assert main(["human", "links", str(run), "--rater", "R01", "--out", str(out)]) == 5
    assert "there already" in capsys.readouterr().err and out.read_bytes() == before
    assert main(["human", "links", str(run), "--out", str(tmp_path / "none.csv")]) == 0
    assert "Every rater has a link" in capsys.readouterr().err and not (tmp_path / "none.csv").exists()
    with opened(run) as store:  # nothing was made that nobody has seen
        assert store.rater_of_link(rows[0]["link"].rsplit("/", 1)[1]) is not None


def test_a_language_that_the_pages_do_not_speak_is_refused_at_once(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "design.yaml"
    text = design_yaml(default_design()).replace("\n  - de\n", "\n  - tlh\n")
    file.write_text(re.sub(r"^(\s+(?:- )?)de:", r"\1tlh:", text, flags=re.MULTILINE))
    assert main(["human", "create", str(made), "--design", str(file), "--name", "other", "--dry-run"]) == 2
    assert "no interface in the language 'tlh'" in capsys.readouterr().err


def test_the_open_link_lets_people_in(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["human", "links", str(run), "--open"]) == 0
    link = capsys.readouterr().out.strip()
    assert link.startswith("http://localhost:8378/join/") and link.endswith("?PROLIFIC_PID={{%PROLIFIC_PID%}}")
    with opened(run) as store:
        joined = store.join(link.split("/join/")[1].split("?")[0], "5f0c")
        assert joined is not None and joined[0].id == "R01"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["links", "RUN", "--rater", "R99"], 2, "There is no rater 'R99'"),
        (["links", "RUN", "--url", "ftp://x"], 2, "'ftp://x' is not the address"),
        (["links", "RUN", "--url", "https://x.org/study"], 2, "without a path"),
        (["links", "RUN", "--open", "--rater", "R01"], 2, "Give --open alone"),
        (["links", "RUN", "--name", "other"], 5, "Its studies: main"),
        (["status", "RUN/none"], 5, "no human study 'main'"),
        (["status", "RUN", "--database", "mysql://u:hush@h/d"], 2, "sqlite:///FILE"),
        (["withdraw", "RUN", "R99", "--yes"], 2, "There is no rater 'R99'"),
        (["withdraw", "RUN", "R01"], 2, "Say --yes"),
    ],
)
def test_a_mistake_is_one_sentence(
    run: Path, arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["human", *(one.replace("RUN", str(run)) for one in arguments)]) == code
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "hush" not in error


def test_status_is_blind_until_asked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rate(run, "R01")
    rate(run, "R02")
    assert main(["human", "status", str(run)]) == 0
    said = capsys.readouterr().out
    assert not any(word in said for word in HIDDEN) and "full" not in said and "secret" not in said
    with opened(run) as store:
        pages = store.rater("R01").pages
        ratings = store.ratings().filter(check=False)
        key = {row["cell"]: row for row in csv.DictReader((run / "human" / "main" / "key.csv").open())}
        wanted = store.wanted()
    lines = [line.split("\t") for line in said.splitlines()]
    assert ["R01", "comments", f"{pages} of {pages}"] in [line[:3] for line in lines]
    for (cell, kind), count in wanted.items():
        there = ratings.filter(cell=cell).height
        assert [cell, kind, f"{there} of {count}"] in lines
    assert f"{ratings.height} of {sum(wanted.values())} ratings" in said
    assert main(["human", "status", str(run), "--unblind"]) == 0
    unblinded = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    for cell, row in key.items():
        assert [row["model"], row["variant"], row["task"]] in [line[3:] for line in unblinded if line[0] == cell]


def test_withdrawing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rate(run, "R01")
    (run / "human" / "main" / "analysis.json").write_text("{}")
    assert main(["human", "withdraw", str(run), "R01", "--yes"]) == 0
    said = capsys.readouterr()
    assert "Deleted what R01 gave" in said.out and "clens human analyze" in said.err
    with opened(run) as store:
        assert store.ratings().is_empty() and store.rater("R01").step == "withdrawn"
    assert b"my secret" not in (run / "human" / "main" / "ratings.sqlite").read_bytes()
    assert main(["human", "links", str(run), "--rater", "R01"]) == 0


@pytest.mark.parametrize(("answer", "step"), [("y\n", "withdrawn"), ("n\n", "comments"), ("\n", "comments")])
def test_a_person_is_asked(
    run: Path, answer: str, step: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    rate(run, "R01")
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert main(["human", "withdraw", str(run), "R01"]) == 0
    capsys.readouterr()
    with opened(run) as store:
        assert store.rater("R01").step == step
