"""Malformed studies, data, models and run folders: one sentence, the right exit code, no traceback, nothing written."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compressed_lens.cli.main import main
from compressed_lens.runner import load_run
from compressed_lens.store.lock import RunLock

Captured = pytest.CaptureFixture[str]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return every file with its bytes, and every folder; but for what SQLite puts beside a database it only reads."""
    found = [p for p in folder.rglob("*") if not p.name.endswith(("-shm", "-wal"))]
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in found}


def refused(place: Path, arguments: list[str], code: int, fragment: str, capsys: Captured) -> None:
    """Run the command; it must fail with `code` and one sentence that holds `fragment`, and leave `place` as it is."""
    before = contents(place)
    capsys.readouterr()
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    assert fragment in err
    assert contents(place) == before


def change(file: Path, old: str | None, new: str) -> None:
    """Put `new` in the place of `old`, which stands once, or of everything."""
    text = file.read_text()
    assert old is None or text.count(old) == 1
    file.write_text(new if old is None else text.replace(old, new))


def test_the_sound_study_runs(sound_run: Path) -> None:
    """What the other tests damage would work."""
    assert load_run(sound_run / "run").records.height == 2
    assert (sound_run / "run" / "report.html").is_file()


STUDIES: dict[str, tuple[str | None, str, str]] = {
    "empty": (None, "", "mapping"),
    "a list": (None, "- a\n- b\n", "mapping"),
    "not YAML": ("models: [", "models: ]", "line 2: not valid YAML"),
    "tab indentation": ("variants:", "\tvariants:", "not valid YAML"),
    "key twice": ("analyses:", "name: t\nanalyses:", "'name' stands here and in line 1"),
    "alias": ("variants: [full]", "variants: &v [full]\nextra: *v", "alias"),
    "Python object": ("name: s", "name: !!python/object/apply:os.getcwd []", "not valid YAML"),
    "unknown key": ("variants:", "variant:", "line 3: unknown key 'variant'. Did you mean 'variants'?"),
    "unknown key inside": ("{cache_dir", "{batch_token: 5, cache_dir", "Did you mean 'batch_tokens'?"),
    "unknown key of a task": ("fields:", "field:", "Did you mean 'fields'?"),
    "missing key": ("analyses: [accuracy]\n", "", "key 'analyses' is missing"),
    "wrong type": ("name: s", "name: s\nseed: soon", "line 2: 'seed'"),
    "negative seed": ("name: s", "name: s\nseed: -1", "'seed'"),
    "limit of none": ("{name: mine,", "{name: mine, limit: 0,", "'limit'"),
    "empty list": ("[accuracy]", "[]", "'analyses'"),
    "name that leaves the folder": ("name: s", "name: ../../s", "'../../s' cannot be a name"),
    "unknown device": ("{cache_dir", "{device: tpu, cache_dir", "'device'"),
    "unknown variant": ("[full]", "[gptq-4bits]", "line 3: unknown variant 'gptq-4bits'. Did you mean 'gptq-4bit'?"),
    "unknown task": ("[{name: mine", "[esnil, {name: mine", "line 4: unknown task 'esnil'. Did you mean 'esnli'?"),
    "unknown analysis": ("[accuracy]", "[acuracy]", "unknown analysis 'acuracy'. Did you mean 'accuracy'?"),
    "unknown setting of a recipe": ("[full]", "[{name: gptq-4bit, settings: {groupsize: 64}}]", "'group_size'"),
    "value a recipe refuses": ("[full]", "[{name: rtn-2bit, settings: {group_size: none}}]", "'group_size"),
    "unknown setting of an analysis": ("[accuracy]", "[{name: accuracy, settings: {mod: x}}]", "no setting 'mod'"),
    "unknown option of a task": ("fields:", "options: {edit: x}, fields:", "no option 'edit'"),
    "variant twice": ("[full]", "[rtn-2bit, rtn-2bit]", "'rtn-2bit' stands twice in variants"),
    "variant of no model": ("[full]", "[{name: rtn-2bit, model: other}]", "'other', which is not in models"),
    "analysis of no task": ("[accuracy]", "[{name: accuracy, tasks: [other]}]", "'other', which is not in tasks"),
    "analysis that fits no task": ("[accuracy]", "[recall]", "No analysis of this study fits"),
    "recipe and checkpoint": ("[full]", "[{name: v, recipe: rtn-2bit, checkpoint: model}]", "both a checkpoint and"),
    "unknown field column": ("text: text", "text: txet", "'text'"),
}


@pytest.mark.parametrize("name", STUDIES)
def test_malformed_studies(name: str, place: Path, capsys: Captured) -> None:
    old, new, fragment = STUDIES[name]
    change(place / "study.yaml", old, new)
    code = 3 if name == "unknown field column" else 2
    refused(place, ["run", "study.yaml"], code, fragment, capsys)


def test_a_study_that_is_not_there(place: Path, capsys: Captured) -> None:
    refused(place, ["run", "stduy.yaml"], 2, "stduy.yaml", capsys)


def test_a_study_that_is_a_folder(place: Path, capsys: Captured) -> None:
    refused(place, ["run", "model"], 2, "is a folder", capsys)


def test_a_study_that_is_not_text(place: Path, capsys: Captured) -> None:
    (place / "study.yaml").write_bytes(b"\x80\x81\xff\x00")
    refused(place, ["run", "study.yaml"], 2, "UTF-8", capsys)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["run"], "Missing a study file"),
        (["run", "--model", "model"], "Missing --tasks"),
        (["run", "--tasks", "esnli"], "Missing --model"),
        (["run", "study.yaml", "--variants", "full"], "--variants does not go with a study file"),
        (["run", "--model", "model", "--tasks", "esnil"], "Did you mean 'esnli'?"),
        (["quantize", "model", "--recipe", "gptq-4bits", "-o", "out"], "Did you mean 'gptq-4bit'?"),
        (["quantize", "model", "--recipe", "bnb-4bit", "--group-size", "64", "-o", "out"], "no setting 'group_size'"),
        (["quantize", "model", "--recipe", "rtn-4bit", "--set", "symmetric", "-o", "out"], "KEY=VALUE"),
        (["quantize", "model", "--recipe", "rtn-4bit", "-o", "model"], "not an empty folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_malformed_command_lines(arguments: list[str], fragment: str, place: Path, capsys: Captured) -> None:
    refused(place, arguments, 2, fragment, capsys)


DATA_FILES = {
    "missing": (None, "data.csv"),
    "empty": (b"", "empty"),
    "header only": (b"id,text,kind\n", "no row"),
    "not text": (b"id,text,kind\n1,\xff\xfe,bad\n", "line 2: not UTF-8"),
    "open quote": (b'id,text,kind\n1,"late,bad\n', "line 2"),
    "column twice": (b"text,text,kind\na,b,bad\n", "'text' stands twice"),
    "no label column": (b"id,text\n1,late\n", "'kind'"),
    "no known label": (b"text,kind\nlate,ugly\n", "unknown label 'ugly'"),
    "no usable row": (b"text,kind\n,bad\n,good\n", "no usable item"),
}


@pytest.mark.parametrize("name", DATA_FILES)
def test_malformed_data(name: str, place: Path, capsys: Captured) -> None:
    data, fragment = DATA_FILES[name]
    file = place / "data.csv"
    file.unlink() if data is None else file.write_bytes(data)
    refused(place, ["run", "study.yaml"], 3, fragment, capsys)


@pytest.mark.parametrize(
    ("name", "data", "fragment"),
    [
        ("data.jsonl", '{"text": "a", "kind": "bad"}\n{"text": "b",\n', "line 2: not JSON"),
        ("data.jsonl", '["a", "bad"]\n', "line 1: a list, not an object"),
        ("data.json", '{"text": "a", "kind": "bad"}', "not a list of objects"),
        ("data.parquet", "PAR1 nonsense", "data.parquet"),
        ("data.xlsx", "nonsense", "not a known data format"),
    ],
)
def test_malformed_data_of_other_formats(name: str, data: str, fragment: str, place: Path, capsys: Captured) -> None:
    (place / name).write_text(data)
    change(place / "study.yaml", "data.csv", name)
    refused(place, ["run", "study.yaml"], 3, fragment, capsys)


def edit_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def remove(*names: str) -> Callable[[Path], None]:
    def damage(model: Path) -> None:
        for name in names:
            for file in model.glob(name):
                file.unlink()

    return damage


def only_pickled(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def truncated(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def missing_shard(model: Path) -> None:
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    weight_map = {"model.embed_tokens.weight": "model-00002-of-00002.safetensors"}
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


MODELS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (shutil.rmtree, "model"),
    "empty": (remove("*"), "config.json"),
    "no configuration": (remove("config.json"), "no config.json"),
    "broken configuration": (lambda m: (m / "config.json").write_text("{"), "config.json"),
    "no weights": (remove("*.safetensors"), "no safetensors weights"),
    "pickled weights": (only_pickled, "safetensors"),
    "truncated weights": (truncated, "model"),
    "not weights": (lambda m: (m / "model.safetensors").write_bytes(b"x" * 100), "model"),
    "missing shard": (missing_shard, "model-00002-of-00002.safetensors"),
    "no tokenizer": (remove("tokenizer*", "special_tokens_map.json"), "tokenizer"),
    "unknown quantization": (
        lambda m: edit_json(m / "config.json", quantization_config={"quant_method": "aqlm"}),
        "'aqlm'",
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_malformed_models(name: str, command: str, place: Path, capsys: Captured) -> None:
    damage, fragment = MODELS[name]
    damage(place / "model")
    refused(place, [command, "study.yaml"], 4, fragment, capsys)


UNLOADABLE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "broken tokenizer": (lambda m: (m / "tokenizer.json").write_text("{}"), "tokenizer"),
    "unknown architecture": (lambda m: edit_json(m / "config.json", model_type="lama"), "'lama'"),
    "other widths": (lambda m: edit_json(m / "config.json", hidden_size=64), "model"),
}


@pytest.mark.parametrize("name", UNLOADABLE)
def test_models_that_only_loading_shows_to_be_malformed(name: str, place: Path, capsys: Captured) -> None:
    """The run folder is there by then; it says why, and holds no record and no report."""
    damage, fragment = UNLOADABLE[name]
    damage(place / "model")
    assert main(["run", "study.yaml"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    assert fragment in err
    run = load_run(place / "runs" / "s")
    assert run.records.height == 0
    assert run.variants["status"].to_list() == ["unavailable"]
    assert fragment in run.variants["reason"][0]
    assert not (run.folder / "report.html").exists()


def test_a_model_that_is_a_file(place: Path, capsys: Captured) -> None:
    refused(place, ["run", "--model", "data.csv", "--tasks", "testbed-reviews"], 4, "data.csv", capsys)


def test_quantizing_a_model_that_is_quantized(place: Path, capsys: Captured) -> None:
    edit_json(place / "model" / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    refused(place, ["quantize", "model", "--recipe", "rtn-4bit", "-o", "out"], 4, "already quantized", capsys)


def execute(run: Path, statement: str) -> None:
    with sqlite3.connect(run / "run.sqlite") as connection:
        connection.execute(statement)
    connection.close()


RUNS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (shutil.rmtree, "no run in"),
    "no database": (lambda r: (r / "run.sqlite").unlink(), "no run in"),
    "not a database": (lambda r: (r / "run.sqlite").write_bytes(b"x" * 5000), "run.sqlite"),
    "empty database": (lambda r: (r / "run.sqlite").write_bytes(b""), "run.sqlite"),
    "another program's database": (lambda r: execute(r, "PRAGMA application_id = 7"), "run.sqlite"),
    "newer version": (lambda r: execute(r, "PRAGMA user_version = 99"), "version 99"),
    "lost table": (lambda r: execute(r, "DROP TABLE records"), "run.sqlite"),
}


@pytest.mark.parametrize("command", ["resume", "report", "records"])
@pytest.mark.parametrize("name", RUNS)
def test_malformed_run_folders(name: str, command: str, finished: Path, capsys: Captured) -> None:
    damage, fragment = RUNS[name]
    damage(finished)
    refused(finished.parent, [command, "run"], 5, fragment, capsys)


@pytest.mark.parametrize("arguments", [["resume", "run"], ["run", "study.yaml", "--out", "run"]], ids=" ".join)
def test_a_run_that_another_process_holds(arguments: list[str], finished: Path, capsys: Captured) -> None:
    lock = RunLock(finished)
    try:
        refused(finished.parent, arguments, 5, "in use by process", capsys)
    finally:
        lock.release()


def test_records_of_a_variant_that_was_not_run(finished: Path, capsys: Captured) -> None:
    arguments = ["records", "run", "--variants", "ful"]
    refused(finished.parent, arguments, 2, "no records of variant 'ful'. Did you mean 'full'?", capsys)
