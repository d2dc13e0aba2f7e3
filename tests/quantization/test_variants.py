"""The cache of variants, group sizes, and architectures that a technique must refuse."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from compressed_lens.errors import GateError, ModelError, StudyError
from compressed_lens.lm.linear import dense_weight, is_quantized, linear_layers
from compressed_lens.lm.load import load_module
from compressed_lens.quantization import Facts, Prepared, audit, prepare, quantize, resolve, variant_key
from compressed_lens.quantization.base import Base

from .conftest import TEXTS, short

SOURCE = Path(__file__).resolve().parents[2] / "src"
CHILD = """
import sys, time
from compressed_lens.quantization import prepare
def tell(message):
    print(message, flush=True)
    if message.startswith("auditing"):
        time.sleep(float(sys.argv[3]))
print("cached" if prepare(sys.argv[1], "bnb-8bit", cache_dir=sys.argv[2], progress=tell).cached else "made", flush=True)
"""


def child(model: Path, cache: Path, pause: float) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(model), str(cache), str(pause)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def save_random(kind: str, folder: Path, tokenizer_of: Path, **settings: Any) -> Path:
    import transformers

    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(vocab_size=512, **settings)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer_of / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wide_llama(tmp_path_factory: pytest.TempPathFactory, stories_folder: Path) -> Path:
    return save_random(
        "Llama",
        tmp_path_factory.mktemp("wide"),
        stories_folder,
        hidden_size=256,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.1,
        tie_word_embeddings=False,
        dtype="bfloat16",
    )


def test_killed_before_the_end_leaves_nothing_that_looks_finished(own_stories: Path, tmp_path: Path) -> None:
    process = child(own_stories, tmp_path, pause=60)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("auditing"):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and not path.name.startswith(".")] == []
    assert any(path.name.endswith(".partial") for path in tmp_path.iterdir())
    made = prepare(own_stories, "bnb-8bit", cache_dir=tmp_path)
    assert not made.cached
    assert not any(path.name.endswith(".partial") for path in tmp_path.iterdir())


def test_two_processes_do_the_work_once(own_stories: Path, tmp_path: Path) -> None:
    processes = [child(own_stories, tmp_path, pause=0.5) for _ in range(2)]
    outcomes = [process.communicate(timeout=300)[0].split()[-1] for process in processes]
    assert sorted(outcomes) == ["cached", "made"]


def test_a_damaged_cache_entry_is_made_again(own_stories: Path, tmp_path: Path) -> None:
    first = prepare(own_stories, "bnb-4bit", cache_dir=tmp_path)
    weights = first.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    again = prepare(own_stories, "bnb-4bit", cache_dir=tmp_path)
    assert (again.cached, again.fingerprint) == (False, first.fingerprint)


def test_the_key_follows_all_that_decides_the_result(own_stories: Path, tmp_path: Path) -> None:
    def key(recipe: Any = "gptq-4bit", folder: Path = own_stories, **arguments: Any) -> str:
        return variant_key(folder, recipe, **{"calibration": TEXTS, **arguments})

    other = tmp_path / "other"
    shutil.copytree(own_stories, other)
    assert key(folder=other) == key()
    (other / "generation_config.json").write_text("{}", encoding="utf-8")
    changed = (
        key(folder=other),
        key("gptq-3bit"),
        key({"recipe": "gptq-4bit", "group_size": 64}),
        key(calibration=TEXTS[:3]),
        key(seed=1),
    )
    assert len({key(), *changed}) == 6
    assert variant_key(own_stories, "rtn-4bit", seed=1) == variant_key(own_stories, "rtn-4bit", calibration=TEXTS)


def test_calibration_text_is_recorded_by_hash(prepared: Callable[[str], Prepared]) -> None:
    facts = prepared("gptq-4bit").audit.calibration
    assert facts["sequences"] == 4
    assert facts["longest"] <= 64
    assert len(facts["sha256"]) == 64
    assert prepared("rtn-4bit").audit.calibration == {}


def test_a_layer_the_group_does_not_fit_falls_back_and_says_so(prepared: Callable[[str], Prepared]) -> None:
    made = prepared("rtn-4bit").audit
    assert {n.rsplit(".", 1)[-1]: size for n, size in made.fallbacks.items()} == {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"), 64),
        "down_proj": -1,
    }
    assert {layer.name: layer.group_size for layer in made.layers} == made.fallbacks


def test_where_the_group_fits_nothing_falls_back(wide_llama: Path, tmp_path: Path) -> None:
    made = prepare(wide_llama, "rtn-4bit", cache_dir=tmp_path).audit
    assert (made.fallbacks, {layer.group_size for layer in made.layers}) == ({}, {128})
    assert made.bits_per_weight == pytest.approx(4 + 16 / 128, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"group_size": 64}, {64}),
        ({"group_size": -1}, {-1}),
        ({"group_size": "auto"}, {128}),
        ({"group_size": 256}, {256, 128}),
    ],
)
def test_group_sizes(wide_llama: Path, settings: dict[str, Any], sizes: set[int]) -> None:
    recipe: Any = resolve({"recipe": "rtn-4bit", **settings})
    assert set(recipe.group_sizes(Base(wide_llama)).values()) == sizes


def test_ignored_layers_stay_as_they_are(wide_llama: Path, tmp_path: Path) -> None:
    ignore = ["lm_head", "down_proj", "re:.*layers.1.self_attn.*"]
    base = linear_layers(load_module(wide_llama, device="cpu").module)
    for name in ("rtn-3bit", "bnb-8bit"):
        made = prepare(wide_llama, {"recipe": name, "ignore": ignore}, cache_dir=tmp_path)
        layers = linear_layers(load_module(made.folder, device="cpu").module)
        kept = {n for n, layer in layers.items() if not is_quantized(layer)}
        assert kept == {
            "lm_head",
            "model.layers.0.mlp.down_proj",
            "model.layers.1.mlp.down_proj",
            *(f"model.layers.1.self_attn.{part}_proj" for part in "qkvo"),
        }
        assert all(torch.equal(dense_weight(layers[n]), dense_weight(base[n])) for n in kept)
    with pytest.raises(StudyError, match="names no linear layer"):
        prepare(wide_llama, {"recipe": "rtn-3bit", "ignore": ["q_porj"]}, cache_dir=tmp_path)


@pytest.mark.parametrize("name", ["bnb-8bit", "bnb-4bit", "bnb-4bit-nf4-double", "bnb-4bit-fp4"])
def test_gpt2_is_quantized_for_real(name: str, tiny_gpt2_folder: Path, tmp_path: Path) -> None:
    made = prepare(tiny_gpt2_folder, name, cache_dir=tmp_path)
    assert made.audit.quantized_layers == 8
    assert all(0 < layer.weight_error < (0.02 if "8bit" in name else 0.2) for layer in made.audit.layers)


@pytest.mark.parametrize("name", ["rtn-4bit", "gptq-4bit", "awq-4bit"])
def test_gpt2_is_refused_where_it_would_stay_in_full_precision(
    name: str, tiny_gpt2_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="Conv1D"):
        prepare(tiny_gpt2_folder, short(name), cache_dir=tmp_path, calibration=TEXTS)
    assert not any(path.is_dir() for path in tmp_path.iterdir())


def test_awq_refuses_an_architecture_it_has_no_scales_for(stories_folder: Path, tmp_path: Path) -> None:
    neox = save_random(
        "GPTNeoX",
        tmp_path / "neox",
        stories_folder,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    with pytest.raises(ModelError, match="GPTNeoXForCausalLM"):
        prepare(neox, short("awq-4bit"), cache_dir=tmp_path, calibration=TEXTS)
    made = prepare(neox, short("gptq-4bit"), cache_dir=tmp_path, calibration=TEXTS)
    assert made.audit.quantized_layers == 8


def test_a_mixture_of_experts_is_refused(stories_folder: Path, tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    folder = save_random(
        "Mixtral", tmp_path / "moe", stories_folder, num_local_experts=2, num_key_value_heads=2, **sizes
    )
    with pytest.raises(ModelError, match="mixture of experts"):
        prepare(folder, "rtn-4bit", cache_dir=tmp_path)


def test_a_quantized_model_is_not_quantized_again(prepared: Callable[[str], Prepared], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="already quantized"):
        prepare(prepared("rtn-4bit").folder, "rtn-2bit", cache_dir=tmp_path)


def test_quantize_writes_a_folder_of_its_own(own_stories: Path, cache_dir: Path, tmp_path: Path) -> None:
    recipe = {"recipe": "rtn-4bit"}
    made = quantize(own_stories, recipe, tmp_path / "out" / "model", cache_dir=cache_dir)
    kept = prepare(own_stories, recipe, cache_dir=cache_dir)
    assert made.folder == tmp_path / "out" / "model"
    assert {p.name: p.read_bytes() for p in made.folder.iterdir()} == {
        p.name: p.read_bytes() for p in kept.folder.iterdir()
    }
    with pytest.raises(StudyError, match="not an empty folder"):
        quantize(own_stories, recipe, tmp_path / "out" / "model", cache_dir=cache_dir)


def test_the_audit_refuses_what_was_not_quantized(own_stories: Path, prepared: Callable[[str], Prepared]) -> None:
    with pytest.raises(GateError, match="None of the 36 linear layers"):
        audit(own_stories, Base(own_stories), Facts())
    folder = prepared("rtn-4bit").folder
    with pytest.raises(GateError, match="stayed in full precision"):
        audit(folder, Base(own_stories), Facts(expected=frozenset({"lm_head"})))
    with pytest.raises(GateError, match="changed while"):
        audit(folder, Base(own_stories), Facts(base_untouched=False))
    foreign = audit(folder, None, Facts())
    assert (foreign.quantized_layers, foreign.weight_error, foreign.base_bytes) == (35, None, None)


def test_the_audit_refuses_weights_that_did_not_change(
    own_stories: Path, prepared: Callable[[str], Prepared], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = prepared("rtn-8bit").folder
    base = tmp_path / "dense"
    shutil.copytree(own_stories, base)
    weights = load_file(base / "model.safetensors")
    for name, layer in linear_layers(load_module(folder, device="cpu").module).items():
        if is_quantized(layer):
            weights[f"{name}.weight"] = dense_weight(layer).contiguous()
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GateError, match="nothing was quantized"):
        audit(folder, Base(base), Facts())


def test_the_audit_refuses_nan_scales(prepared: Callable[[str], Prepared], own_stories: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "nan"
    shutil.copytree(prepared("rtn-8bit").folder, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight_scale"][3] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GateError, match="up_proj .* NaN"):
        audit(folder, Base(own_stories), Facts())


def test_the_record_on_disk_holds_recipe_and_audit(prepared: Callable[[str], Prepared]) -> None:
    made = prepared("gptq-3bit")
    record = json.loads((made.folder.parent / "variant.json").read_text(encoding="utf-8"))
    assert record["recipe"]["bits"] == 3
    assert record["fingerprint"] == made.fingerprint
    assert record["audit"]["quantized_layers"] == 35
