"""bitsandbytes: LLM.int8() and the 4-bit types NF4 and FP4; looks at weights only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from compressed_lens.quantization.base import Base
from compressed_lens.quantization.recipe import Recipe


class BitsAndBytes(Recipe):
    """Settings of bitsandbytes. 8 bits: one scale a row (LLM.int8()); 4 bits: one scale for 64 weights."""

    libraries: ClassVar[tuple[str, ...]] = ("bitsandbytes",)

    method: Literal["bitsandbytes"] = "bitsandbytes"
    bits: Literal[4, 8]
    data_type: Literal["nf4", "fp4"] | None = Field(default=None, description="4 bits: the 16 values a weight takes.")
    double_quantization: bool = Field(default=False, description="4 bits: quantize the scales too.")
    outlier_threshold: float | None = Field(
        default=None, gt=0, description="8 bits, on a GPU: activations above it are multiplied in 16 bits."
    )

    @model_validator(mode="after")
    def _fits_width(self) -> Self:
        if self.bits == 4:  # noqa: PLR2004
            if self.data_type is None or self.outlier_threshold is not None:
                raise ValueError("4 bits take a data_type (nf4 or fp4) and no outlier_threshold")
        elif self.data_type is not None or self.double_quantization or self.outlier_threshold is None:
            raise ValueError("8 bits take an outlier_threshold, and neither data_type nor double_quantization")
        return self

    def apply(self, base: Base, output: Path, *, samples: Sequence[Sequence[int]], seed: int) -> None:
        """Quantize while loading on the CPU and save before any forward pass, which would repack the weights."""
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(
            base.folder,
            quantization_config=self._config(base),
            dtype="auto",
            device_map={"": "cpu"},
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=base.trust_remote_code,
        )
        model.save_pretrained(output)

    def _config(self, base: Base) -> Any:
        import torch
        from transformers import BitsAndBytesConfig

        skipped = _patterns(base, base.left_out(self.ignore))
        if self.outlier_threshold is not None:
            return BitsAndBytesConfig(
                load_in_8bit=True, llm_int8_threshold=self.outlier_threshold, llm_int8_skip_modules=skipped
            )
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.data_type,
            bnb_4bit_use_double_quant=self.double_quantization,
            bnb_4bit_compute_dtype=getattr(base.config, "dtype", None) or torch.float32,
            llm_int8_skip_modules=skipped,
        )


def _patterns(base: Base, names: Sequence[str]) -> list[str]:
    """Return patterns that transformers matches to exactly the layers called `names`."""
    others = [layer.name for layer in base.layers if layer.name not in names]
    return [
        f"{re.escape(name)}$" if any(o.startswith(name) or o.endswith(name) for o in others) else name for name in names
    ]


INT8 = BitsAndBytes(bits=8, outlier_threshold=6.0)
NF4 = BitsAndBytes(bits=4, data_type="nf4")
FP4 = BitsAndBytes(bits=4, data_type="fp4")
NF4_DOUBLE = BitsAndBytes(bits=4, data_type="nf4", double_quantization=True)
