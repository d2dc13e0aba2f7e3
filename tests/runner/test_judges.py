"""Judges of a study: checked before anything is written, part of a cell's identity, opened once, asked once a text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compressed_lens.errors import StudyError
from compressed_lens.runner import plan, resume, run
from compressed_lens.study.schema import Study

PERPLEXITY = {"name": "perplexity", "settings": {"scorer": "j", "of": "explanation", "text_tokens": 4, "which": "any"}}
SAME = {"name": "same", "analysis": "perplexity", "settings": {**PERPLEXITY["settings"], "scorer": "full"}}  # type: ignore[dict-item]


@pytest.fixture
def judged(make_study: Callable[..., Study], tiny_llama_folder: Path, tmp_path: Path) -> Callable[..., Study]:
    other = tmp_path / "judge"
    shutil.copytree(tiny_llama_folder, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))

    def make(path: Path = other, analyses: Any = (PERPLEXITY, SAME), **changed: Any) -> Study:
        return make_study(analyses=list(analyses), judges=[{"name": "j", "path": str(path)}], **changed)

    return make


def cells(folder: Path) -> dict[tuple[str, str], str]:
    from compressed_lens.runner import load_run

    frame = load_run(folder).cells
    return {(row["variant"], row["analysis"]): row["cell"] for row in frame.iter_rows(named=True)}


def test_an_analysis_without_its_judge_is_refused_before_anything_is_written(
    make_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = make_study(analyses=[PERPLEXITY])
    with pytest.raises(StudyError, match="asks a judge 'j', and the study has no judges. Add it under `judges`"):
        run(study, out=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_full_as_a_judge_needs_a_path(make_study: Callable[..., Study], tiny_llama_folder: Path) -> None:
    study = make_study(
        model={"name": "bare"},
        variants=[{"name": "theirs", "checkpoint": str(tiny_llama_folder)}],
        analyses=[SAME],
    )
    with pytest.raises(StudyError, match="asks the full-precision model, and model 'bare' has no path"):
        plan(study)


def test_records_come_from_the_judge_that_is_named(judged: Callable[..., Study], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = run(judged(), out=folder, progress=False)
    assert done.exit_code == 0
    assert set(done.cells["status"]) == {"done"}
    frame = done.metrics()
    value = {
        (r["variant"], r["analysis"]): r["value"] for r in frame.iter_rows(named=True) if r["metric"] == "perplexity"
    }
    assert value["full", "perplexity"] != value["full", "same"]
    before = cells(folder)
    again = resume(folder, progress=False)
    assert again.records.equals(done.records)
    assert cells(folder) == before
    assert [cell.done for cell in plan(judged(), out=folder).cells] == [4, 4, 4, 4]


def test_another_judge_is_another_cell(judged: Callable[..., Study], tiny_llama_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    run(judged(), out=folder, progress=False)
    before = cells(folder)
    run(judged(path=tiny_llama_folder), out=folder, progress=False)
    after = cells(folder)
    assert {key for key in before if before[key] != after[key]} == {("full", "perplexity"), ("rtn-8bit", "perplexity")}
