"""A finished run of a small real model, made once and copied by tests that go on from it."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compressed_lens.runner import Run, load_run, run
from compressed_lens.study.load import from_arguments
from compressed_lens.study.schema import Study

ROWS = [
    ("the film is good and funny", "good"),
    ("the film is bad", "bad"),
    ("a dog walks in the rain", "good"),
    ("the river runs to the sea", "bad"),
]
NLE = {"name": "nle", "settings": {"max_new_tokens": 4}}


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four labelled texts."""
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "text", "label"])
        writer.writerows((f"i{n}", text, label) for n, (text, label) in enumerate(ROWS))
    return path


@pytest.fixture(scope="session")
def make_study(table: Path, tiny_llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Study]:
    """Return a function that makes the study of these tests with some arguments changed."""
    cache = tmp_path_factory.mktemp("cache")
    task = {
        "name": "reviews",
        "source": "custom",
        "path": str(table),
        "fields": {"text": "text", "label": "label", "id": "id"},
        "labels": ["good", "bad"],
    }

    def make(**changed: Any) -> Study:
        arguments: dict[str, Any] = {
            "name": "tiny",
            "model": {"name": "tiny", "path": str(tiny_llama_folder)},
            "variants": ["rtn-8bit"],
            "tasks": [task],
            "analyses": ["accuracy", NLE],
            "device": "cpu",
            "cache_dir": str(cache),
        }
        return from_arguments(**{**arguments, **changed})

    return make


@pytest.fixture(scope="session")
def first(make_study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The finished run; not to be changed."""
    return run(make_study(), out=tmp_path_factory.mktemp("runs") / "first", progress=False)


@pytest.fixture
def again(first: Run, tmp_path: Path) -> Run:
    """A copy of the finished run, to go on from."""
    shutil.copytree(first.folder, tmp_path / "again")
    return load_run(tmp_path / "again")
