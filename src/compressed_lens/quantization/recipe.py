"""What is done to a model's weights, as validated settings; one subclass a technique, one preset a name."""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compressed_lens.errors import DependencyError, StudyError
from compressed_lens.registry import Registry, nearest

if TYPE_CHECKING:
    from compressed_lens.quantization.base import Base

HEAD = "lm_head"


class Settings(BaseModel):
    """Validated settings: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Calibration(Settings):
    """The text a technique looks at while it quantizes. It is recorded by hash, never by name alone."""

    path: str | None = Field(
        default=None,
        description="Text file (a blank line ends a text) or JSONL with a `text` field; "
        "default: calibration.txt of the model folder, else the English text in the package.",
    )
    samples: int = Field(default=32, ge=1, description="Number of sequences at most.")
    tokens: int = Field(default=256, ge=8, description="Tokens of each sequence at most.")


class Recipe(Settings, ABC):
    """How the linear layers of a model are quantized. A technique subclasses this in a file of its own.

    Attributes:
        method: Name of the technique.
        bits: Width of a stored weight, scales not counted.
        ignore: Layers left in full precision: a dotted name, its last part, or "re:" and a pattern of the whole
            name; `lm_head` is the output head whatever its name.
    """

    libraries: ClassVar[tuple[str, ...]] = ()
    rescales: ClassVar[bool] = False

    method: str
    bits: Annotated[int, Field(ge=2, le=8)]
    ignore: tuple[str, ...] = (HEAD,)

    @property
    def calibrated_by(self) -> Calibration | None:
        """The calibration settings, or None when the technique looks at weights only."""
        return None

    @abstractmethod
    def apply(self, base: Base, output: Path, *, samples: Sequence[Sequence[int]], seed: int) -> None:
        """Write the quantized checkpoint (weights and config.json) of `base` to the folder `output`.

        Args:
            base: The model in full precision; its folder is only read.
            output: Empty folder.
            samples: Token ids of the calibration sequences; empty when the technique needs none.
            seed: Seed of everything random.

        Raises:
            ModelError: The technique cannot quantize this architecture.
        """

    def versions(self) -> dict[str, str]:
        """Return the version of every library that decides the result.

        Raises:
            DependencyError: One of them is not installed.
        """
        names = (*self.libraries, "transformers", "torch")
        try:
            return {name: importlib.metadata.version(name) for name in names}
        except importlib.metadata.PackageNotFoundError as error:
            raise DependencyError(
                f"The {self.method} technique needs {error.name}.", fix=f"Run: pip install {error.name}"
            ) from error


RECIPES: Registry[Recipe] = Registry("recipe", Recipe, "compressed_lens.recipes")  # type: ignore[type-abstract]


def resolve(spec: str | Mapping[str, Any] | Recipe) -> Recipe:
    """Return the recipe that `spec` describes.

    Args:
        spec: Name of a preset, or a mapping with that name under "recipe" and the settings that differ from it, such
            as `{"recipe": "gptq-4bit", "group_size": 64, "calibration": {"samples": 64}}`.

    Raises:
        StudyError: The preset or a setting is unknown, or a value does not fit.
    """
    if isinstance(spec, Recipe):
        return spec
    if isinstance(spec, str):
        return RECIPES.get(spec)
    settings = dict(spec)
    name = settings.pop("recipe", None)
    if not isinstance(name, str):
        raise StudyError("A recipe with settings needs the key 'recipe'.", fix=f"One of: {', '.join(RECIPES.names())}.")
    preset = RECIPES.get(name)
    try:
        return type(preset).model_validate(_merged(preset.model_dump(), settings))
    except ValidationError as error:
        raise _explained(name, type(preset), error) from error


def _merged(preset: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(preset)
    for key, value in settings.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


def _explained(name: str, kind: type[Recipe], error: ValidationError) -> StudyError:
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    where = ".".join(path)
    if first["type"] == "extra_forbidden":
        valid = list(Calibration.model_fields) if path[:-1] == ["calibration"] else list(kind.model_fields)
        return StudyError(
            f"The recipe '{name}' has no setting '{where}'.",
            fix=nearest(path[-1], valid) or f"It has: {', '.join(valid)}.",
        )
    shown = f" (got {first['input']!r})" if not isinstance(first["input"], dict) else ""
    return StudyError(f"The setting '{where}' of recipe '{name}' does not fit: {first['msg']}{shown}.")
