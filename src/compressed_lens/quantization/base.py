"""The full-precision model that is to be quantized: its layers, read without loading a weight."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from compressed_lens.errors import ModelError, StudyError
from compressed_lens.registry import nearest

_HEAD = "lm_head"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One linear layer of the model in full precision.

    Attributes:
        name: Dotted name of the module.
        inputs: Width of its input.
        outputs: Width of its output.
        kind: "Linear", or "Conv1D" (GPT-2's transposed layer).
    """

    name: str
    inputs: int
    outputs: int
    kind: str


@dataclass(frozen=True)
class Base:
    """A full-precision model folder.

    Attributes:
        folder: Where it is; never written to.
        trust_remote_code: Whether Python code in it may run.
    """

    folder: Path
    trust_remote_code: bool = False

    @cached_property
    def config(self) -> Any:
        """The Hugging Face configuration."""
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.folder, trust_remote_code=self.trust_remote_code, local_files_only=True)

    @cached_property
    def skeleton(self) -> Any:
        """The model without weights, on the meta device."""
        import torch
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(self.config, trust_remote_code=self.trust_remote_code)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every linear layer, in the order of the model."""
        from transformers.pytorch_utils import Conv1D

        from compressed_lens.lm.linear import linear_layers

        found = []
        for name, module in linear_layers(self.skeleton).items():
            turned = isinstance(module, Conv1D)
            first, second = module.weight.shape  # type: ignore[misc]
            inputs, outputs = (first, second) if turned else (second, first)
            found.append(Layer(name=name, inputs=inputs, outputs=outputs, kind="Conv1D" if turned else "Linear"))
        return tuple(found)

    @cached_property
    def head(self) -> str | None:
        """Name of the output head."""
        head = self.skeleton.get_output_embeddings()
        return next((name for name, module in self.skeleton.named_modules() if module is head), None)

    def targets(self, ignore: Sequence[str]) -> tuple[Layer, ...]:
        """Return the layers to quantize: all but those `ignore` names.

        Raises:
            StudyError: A pattern of `ignore` names no layer.
            ModelError: Nothing is left, or experts are stored in a form that no technique here reaches.
        """
        self._refuse_experts()
        names = [layer.name for layer in self.layers]
        left_out: set[str] = set()
        for pattern in ignore:
            hits = {name for name in names if self._matches(pattern, name)}
            if not hits and pattern != _HEAD:
                raise StudyError(
                    f"'{pattern}' in `ignore` names no linear layer of {self.folder}.", fix=nearest(pattern, names)
                )
            left_out |= hits
        chosen = tuple(layer for layer in self.layers if layer.name not in left_out)
        if not chosen:
            raise ModelError(f"{self.folder} has no linear layer left to quantize.", fix="Shorten `ignore`.")
        return chosen

    def left_out(self, ignore: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the linear layers that `ignore` keeps in full precision."""
        kept = {layer.name for layer in self.targets(ignore)}
        return tuple(layer.name for layer in self.layers if layer.name not in kept)

    def _matches(self, pattern: str, name: str) -> bool:
        if pattern == _HEAD and name == self.head:
            return True
        if pattern.startswith("re:"):
            return re.fullmatch(pattern[3:], name) is not None
        return pattern in {name, name.rsplit(".", 1)[-1]}

    def _refuse_experts(self) -> None:
        expert_rank = 3
        for name, weight in self.skeleton.named_parameters():
            if "expert" in name and weight.dim() == expert_rank:
                raise ModelError(
                    f"{self.folder} is a mixture of experts ({name}), whose experts would stay in full precision.",
                    fix="Give a checkpoint that is already quantized.",
                )
