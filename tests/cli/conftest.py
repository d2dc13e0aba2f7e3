"""A small sound study with its data and model, and what a run of it leaves behind."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from compressed_lens.cli.main import main

STUDY = """\
name: s
models: [{name: tiny, path: ./model}]
variants: [full]
tasks: [{name: mine, source: custom, path: data.csv, fields: {text: text, label: kind}, labels: [bad, good]}]
analyses: [accuracy]
settings: {cache_dir: cache}
"""
DATA = "id,text,kind\n1,late and broken,bad\n2,quick and kind,good\n"


def lay_out(folder: Path, model: Path) -> None:
    """Put a sound study, sound data and a sound model into `folder`."""
    (folder / "study.yaml").write_text(STUDY)
    (folder / "data.csv").write_text(DATA)
    shutil.copytree(model, folder / "model")


@pytest.fixture
def place(tmp_path: Path, tiny_llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with everything sound in it."""
    lay_out(tmp_path, tiny_llama_folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def sound_run(tmp_path_factory: pytest.TempPathFactory, tiny_llama_folder: Path) -> Path:
    """The folder in which the sound study was run, into `run`."""
    folder = tmp_path_factory.mktemp("sound")
    lay_out(folder, tiny_llama_folder)
    with contextlib.chdir(folder):
        assert main(["run", "study.yaml", "--quiet", "--out", "run"]) == 0
    return folder


@pytest.fixture
def finished(sound_run: Path, place: Path) -> Path:
    """A finished run of the sound study, in `place/run`."""
    shutil.copytree(sound_run / "run", place / "run")
    return place / "run"
