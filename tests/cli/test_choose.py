"""What a command line means as a study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compressed_lens.cli.choose import choose
from compressed_lens.cli.main import main
from compressed_lens.study.load import load_study
from compressed_lens.study.schema import Study


def test_flags_and_a_file_give_the_same_study(place: Path) -> None:
    (place / "study.yaml").write_text(
        "name: s\nseed: 3\nmodels: [{path: ./model, trust_remote_code: true}]\nvariants: [rtn-2bit, gptq-4bit]\n"
        "tasks: [{name: esnli, path: ./data.csv, limit: 5}, {name: testbed-facts, limit: 5}]\n"
        "analyses: [accuracy, recall]\nsettings: {device: cpu}\n"
    )
    from_flags = choose(
        None,
        limit=5,
        model="./model",
        variants=["rtn-2bit", "gptq-4bit"],
        tasks=["esnli=./data.csv", "testbed-facts"],
        analyses=["accuracy", "recall"],
        seed=3,
        device="cpu",
        name="s",
        trust_remote_code=True,
    )
    assert from_flags == load_study(place / "study.yaml")


def test_a_folder_among_the_variants_is_a_checkpoint(place: Path) -> None:
    study = choose(None, limit=None, model="reference", variants=["rtn-2bit", "./model"], tasks=["testbed-facts"])
    assert [(v.recipe_name, v.checkpoint) for v in study.variants] == [
        ("rtn-2bit", None),
        (None, str(place / "model")),
    ]


def test_a_limit_also_goes_with_a_file(place: Path) -> None:
    whole, part = choose(Path("study.yaml"), limit=None), choose(Path("study.yaml"), limit=1)
    assert [t.limit for t in whole.tasks] == [None]
    assert [t.limit for t in part.tasks] == [1]
    assert part.model_copy(update={"tasks": whole.tasks}) == whole


def test_a_plan_as_json_counts_every_item(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(place.rglob("*"))
    assert main(["plan", "study.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(c["variant"], c["items"], c["done"]) for c in found["cells"]] == [("full", 2, 0)]
    assert found["missing"] == []
    assert sorted(place.rglob("*")) == before


def test_a_plan_of_a_finished_run_has_nothing_left(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "study.yaml", "--out", str(finished)]) == 0
    assert "1 cells, 0 items left" in capsys.readouterr().out


def test_the_printed_schema_is_that_of_a_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"].keys() == Study.model_fields.keys()


@pytest.mark.parametrize("example", ["quick", "own-data"])
def test_examples_plan(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(__file__).parents[2] / "examples" / f"{example}.yaml"
    assert main(["plan", str(file)]) == 0
    out = capsys.readouterr().out
    for variant in load_study(file).variants:
        assert f"reference\t{variant.name}\t" in out
