"""Prompt templates of a study's own: in force for its run alone, part of the task's identity, refused when strange."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.runner import plan, run
from compressed_lens.study.load import load_study
from compressed_lens.tasks import load_task
from compressed_lens.templates import current, shipped, template, using

MINE = "{instruction} HERE: {input} ({labels})"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "classify.txt").write_text(MINE + "\n")
    return tmp_path / "mine"


def test_a_template_is_replaced_for_a_while(folder: Path) -> None:
    task = load_task("testbed-reviews", limit=1, seed=0)
    before = prompting.classify(task, task.items[0])
    with using(folder):
        assert template("classify") == MINE
        asked = prompting.classify(task, task.items[0]).messages[0].content
        assert "HERE: Review: We visited" in asked and asked.endswith("(positive or negative)")
        changed = load_task("testbed-reviews", limit=1, seed=0).fingerprint
        assert template("explain") == shipped()["explain"]
    assert prompting.classify(task, task.items[0]) == before
    assert current() == shipped()
    assert changed != task.fingerprint


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("clasify.txt", "x", "no prompt template: there is none called 'clasify'. Did you mean 'classify'?"),
        ("classify.txt", "{inputs}", "has the gap {inputs}. Its gaps are: {input}, {instruction}, {labels}."),
        ("classify.txt", " ", "is empty"),
        ("classify.txt", "{", "cannot be read"),
    ],
)
def test_a_strange_template_is_one_sentence(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(StudyError) as caught, using(tmp_path):
        pass
    assert message in str(caught.value)


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="There is no folder of prompt templates"), using(tmp_path / "none"):
        pass


def test_a_study_with_prompts_of_its_own(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    text = "name: s\nmodels: [reference]\ntasks: [{name: testbed-reviews, limit: 3}]\nanalyses: [accuracy]\n"
    file.write_text(text)
    plain = set(run(load_study(file), out=tmp_path / "out", progress=False).cells["cell"])
    file.write_text(text + "settings: {prompts: mine, device: auto}\n")
    study = load_study(file)
    assert study.settings.prompts == str(folder)
    assert [cell.done for cell in plan(study, out=tmp_path / "out").cells] == [0]
    changed = run(study, out=tmp_path / "out", progress=False)
    assert plain.isdisjoint(changed.cells["cell"])
    assert current() == shipped()
