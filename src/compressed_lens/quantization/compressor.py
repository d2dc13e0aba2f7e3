"""What GPTQ, AWQ and round-to-nearest share: integer grids over groups of weights, written by llm-compressor."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from compressed_lens.errors import ModelError
from compressed_lens.quantization.base import Base
from compressed_lens.quantization.recipe import Recipe

FALLBACK_SIZES = (128, 64, 32)


class Grouped(Recipe):
    """Settings of a technique that gives every group of neighbouring inputs one scale."""

    libraries: ClassVar[tuple[str, ...]] = ("llmcompressor", "compressed-tensors")

    group_size: int | Literal["auto"] = Field(
        default=128,
        description="Weights that share a scale; -1: a whole row; auto: the largest of 128, 64, 32 that fits every "
        "layer. A layer it does not fit falls back to the largest smaller one that does, else to a whole row.",
    )
    symmetric: bool = Field(default=True, description="Zero in the middle of the grid; false stores zero points.")

    @field_validator("group_size")
    @classmethod
    def _usable(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value != -1 and value < 8:  # noqa: PLR2004
            raise ValueError("use -1, auto, or at least 8")
        return value

    def group_sizes(self, base: Base) -> dict[str, int]:
        """Return the group size of every layer to quantize; -1 is a whole row.

        Raises:
            ModelError: The model has layers that the checkpoint format cannot hold.
        """
        layers = base.targets(self.ignore)
        turned = next((layer for layer in layers if layer.kind != "Linear"), None)
        if turned is not None:
            raise ModelError(
                f"{base.folder} stores its layers as {turned.kind} ({turned.name}), which {self.method} cannot "
                "quantize: the checkpoint would silently stay in full precision.",
                fix="Use bnb-8bit or bnb-4bit for GPT-2 models.",
            )
        if self.group_size == "auto":
            common = next((s for s in FALLBACK_SIZES if all(layer.inputs % s == 0 for layer in layers)), -1)
            return dict.fromkeys((layer.name for layer in layers), common)
        wanted = self.group_size
        return {layer.name: _fitting(layer.inputs, wanted) for layer in layers}


def _fitting(inputs: int, wanted: int) -> int:
    sizes = (wanted, *(size for size in FALLBACK_SIZES if size < wanted))
    return next((size for size in sizes if size > 0 and inputs % size == 0), -1)


def config_groups(recipe: Grouped, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Return llm-compressor's config groups: one for each group size, its layers named by pattern."""
    by_size: dict[int, list[str]] = defaultdict(list)
    for name, size in sizes.items():
        by_size[size].append(name)
    return {
        f"group_{index}": {
            "targets": ["Linear"] if len(by_size) == 1 else _targets(names, sizes),
            "weights": {
                "num_bits": recipe.bits,
                "type": "int",
                "symmetric": recipe.symmetric,
                "strategy": "group" if size > 0 else "channel",
                **({"group_size": size} if size > 0 else {}),
            },
        }
        for index, (size, names) in enumerate(sorted(by_size.items(), reverse=True))
    }


def _targets(names: Sequence[str], sizes: Mapping[str, int]) -> list[str]:
    """Return patterns for `names`, one for all blocks where that is unambiguous."""
    size = sizes[names[0]]
    found: dict[str, None] = {}
    for name in names:
        pattern = re.sub(r"\\\.\d+\\\.", r"\\.\\d+\\.", re.escape(name))
        shared = all(other == size for known, other in sizes.items() if re.fullmatch(pattern, known))
        found[f"re:^{pattern if shared else re.escape(name)}$"] = None
    return list(found)


def compress(
    recipe: Grouped, modifiers: Sequence[Any], base: Base, output: Path, *, samples: Sequence[Sequence[int]], seed: int
) -> None:
    """Run llm-compressor's modifiers over the model and save it packed.

    Raises:
        ModelError: The library cannot quantize this architecture.
    """
    import torch
    from llmcompressor.core import reset_session
    from llmcompressor.entrypoints.oneshot import oneshot
    from transformers import AutoModelForCausalLM

    from compressed_lens.lm.load import load_tokenizer

    model = AutoModelForCausalLM.from_pretrained(
        base.folder,
        dtype="auto",
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=base.trust_remote_code,
    )
    with torch.random.fork_rng(), _patched():
        torch.manual_seed(seed)
        try:
            oneshot(
                model=model,
                tokenizer=load_tokenizer(base.folder, trust_remote_code=base.trust_remote_code),
                recipe=list(modifiers),
                dataset=_loader(samples) if samples else None,
                num_calibration_samples=len(samples) or 1,
                trust_remote_code_model=base.trust_remote_code,
            )
            model.save_pretrained(output, save_compressed=True)
        except (ValueError, RuntimeError, KeyError, AttributeError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(
                f"llm-compressor cannot apply {recipe.method} to {base.folder} "
                f"({type(model).__name__}): {first.rstrip('.')}.",
                fix="Try an rtn or bnb recipe for this architecture.",
            ) from error
        finally:
            reset_session()


def _loader(samples: Sequence[Sequence[int]]) -> Any:
    import torch
    from torch.utils.data import DataLoader

    rows = [
        {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        for ids in samples
    ]
    return DataLoader(rows, batch_size=None)  # type: ignore[arg-type]


@contextmanager
def _patched() -> Iterator[None]:
    """Leave the process environment as it was, and let activations be cached on a machine without accelerator."""
    import torch
    from llmcompressor.pipelines import cache

    kept: Any = cache.IntermediatesCache
    environment, pin = dict(os.environ), kept.pin_memory
    if not torch.accelerator.is_available():
        # Pinning memory is for copies to an accelerator; without one the call itself fails.
        kept.pin_memory = lambda *args, **kwargs: None
    try:
        yield
    finally:
        kept.pin_memory = pin
        os.environ.clear()
        os.environ.update(environment)
