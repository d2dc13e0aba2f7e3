"""A policy: what a variant must show in each use before it may ship."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compressed_lens.errors import StudyError
from compressed_lens.study.load import explain
from compressed_lens.study.schema import Margin
from compressed_lens.study.yaml import read_yaml

Required = Literal["equivalent", "non-inferior", "not worse"]
Use = Literal["task", "knowledge", "quality", "faithfulness"]

EVERY_USE: dict[Use, Required] = {
    "task": "non-inferior",
    "knowledge": "non-inferior",
    "quality": "non-inferior",
    "faithfulness": "non-inferior",
}


class Policy(BaseModel):
    """What variants must show.

    `non-inferior` is passed by what is equivalent, too, and `not worse` by everything that is not shown to be worse,
    an undecided use among it. A use that is required but was not measured fails, unless the policy is the default one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    require: dict[Use, Required] = Field(min_length=1, description="Use: the least it must show.")
    variants: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default=("*",), description="Names or patterns (*-4bit) of the variants that are held against it."
    )
    margins: dict[str, Margin] = Field(default_factory=dict, description="Margins in place of the study's.")

    def chooses(self, variant: str) -> bool:
        """Whether a variant of this name is held against the policy."""
        return any(fnmatchcase(variant, pattern) for pattern in self.variants)


def load_policy(path: str | Path) -> Policy:
    """Read and check a policy file.

    Raises:
        StudyError: One sentence with file, line and key.
    """
    document = read_yaml(Path(path).expanduser())
    if not isinstance(document.data, dict):
        raise StudyError(
            f"{document.file}: a policy is a mapping with the keys {', '.join(Policy.model_fields)}.",
            fix="See docs/verdict.md.",
        )
    try:
        return Policy.model_validate(document.data)
    except ValidationError as error:
        raise explain(document, error.errors(), Policy) from None
