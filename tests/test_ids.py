"""Content identities follow bytes, not names, places or times."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from compressed_lens.ids import canonical_json, digest, file_digest, folder_digest


def _model(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text("{}")
    return folder


def test_equal_values_have_one_text() -> None:
    assert canonical_json({"b": 1, "a": [True, None]}) == '{"a":[true,null],"b":1}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


def test_nan_has_no_identity() -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))


def test_a_file_is_known_by_its_bytes_even_when_size_and_time_stay(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    stat = path.stat()
    assert file_digest(path) == hashlib.sha256(b"one").hexdigest()
    other = tmp_path / "b"
    other.write_bytes(b"two")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)
    assert file_digest(path) == hashlib.sha256(b"two").hexdigest()


def test_a_copy_is_the_same_model_and_changed_weights_are_not(tmp_path: Path) -> None:
    model = _model(tmp_path / "model")
    before = folder_digest(model)
    assert folder_digest(_model(tmp_path / "copy")) == before
    (model / "README.md").write_text("not part of the model")
    assert folder_digest(model) == before
    (model / "model.safetensors").write_bytes(b"weightz")
    assert folder_digest(model) != before
    assert folder_digest(_model(tmp_path / "third", b"weightz")) == folder_digest(model)


@pytest.mark.parametrize("name", ["tokenizer.json", "merges.txt", "vocab.txt", "chat_template.jinja", "q.tiktoken"])
def test_the_tokenizer_is_part_of_the_identity(tmp_path: Path, name: str) -> None:
    model = _model(tmp_path / "model")
    before = folder_digest(model)
    (model / name).write_text("x")
    assert folder_digest(model) != before
