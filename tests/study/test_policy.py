"""Policies: what may stand in the file, and which mistakes are told with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressed_lens.errors import StudyError
from compressed_lens.study.policy import Policy, load_policy


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return path


def test_a_policy_is_read(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, "require: {task: non-inferior, quality: not worse}\nvariants: ['*-4bit']\n"))
    assert policy.require == {"task": "non-inferior", "quality": "not worse"} and policy.margins == {}
    assert policy.chooses("awq-4bit") and not policy.chooses("bnb-8bit")
    assert Policy(require={"task": "equivalent"}).chooses("anything")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "require: {tasks: not worse}\n",
            "policy.yaml line 1: 'require' cannot have the key 'tasks'. Did you mean 'task'",
        ),
        ("variants: [a]\nrequire: {task: better}\n", "policy.yaml line 2: 'task' cannot be 'better'"),
        ("require: {}\n", "'require' is empty"),
        ("variants: [a]\n", "key 'require' is missing"),
        ("require: {task: not worse}\nmargin: {}\n", "line 2: unknown key 'margin'. Did you mean 'margins'"),
        ("require: {task: not worse}\nmargins: {accuracy: -1}\n", "line 2: 'accuracy' should be"),
        ("- a\n", "a policy is a mapping with the keys require, variants, margins"),
    ],
)
def test_mistakes_are_one_sentence_with_a_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(StudyError) as error:
        load_policy(written(tmp_path, text))
    assert told in str(error.value), str(error.value)
