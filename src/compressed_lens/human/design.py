"""The design of a human study: what is drawn from a run (sample), and everything raters read (questionnaire)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["explanation", "counterfactual"]
KINDS: tuple[Kind, ...] = ("explanation", "counterfactual")
POINTS = (1, 2, 3, 4, 5)

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=40)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
Wording = Mapping[Language, str]
"""The same text in every language of the questionnaire; a blank line parts paragraphs."""
Point = Annotated[int, Field(ge=POINTS[0], le=POINTS[-1])]


class _Strict(BaseModel):
    """Unknown keys are refused; values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Shown(_Strict):
    """A text as raters see it; nothing in it tells which model or variant wrote it."""

    kind: Kind
    instruction: str = Field(default="", description="What the system had to do with the item.")
    fields: tuple[tuple[str, str], ...] = Field(description="Name and text of each field of the item, in order.")
    label: str = Field(description="Explanation: what the system answered. Counterfactual: the label aimed at.")
    text: str = Field(description="The explanation, or the edited field.")
    edited: str = Field(default="", description="Counterfactual: name of the field that was edited.")


class Dimension(_Strict):
    """What is rated, from 1 to 5."""

    name: Name = Field(description="Name in the data, as judges have it: trustworthiness, coherence.")
    title: Wording
    questions: Mapping[Kind, Wording] = Field(description="Question above the scale, by kind of text.")
    anchors: tuple[Wording, Wording, Wording, Wording, Wording] = Field(description="What 1 to 5 mean.")


class Example(_Strict):
    """A worked example among the instructions."""

    shown: Shown
    ratings: Mapping[Name, Point] = Field(description="Rating by dimension.")
    why: Wording


class Question(_Strict):
    """One question of the comprehension check."""

    text: Wording
    options: tuple[Wording, ...] = Field(min_length=2)
    correct: int = Field(ge=0, description="Place of the right option, from 0.")
    why: Wording = Field(description="Shown after a wrong answer.")

    @model_validator(mode="after")
    def _correct_exists(self) -> Self:
        if self.correct >= len(self.options):
            raise ValueError(f"correct: {self.correct} is beyond the {len(self.options)} options, counted from 0")
        return self


class Questionnaire(_Strict):
    """Everything that raters read and how they are led; this, and never the sample, is what the server knows."""

    title: Wording
    languages: tuple[Language, ...] = Field(default=("en", "de"), min_length=1, description="The first is the default.")
    text_language: Language = Field(default="en", description="Language of the items and texts.")
    contact: str = Field(default="", description="Whom raters may write to; shown on every page.")
    consent: Wording
    instructions: Wording
    dimensions: tuple[Dimension, ...] = Field(min_length=1)
    examples: tuple[Example, ...] = ()
    comprehension: tuple[Question, ...] = ()
    comprehension_attempts: int = Field(default=2, ge=1, description="A rater who fails the last one is excluded.")
    attention_checks: int = Field(default=1, ge=0, description="Pages per rater that tell which points to choose.")
    comments: bool = Field(default=True, description="Whether each page and the end have a field for comments.")
    end: Wording = Field(description="Shown when all is done.")
    completion_code: str = Field(default="", description="Code shown at the end, such as Prolific's.")
    completion_url: str = Field(default="", pattern=r"^(https://\S+)?$", description="Link shown at the end.")
    session_hours: float = Field(default=12, gt=0, le=8760, description="A session without a page for so long ends.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        names = [dimension.name for dimension in self.dimensions]
        if len(set(names)) < len(names):
            raise ValueError("dimensions: each name may be there once")
        for example in self.examples:
            if set(example.ratings) != set(names):
                raise ValueError(f"examples: each rates {', '.join(names)}")
        for place, wording in _wordings(self, ""):
            lacking = [language for language in self.languages if not wording.get(language, "").strip()]
            if lacking:
                raise ValueError(f"{place}: the text in '{lacking[0]}' is missing")
        return self


class Sample(_Strict):
    """What is drawn from the run, and who rates it. The defaults are those of 2601.00282, section 5."""

    models: tuple[str, ...] = Field(default=(), description="Models; default: all.")
    variants: tuple[str, ...] = Field(
        default=(), description="Variants beside `full`; default: all that were scored, without placebos."
    )
    tasks: tuple[str, ...] = Field(default=(), description="Tasks; default: all that have the texts.")
    analyses: Mapping[Kind, str] = Field(
        default_factory=dict,
        description="Analysis of the run that the texts of a kind are read from; default: the first `nle` for "
        "explanation, the first `counterfactual` for counterfactual.",
    )
    kinds: tuple[Kind, ...] = Field(default=KINDS, min_length=1, description="What is rated.")
    items: int = Field(default=15, ge=1, description="Items of each task and kind, the same under every variant.")
    separate_items: bool = Field(
        default=True, description="Whether the kinds use different items of a task; else the same where they can."
    )
    ratings: int = Field(default=2, ge=1, description="Raters of each text.")
    per_rater: int = Field(default=15, ge=1, description="Texts a rater rates, at most; sets the number of raters.")
    raters: int | None = Field(default=None, ge=1, description="Number of raters, in place of per_rater.")
    same_item: bool = Field(
        default=False, description="Whether a rater may see one item under two variants (or models, or kinds)."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the draw, of the codes and of who rates what.")


class Design(_Strict):
    """A design file: `clens human design` prints one to start from."""

    sample: Sample = Sample()
    questionnaire: Questionnaire


def _wordings(value: object, place: str) -> list[tuple[str, Wording]]:
    """Return every wording within a value, with its place."""
    if isinstance(value, BaseModel):
        parts = [(name, getattr(value, name)) for name in type(value).model_fields]
        wordings = {name for name, field in type(value).model_fields.items() if field.annotation == Wording}
        found = [(f"{place}{name}", part) for name, part in parts if name in wordings]
        for name, part in parts:
            if name not in wordings:
                found += _wordings(part, f"{place}{name}.")
        return found
    if isinstance(value, tuple):
        return [one for n, part in enumerate(value) for one in _wordings_of(part, f"{place}{n}")]
    if isinstance(value, Mapping):
        return [one for name, part in value.items() for one in _wordings_of(part, f"{place}{name}")]
    return []


def _wordings_of(part: object, place: str) -> list[tuple[str, Wording]]:
    """Return the wordings of an entry of a list or mapping, which may itself be one."""
    if isinstance(part, Mapping) and all(isinstance(text, str) for text in part.values()):
        return [(place, part)]
    return _wordings(part, f"{place}.")
