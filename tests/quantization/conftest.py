"""Every preset applied once a session to stories260K, with settings that keep calibration short."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compressed_lens.quantization import Prepared, prepare, resolve

TEXTS = tuple(
    f"Once upon a time there was a {animal} who lived in a {place}. One day the {animal} saw a big {thing} and said: "
    f"I want to play with the {thing}. Then it rained and the {animal} ran home to the {place} and went to sleep."
    for animal, place, thing in (
        ("dog", "house", "ball"),
        ("cat", "tree", "box"),
        ("bird", "park", "kite"),
        ("frog", "pond", "boat"),
    )
)


def short(name: str) -> Any:
    """Return the preset with as little calibration as still exercises it."""
    recipe: dict[str, Any] = {"recipe": name}
    if resolve(name).calibrated_by is not None:
        recipe["calibration"] = {"samples": 4, "tokens": 64}
    if name.startswith("awq"):
        recipe["grid_points"] = 3
    return resolve(recipe)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of quantized models that all tests share."""
    return tmp_path_factory.mktemp("variants")


@pytest.fixture(scope="session")
def own_stories(stories_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A writable copy of stories260K with a licence and a chat template."""
    folder = tmp_path_factory.mktemp("stories") / "model"
    shutil.copytree(stories_folder, folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    (folder / "LICENSE").write_text("MIT\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def prepared(own_stories: Path, cache_dir: Path) -> Callable[[str], Prepared]:
    """Prepare a preset of stories260K, once a session."""
    made: dict[str, Prepared] = {}

    def get(name: str) -> Prepared:
        if name not in made:
            made[name] = prepare(own_stories, short(name), cache_dir=cache_dir, calibration=TEXTS)
        return made[name]

    return get
