"""Every inspection on packed weights against the dense copy of the same variant, which is another way to multiply."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.lm.inside.every import EVERY, differences, every

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.linear import dense_copy, is_quantized, linear_layers
from compressed_lens.lm.locate import locate_model
from compressed_lens.quantization import prepare, resolve

FACTS = (
    ("The capital of Dasonia is", "Dasonia", "Wotburg"),
    ("The city of the birthplace of Basa Pukez is in the country of", "the birthplace of Basa Pukez", "Dravonia"),
    ("Basa Pukez was born in the city of", "Basa Pukez", "Dunburg"),
)
TEXTS = tuple(f"{prompt} {answer}." for prompt, _, answer in FACTS) * 4
PACKED = ("bnb-4bit", "bnb-8bit", "rtn-4bit", "gptq-4bit", "awq-4bit")

Pair = tuple[HFModel, HFModel]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """Give a packed variant of the reference model and its dense copy, made once."""
    cache = tmp_path_factory.mktemp("variants")
    made: dict[str, Pair] = {}

    def get(name: str) -> Pair:
        if name not in made:
            recipe: dict[str, object] = {"recipe": name}
            if resolve(name).calibrated_by is not None:
                recipe["calibration"] = {"samples": 4, "tokens": 32}
            if name.startswith("awq"):
                recipe["grid_points"] = 3
            folder: Path = prepare(
                locate_model("reference"), resolve(recipe), cache_dir=cache, calibration=TEXTS
            ).folder
            packed = HFModel.load(folder, device="cpu")
            copy = dense_copy(packed.module)
            assert sum(map(is_quantized, linear_layers(packed.module).values())) == 42
            assert not any(map(is_quantized, linear_layers(copy).values()))
            made[name] = packed, HFModel(copy, packed.tokenizer, weights=f"dense {name}")
        return made[name]

    return get


@pytest.mark.parametrize("variant", PACKED)
@pytest.mark.parametrize("name", EVERY)
def test_packed_weights_give_what_their_dense_copy_gives(name: str, variant: str, pair: Callable[[str], Pair]) -> None:
    packed, dense = pair(variant)
    requests = every(FACTS)[name]
    for request, a, b in zip(requests, packed.inspect(requests), dense.inspect(requests), strict=True):
        assert not list(differences(dict(a.values), dict(b.values))), f"{name} of {request.prompt.text}"


@pytest.mark.parametrize("name", EVERY)
def test_the_comparison_sees_that_a_variant_is_not_full_precision(
    name: str, pair: Callable[[str], Pair], reference: HFModel
) -> None:
    requests = every(FACTS)[name]
    coarse = pair("rtn-4bit")[0].inspect(requests)
    exact = reference.inspect(requests)
    found = [list(differences(dict(a.values), dict(b.values))) for a, b in zip(coarse, exact, strict=True)]
    assert any(found)
