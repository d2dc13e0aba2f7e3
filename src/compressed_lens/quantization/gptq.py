"""GPTQ: rounds a layer's weights one column after the other and lets the rest make up for the error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from compressed_lens.quantization.base import Base
from compressed_lens.quantization.compressor import Grouped, compress, config_groups
from compressed_lens.quantization.recipe import Calibration


class Gptq(Grouped):
    """Settings of GPTQ (Frantar et al. 2022, arXiv:2210.17323)."""

    method: Literal["gptq"] = "gptq"
    calibration: Calibration = Calibration()
    dampening: float = Field(default=0.01, gt=0, lt=1, description="Added to the Hessian, in parts of its diagonal.")
    activation_order: bool = Field(default=True, description="Round the inputs with the largest activations first.")

    @property
    def calibrated_by(self) -> Calibration | None:
        """The calibration settings."""
        return self.calibration

    def apply(self, base: Base, output: Path, *, samples: Sequence[Sequence[int]], seed: int) -> None:
        """Quantize block after block, each seeing what the quantized blocks before it give."""
        from llmcompressor.modifiers.gptq import GPTQModifier

        modifier = GPTQModifier(
            config_groups=config_groups(self, self.group_sizes(base)),
            ignore=list(base.left_out(self.ignore)),
            dampening_frac=self.dampening,
            actorder="static" if self.activation_order else None,
        )
        compress(self, [modifier], base, output, samples=samples, seed=seed)


BITS_2 = Gptq(bits=2)
BITS_3 = Gptq(bits=3)
BITS_4 = Gptq(bits=4)
BITS_8 = Gptq(bits=8)
