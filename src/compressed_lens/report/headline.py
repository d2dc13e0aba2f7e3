"""The findings in plain words: how each variant differs from full precision, by how much, and what stays open."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from compressed_lens.comparison.measures import CONFIDENCE, Figure
from compressed_lens.comparison.series import FULL, Variant
from compressed_lens.report.formatting import bounds, counted, difference, difference_unit, identifier

Tone = Literal["worse", "better", "different", "open", "failed", "unavailable"]

_LEANING = 6
_ORDER = ("worse", "better", "different", "undecided", "non-inferior", "equivalent")
_DIFFERENT: tuple[Literal["worse", "better", "different"], ...] = ("worse", "better", "different")


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One statement about a variant, with the places of the tables it rests on."""

    tone: Tone
    text: str
    anchor: str = ""


@dataclass(frozen=True, kw_only=True)
class VariantSummary:
    """What is said about one variant.

    Attributes:
        verdict: In a few words.
        tone: The most serious of its sentences.
    """

    model: str
    variant: str
    gate: str
    verdict: str
    tone: Tone
    sentences: tuple[Sentence, ...]


class Labels:
    """Names of measures as readers see them, the analysis added where two analyses share a measure's name."""

    def __init__(self, figures: Iterable[Figure]) -> None:
        analyses: dict[str, set[str]] = {}
        for figure in figures:
            analyses.setdefault(figure.measure.name, set()).add(figure.analysis)
        self._shared = {name for name, owners in analyses.items() if len(owners) > 1}

    def measure(self, figure: Figure) -> str:
        """Return the measure's name."""
        name, owner = figure.measure.name, figure.analysis
        shown = name.replace("_", " ")
        return f"{shown} ({owner})" if name in self._shared and name != owner else shown

    def place(self, figure: Figure) -> str:
        """Return "measure on task"."""
        return f"{self.measure(figure)} on {figure.task}"


def anchor_of(figure: Figure) -> str:
    """Return the id of the panel that shows `figure`'s measure on its task."""
    parts = (figure.model, figure.task, figure.analysis, figure.measure.name)
    return f"m-{identifier(*parts)}"


def details(figures: Sequence[Figure], variants: Sequence[Variant]) -> tuple[VariantSummary, ...]:
    """Say of every variant but full precision what was shown, which way the rest leans, and what stays open."""
    labels = Labels(figures)
    return tuple(
        _summary(variant, [f for f in figures if (f.model, f.variant) == (variant.model, variant.name)], labels)
        for variant in variants
        if variant.name != FULL
    )


def caution(figures: Sequence[Figure]) -> str:
    """Say how many comparisons were made and what that means; empty where there is none."""
    compared = [f for f in figures if f.verdict not in {"reference", "not comparable"}]
    if not compared:
        return ""
    confirmatory = sum(f.confirmatory for f in compared)
    return (
        f"{counted(len(compared), 'comparison')}, {confirmatory} of them confirmatory. A variant is called worse where "
        f"the {100 * CONFIDENCE:.0f} % interval leaves out zero and p survives correction: Holm's over the variant's "
        "confirmatory measures, Benjamini and Hochberg's over its exploratory ones. It is called equivalent where the "
        "whole interval lies within the margin; an interval that includes zero is no evidence of that."
    )


def _summary(variant: Variant, figures: Sequence[Figure], labels: Labels) -> VariantSummary:
    sentences: list[Sentence] = []
    if variant.gate == "failed":
        reasons = "; ".join(f"{f['check']}: {f['message']}" for f in variant.broken) or variant.reason
        scored = "" if figures and any(f.recorded for f in figures) else " It was not scored."
        sentences.append(
            Sentence(tone="failed", text=f"Failed the integrity gate. {reasons}{scored}", anchor="integrity")
        )
    if variant.gate in {"unavailable", "pending"}:
        why = variant.reason or "The run has not reached it yet."
        return VariantSummary(
            model=variant.model,
            variant=variant.name,
            gate=variant.gate,
            verdict="unavailable" if variant.gate == "unavailable" else "not run yet",
            tone="unavailable",
            sentences=(Sentence(tone="unavailable", text=why, anchor="integrity"),),
        )
    compared = [f for f in figures if f.verdict not in {"reference", "not comparable"}]
    counts: Counter[str] = Counter(f.verdict for f in compared)
    for kind in _DIFFERENT:
        sentences += [_shown(f, kind, labels) for f in sorted(compared, key=_weight) if f.verdict == kind]
    leaning = sorted((f for f in compared if f.leaning), key=_weight)
    if leaning:
        told = "; ".join(_brief(f, labels) for f in leaning[:_LEANING])
        if len(leaning) > _LEANING:
            told += f"; and {len(leaning) - _LEANING} more"
        text = f"Perhaps, but possible by chance among {counted(len(compared), 'measure')}: {told}."
        sentences.append(Sentence(tone="open", text=text, anchor=anchor_of(leaning[0])))
    sentences += _rest(compared, counts, labels)
    verdict = ", ".join(f"{kind} on {counts[kind]}" for kind in _ORDER if counts[kind])
    verdict += f" of {counted(len(compared), 'measure')}"
    tone: Tone = next((kind for kind in _DIFFERENT if counts[kind]), "open")
    if not compared:
        tone, verdict = "unavailable", "nothing to compare"
        sentences.append(Sentence(tone="unavailable", text="No item has outcomes under both this and full precision."))
    if variant.gate == "failed":
        tone, verdict = "failed", "failed the integrity gate"
    return VariantSummary(
        model=variant.model,
        variant=variant.name,
        gate=variant.gate,
        verdict=verdict,
        tone=tone,
        sentences=tuple(sentences),
    )


def _weight(figure: Figure) -> tuple[bool, float]:
    """Put confirmatory measures first, then large differences in margins."""
    size = figure.loss / figure.margin if figure.margin else 0.0
    return not figure.confirmatory, -abs(size)


def _shown(figure: Figure, tone: Tone, labels: Labels) -> Sentence:
    paired, unit = figure.paired, figure.measure.unit
    assert paired is not None
    values: tuple[float, ...] = (paired.estimate, paired.low, paired.high)
    if tone != "different":
        values = (abs(paired.estimate), *sorted((abs(paired.low), abs(paired.high))))
    sizes = [difference(value, unit, sign=tone == "different") for value in values]
    return Sentence(
        tone=tone,
        text=f"{tone.capitalize()}: {labels.place(figure)} by {sizes[0]} {difference_unit(unit)} "
        f"[{sizes[1]}, {sizes[2]}], n = {paired.n:,}.",
        anchor=anchor_of(figure),
    )


def _brief(figure: Figure, labels: Labels) -> str:
    paired, unit = figure.paired, figure.measure.unit
    assert paired is not None
    return (
        f"{labels.place(figure)} {difference(paired.estimate, unit)} {difference_unit(unit)} "
        f"{bounds(paired.low, paired.high, unit)}, n = {paired.n:,}"
    )


def _rest(compared: Sequence[Figure], counts: Mapping[str, int], labels: Labels) -> list[Sentence]:
    """Say on how many measures the variant stands, and how much could still be lost on the undecided ones."""
    told = []
    stands = counts["equivalent"] + counts["non-inferior"]
    if stands:
        same = sum(f.same for f in compared)
        text = f"Equivalent on {counted(counts['equivalent'], 'measure')}"
        text += f", non-inferior on {counts['non-inferior']}" if counts["non-inferior"] else ""
        text += f" ({same} of all with the same outcome on every item)" if same else ""
        told.append(Sentence(tone="open", text=text + "."))
    hidden = [f for f in compared if f.verdict == "undecided"]
    if hidden:
        worst = max([f for f in hidden if f.confirmatory] or hidden, key=_possible_loss)
        loss = _possible_loss(worst)
        text = f"Undecided on {counted(len(hidden), 'measure')}"
        if loss > 0:
            text += f"; losses up to {difference(loss, 'rate', sign=False)} points remain possible"
            text += f" ({labels.place(worst)}, n = {worst.paired.n if worst.paired else 0:,})"
        told.append(Sentence(tone="open", text=text + ".", anchor=anchor_of(worst)))
    return told


def _possible_loss(figure: Figure) -> float:
    """Return the largest loss a rate's interval leaves open; 0 for other units, which have no common scale."""
    paired = figure.paired
    if paired is None or figure.measure.unit != "rate" or figure.measure.direction == "neither":
        return 0.0
    loss = -paired.low if figure.measure.direction == "higher" else paired.high
    return 0.0 if math.isnan(loss) else loss
