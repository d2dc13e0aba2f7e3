"""Round to nearest: the data-free baseline of every other technique."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from compressed_lens.quantization.base import Base
from compressed_lens.quantization.compressor import Grouped, compress, config_groups


class RoundToNearest(Grouped):
    """Settings of round to nearest; the scale of a group covers its largest weight."""

    method: Literal["rtn"] = "rtn"

    def apply(self, base: Base, output: Path, *, samples: Sequence[Sequence[int]], seed: int) -> None:
        """Round every weight to the nearest point of its group's grid."""
        from llmcompressor.modifiers.quantization import QuantizationModifier

        modifier = QuantizationModifier(
            config_groups=config_groups(self, self.group_sizes(base)), ignore=list(base.left_out(self.ignore))
        )
        compress(self, [modifier], base, output, samples=(), seed=seed)


BITS_2 = RoundToNearest(bits=2)
BITS_3 = RoundToNearest(bits=3)
BITS_4 = RoundToNearest(bits=4)
BITS_8 = RoundToNearest(bits=8)
