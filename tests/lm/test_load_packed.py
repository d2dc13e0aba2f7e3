"""GPTQ and AWQ files packed bit by bit here, unpacked by `lm.packed`."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from compressed_lens.errors import ModelError
from compressed_lens.lm.linear import dense_copy, dense_weight, is_quantized, linear_layers, packing
from compressed_lens.lm.load import load_module

IDS = torch.tensor([[1, 403, 407, 261, 378, 286, 397, 398]])


def to_words(numbers: list[int], bits: int) -> list[int]:
    """Pack numbers into int32 words, the lowest bits first, one endless stream."""
    stream = sum(number << (bits * place) for place, number in enumerate(numbers))
    words = [(stream >> (32 * i)) & 0xFFFFFFFF for i in range(-(-len(numbers) * bits // 32))]
    return [word - (1 << 32) if word >> 31 else word for word in words]


def pack_rows(codes: torch.Tensor, bits: int) -> torch.Tensor:
    return torch.tensor([to_words(row, bits) for row in codes.tolist()], dtype=torch.int32)


def pack_awq(codes: torch.Tensor) -> torch.Tensor:
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    rows = []
    for row in codes.tolist():
        blocks = [row[i : i + 8] for i in range(0, len(row), 8)]
        rows.append([number for block in blocks for number in (block[k] for k in order)])
    return pack_rows(torch.tensor(rows), 4)


@dataclass(frozen=True)
class Case:
    method: str = "gptq"
    bits: int = 4
    group: int = 32
    symmetric: bool = True
    order: bool = False
    version: int = 1


def quantized(weight: torch.Tensor, case: Case, group_of: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return codes [in, out], zero points and scales [groups, out] of a weight [out, in], and the dense result."""
    top = 2**case.bits - 1
    groups = int(group_of.max()) + 1
    scales, zeros = torch.empty(groups, weight.shape[0]), torch.empty(groups, weight.shape[0], dtype=torch.long)
    for g in range(groups):
        part = weight[:, group_of == g]
        if case.symmetric:
            scales[g] = 2 * part.abs().amax(1) / top
            zeros[g] = (top + 1) // 2
        else:
            low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
            scales[g] = (high - low) / top
            zeros[g] = (-low / scales[g]).round().long()
    scales = scales.half().float()
    codes = ((weight.T / scales[group_of]).round() + zeros[group_of]).clamp(0, top).long()
    return codes, zeros, scales, ((codes - zeros[group_of]) * scales[group_of]).T


def write(source: Path, folder: Path, case: Case) -> dict[str, torch.Tensor]:
    """Write a packed copy of stories260K; return the dense weight of every packed layer."""
    shutil.copytree(source, folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    state, dense = load_file(folder / "model.safetensors"), {}
    for key in [k for k in state if k.endswith("_proj.weight") and "down_proj" not in k]:
        outputs, inputs = state[key].shape
        if case.method == "awq" and outputs % 8:
            continue  # a word of AWQ holds eight outputs
        name, weight = key.removesuffix(".weight"), state.pop(key)
        size = inputs if case.group == -1 else case.group
        group_of = torch.arange(inputs) // size
        if case.order:
            group_of = group_of[torch.randperm(inputs, generator=torch.Generator().manual_seed(len(dense)))]
        codes, zeros, scales, dense[name] = quantized(weight, case, group_of)
        state[f"{name}.scales"] = scales.half()
        if case.method == "awq":
            state[f"{name}.qweight"], state[f"{name}.qzeros"] = pack_awq(codes), pack_awq(zeros)
            continue
        stored = (zeros - int(case.version == 1)) % 2**case.bits
        state[f"{name}.qweight"] = pack_rows(codes.T, case.bits).T.contiguous()
        state[f"{name}.qzeros"] = pack_rows(stored, case.bits)
        state[f"{name}.g_idx"] = group_of.int()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = (
        {
            "quant_method": "awq",
            "bits": 4,
            "group_size": case.group,
            "zero_point": not case.symmetric,
            "version": "gemm",
        }
        if case.method == "awq"
        else {
            "quant_method": "gptq",
            "bits": case.bits,
            "group_size": case.group,
            "sym": case.symmetric,
            "desc_act": case.order,
            "checkpoint_format": "gptq" if case.version == 1 else "gptq_v2",
        }
    )
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return dense


CASES = [
    Case(bits=2, group=64),
    Case(bits=3),
    Case(bits=4),
    Case(bits=8),
    Case(bits=4, group=-1),
    Case(bits=4, order=True),
    Case(bits=3, symmetric=False, version=2),
    Case(bits=4, symmetric=False, version=2, order=True),
    Case(bits=8, symmetric=False, version=2),
    Case(method="awq"),
    Case(method="awq", symmetric=False),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_packed_checkpoints_give_their_exact_weights_logits_and_gradients(
    case: Case, stories_folder: Path, tmp_path: Path
) -> None:
    dense = write(stories_folder, tmp_path / "packed", case)
    loaded = load_module(tmp_path / "packed", device="cpu")
    layers = linear_layers(loaded.module)
    assert loaded.method == case.method
    assert {name for name, layer in layers.items() if is_quantized(layer)} == set(dense)
    for name, weight in dense.items():
        assert torch.equal(dense_weight(layers[name]), weight), name
        kind = packing(layers[name])
        assert kind is not None and (kind.format, kind.bits) == (case.method, case.bits)
        assert (kind.group_size, kind.symmetric) == (case.group, case.symmetric)
    oracle = load_module(stories_folder, device="cpu").module
    for name, layer in linear_layers(oracle).items():
        if name in dense:
            layer.weight.data.copy_(dense[name])  # type: ignore[union-attr, operator]
    with torch.no_grad():
        assert torch.allclose(loaded.module(IDS).logits, oracle(IDS).logits, atol=1e-5)
        assert torch.equal(dense_copy(loaded.module)(IDS).logits, loaded.module(IDS).logits)
    assert loaded.module.generation_config.eos_token_id == oracle.generation_config.eos_token_id


def test_the_kernel_of_attention_reaches_a_packed_checkpoint(stories_folder: Path, tmp_path: Path) -> None:
    """Gemma 2 needs it: without, its soft cap was left out."""
    write(stories_folder, tmp_path / "packed", CASES[0])
    for kernel in ("eager", "sdpa"):
        loaded = load_module(tmp_path / "packed", device="cpu", attention=kernel)
        assert loaded.module.config._attn_implementation == kernel


def test_a_zero_point_of_zero_that_borrowed_from_its_neighbour_is_read_right() -> None:
    from compressed_lens.lm.packed import unpack_layer

    zeros = torch.tensor([[0, 9, 0, 15, 3, 0, 0, 7]])
    whole = pack_rows(zeros, 4).long() & 0xFFFFFFFF
    less_one = (whole - 0x11111111) & 0xFFFFFFFF  # as writers of v1 files do it: on whole words
    qzeros = torch.where(less_one >= 1 << 31, less_one - (1 << 32), less_one).int()
    parts = {
        "qweight": pack_rows(torch.zeros(8, 8).long(), 4).T.contiguous(),
        "qzeros": qzeros,
        "scales": torch.ones(1, 8),
    }
    weight, _ = unpack_layer(parts, {"quant_method": "gptq"}, "gptq")
    assert torch.equal(weight, -zeros.T.float().expand(8, 8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checkpoint_format": "marlin"}, "layout 'marlin'"),
        ({"checkpoint_format": "gptq_p"}, "layout 'gptq_p'"),
        ({"quant_method": "awq", "version": "gemv"}, "layout 'gemv'"),
    ],
)
def test_unknown_layouts_are_refused(
    change: dict[str, Any], message: str, stories_folder: Path, tmp_path: Path
) -> None:
    write(stories_folder, tmp_path / "packed", Case())
    path = tmp_path / "packed" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["quantization_config"].update(change)
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        load_module(tmp_path / "packed", device="cpu")


def test_tensors_that_do_not_fit_each_other_are_refused(stories_folder: Path, tmp_path: Path) -> None:
    write(stories_folder, tmp_path / "packed", Case())
    path = tmp_path / "packed" / "model.safetensors"
    state = load_file(path)
    del state["model.layers.0.mlp.up_proj.scales"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="up_proj .* inconsistent"):
        load_module(tmp_path / "packed", device="cpu")
