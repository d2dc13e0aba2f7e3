"""The whole of `clens human`, as someone who runs a study goes through it."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from benchmarks.human_load import measure
from tests.human.paper_run import DIMENSIONS, VARIANTS, build_run
from tests.human.serving import serving

from compressed_lens.cli.main import main

QUICK = 1_000
"""Times the pace of people."""


def test_from_a_run_to_the_statistics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, design = build_run(tmp_path / "run", models=1, items=12), tmp_path / "design.yaml"
    folder = run / "human" / "main"

    def clens(*arguments: str | Path) -> str:
        assert main(["human", *map(str, arguments)]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    # A design, edited; a look at what it takes; the study
    clens("design", "--preset", "pilot", "--out", design)
    design.write_text(re.sub(r"(?m)^  items: \d+", "  items: 4", design.read_text()))
    chosen = ("--design", design, "--per-rater", "8", "--ratings", "2")
    told = clens("create", run, *chosen, "--dry-run")
    assert "64 ratings" in told
    assert "8 raters" in told
    assert not (run / "human").exists()
    assert "64 ratings" in clens("create", run, *chosen)

    # Links, once; nobody has come yet
    clens("links", run, "--out", tmp_path / "links.csv")
    with (tmp_path / "links.csv").open(newline="") as file:
        links = {row["rater"]: urlsplit(row["link"]).path for row in csv.DictReader(file)}
    assert len(links) == 8
    assert clens("status", run).count("0 of 9") == 8

    # Seven people rate; one of them withdraws, and someone else takes the place of that one
    with serving(run, tmp_path / "log") as server:
        assert not measure(server, list(links.values())[:7], pace=QUICK).errors
        assert "R02" in clens("withdraw", run, "R02", "--yes")
        status = clens("status", run)
        assert "raters: 6 done, 1 withdrawn, 1 unopened" in status
        assert not set(VARIANTS) & set(status.split())
        again = re.search(r"/r/\w+", clens("links", run, "--rater", "R02"))
        assert again is not None
        assert not measure(server, [again[0], links["R08"]], pace=QUICK).errors
        assert "64 of 64 ratings; raters: 8 done" in clens("status", run)

    # Ratings for a table, blind and not; the statistics, and the report with them
    clens("export", run, "--to", "csv", "--out", tmp_path / "blind")
    blind = (tmp_path / "blind" / "ratings.csv").read_text()
    assert "gptq" not in blind
    clens("export", run, "--to", "csv", "--unblind", "--out", tmp_path / "open")
    assert "gptq-4bit" in (tmp_path / "open" / "ratings.csv").read_text()
    told = clens("analyze", run)
    assert all(name in told for name in ("gptq-4bit", "gptq-8bit", "awq-4bit", "alpha"))
    assert json.loads((folder / "analysis.json").read_text())
    assert 'id="people"' in (run / "report.html").read_text()

    # What people said, for the judges
    assert main(["judges", str(run), "--ratings", str(folder / "people.csv")]) == 0
    with (folder / "people.csv").open(newline="") as file:
        people = list(csv.DictReader(file))
    assert len(people) == 64 * len(DIMENSIONS)
