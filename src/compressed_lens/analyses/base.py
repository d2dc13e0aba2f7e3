"""What an analysis is: requests for an item, a record from the responses, and the metrics over records."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from compressed_lens.lm.protocol import Ask, Request, Response
from compressed_lens.tasks.base import Item, Task, TaskKind

Value = str | int | float | bool | None | list[Any] | dict[str, Any]
Direction = Literal["higher", "lower", "neither"]
Family = Literal["task", "knowledge", "quality", "faithfulness", "other"]
Statistic = Literal["mean", "median", "exp_ratio"]
_FAMILIES: Mapping[str, Family] = {
    "analyses": "task",
    "knowledge": "knowledge",
    "multihop": "knowledge",
    "explanations": "quality",
    "judging": "quality",
    "quality": "quality",
    "faithfulness": "faithfulness",
}


@dataclass(frozen=True, kw_only=True)
class Record:
    """The outcome for one item.

    Attributes:
        values: Named results; numbers and booleans feed metrics, texts feed the explorer.
        failed: Reason, when the item has no usable outcome; the record is kept and counted.
    """

    values: Mapping[str, Value]
    failed: str | None = None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A mean, or another statistic, over records of one value.

    Attributes:
        name: Name in tables, e.g. "accuracy".
        value: Key in `Record.values` (bool, int or float; None = not applicable for that item).
        direction: Whether higher is better, lower is better, or neither.
        unit: "rate" (0 to 1, shown in %), "nats", "tokens", "characters"…
        summary: What it says, in one line.
        on_failure: Value a failed record counts as; None leaves failed records out (and their count is shown).
        primary: Whether it is what the analysis is about. Where none says so, the first metric is. Primary metrics are
            corrected for multiplicity among themselves, and variants are ranked by them.
        family: What it is about, where that is not the family of its analysis (`family_of`).
        statistic: How the records' values become one number: their "mean", their "median", or "exp_ratio":
            exp(sum of the values / sum of `over`), as a perplexity over a whole corpus is.
        over: For "exp_ratio", the key of what the values are summed over, such as a number of tokens.
    """

    name: str
    value: str
    direction: Direction
    unit: str
    summary: str
    on_failure: float | None = None
    primary: bool = False
    family: Family | None = None
    statistic: Statistic = "mean"
    over: str | None = None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A picture: the mean over records of a list of numbers, one a layer, under each variant.

    Attributes:
        name: Name in the report, e.g. "entity recall".
        value: Key in `Record.values` of a list of numbers, one a layer; None where a layer has none.
        unit: As for `Metric`.
        direction: Whether higher is better, lower is better, or neither.
        summary: What it says, in one line.
        axis: What the places of the list are.
        first: Number of the first of them.
    """

    name: str
    value: str
    unit: str
    direction: Direction
    summary: str
    axis: str = "layer"
    first: int = 0


@dataclass(frozen=True, kw_only=True)
class Mosaic:
    """A picture: how often each combination of three yes/no values came up, as areas, under each variant.

    Attributes:
        name: Name in the report.
        summary: What it says, in one line.
        values: Keys in `Record.values` of three booleans; records without all three are counted apart.
        labels: What to call them.
    """

    name: str
    summary: str
    values: tuple[str, str, str] = ("first_correct", "second_correct", "composed_correct")
    labels: tuple[str, str, str] = ("first hop", "second hop", "two-hop")


Picture = Curve | Mosaic
Steps = Generator[list[Request | Ask], list[Response], Record]


@runtime_checkable
class Analysis(Protocol):
    """One analysis: frozen settings plus two pure parts, no loop over items, no batching, no I/O.

    `steps` is a generator: it yields lists of requests, receives their responses in order, and returns
    the record. Implementations are frozen dataclasses whose fields are the settings (they enter the
    cell's identity) and are registered in `analyses.REGISTRY` as zero-argument-constructible classes.

    Four optional attributes: `roles`, a property with the names of the other models it asks (see `lm.protocol.Ask`),
    `window`, a class variable with the most items in flight at a time, for analyses with many requests an item,
    `family`, a class variable with what its metrics are about (see `family_of`), and `pictures`, a class variable or
    property with what the report draws of its records beyond its metrics (`Curve`, `Mosaic`).
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[TaskKind, ...]]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What is averaged over the records: a class variable, or a property where it depends on the settings."""

    def steps(self, task: Task, item: Item) -> Steps:
        """Yield requests for `item`, receive responses, return its record."""


def roles_of(analysis: Analysis) -> tuple[str, ...]:
    """Return the names of the models, other than the one under study, that `analysis` asks; each once."""
    named = getattr(analysis, "roles", ())
    return tuple(dict.fromkeys(name for name in named if name != "self"))


def family_of(analysis: Analysis) -> Family:
    """Return what an analysis is about: its `family`, else that of the package it lives in, else "other"."""
    own: Family | None = getattr(analysis, "family", None)
    package, _, rest = type(analysis).__module__.partition(".")
    return own or (_FAMILIES.get(rest.partition(".")[0], "other") if package == "compressed_lens" else "other")


def declared_metrics(analysis: Analysis) -> tuple[Metric, ...]:
    """Return the metrics of an analysis with what they leave open filled in: family, and which are primary."""
    chosen = any(metric.primary for metric in analysis.metrics)
    return tuple(
        replace(metric, primary=metric.primary or not (chosen or place), family=metric.family or family_of(analysis))
        for place, metric in enumerate(analysis.metrics)
    )


def pictures_of(analysis: Analysis) -> tuple[Picture, ...]:
    """Return what the report draws of the analysis's records beyond its metrics."""
    pictures: tuple[Picture, ...] = getattr(analysis, "pictures", ())
    return pictures
