"""Runs: complete, resumable, never paid for twice, and never two models' outcomes in one cell."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compressed_lens.errors import DataError, ModelError, RunError, StudyError
from compressed_lens.runner import Run, load_run, resume, run
from compressed_lens.runner.variants import Base
from compressed_lens.store import Store
from compressed_lens.study.schema import Study

MakeStudy = Callable[..., Study]


def outcomes(done: Run) -> set[tuple[Any, ...]]:
    return set(done.records.select("cell", "item", "repeat", "failed", "values").rows())


def asked(done: Run, *, session: int) -> int:
    """Requests put to models in one session."""
    with sqlite3.connect(done.folder / "run.sqlite") as connection:
        rows = connection.execute("SELECT amounts FROM work WHERE session = ?", (session,)).fetchall()
    return sum(json.loads(text).get("executed_requests", 0) for (text,) in rows)


def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(Base, "_open", refuse)


def test_every_item_of_every_cell_is_recorded(first: Run) -> None:
    assert first.cells.select("variant", "analysis", "status", "items", "done").rows() == [
        ("full", "accuracy", "done", 4, 4),
        ("full", "nle", "done", 4, 4),
        ("rtn-8bit", "accuracy", "done", 4, 4),
        ("rtn-8bit", "nle", "done", 4, 4),
    ]
    assert first.records["item"].to_list() == ["i0", "i1", "i2", "i3"] * 4
    assert first.exit_code in {0, 7}
    fingerprints = first.variants["fingerprint"].to_list()
    assert len(set(fingerprints)) == 2
    assert len(set(first.records["cell"])) == 4


def test_what_is_needed_to_read_a_run_is_in_its_folder(first: Run) -> None:
    for row in first.variants.iter_rows(named=True):
        assert row["memory_bytes"] > 0
        assert row["bytes_on_disk"] > 0
        assert json.loads(row["speed"])["seconds"] > 0
        assert json.loads(row["integrity"])["findings"]
        assert json.loads(row["loaded"])["device"] == "cpu"
    assert json.loads(first.variants["audit"][1])["quantized_layers"] == 21
    assert json.loads(first.items["content"][0])["fields"] == {"text": "the film is good and funny"}
    assert (first.folder / "study.yaml").is_file()
    environment = json.loads((first.folder / "environment.json").read_text(encoding="utf-8"))
    assert environment["versions"]["torch"]
    assert environment == {k: v for k, v in first.environments[-1].items() if k not in {"session", "started"}}


def test_metrics_are_means_over_the_records(first: Run) -> None:
    metrics = first.metrics().filter(metric="accuracy", analysis="accuracy")
    for variant in ("full", "rtn-8bit"):
        records = first.records.filter(variant=variant, analysis="accuracy")
        correct = [json.loads(text)["correct"] for text in records["values"]]
        row = metrics.filter(variant=variant).row(0, named=True)
        assert row["value"] == sum(correct) / 4
        assert (row["n"], row["n_failed"], row["unit"]) == (4, 0, "rate")


def test_the_same_command_again_loads_no_model(
    again: Run, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_models(monkeypatch)
    before = outcomes(again)
    for done in (run(make_study(), out=again.folder, progress=False), resume(again.folder, progress=False)):
        assert outcomes(done) == before
        assert set(done.cells["status"]) == {"done"}


def test_lost_records_come_back_equal_out_of_the_cache(again: Run) -> None:
    before = outcomes(again)
    with sqlite3.connect(again.folder / "run.sqlite") as connection:
        connection.execute("DELETE FROM records WHERE item IN ('i1', 'i2')")
    done = resume(again.folder, progress=False)
    assert outcomes(done) == before
    assert asked(done, session=2) == 0


def test_a_changed_setting_runs_only_the_cells_it_touches(
    again: Run, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = outcomes(again)
    longer = {"name": "nle", "settings": {"max_new_tokens": 6}}
    done = run(make_study(analyses=["accuracy", longer]), out=again.folder, progress=False)
    kept = {row for row in before if row[0] in set(again.records.filter(analysis="accuracy")["cell"])}
    assert kept <= outcomes(done)
    assert len(outcomes(done)) == 16
    assert not (before - kept) & outcomes(done)
    # The labels are known; only the explanations, one an item and variant, are asked again.
    assert asked(done, session=2) == 8
    no_models(monkeypatch)
    assert outcomes(run(make_study(), out=again.folder, progress=False)) == before


def test_renaming_a_variant_or_leaving_one_out_runs_nothing(
    again: Run, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_models(monkeypatch)
    done = run(make_study(variants=[{"name": "rounded", "recipe": "rtn-8bit"}]), out=again.folder, progress=False)
    assert outcomes(done) == outcomes(again)
    assert done.variants["variant"].to_list() == ["full", "rounded"]
    alone = run(make_study(variants=[]), out=again.folder, progress=False)
    assert set(alone.records["variant"]) == {"full"}


def test_other_weights_under_the_same_name_share_nothing(
    again: Run, make_study: MakeStudy, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    place = tmp_path / "model"
    shutil.copytree(tiny_llama_folder, place)
    study = make_study(variants=[], model={"name": "tiny", "path": str(place)}, analyses=["accuracy"])
    same = run(study, out=again.folder, progress=False)
    assert asked(same, session=2) == 0
    before = outcomes(same)
    weights = load_file(place / "model.safetensors")
    weights["model.norm.weight"] *= 1.5
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    other = run(study, out=again.folder, progress=False)
    assert not {row[0] for row in before} & {row[0] for row in outcomes(other)}
    assert asked(other, session=3) == 4
    assert {row[4] for row in before}.isdisjoint(row[4] for row in outcomes(other))


def test_a_variant_that_cannot_be_made_is_recorded_and_the_others_go_on(again: Run, make_study: MakeStudy) -> None:
    absent = {"name": "absent", "checkpoint": "./no/such/folder"}
    done = run(make_study(variants=[absent, "rtn-8bit"]), out=again.folder, progress=False)
    rows = {row["variant"]: row for row in done.variants.iter_rows(named=True)}
    assert rows["absent"]["status"] == "unavailable"
    assert "no/such/folder" in rows["absent"]["reason"]
    assert set(done.cells.filter(variant="absent")["status"]) == {"unavailable"}
    assert set(done.cells.filter(variant="rtn-8bit")["status"]) == {"done"}
    assert done.exit_code == 6


@pytest.mark.parametrize("expected", [("mark", "marked", 4, 0), ("strict", "refused", 0, 7)])
def test_a_variant_that_fails_the_gate(
    expected: tuple[str, str, int, int], again: Run, make_study: MakeStudy, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    gate, status, records, code = expected
    from safetensors.torch import load_file, save_file

    place = tmp_path / "broken"
    shutil.copytree(tiny_llama_folder, place)
    weights = load_file(place / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    study = make_study(variants=[{"name": "broken", "checkpoint": str(place)}], analyses=["accuracy"], gate=gate)
    done = run(study, out=again.folder, progress=False)
    row = done.variants.filter(variant="broken").row(0, named=True)
    assert row["status"] == status
    assert row["reason"]
    assert done.records.filter(variant="broken").height == records
    assert set(done.records.filter(variant="broken")["failed"].is_not_null()) <= {True}
    assert done.exit_code == code


def test_a_model_that_cannot_be_loaded_at_all_is_an_error(
    make_study: MakeStudy, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "odd"
    shutil.copytree(tiny_llama_folder, place)
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    (place / "config.json").write_text(json.dumps({**config, "intermediate_size": 68}), encoding="utf-8")
    with pytest.raises(ModelError):
        run(make_study(variants=[], model={"name": "odd", "path": str(place)}), out=tmp_path / "run", progress=False)
    assert load_run(tmp_path / "run").variants["status"].to_list() == ["unavailable"]


def test_a_quantized_folder_is_not_taken_for_full_precision(first: Run, make_study: MakeStudy, tmp_path: Path) -> None:
    cache = Path(make_study().settings.cache_dir or "")
    made = next(path for path in cache.iterdir() if (path / "model").is_dir()) / "model"
    with pytest.raises(ModelError, match="already quantized"):
        run(make_study(variants=[], model={"name": "q", "path": str(made)}), out=tmp_path / "run", progress=False)
    study = make_study(model={"name": "q"}, variants=[{"name": "c", "checkpoint": str(made)}], analyses=["accuracy"])
    done = run(study, out=tmp_path / "checkpoint", progress=False)
    assert done.variants["variant"].to_list() == ["c"]
    assert outcomes(done) == {
        row
        for row in outcomes(first)
        if row[0] in set(first.records.filter(variant="rtn-8bit", analysis="accuracy")["cell"])
    }


def test_mistakes_are_found_before_anything_is_written(make_study: MakeStudy, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for study, error in (
        (make_study(analyses=[{"name": "nle", "settings": {"max_new_token": 4}}]), StudyError),
        (make_study(variants=[{"name": "rtn-8bit", "settings": {"bitz": 4}}]), StudyError),
        (make_study(analyses=["recall"]), StudyError),
        (make_study(tasks=[{"name": "esnli", "path": str(tmp_path / "absent")}]), DataError),
        (make_study(model={"name": "m", "path": str(tmp_path / "absent")}), ModelError),
        (make_study(model={"name": "m", "path": str(tmp_path)}), ModelError),
    ):
        with pytest.raises(error):
            run(study, out=out, progress=False)
        assert not out.exists()


def test_a_second_run_on_the_same_folder_is_refused(again: Run, make_study: MakeStudy) -> None:
    with Store.open(again.folder, write=True), pytest.raises(RunError, match="in use by process"):
        run(make_study(), out=again.folder, progress=False)


def test_the_environment_holds_no_secrets(again: Run, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_planted")
    run(make_study(), out=again.folder, progress=False)
    for path in again.folder.iterdir():
        assert b"hf_planted" not in path.read_bytes()


def test_a_run_says_nothing_where_there_is_no_terminal(
    again: Run, make_study: MakeStudy, capfd: pytest.CaptureFixture[str]
) -> None:
    run(make_study(), out=again.folder, progress=True)
    assert capfd.readouterr() == ("", "")
