"""AWQ: before rounding, scales up the input channels that activations make important."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from compressed_lens.errors import ModelError
from compressed_lens.quantization.base import Base
from compressed_lens.quantization.compressor import Grouped, compress, config_groups
from compressed_lens.quantization.recipe import Calibration


class Awq(Grouped):
    """Settings of AWQ (Lin et al. 2023, arXiv:2306.00978)."""

    rescales: ClassVar[bool] = True

    method: Literal["awq"] = "awq"
    symmetric: bool = Field(default=False, description="Zero in the middle of the grid; false stores zero points.")
    calibration: Calibration = Calibration()
    grid_points: int = Field(default=20, ge=3, description="Scales tried for each group of layers.")

    @property
    def calibrated_by(self) -> Calibration | None:
        """The calibration settings."""
        return self.calibration

    def apply(self, base: Base, output: Path, *, samples: Sequence[Sequence[int]], seed: int) -> None:
        """Search the scales that change each block's output least, fold them into the weights, then round."""
        from llmcompressor.modifiers.quantization import QuantizationModifier
        from llmcompressor.modifiers.transform.awq import AWQModifier

        modifiers = [
            AWQModifier(mappings=_mappings(base), n_grid=self.grid_points),
            QuantizationModifier(
                config_groups=config_groups(self, self.group_sizes(base)), ignore=list(base.left_out(self.ignore))
            ),
        ]
        compress(self, modifiers, base, output, samples=samples, seed=seed)


def _mappings(base: Base) -> list[Any]:
    """Return which layers share a scale, or refuse: without a match AWQ would be plain rounding under its name."""
    from compressed_tensors.utils import match_modules_set
    from llmcompressor.modifiers.transform.awq.dynamic_mappings import get_layer_mappings_from_model

    mappings = list(get_layer_mappings_from_model(base.skeleton))
    try:
        matched = [
            mapping
            for mapping in mappings
            if list(match_modules_set(base.skeleton, (mapping.smooth_layer, *mapping.balance_layers)))
        ]
    except ValueError:
        matched = []
    if len(matched) < len(mappings):
        raise ModelError(
            f"AWQ does not know which layers of {type(base.skeleton).__name__} share a scale.",
            fix="Use a gptq or rtn recipe for this architecture.",
        )
    return mappings


BITS_3 = Awq(bits=3)
BITS_4 = Awq(bits=4)
BITS_8 = Awq(bits=8)
