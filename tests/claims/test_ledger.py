"""The ledger and `clens claims`: complete, readable by programs, and right beside a real run of the reference model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from compressed_lens.claims import CLAIMS, OwnRun, Published, ledger, ledger_frame, ledger_json, ledger_markdown
from compressed_lens.claims.ledger import Entry, counts, find
from compressed_lens.claims.wording import told
from compressed_lens.cli.main import main
from compressed_lens.runner import Run
from compressed_lens.runner import run as execute
from compressed_lens.study.load import from_arguments

FOLLOWS = {"follows", "does not follow", "cannot be computed"}
VERDICTS = {"reproduced", "not reproduced", "undecided", "not comparable"}


@pytest.fixture(scope="module")
def tables() -> Published:
    return Published.load()


@pytest.fixture(scope="module")
def entries(tables: Published) -> tuple[Entry, ...]:
    return ledger(tables)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The reference model and two widths of bitsandbytes on two-hop chains, where they really differ."""
    folder = tmp_path_factory.mktemp("real")
    study = from_arguments(
        name="chains", model="reference", variants=["bnb-8bit", "bnb-4bit"],
        tasks=[{"name": "testbed-twohop", "limit": 24}], analyses=["two_hop"], device="cpu",
        cache_dir=str(folder / "cache"),
    )  # fmt: skip
    return execute(study, out=folder / "run", progress=False)


def test_without_runs_every_claim_has_one_entry(entries: tuple[Entry, ...], tables: Published) -> None:
    assert [entry.claim for entry in entries] == list(CLAIMS)
    assert all(entry.own == () and entry.standing == "" for entry in entries)
    papers, ours = counts(entries).splitlines()
    numbers = [[int(n) for n in re.findall(r"\d+", line)] for line in (papers, ours)]
    assert all(line[0] == sum(line[1:]) for line in numbers) and numbers[0][0] + numbers[1][0] == len(CLAIMS)
    assert numbers[1][0] == sum(one.mark == "D" for one in CLAIMS)
    page = (Path(__file__).parents[2] / "docs" / "claims.md").read_text()
    _, follow, fail, unknown = numbers[0]
    assert f"{follow} follow, {fail} do not, {unknown} cannot be computed; of our own {numbers[1][0]} readings" in page
    told = json.loads(json.dumps(ledger_json(entries, tables), allow_nan=False))
    assert told["format"].endswith("format 1") and told["runs"] == [] and len(told["claims"]) == len(CLAIMS)
    assert {table["name"] for table in told["tables"]} == set(tables.frames)
    for one in told["claims"]:
        assert one["recomputed"]["follows"] in FOLLOWS and one["recomputed"]["why"].endswith(".")
        assert one["paper"] in {"SE", "FKR", "CL-v1"} and one["arxiv"].startswith("2")
        assert set(one["tables"]) <= set(tables.frames) and one["own"] == []
    frame = ledger_frame(entries)
    assert frame.height == len(CLAIMS) and set(frame["follows"]) == FOLLOWS and frame["run"].null_count() == len(CLAIMS)


def test_a_run_of_the_reference_model_stands_beside_but_reproduces_nothing(real: Run, tables: Published) -> None:
    run = OwnRun.read("real", real, real.study.model_dump(mode="json"))
    assert run.quantized("reference") == {"bnb-8bit": "bib8", "bnb-4bit": "bib4"}
    found = {entry.claim.id: entry for entry in ledger(tables, [run])}
    figures = [figure for entry in found.values() for figure in entry.own]
    assert all(figure.verdict == "not comparable" and figure.run == "real" and figure.why for figure in figures)

    values = {
        variant: [json.loads(row) for row in real.records.filter(variant=variant)["values"]]
        for variant in ("full", "bnb-8bit", "bnb-4bit")
    }
    hit = {name: {key: np.array([row[key] for row in rows], float) for key in rows[0] if key.endswith("correct")}
           for name, rows in values.items()}  # fmt: skip
    loss = {key: hit["full"][key] - (hit["bnb-8bit"][key] + hit["bnb-4bit"][key]) / 2 for key in hit["full"]}
    (hops,) = found["fkr-first-hop-most"].own
    assert hops.value == pytest.approx((loss["first_correct"] - loss["second_correct"]).mean())
    assert hops.quantizers == ("bib4", "bib8") and hops.n == 24 and "4.04 million" in hops.why
    (equal,) = found["fkr-bib-equal"].own
    apart = hit["bnb-8bit"]["composed_correct"] - hit["bnb-4bit"]["composed_correct"]
    assert equal.value == pytest.approx(apart.mean()) and f"differ on {int((apart != 0).sum())} items" in equal.why
    assert found["fkr-eight-bit"].standing == "no figure"
    assert found["fkr-bib-equal"].standing == "1 not comparable"

    frame = ledger_frame(tuple(found.values()))
    assert frame.height == len(figures) and set(frame["verdict"]) <= VERDICTS
    page = ledger_markdown(tuple(found.values()))
    assert "## Our runs" in page and "bib8 minus bib4" in page
    widths = {line.count("|") - line.count("\\|") for line in page.splitlines() if line.startswith("| `")}
    assert widths == {7, 8}


def test_the_command_prints_and_writes(real: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = {name: tmp_path / f"claims.{name}" for name in ("json", "csv", "md")}
    arguments = ["--json", str(out["json"]), "--csv", str(out["csv"]), "--markdown", str(out["md"])]
    assert main(["claims", str(real.folder), *arguments]) == 0
    said = capsys.readouterr().out
    lines = [line.split("\t") for line in said.splitlines() if "\t" in line]
    assert lines[0] == ["claim", "mark", "statement", "follows", "recomputed", "our runs"]
    assert [line[0] for line in lines[1:]] == [one.id for one in CLAIMS]
    assert "follow from the published cells" in said
    whole = json.loads(out["json"].read_text())
    assert whole["runs"] == [str(real.folder)] and all(one["own"] for one in whole["claims"])
    assert pl.read_csv(out["csv"], infer_schema_length=None)["id"].unique().sort().to_list() == sorted(
        one.id for one in CLAIMS
    )
    assert out["md"].read_text().startswith("# Claims")


def test_one_claim_in_full(real: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", str(real.folder), "--claim", "fkr-bib-equal"]) == 0
    said = capsys.readouterr().out
    one = find("fkr-bib-equal")
    assert one.statement in said and one.formula in said and "Mark C: one note only." in said
    assert "does not follow: 4.76 points apart on LRE" in said
    assert "Doubts about these tables" in said and "one shared row" in said
    assert "Our runs" in said and "bib8 minus bib4" in said and "Not the paper's setting" in said
    assert main(["claims", "--claim", "se-headline"]) == 0
    said = capsys.readouterr().out
    assert "Stated    4.40 %" in said and "Our runs" not in said


def test_mistakes_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "--claim", "se-headlin"]) == 3
    assert "Did you mean 'se-headline'?" in capsys.readouterr().err
    assert main(["claims", str(tmp_path / "none")]) == 5
    assert main(["claims", "--claim", "se-signs", "--json", str(tmp_path)]) == 5
    assert "Cannot write" in capsys.readouterr().err


def test_numbers_as_text() -> None:
    nan = float("nan")
    assert told(None) == told(nan) == ""
    assert told(-0.034, "rate", -0.0594, -0.0094) == "-3.40 [-5.94, -0.94] points"
    assert (
        told(9696.0, "items") == "9,696 items" and told(4.4, "%") == "4.40 %" and told(0.0, "rho", nan, nan) == "0 rho"
    )
    assert told(0.0004, "nats") == "0.0004 nats" and told(2.0) == "2"
