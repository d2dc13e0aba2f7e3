"""Study files: what is read, and one sentence with line, key and nearest name for everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressed_lens.errors import StudyError
from compressed_lens.study.load import from_arguments, load_study, to_yaml
from compressed_lens.study.schema import FULL

GOOD = """\
name: quick
models:
  - path: org/model
variants:
  - rtn-4bit
  - {name: mine, recipe: gptq-4bit, settings: {group_size: 32}}
tasks:
  - name: esnli
    limit: 10
analyses: [accuracy]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_a_study_with_full_first(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, GOOD))
    assert study.name == "quick"
    assert [v.name for v in study.variants_of(study.models[0])] == [FULL, "rtn-4bit", "mine"]
    assert study.models[0].name == "model"
    assert study.variants[1].recipe_name == "gptq-4bit"
    assert study.tasks[0].limit == 10


def test_full_is_not_listed_twice(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, GOOD.replace("- rtn-4bit", "- full\n  - rtn-4bit")))
    assert [v.name for v in study.variants_of(study.models[0])] == [FULL, "rtn-4bit", "mine"]


def test_a_model_without_a_path_has_checkpoints_and_no_baseline(tmp_path: Path) -> None:
    text = GOOD.replace("path: org/model", "name: m").replace("- rtn-4bit", "- {name: c, checkpoint: org/q}")
    study = load_study(write(tmp_path, "\n".join(line for line in text.splitlines() if "mine" not in line)))
    assert [v.name for v in study.variants_of(study.models[0])] == ["c"]


def test_relative_paths_are_taken_from_the_file_then_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder in (here / "near", elsewhere / "near", elsewhere / "far"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    tasks = "tasks: [{name: esnli, path: far}, {name: ecqa, path: org/data}]"
    text = f"name: a\nmodels: [near]\n{tasks}\nanalyses: [accuracy]\n"
    study = load_study(write(here, text))
    assert study.models[0].path == str(here / "near")
    assert [t.path for t in study.tasks] == [str(elsewhere / "far"), "org/data"]


def test_words_that_yaml_1_1_takes_for_truth_values_stay_words(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, GOOD.replace("limit: 10", "labels: [yes, no, off]")))
    assert study.tasks[0].labels == ("yes", "no", "off")


def test_what_is_written_out_reads_back_equal(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, GOOD))
    assert load_study(write(tmp_path, to_yaml(study))) == study


def test_the_same_study_from_arguments(tmp_path: Path) -> None:
    text = (
        "name: x\nmodels: [org/model]\nvariants: [rtn-4bit]\ntasks: [{name: esnli, limit: 5}]\nanalyses: [accuracy]\n"
    )
    arguments = from_arguments(
        model="org/model", variants=["rtn-4bit"], tasks=["esnli"], analyses=["accuracy"], limit=5, name="x"
    )
    assert arguments == load_study(write(tmp_path, text))


def test_unnamed_studies_of_different_content_get_different_names() -> None:
    names = {from_arguments(model="org/model", tasks=["esnli"], seed=seed).name for seed in (0, 1)}
    assert len(names) == 2
    assert all(name.startswith("model-") for name in names)


MALFORMED = [
    (GOOD.replace("variants:", "varaints:"), "line 4: unknown key 'varaints'", "'variants'"),
    (GOOD.replace("recipe:", "recipee:"), "line 6: unknown key 'recipee' in 'variants'", "'recipe'"),
    (GOOD.replace("rtn-4bit", "rtn-4bits"), "line 5: unknown variant 'rtn-4bits'", "'rtn-4bit'"),
    (GOOD.replace("esnli", "esnil"), "line 8: unknown task 'esnil'", "'esnli'"),
    (GOOD.replace("accuracy", "acuracy"), "line 10: unknown analysis 'acuracy'", "'accuracy'"),
    (GOOD.replace("limit: 10", "limit: ten"), "line 9: 'limit' should be a whole number, not 'ten'", ""),
    (GOOD.replace("limit: 10", "limit: 0"), "line 9: 'limit' should be", "not '0'"),
    (GOOD.replace("name: quick", "name: [quick]"), "line 1: 'name' should be a text", ""),
    (GOOD.replace("name: quick", "name: ../quick"), "line 1: '../quick' cannot be a name", "letters"),
    (GOOD.replace("name: quick\n", ""), "key 'name' is missing", ""),
    (GOOD.replace("[accuracy]", "accuracy"), "line 10: 'analyses' should be a list", ""),
    (GOOD.replace("[accuracy]", "[]"), "line 10: 'analyses' is empty", ""),
    (GOOD.replace("[accuracy]", "[accuracy, accuracy]"), "line 10: 'accuracy' stands twice", ""),
    (GOOD + "settings: {gate: stict}\n", "line 11: 'gate' cannot be 'stict'", "'strict'"),
    (GOOD + "settings: {calibration: {sample: 4}}\n", "line 11: unknown key 'sample'", "'samples'"),
    (GOOD + "seed: -1\n", "line 11: 'seed' should be", ""),
    (GOOD + "name: again\n", "line 11: key 'name' stands here and in line 1", ""),
    (GOOD.replace("- rtn-4bit", "- {name: a, checkpoint: x, recipe: y}"), "line 5: variant 'a' has both", ""),
    (GOOD.replace("- rtn-4bit", "- {name: rtn-4bit, quantized: false}"), "line 5: variant 'rtn-4bit' says 'quan", ""),
    (GOOD.replace("- rtn-4bit", "- {name: a, checkpoint: x, model: z}"), "line 5: variant 'a' is for model 'z'", ""),
    (GOOD.replace("[accuracy]", "[{name: accuracy, tasks: [x]}]"), "line 10: analysis 'accuracy' is for task 'x'", ""),
    (GOOD.replace("path: org/model", "name: m"), "needs the path of model 'm'", ""),
    (GOOD.replace("- rtn-4bit", "- &a rtn-4bit\n  - *a"), "line 6: not valid YAML: aliases", ""),
    (GOOD.replace("quick", "!!python/name:os.system"), "line 1: not valid YAML", ""),
    (GOOD.replace("[accuracy]", "[accuracy"), "not valid YAML", ""),
    (GOOD + "# \x07", "not valid YAML: unacceptable character", ""),
    ("", "a study is a mapping", ""),
    ("- one\n- two\n", "a study is a mapping", ""),
    ("[" * 3000, "nested too deeply", ""),
    ("a" * 1_100_000, "larger than 1 MB", ""),
]


@pytest.mark.parametrize(("text", "says", "hint"), MALFORMED, ids=[says for _, says, _ in MALFORMED])
def test_one_sentence_says_what_is_wrong_where(text: str, says: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        load_study(write(tmp_path, text))
    told = str(caught.value)
    assert "study.yaml" in told
    assert says in told
    assert hint in told
    assert "\n" not in told
    assert caught.value.exit_code == 2


def test_files_that_are_not_studies(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    for path, says in (
        (tmp_path / "absent.yaml", "There is no file"),
        (tmp_path, "is a folder"),
        (binary, "not a text file"),
    ):
        with pytest.raises(StudyError, match=says):
            load_study(path)
