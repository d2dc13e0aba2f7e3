"""A run of our own as claims read it: which variant is which quantizer of the papers, and what a run may be held to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compressed_lens.claims.claim import FACTUAL_KNOWLEDGE, SELF_EXPLANATIONS, Paper
from compressed_lens.comparison.measures import Figure, figures
from compressed_lens.comparison.scale import sizes
from compressed_lens.comparison.series import (
    FULL,
    Gate,
    Measure,
    RunFrames,
    Series,
    Variant,
    gates_of,
    series_of,
    variant_list,
)
from compressed_lens.statistics.equivalence import FEWEST_PAIRS

OwnVerdict = Literal["reproduced", "not reproduced", "undecided", "not comparable"]
Shows = Literal["as stated", "the contrary", "neither", "nothing"]
Sign = Literal["negative", "positive"]
Ends = tuple[float, float, float]

FOUR_BIT = ("bib4", "gptq4", "awq")
EIGHT_BIT = ("bib8", "gptq8")
QUANTIZERS = (*FOUR_BIT, *EIGHT_BIT)
DATA: Mapping[str, tuple[str, ...]] = {
    SELF_EXPLANATIONS.key: ("esnli", "healthfc", "agnews"),
    FACTUAL_KNOWLEDGE.key: ("lre", "twohopfact"),
}
# Half the smallest and twice the largest model of each paper, so that a sibling of the same class counts.
PARAMETERS: Mapping[str, tuple[float, float]] = {
    SELF_EXPLANATIONS.key: (3.5e9, 1.45e11),
    FACTUAL_KNOWLEDGE.key: (3.5e9, 3e10),
}
_SHORT = {"bitsandbytes": "bib", "gptq": "gptq", "awq": "awq"}
_BILLION, _MILLION = 1e9, 1e6


@dataclass(frozen=True, kw_only=True)
class OwnFigure:
    """What a run shows beside a claim.

    Attributes:
        run: Name of the run.
        what: What was measured, in words.
        model: "" where the figure is over several.
        task: "" where it is over several.
        quantizers: The papers' names of the variants it rests on.
        value: NaN where the run has no such figure.
        low: Lower end of its 95 % interval; NaN where there is none.
        high: Upper end.
        n: Items, groups or pairs it rests on.
        shows: What the figure alone says, whatever the setting.
        verdict: "reproduced" and "not reproduced" need the interval to show it, in a setting like the paper's.
        why: In one or two sentences.
    """

    run: str
    what: str
    model: str
    task: str
    quantizers: tuple[str, ...]
    value: float
    low: float
    high: float
    unit: str
    n: int
    shows: Shows
    verdict: OwnVerdict
    why: str


@dataclass(frozen=True)
class Target:
    """What to look for in a run.

    Attributes:
        method: Analysis, by its name in the registry.
        metric: One of its measures.
        where: Settings that the paper's way of doing it has; series with others are another method.
    """

    method: str
    metric: str
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method}.{self.metric}"


FLIPS = Target("counterfactual", "flip_rate_hard", {"method": ("fizle-naive", "fizle-guided")})
DISTANCE = Target("counterfactual", "distance", {"method": ("fizle-naive", "fizle-guided")})
SELF_CHECK = Target("self_consistency", "faithful", {"explanation": ("counterfactual",)})
EDIT_TEST = Target("edit_test", "faithful")
BIASING = Target("biasing", "faithful")
CC_SHAP = Target("cc_shap", "cc_shap")


@dataclass(frozen=True, kw_only=True)
class OwnRun:
    """A run's outcomes, lined up.

    Attributes:
        name: As it is shown.
        sources: Source of each task; a task that is not named here is its own source.
        paths: Path or hub id of each model; a model that is not named here is known by its name alone.
    """

    name: str
    series: tuple[Series, ...]
    variants: tuple[Variant, ...]
    sources: Mapping[str, str]
    paths: Mapping[str, str]

    @classmethod
    def read(cls, name: str, run: RunFrames, study: Mapping[str, Any]) -> OwnRun:
        """Line up a run.

        Args:
            name: As it is shown, such as its folder.
            run: Its frames: what `load_run` returns, or `report.run_data.RunData`.
            study: The study in JSON types.
        """
        tasks = study.get("tasks") or ()
        return cls(
            name=name,
            series=series_of(run),
            variants=variant_list(run.variants),
            sources={str(task["name"]): str(task.get("source") or task["name"]) for task in tasks},
            paths={str(model["name"]): str(model["path"]) for model in study.get("models") or ()},
        )

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """The figures of all primary measures."""
        primary = [replace(one, measures=tuple(m for m in one.measures if m.primary)) for one in self.series]
        return figures(primary, self.variants)

    @property
    def gates(self) -> dict[tuple[str, str], Gate]:
        """How each (model, variant) stands at the integrity gate."""
        return gates_of(self.variants)

    def recorded(self, series: Series, among: Sequence[str] = QUANTIZERS) -> dict[str, str]:
        """Return those of `quantized` of which the series has records."""
        return {k: v for k, v in self.quantized(series.model, among).items() if any(series.outcomes.get(k, ()))}

    def quantized(self, model: str, among: Sequence[str] = QUANTIZERS) -> dict[str, str]:
        """Return the model's variants that passed the gate and are a quantizer of the papers: name to paper's name.

        Two variants that are the same quantizer (as nf4 and fp4 are both bib4) both count.
        """
        found = {}
        for variant in self.variants:
            name = paper_name(variant)
            if name is not None and variant.model == model and variant.gate == "passed" and name in among:
                found[variant.name] = name
        return found

    def measured(self, target: Target) -> list[tuple[Series, Measure]]:
        """Return every series of the target's analysis and settings with its measure."""
        return [
            (one, measure)
            for one in self.series
            if one.method == target.method and any(one.outcomes.get(FULL, ()))
            if all(one.settings.get(key) in values for key, values in target.where.items())
            for measure in one.measures
            if measure.name == target.metric
        ]

    def place(self, model: str, task: str, analysis: str) -> Series:
        """Return the series of that place."""
        return next(one for one in self.series if (one.model, one.task, one.analysis) == (model, task, analysis))

    def barriers(self, paper: Paper, series: Series, pairs: int, *, about: str = "") -> tuple[str, ...]:
        """Say what keeps a series from standing beside a paper's figure; empty where nothing does.

        Args:
            paper: Whose data and sizes count.
            series: What was measured.
            pairs: Items the figure rests on.
            about: The one model that the statement is about.
        """
        found = []
        told = f"{series.model} {self.paths.get(series.model, '')}"
        if _letters(about) not in _letters(told):
            found.append(f"the statement is about {about}")
        source, known = self.sources.get(series.task, series.task), DATA[paper.key]
        if source not in known:
            found.append(f"{source} is none of the paper's data ({', '.join(known)})")
        size, (least, most) = sizes(self.variants).get(series.model), PARAMETERS[paper.key]
        if size is None:
            found.append("the size of the model is not recorded")
        elif not least <= size <= most:
            found.append(f"a model of {_count(size)} parameters is not of the paper's size")
        if pairs < FEWEST_PAIRS:
            found.append(f"{pairs} items are fewer than {FEWEST_PAIRS}")
        return tuple(found)


def paper_name(variant: Variant) -> str | None:
    """Return the papers' name of a variant (bib4, bib8, gptq4, gptq8, awq), None where it is none of theirs.

    A checkpoint of others is known by what its audit found.
    """
    if variant.placebo:
        return None
    told = variant.recipe if "bits" in variant.recipe else variant.audit
    short = _SHORT.get(str(told.get("method")))
    width = told.get("bits") or told.get("bits_per_weight")
    if short is None or width is None:
        return None
    name = short if short == "awq" and int(width) == 4 else f"{short}{int(width)}"  # noqa: PLR2004
    return name if name in QUANTIZERS else None


def averaged(
    series: Series, measure: Measure, variants: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return full precision's values and the mean over the variants, [rows]; NaN where a variant has no value."""
    others = np.column_stack([series.column(name, measure) for name in variants])
    return series.column(FULL, measure), np.asarray(others.mean(axis=1))


def sides(low: float, high: float, expected: Sign) -> Shows:
    """Say what an interval shows of a sign."""
    if math.isnan(low) or math.isnan(high):
        return "nothing"
    if low <= 0 <= high:
        return "neither"
    return "as stated" if (high < 0) == (expected == "negative") else "the contrary"


def inside(low: float, high: float, margin: float) -> Shows:
    """Say what an interval shows of a difference that is stated to lie strictly within ±margin."""
    if math.isnan(low) or math.isnan(high):
        return "nothing"
    if -margin < low and high < margin:
        return "as stated"
    return "the contrary" if low >= margin or high <= -margin else "neither"


_SAID: Mapping[Shows, tuple[OwnVerdict, str]] = {
    "as stated": ("reproduced", "the figure shows it"),
    "the contrary": ("not reproduced", "the figure shows the contrary"),
    "neither": ("undecided", "the figure leaves both open"),
    "nothing": ("not comparable", "there is no interval"),
}


def figure(
    run: OwnRun,
    what: str,
    interval: Ends,
    *,
    n: int,
    unit: str,
    shows: Shows,
    barriers: Sequence[str] = (),
    quantizers: Iterable[str] = (),
    model: str = "",
    task: str = "",
    remark: str = "",
) -> OwnFigure:
    """Judge what a figure shows: in a setting that is not the paper's, nothing is reproduced or refuted.

    Args:
        run: Whose figure it is.
        what: What was measured, in words.
        interval: (value, low, high).
        n: Items, groups or pairs it rests on.
        unit: Of the value.
        shows: What the figure alone says.
        barriers: What keeps it from standing beside the paper's.
        quantizers: The papers' names of the variants it rests on.
        model: "" where it is over several.
        task: "" where it is over several.
        remark: Whole sentences put behind the reason.
    """
    verdict, said = _SAID[shows]
    why = f"{said[:1].upper()}{said[1:]}."
    if barriers:
        verdict, why = "not comparable", f"Not the paper's setting: {'; '.join(barriers)}. In this run {said}."
    value, low, high = interval
    return OwnFigure(
        run=run.name,
        what=what,
        model=model,
        task=task,
        quantizers=tuple(sorted(set(quantizers))),
        value=value,
        low=low,
        high=high,
        unit=unit,
        n=n,
        shows=shows,
        verdict=verdict,
        why=f"{why} {remark}".strip(),
    )


def shown(run: OwnRun, what: str, value: float, *, unit: str, n: int, why: str) -> tuple[OwnFigure, ...]:
    """Return a figure that is there for the reader and decides nothing."""
    return (
        OwnFigure(
            run=run.name,
            what=what,
            model="",
            task="",
            quantizers=(),
            value=value,
            low=math.nan,
            high=math.nan,
            unit=unit,
            n=n,
            shows="nothing",
            verdict="not comparable",
            why=why,
        ),
    )


def without(run: OwnRun, why: str) -> tuple[OwnFigure, ...]:
    """Return the one figure that says why there is none."""
    return shown(run, "", math.nan, unit="", n=0, why=why)


def _letters(name: str) -> str:
    """Reduce a model's name to letters and digits, as "Meta-Llama-3-8B" and "Llama3-8B" differ in the dashes only."""
    return "".join(c for c in name.lower() if c.isalnum())


def _count(parameters: int) -> str:
    if parameters >= _BILLION:
        return f"{parameters / _BILLION:.3g} billion"
    return f"{parameters / _MILLION:.3g} million"
