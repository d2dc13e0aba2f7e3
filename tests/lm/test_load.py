"""Loading: what is refused and in which words, and the traps of quantized formats."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from compressed_lens.errors import DependencyError, LensError, ModelError
from compressed_lens.lm.linear import dense_copy, is_quantized, linear_layers
from compressed_lens.lm.load import load_module

IDS = torch.tensor([[1, 403, 407, 261, 378, 286, 397, 398]])
WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(stories_folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "model"
    shutil.copytree(stories_folder, copy, copy_function=shutil.copyfile)
    copy.chmod(0o755)
    return copy


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def reweigh(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "no model folder at"),
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), "is not valid JSON"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "names no model_type"),
    "unknown model type": (lambda f: configure(f, model_type="lama"), "Did you mean 'llama'"),
    "code in the folder": (
        lambda f: configure(f, model_type="own", auto_map={"AutoConfig": "own.Config"}),
        "trust_remote_code: true",
    ),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "holds no safetensors weights"),
    "pickled weights": (pickled, "can run code when opened"),
    "cut weights": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:5000]), "is damaged"),
    "missing shard": (
        lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00002.safetensors"}}'),
        "lacks the weight file model-00002",
    ),
    "malformed index": (lambda f: (f / "model.safetensors.index.json").write_text("[]"), "index.json is malformed"),
    "missing weight": (
        lambda f: reweigh(f, lambda s: s.pop("model.layers.0.mlp.up_proj.weight")),
        "lacks the weight model.layers.0.mlp.up_proj.weight",
    ),
    "wrong shape": (lambda f: configure(f, intermediate_size=128), "wrong shape|size mismatch|cannot be loaded"),
    "weight too many": (lambda f: reweigh(f, lambda s: s.update(extra=torch.ones(1))), "has no place for"),
    "no tokenizer": (
        lambda f: [(f / name).unlink() for name in ("tokenizer.json", "tokenizer_config.json")],
        "The tokenizer in",
    ),
    "unknown method": (
        lambda f: configure(f, quantization_config={"quant_method": "gtpq"}),
        "'gtpq', which is not supported. Did you mean 'gptq'",
    ),
    "no method": (lambda f: configure(f, quantization_config={"bits": 4}), "'None', which is not supported"),
    "packed in name only": (
        lambda f: configure(f, quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 32}),
        "holds no packed layer",
    ),
    "compressed in name only": (
        lambda f: configure(f, quantization_config={"quant_method": "compressed-tensors"}),
        "without config_groups",
    ),
    "bitsandbytes in name only": (
        lambda f: configure(f, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "declares bitsandbytes|cannot be loaded",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_one_clear_sentence(name: str, folder: Path) -> None:
    breaks, message = BROKEN[name]
    breaks(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_module(folder, device="cpu")
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value) or "trust_remote_code" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [({"device": "gpu"}, ModelError), ({"dtype": "int8"}, ModelError), ({"device": "cuda:99"}, DependencyError)],
)
def test_devices_and_dtypes_that_do_not_exist(arguments: dict[str, str], kind: type[LensError], folder: Path) -> None:
    if torch.cuda.is_available() and "cuda" in str(arguments):
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(kind):
        load_module(folder, **{"device": "cpu", **arguments})


def test_the_cpu_computes_in_float32_unless_told_otherwise(folder: Path) -> None:
    reweigh(folder, lambda state: state.update({name: tensor.bfloat16() for name, tensor in state.items()}))
    configure(folder, dtype="bfloat16")
    loaded = load_module(folder, device="cpu")
    assert (loaded.module.dtype, loaded.kernel, loaded.method) == (torch.float32, "torch float32", "full")
    assert not any(p.requires_grad for p in loaded.module.parameters())
    assert not loaded.module.training
    assert load_module(folder, device="cpu", dtype="bfloat16").module.dtype == torch.bfloat16


def test_nothing_is_printed(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_module(folder, device="cpu")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("scheme", ["W8A8", "FP8_DYNAMIC"])
def test_gradients_pass_the_rounding_of_activations(scheme: str, folder: Path, tmp_path: Path) -> None:
    from llmcompressor.core import reset_session
    from llmcompressor.entrypoints.oneshot import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    base = load_module(folder, device="cpu")
    modifier = QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"])
    oneshot(model=base.module, tokenizer=base.tokenizer, recipe=modifier)
    base.module.save_pretrained(tmp_path / "quantized", save_compressed=True)
    base.tokenizer.save_pretrained(tmp_path / "quantized")
    reset_session()
    loaded = load_module(tmp_path / "quantized", device="cpu")
    assert "activations quantized" in loaded.kernel
    assert sum(is_quantized(layer) for layer in linear_layers(loaded.module).values()) == 35
    gradients = []
    for module in (loaded.module, dense_copy(loaded.module)):
        embedded = module.get_input_embeddings()(IDS).detach().requires_grad_()  # type: ignore[operator]
        module(inputs_embeds=embedded, use_cache=False).logits[0, -1, 30].backward()
        gradients.append(embedded.grad.flatten())
    assert torch.cosine_similarity(*gradients, dim=0) > 0.95
    assert 0.8 < gradients[0].norm() / gradients[1].norm() < 1.25


def test_a_soft_cap_of_attention_is_applied(tmp_path: Path, chat_tokenizer: Any) -> None:
    """Gemma 2: scaled dot product attention drops the cap."""
    import transformers

    config = transformers.Gemma2Config(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=len(chat_tokenizer),
        initializer_range=1.0,
        attn_logit_softcapping=3.0,
    )
    torch.manual_seed(0)
    module = transformers.Gemma2ForCausalLM(config).eval()
    module.save_pretrained(tmp_path)
    chat_tokenizer.save_pretrained(tmp_path)
    module.set_attn_implementation("eager")
    ids = torch.tensor([[5, 9, 30, 41, 8, 77]])
    with torch.no_grad():
        right = module(ids).logits
        found = load_module(tmp_path, device="cpu", dtype="auto", trust_remote_code=False).module(ids).logits
        module.set_attn_implementation("sdpa")
        wrong = module(ids).logits
    torch.testing.assert_close(found, right)
    assert (wrong - right).abs().max() > 0.1
    with pytest.raises(ModelError, match="caps its attention scores, and sdpa leaves the cap out"):
        load_module(tmp_path, device="cpu", attention="sdpa")


def test_the_kernel_of_attention_can_be_chosen(stories_folder: Path) -> None:
    kernels = {}
    for asked in ("auto", "eager", "sdpa"):
        module = load_module(stories_folder, device="cpu", attention=asked).module
        kernels[asked] = module.config._attn_implementation
        with torch.no_grad():
            logits = module(IDS).logits
        if asked == "auto":
            plain = logits
        torch.testing.assert_close(logits, plain, rtol=1e-4, atol=1e-4)
    assert kernels == {"auto": "sdpa", "eager": "eager", "sdpa": "sdpa"}
    with pytest.raises(ModelError, match="'flash' is not a kernel of attention. Use one of auto, eager, sdpa"):
        load_module(stories_folder, device="cpu", attention="flash")
