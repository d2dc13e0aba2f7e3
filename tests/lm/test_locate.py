"""Where models come from, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressed_lens.errors import ModelError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model, reference_folder


def test_a_folder_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate_model(tmp_path) == tmp_path.resolve()
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate_model("org/name") == (tmp_path / "org" / "name").resolve()


def test_the_reference_model_is_in_the_package() -> None:
    if not reference_folder().is_dir():
        pytest.skip("the reference model has not been trained yet")
    assert (locate_model("reference") / "config.json").is_file()


@pytest.mark.parametrize("given", ["models/llamma", "./models/llamma", Path("models/llamma")])
def test_a_missing_folder_names_its_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | Path
) -> None:
    (tmp_path / "models" / "llama").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"There is no model folder .*llamma\. Did you mean 'llama'\?"):
        locate_model(given)


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no folder 'nowhere'"):
        locate_model(tmp_path / "nowhere" / "deep")


def test_a_file_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(ModelError, match="is a file, not a folder"):
        locate_model(file)


@pytest.mark.parametrize("given", ["someone/unknown-model", "gpt2-not-here"])
def test_a_hub_id_without_the_hub(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"There is no folder '{given}', and the hub cannot be reached"):
        locate_model(given)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "config.json"),
        ({"config.json": "{"}, "config.json"),
        ({"config.json": '{"model_type": "lama"}', "model.safetensors": ""}, ""),
        ({"config.json": '{"model_type": "llama"}', "pytorch_model.bin": "x"}, "pickled"),
        ({"config.json": '{"model_type": "llama"}'}, "safetensors"),
    ],
)
def test_unsound_folders_are_refused(tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ModelError) as error:
        HFModel.load(tmp_path, device="cpu")
    assert said in str(error.value)


def test_a_folder_without_a_tokenizer_is_refused(tiny_llama_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        (tmp_path / name).write_bytes((tiny_llama_folder / name).read_bytes())
    with pytest.raises(ModelError, match="tokenizer"):
        HFModel.load(tmp_path, device="cpu")
