"""Model cards: what the library reads back is what was measured, and what was in the file stays."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from huggingface_hub import ModelCard, ModelCardData

from compressed_lens.cli.main import main
from compressed_lens.comparison.series import Variant
from compressed_lens.errors import DataError
from compressed_lens.report.model_card import TITLE, described_variants, eval_results, model_card
from compressed_lens.report.run_data import RunData
from compressed_lens.report.tables import run_digest

OWN = """---
license: apache-2.0
tags:
- quantized
model-index:
- name: mine
  results:
  - task:
      type: text-generation
    dataset:
      name: Other
      type: other
    metrics:
    - type: bleu
      value: 12.5
---

# My model

Words of mine.
"""


@pytest.fixture(scope="module")
def run(run_folder: Path) -> RunData:
    """The planted run, its accuracy declared as task performance."""
    found = RunData.read(run_folder)
    told = pl.col("metrics").str.replace('"direction"', '"family":"task","direction"', literal=True)
    told = pl.when(pl.col("analysis") == "accuracy").then(told).otherwise(pl.col("metrics"))
    return replace(found, cells=found.cells.with_columns(metrics=told))


def variant(run: RunData, name: str) -> Variant:
    return next(v for v in run.variant_list if v.name == name)


def test_results_come_back_as_they_were(run: RunData) -> None:
    chosen = variant(run, "gptq-4bit")
    card = ModelCard(model_card(run, chosen, version="1.2"))
    assert isinstance(card.data, ModelCardData) and card.data.model_name == "reference-gptq-4bit"
    sent = {r.metric_name: r for r in eval_results(run, chosen, version="1.2")}
    back = {r.metric_name: r for r in card.data.eval_results or []}
    assert set(back) == set(sent) == {"accuracy: accuracy", "nle: names the evidence", "recall: recall"}
    for name, result in back.items():
        (figure,) = [f for f in run.figures if f.variant == "gptq-4bit" and f"{f.analysis}: {f.measure.name}" == name]
        (full,) = [f for f in run.figures if f.variant == "full" and f"{f.analysis}: {f.measure.name}" == name]
        args = result.metric_args or {}
        assert result.metric_value == figure.own.estimate and args["full_precision"] == full.own.estimate
        assert args["interval_95"] == [figure.own.low, figure.own.high] and args["n"] == figure.own.n
        assert figure.paired is not None and args["difference"] == figure.paired.estimate
        assert args["difference_interval_95"] == [figure.paired.low, figure.paired.high]
        assert args["verdict"] == figure.verdict and args["margin"] == figure.margin and args["tool_version"] == "1.2"
        assert args["run"] == run_digest(run) and args["seed"] == 7
        assert result.dataset_name == figure.task
    kinds = {r.dataset_name: r.task_type for r in back.values() if (r.metric_args or {})["analysis"] != "nle"}
    assert kinds == {"reviews": "text-classification", "facts": "text-generation"}


def test_the_section_says_the_same(run: RunData) -> None:
    text = ModelCard(model_card(run, variant(run, "rtn-3bit"), version="1.2")).text
    assert text.count(f"## {TITLE}") == 1 and run_digest(run) in text and "compressed-lens 1.2" in text
    rows = [line for line in text.splitlines() if line.startswith("| reviews") or line.startswith("| facts")]
    assert len(rows) == 3 and {line.count("|") - line.count(r"\|") for line in rows} == {8}
    for figure in run.figures:
        if figure.variant == "rtn-3bit" and figure.measure.name in {"accuracy", "recall"}:
            assert any(f"| {figure.measure.name} |" in row and row.endswith(f"| {figure.verdict} |") for row in rows)
    failed = model_card(run, variant(run, "rtn-2bit"), version="1.2")
    assert "**It failed the integrity gate**: repetition" in failed and "integrity_gate: failed" in failed


def test_what_was_there_stays_and_what_was_ours_is_replaced(run: RunData) -> None:
    once = model_card(run, variant(run, "awq-4bit"), version="1.2", existing=OWN)
    twice = model_card(run, variant(run, "awq-4bit"), version="1.3", existing=once)
    assert twice == once.replace("compressed-lens 1.2", "compressed-lens 1.3").replace(
        "tool_version: '1.2'", "tool_version: '1.3'"
    )
    card = ModelCard(twice)
    assert card.data["license"] == "apache-2.0" and card.data.tags == ["quantized"] and card.data.model_name == "mine"
    results = card.data.eval_results or []
    assert len(results) == 4 and [r.metric_value for r in results if r.metric_type == "bleu"] == [12.5]
    assert card.text.lstrip().startswith("# My model\n\nWords of mine.\n") and card.text.count(TITLE) == 1


def test_an_unfinished_run_says_so_and_what_was_never_measured_has_no_card(run: RunData) -> None:
    assert "unfinished" not in model_card(run, variant(run, "awq-4bit"), version="1")
    assert "hqq-4bit" not in {v.name for v in described_variants(run)}
    part = replace(
        run,
        records=run.records.filter((pl.col("variant") == "full") | (pl.col("analysis") == "recall")),
        cells=run.cells.with_columns(
            done=pl.when(pl.col("analysis") == "recall").then("done").otherwise(0),
            status=pl.when(pl.col("analysis") == "recall").then("status").otherwise(pl.lit("pending")),
        ),
    )
    text = model_card(part, variant(run, "awq-4bit"), version="1")
    assert "**The run is unfinished**: 40 of 120 records of this variant are there." in text
    assert [r.metric_type for r in ModelCard(text).data.eval_results or []] == ["recall"]
    none = replace(part, records=part.records.filter(variant="full"))
    assert described_variants(none) == ()


def test_the_base_is_named_where_it_is_on_the_hub(run: RunData) -> None:
    assert "base_model" not in model_card(run, variant(run, "awq-4bit"), version="1")
    models = [{"name": "reference", "path": "org/base-7B"}]
    data = ModelCard(
        model_card(replace(run, study={**run.study, "models": models}), variant(run, "awq-4bit"), version="1")
    ).data
    assert (data.base_model, data["base_model_relation"]) == ("org/base-7B", "quantized")


@pytest.mark.parametrize("broken", ["---\n- a\n---\ntext", "---\na: [1\n---\ntext", "---\nmodel-index: 3\n---\n"])
def test_metadata_that_cannot_be_read(broken: str, run: RunData) -> None:
    with pytest.raises(DataError, match="metadata of the model card"):
        model_card(run, variant(run, "awq-4bit"), version="1", existing=broken)


def test_the_command(run: RunData, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder = tmp_path / "README.md", tmp_path / "cards"
    file.write_text(OWN)
    assert main(["report", str(run.folder), "--model-card", str(file), "--variants", "awq-4bit"]) == 0
    assert "Words of mine." in file.read_text() and TITLE in file.read_text()
    assert main(["report", str(run.folder), "--model-card", str(folder)]) == 0
    assert {p.name for p in folder.iterdir()} == {f"reference--{v.name}.md" for v in described_variants(run)}
    assert "reference--full.md" not in {p.name for p in folder.iterdir()}
    capsys.readouterr()
    assert main(["report", str(run.folder), "--model-card", str(file)]) == 3
    assert "is one file, and there are 7 variants" in capsys.readouterr().err
    assert main(["report", str(run.folder), "--model-card", str(tmp_path / "new.md")]) == 3
    assert "is one file" in capsys.readouterr().err and not (tmp_path / "new.md").exists(), "no folder of that name"
    assert main(["report", str(run.folder), "--model-card", str(folder), "--variants", "awq-4bit"]) == 0
    assert folder.is_dir(), "one variant goes into the folder, too"
    assert main(["report", str(run.folder), "--model-card", str(file), "--variants", "awq-3bit"]) == 3
    assert "Did you mean 'reference/awq-4bit'" in capsys.readouterr().err
    assert main(["report", str(run.folder), "--variants", "awq-4bit"]) == 2


def test_cards_stay_in_their_folder(run: RunData, tmp_path: Path) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "run")
    with sqlite3.connect(folder / "run.sqlite") as connection:
        connection.execute("UPDATE variants SET model = ?", (f"{tmp_path}/x",))
        connection.execute("UPDATE grid SET model = ?", (f"{tmp_path}/x",))
    assert main(["report", str(folder), "--model-card", str(tmp_path / "cards")]) == 0
    assert len(list((tmp_path / "cards").iterdir())) == len(described_variants(run))
    assert not list(tmp_path.glob("x--*.md"))
