"""The gate on real variants: every sound one passes, every planted broken one fails with its own reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.quantization import broken

from compressed_lens.lm.hf import HFModel
from compressed_lens.quantization import Prepared, prepare
from compressed_lens.quantization.integrity import Integrity, check

Get = Callable[[str], Prepared]

PRESETS = (
    "bnb-8bit",
    "bnb-4bit",
    "bnb-4bit-fp4",
    "bnb-4bit-nf4-double",
    *(f"gptq-{bits}bit" for bits in (2, 3, 4, 8)),
    *(f"awq-{bits}bit" for bits in (3, 4, 8)),
    *(f"rtn-{bits}bit" for bits in (2, 3, 4, 8)),
)
REFERENCE_PRESETS = ("bnb-8bit", "bnb-4bit", "gptq-4bit", "rtn-8bit", "rtn-2bit")


@pytest.fixture(scope="session")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], Prepared]:
    """Quantize once a session."""
    cache = tmp_path_factory.mktemp("variants")
    made: dict[tuple[Path, str], Prepared] = {}

    def get(folder: Path, recipe: str) -> Prepared:
        if (folder, recipe) not in made:
            small = {} if recipe.startswith(("bnb", "rtn")) else {"calibration": {"samples": 8, "tokens": 64}}
            made[folder, recipe] = prepare(folder, {"recipe": recipe, **small}, cache_dir=cache)
        return made[folder, recipe]

    return get


@pytest.fixture(scope="session")
def stories(stories_folder: Path) -> HFModel:
    return HFModel.load(stories_folder, device="cpu")


@pytest.fixture
def variant(variants: Callable[[Path, str], Prepared], stories_folder: Path) -> Get:
    return lambda recipe: variants(stories_folder, recipe)


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    import compressed_lens.testbed

    folder = Path(compressed_lens.testbed.__file__).parent / "weights"
    if not (folder / "model.safetensors").is_file():
        pytest.skip(f"{folder} holds no model yet")
    return folder


def reasons(verdict: Integrity) -> list[str]:
    return [f.check for f in verdict.broken]


def test_full_precision_passes(stories: HFModel) -> None:
    verdict = check(stories, None, full=True)
    assert verdict.summary() == "sound"
    assert {"perplexity", "live gradients", "tokenizer round trip"} <= {f.check for f in verdict.findings}


@pytest.mark.parametrize("recipe", PRESETS)
def test_no_sound_variant_is_flagged(recipe: str, variant: Get, stories: HFModel) -> None:
    made = variant(recipe)
    verdict = check(HFModel.load(made.folder, device="cpu"), stories, audit=made.audit)
    assert reasons(verdict) == []
    assert all(f.severity != "skipped" for f in verdict.findings)
    assert {f.check for f in verdict.degraded} <= {
        "perplexity",
        "degenerate repetition",
        "divergence from full precision",
    }


def test_two_bits_are_called_degraded_and_eight_are_not(variant: Get, stories: HFModel) -> None:
    two, eight = (check(HFModel.load(variant(f"rtn-{b}bit").folder), stories) for b in (2, 8))
    assert two.summary().startswith("degraded: ") and "perplexity" in two.summary()
    assert eight.summary() == "sound"


@pytest.mark.parametrize("recipe", REFERENCE_PRESETS)
def test_no_sound_variant_of_the_reference_model_is_flagged(
    recipe: str, variants: Callable[[Path, str], Prepared], reference_folder: Path
) -> None:
    made = variants(reference_folder, recipe)
    base = HFModel.load(reference_folder, device="cpu")
    assert reasons(check(HFModel.load(made.folder, device="cpu"), base, audit=made.audit)) == []


def test_a_checkpoint_without_its_base_is_judged_by_itself(variant: Get) -> None:
    verdict = check(HFModel.load(variant("rtn-4bit").folder), None)
    assert verdict.passed
    assert "perplexity" in {f.check for f in verdict.findings}


def test_conv1d_left_unquantized(stories: HFModel, tmp_path: Path) -> None:
    candidate, base = broken.gpt2_with_nothing_quantized(stories.tokenizer, tmp_path)
    verdict = check(candidate, base)
    assert reasons(verdict) == ["something is quantized"]
    assert "0 of 12 linear layers" in verdict.broken[0].message
    assert "Conv1D" in verdict.broken[0].message


def test_overflowing_awq_packing(stories: HFModel) -> None:
    assert reasons(check(broken.sound_awq_8bit(stories), stories)) == []
    verdict = check(broken.overflowing_awq_8bit(stories), stories)
    assert reasons(verdict)[:2] == ["weights near the base", "every group near the base"]


def test_nan_scales(variant: Get, stories: HFModel, tmp_path: Path) -> None:
    folder = broken.nan_scales(variant("rtn-4bit").folder, tmp_path / "nan")
    verdict = check(HFModel.load(folder, device="cpu"), stories)
    assert reasons(verdict) == ["finite weights"]
    assert "NaN" in verdict.broken[0].message


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (broken.attenuating, {"gradient norm", "gradient direction"}),
        (broken.dead, {"live gradients", "gradient norm", "gradient direction"}),
    ],
)
def test_kernels_with_wrong_gradients(kernel: Any, expected: set[str], variant: Get, stories: HFModel) -> None:
    model = broken.with_kernel(HFModel.load(variant("rtn-4bit").folder, device="cpu"), kernel)
    verdict = check(model, stories)
    assert set(reasons(verdict)) == expected
    assert verdict.broken[-1].value is not None


def test_the_real_bitsandbytes_kernel_that_loses_gradients(
    variants: Callable[[Path, str], Prepared], reference_folder: Path
) -> None:
    from bitsandbytes import functional

    if not functional.has_avx512bf16():
        pytest.skip("this CPU has no AVX512-BF16, where the kernel is used")
    model = broken.avx512_trap(HFModel.load(variants(reference_folder, "bnb-4bit").folder, device="cpu"))
    verdict = check(model, HFModel.load(reference_folder, device="cpu"))
    assert set(reasons(verdict)) == {"live gradients", "gradient norm", "gradient direction"}


def test_a_kernel_wrong_on_short_prompts_only(variant: Get, stories: HFModel) -> None:
    model = broken.with_kernel(HFModel.load(variant("rtn-4bit").folder, device="cpu"), broken.wrong_on_few_rows)
    verdict = check(model, stories)
    assert reasons(verdict)[:2] == ["kernel logits, short prompts", "kernel divergence, short prompts"]
    assert {"kernel logits, long prompts", "kernel divergence, long prompts"}.isdisjoint(reasons(verdict))


@pytest.mark.parametrize("stage", ["weights", "dense"])
def test_damaged_checkpoints(stage: str, variant: Get, stories: HFModel, tmp_path: Path) -> None:
    make = {"weights": broken.exchanged_layers, "dense": broken.misplaced_words}[stage]
    folder = make(variant("rtn-4bit" if stage == "weights" else "rtn-2bit").folder, tmp_path / "damaged")
    found = reasons(check(HFModel.load(folder, device="cpu"), stories))
    assert ("weights near the base" if stage == "weights" else "weights point the base's way") in found


def test_two_token_ids_exchanged(variant: Get, stories: HFModel, tmp_path: Path) -> None:
    folder = broken.two_ids_exchanged(variant("rtn-8bit").folder, tmp_path / "exchanged")
    verdict = check(HFModel.load(folder, device="cpu"), stories)
    assert reasons(verdict)[0] == "tokenizer is the base's"
    assert "2 vocabulary entries differ" in verdict.broken[0].message


def test_another_models_tokenizer(variant: Get, stories: HFModel) -> None:
    module = HFModel.load(variant("rtn-8bit").folder, device="cpu").module
    other = HFModel(module, broken.foreign_tokenizer(512), weights="other")
    assert reasons(check(other, stories))[0] == "tokenizer is the base's"
    larger = HFModel(module, broken.foreign_tokenizer(900), weights="larger")
    assert reasons(check(larger, stories)) == ["tokenizer fits the model"]


def test_a_wrong_tokenizer_shows_even_without_a_base(stories: HFModel) -> None:
    swapped = HFModel(stories.module, broken.foreign_tokenizer(512), weights="swapped")
    assert check(swapped, None, full=True).summary() == "degraded: perplexity"


def test_a_model_that_cannot_run_is_a_finding(variant: Get, stories: HFModel) -> None:
    def raising(layer: Any, inputs: Any) -> Any:
        raise AssertionError("N must be divisible by block_n")

    model = broken.with_kernel(HFModel.load(variant("rtn-4bit").folder, device="cpu"), raising)
    verdict = check(model, stories)
    assert reasons(verdict) == ["finite logits"]
    assert "block_n" in verdict.broken[0].message


def test_a_variant_of_another_model_is_not_near_this_base(variant: Get, stories_folder: Path) -> None:
    base = HFModel.load(stories_folder, device="cpu")
    maker = torch.Generator().manual_seed(0)
    for weight in base.module.parameters():
        weight.copy_(torch.randn(weight.shape, generator=maker) * float(weight.std()))
    found = reasons(check(HFModel.load(variant("rtn-4bit").folder, device="cpu"), base))
    assert {"weights near the base", "weights point the base's way"} <= set(found)
