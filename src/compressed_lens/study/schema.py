"""The study as pydantic models: every key a study file may have, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from compressed_lens.ids import digest

FULL = "full"
RESERVED = ("self", FULL)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=100)]
Margin = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class _Strict(BaseModel):
    """Unknown keys are refused; values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Named(_Strict):
    """A mapping that may also be written as its short form, one string."""

    @classmethod
    def _short_form(cls, text: str) -> dict[str, Any]:
        return {"name": text}

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        return cls._short_form(data) if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        full = handler.resolve_ref_schema(handler(schema))
        full["required"] = sorted(cls._short_form("x"))
        return {"anyOf": [{"type": "string"}, full], "description": full.get("description", "")}


class ModelSpec(_Named):
    """A base model: a folder, a hub id, or `reference` (the embedded model); the short form is the path."""

    name: Name = Field(description="Name in tables; default: the last part of the path.")
    path: str | None = Field(
        default=None, description="Folder, hub id or `reference`; absent when there are only checkpoint variants."
    )
    revision: str | None = Field(default=None, description="Hub revision: branch, tag or commit.")
    trust_remote_code: bool = Field(default=False, description="Run Python code that comes with the model.")
    dtype: Dtype = Field(default="auto", description="Compute type; auto: float32 on CPU, the checkpoint's on a GPU.")

    @classmethod
    def _short_form(cls, text: str) -> dict[str, Any]:
        return {"path": text}

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, data: Any) -> Any:
        data = cls._short_form(data) if isinstance(data, str) else data
        if isinstance(data, dict) and not data.get("name") and isinstance(data.get("path"), str):
            last = PurePath(data["path"]).name or "model"
            return {**data, "name": "".join(c if c.isalnum() or c in "_.+-" else "-" for c in last).lstrip("_.+-")}
        return data


class PlaceboSpec(_Strict):
    """The unchanged weights under other numerics, for the noise floor; at least one of these, and unlike full's own."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(default=None, description="Compute type.")
    attention: Literal["eager", "sdpa"] | None = Field(default=None, description="Attention kernel of transformers.")
    batch_tokens: int | None = Field(
        default=None, ge=1, description="Tokens of one forward pass at most, in place of the study's; 1: row by row."
    )
    seed: int | None = Field(
        default=None, ge=1, lt=2**31, description="Added to the seed of every text that is drawn (temperature above 0)."
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.settings:
            raise ValueError(f"a placebo changes at least one of {', '.join(PlaceboSpec.model_fields)}")
        return self

    @property
    def settings(self) -> dict[str, str | int]:
        """What is other than in full precision, by name."""
        return self.model_dump(mode="json", exclude_none=True)


PLACEBOS: Mapping[str, PlaceboSpec] = {
    "placebo-bfloat16": PlaceboSpec(dtype="bfloat16"),
    "placebo-float16": PlaceboSpec(dtype="float16"),
    "placebo-float32": PlaceboSpec(dtype="float32"),
    "placebo-eager": PlaceboSpec(attention="eager"),
    "placebo-sdpa": PlaceboSpec(attention="sdpa"),
    "placebo-batch": PlaceboSpec(batch_tokens=1),
    "placebo-seed": PlaceboSpec(seed=1),
}
"""Placebo variants by the names they go by in a study."""


class VariantSpec(_Named):
    """One form of a model: `full`, a recipe applied by us, an already quantized checkpoint, or a placebo."""

    name: Name = Field(
        description="Name in tables; also the recipe's name unless `recipe`, `checkpoint` or `placebo` is given."
    )
    recipe: str | None = Field(default=None, description="Name of the recipe to apply; see `clens list variants`.")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the recipe that differ from its own."
    )
    checkpoint: str | None = Field(default=None, description="Folder or hub id of an already quantized checkpoint.")
    revision: str | None = Field(default=None, description="Hub revision of the checkpoint.")
    quantized: bool = Field(
        default=True,
        description="false: the checkpoint has full-precision weights and differs on purpose (fine-tuned, distilled), "
        "so the integrity gate asks nothing about bits, nor how near to the model it is.",
    )
    placebo: PlaceboSpec | None = Field(
        default=None, description="The unchanged model under other numerics; see docs/noise-floor.md."
    )
    model: str | None = Field(default=None, description="Only for the model of this name.")

    @model_validator(mode="before")
    @classmethod
    def _named_placebo(cls, data: Any) -> Any:
        data = cls._short_form(data) if isinstance(data, str) else data
        if not isinstance(data, dict) or data.get("checkpoint") is not None or data.get("placebo") is not None:
            return data
        known = PLACEBOS.get(str(data.get("recipe") or data.get("name")))
        return data if known is None else {**data, "recipe": None, "placebo": known}

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.placebo is not None and (self.recipe is not None or self.checkpoint is not None or self.settings):
            raise ValueError(f"variant '{self.name}' is a placebo and takes no recipe, settings or checkpoint")
        if self.checkpoint is not None and (self.recipe is not None or self.settings):
            raise ValueError(f"variant '{self.name}' has both a checkpoint and a recipe; give one of them")
        if not self.quantized and self.checkpoint is None:
            raise ValueError(f"variant '{self.name}' says 'quantized: false', which only a checkpoint can")
        if self.is_full and (self.recipe not in {None, FULL} or self.settings or self.checkpoint or self.placebo):
            raise ValueError(f"'{FULL}' is the unchanged model and takes no recipe, settings, checkpoint or placebo")
        return self

    @property
    def is_full(self) -> bool:
        """Whether this is the model as it stands, the baseline."""
        return self.name == FULL

    @property
    def is_base(self) -> bool:
        """Whether its weights are the model's own: `full` and placebos."""
        return self.is_full or self.placebo is not None

    @property
    def recipe_name(self) -> str | None:
        """Name of the recipe to apply; None where the weights are taken as they are."""
        as_it_is = self.is_base or self.checkpoint is not None
        return None if as_it_is else self.recipe or self.name


class TaskSpec(_Named):
    """A task: a data set of the registry, or one's own CSV or JSONL file."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    name: Name = Field(description="Name in tables; also the data set's name unless `source` is given.")
    source: str | None = Field(default=None, description="Name of the data set; see `clens list tasks`.")
    path: str | None = Field(default=None, description="File or folder of the data; default: the data set's own place.")
    split: str | None = Field(default=None, description="Part of the data set, where it has parts.")
    limit: int | None = Field(default=None, ge=1, description="Keep so many items, drawn by the seed.")
    fields: dict[str, str] = Field(default_factory=dict, description="Name shown to the model: column of the file.")
    labels: tuple[str, ...] | dict[str, str] = Field(
        default=(), description="Labels in display order, or value in the file: label."
    )
    instruction: str | None = Field(default=None, description="First line of the classification prompt.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the data set's own loader.")

    @property
    def source_name(self) -> str:
        """Name of the data set in the registry."""
        return self.source or self.name


class AnalysisSpec(_Named):
    """An analysis of the registry with its settings; runs on every task of a kind it knows."""

    name: Name = Field(description="Name in tables; also the analysis's name unless `analysis` is given.")
    analysis: str | None = Field(default=None, description="Name of the analysis; see `clens list analyses`.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Settings that differ from the default.")
    tasks: tuple[str, ...] | None = Field(default=None, description="Only on these tasks.")

    @property
    def analysis_name(self) -> str:
        """Name of the analysis in the registry."""
        return self.analysis or self.name


class JudgeSpec(_Strict):
    """A model beside those under study that labels, scores or rates texts: a folder, a hub id, or a served endpoint."""

    name: Name = Field(description="What analyses call it.")
    path: str | None = Field(default=None, description="Folder, hub id or embedded model.")
    revision: str | None = Field(default=None, description="Hub revision: branch, tag or commit.")
    dtype: Dtype = Field(default="auto", description="Compute type; auto: float32 on CPU, the checkpoint's on a GPU.")
    trust_remote_code: bool = Field(default=False, description="Run Python code that comes with the model.")
    url: str | None = Field(
        default=None, pattern=r"^https?://", description="OpenAI-compatible endpoint, e.g. http://127.0.0.1:8000/v1."
    )
    model: str | None = Field(default=None, description="Name of the model at the endpoint.")
    api_key_env: str | None = Field(default=None, description="Environment variable that holds the key.")
    timeout: float = Field(default=60.0, gt=0, description="Seconds to wait for one answer of the endpoint.")
    patience: float = Field(default=600.0, ge=0, description="Seconds to try again while the endpoint is down.")
    concurrency: int = Field(default=4, ge=1, le=64, description="Requests to the endpoint at a time.")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.name in RESERVED:
            raise ValueError(f"a judge cannot be called '{self.name}', which stands for one of the models under study")
        if (self.path is None) == (self.url is None):
            raise ValueError(f"judge '{self.name}' needs a path or a url, and not both")
        if (self.url is None) != (self.model is None):
            raise ValueError(f"judge '{self.name}': url and model go together")
        return self


class CalibrationSpec(_Strict):
    """The text recipes look at while they quantize; recorded by hash. What is left out is the recipe's own choice."""

    path: str | None = Field(default=None, description="Text or JSONL file; default: the recipe's own.")
    samples: int | None = Field(default=None, ge=1, description="Number of sequences at most.")
    tokens: int | None = Field(default=None, ge=8, description="Tokens of each sequence at most.")


class Settings(_Strict):
    """How to run, as opposed to what."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="Where models run.")
    batch_tokens: int = Field(default=8192, ge=64, description="Tokens of one forward pass at most.")
    calibration: CalibrationSpec = Field(default_factory=CalibrationSpec, description="Calibration text.")
    cache_dir: str | None = Field(default=None, description="Where quantized checkpoints are kept.")
    prompts: str | None = Field(
        default=None, description="Folder with prompt templates that take the place of shipped ones of the same name."
    )
    gate: Literal["mark", "strict"] = Field(
        default="mark",
        description="A variant that fails the integrity gate is scored and marked, or (strict) not scored.",
    )


class Study(_Strict):
    """A grid of models x variants x tasks x analyses.

    `full`, the baseline of every comparison, is put first for each model that has a path, whether it is
    listed or not. A model without a path has checkpoint variants only, and no baseline.
    """

    name: Name = Field(description="Name of the run's folder.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of everything random.")
    models: tuple[ModelSpec, ...] = Field(min_length=1, description="Base models.")
    variants: tuple[VariantSpec, ...] = Field(default=(), description="Forms of each model, next to `full`.")
    tasks: tuple[TaskSpec, ...] = Field(min_length=1, description="Data.")
    analyses: tuple[AnalysisSpec, ...] = Field(min_length=1, description="What is asked and measured.")
    judges: tuple[JudgeSpec, ...] = Field(default=(), description="Models that label, score or rate texts.")
    margins: dict[str, Margin] = Field(
        default_factory=dict,
        description="How large a loss would matter, in the measure's unit (rates: 0 to 1), by analysis.metric, metric, "
        "analysis or family; see docs/verdict.md for the defaults.",
    )
    settings: Settings = Field(default_factory=Settings, description="How to run.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        parts: tuple[tuple[str, Iterable[_Strict]], ...] = (
            ("models", self.models),
            ("variants", self.variants),
            ("tasks", self.tasks),
            ("analyses", self.analyses),
            ("judges", self.judges),
        )
        for part, specs in parts:
            names = [spec.name for spec in specs]  # type: ignore[attr-defined]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"'{twice[0]}' stands twice in {part}; give one of them another name")
        models, tasks = {m.name for m in self.models}, {t.name for t in self.tasks}
        for variant in self.variants:
            if variant.model is not None and variant.model not in models:
                raise ValueError(f"variant '{variant.name}' is for model '{variant.model}', which is not in models")
            if variant.checkpoint is not None and variant.model is None and len(models) > 1:
                raise ValueError(f"variant '{variant.name}' is a checkpoint of one of several models; add its `model`")
        for analysis in self.analyses:
            for name in analysis.tasks or ():
                if name not in tasks:
                    raise ValueError(f"analysis '{analysis.name}' is for task '{name}', which is not in tasks")
        for model in self.models:
            chosen = self.variants_of(model)
            if not chosen:
                raise ValueError(f"model '{model.name}' has neither a path nor a checkpoint variant")
            needy = [v.name for v in chosen if v.checkpoint is None] if model.path is None else []
            if needy:
                raise ValueError(f"variant '{needy[0]}' needs the path of model '{model.name}'")
        return self

    def variants_of(self, model: ModelSpec) -> tuple[VariantSpec, ...]:
        """Return the variants of `model` in run order, `full` first where the model has a path."""
        chosen = tuple(v for v in self.variants if v.model in {None, model.name} and not v.is_full)
        listed = any(v.is_full for v in self.variants)
        return (VariantSpec(name=FULL), *chosen) if model.path is not None or listed else chosen

    @property
    def digest(self) -> str:
        """Identity of the whole study; another value, another digest."""
        return digest(self.model_dump(mode="json"))


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a study file, for editors that check and complete YAML."""
    schema = Study.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Compressed Lens study"}
