"""Models that ship as a low-rank change: what is merged, where it is kept, what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from compressed_lens.errors import ModelError
from compressed_lens.lm.delta import merged_folder
from compressed_lens.lm.locate import locate_model, planted_models

NAME = "model.layers.0.mlp.up_proj"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    save_file(
        {
            f"{NAME}.weight": torch.randn(6, 4, generator=generator).bfloat16(),
            "model.embed_tokens.weight": torch.randn(5, 4, generator=generator).bfloat16(),
        },
        folder / "model.safetensors",
    )
    (folder / "config.json").write_text("{}")
    (folder / "notes.md").write_text("not a model file")
    return folder


def change(path: Path, *, out: int = 6) -> Path:
    generator = torch.Generator().manual_seed(1)
    save_file(
        {
            f"{NAME}.up": torch.randn(out, 2, generator=generator).bfloat16(),
            f"{NAME}.down": torch.randn(2, 4, generator=generator).bfloat16(),
            "model.embed_tokens.rows": torch.ones(2, 4).bfloat16(),
        },
        path,
    )
    return path


def test_the_change_is_added_once(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLENS_CACHE", str(tmp_path / "cache"))
    file = change(tmp_path / "x.safetensors")
    folder = merged_folder(base, file)
    got, had, delta = load_file(folder / "model.safetensors"), load_file(base / "model.safetensors"), load_file(file)
    expected = had[f"{NAME}.weight"].float() + delta[f"{NAME}.up"].float() @ delta[f"{NAME}.down"].float()
    assert torch.equal(got[f"{NAME}.weight"], expected.bfloat16())
    assert torch.equal(got["model.embed_tokens.weight"][:2], torch.ones(2, 4).bfloat16())
    assert torch.equal(got["model.embed_tokens.weight"][2:], had["model.embed_tokens.weight"][2:])
    assert sorted(f.name for f in folder.iterdir()) == ["config.json", "model.safetensors"]
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert merged_folder(base, file) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_many_at_once_make_one_folder(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLENS_CACHE", str(tmp_path / "cache"))
    file = change(tmp_path / "x.safetensors")
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: merged_folder(base, file), range(8)))
    (folder,) = folders
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_a_change_of_another_shape_is_refused(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLENS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match=f"changes {NAME}"):
        merged_folder(base, change(tmp_path / "x.safetensors", out=7))
    assert list((tmp_path / "cache" / "merged").iterdir()) == []


def test_planted_models_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLENS_CACHE", str(tmp_path / "cache"))
    assert "planted-honest" in planted_models()
    folder = locate_model("planted-honest")
    reference = load_file(locate_model("reference") / "model.safetensors")
    merged = load_file(folder / "model.safetensors")
    assert merged.keys() == reference.keys()
    changed = [name for name in merged if not torch.equal(merged[name], reference[name])]
    assert all("_proj" in name or "embed_tokens" in name for name in changed)
