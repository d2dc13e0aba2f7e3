"""The findings in plain words: which variants differ from full precision, by how much, and what stays open."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from compressed_lens.comparison.measures import CONFIDENCE, Figure
from compressed_lens.comparison.series import FULL, Variant
from compressed_lens.report.formatting import bounds, counted, difference, difference_unit, listed

Tone = Literal["worse", "better", "different", "open", "failed", "unavailable"]

_PERHAPS = 6
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


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The top of the report.

    Attributes:
        lead: One or two sentences about the whole run.
        variants: One summary a variant, in study order, full precision left out.
        caution: How many comparisons were made and what that means.
    """

    lead: str
    variants: tuple[VariantSummary, ...]
    caution: str


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
    return "m-" + "--".join("".join(c if c.isalnum() else "-" for c in part) for part in parts)


def headline(figures: Sequence[Figure], variants: Sequence[Variant]) -> Headline:
    """Put the findings of a run into words."""
    labels = Labels(figures)
    summaries = tuple(
        _summary(variant, [f for f in figures if (f.model, f.variant) == (variant.model, variant.name)], labels)
        for variant in variants
        if variant.name != FULL
    )
    compared = sum(f.verdict not in {"reference", "not comparable"} for f in figures)
    return Headline(lead=_lead(summaries, variants), variants=summaries, caution=_caution(compared))


def _lead(summaries: Sequence[VariantSummary], variants: Sequence[Variant]) -> str:
    if not summaries:
        return "This run has no variant to compare with full precision."
    several = len({variant.model for variant in variants}) > 1
    names = {s: f"{s.variant} ({s.model})" if several else s.variant for s in summaries}
    groups: dict[str, list[str]] = {}
    for summary in summaries:
        groups.setdefault(summary.tone, []).append(names[summary])
    parts = []
    worse, better = groups.get("worse", []), groups.get("better", []) + groups.get("different", [])
    if worse:
        parts.append(f"{listed(worse)} {_are(worse)} worse than full precision on at least one measure")
    if better:
        parts.append(
            f"{listed(better)} {'differs' if len(better) == 1 else 'differ'}, but {_are(better)} nowhere worse"
        )
    if still := groups.get("open", []):
        parts.append(f"for {listed(still)} no difference was shown")
    if failed := groups.get("failed", []):
        parts.append(f"{listed(failed)} failed the integrity gate, so {_their(failed)} figures are not a fair picture")
    if missing := groups.get("unavailable", []):
        parts.append(f"{listed(missing)} could not be measured")
    text = f"Of {counted(len(summaries), 'variant')}: {'; '.join(parts)}."
    bad = [v.model for v in variants if v.name == FULL and v.gate == "failed"]
    if bad:
        text += f" Full precision of {listed(bad)} itself failed the integrity gate: nothing compared with it is sound."
    return text


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _their(names: Sequence[str]) -> str:
    return "its" if len(names) == 1 else "their"


def _caution(compared: int) -> str:
    if not compared:
        return ""
    return (
        f"{counted(compared, 'comparison')}. A difference counts as shown when it survives Holm's correction at "
        f"{CONFIDENCE:.0%} for the number of primary measures of its variant, or, for a secondary measure, of its "
        "secondary ones; “perhaps” marks those that do not. An interval that "
        "includes zero does not show that two variants are equal; it shows which differences remain possible."
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
    counts = {kind: sum(f.verdict == kind for f in compared) for kind in _DIFFERENT}
    for kind in _DIFFERENT:
        shown = [f for f in compared if f.verdict == kind]
        shown.sort(key=_weight)
        sentences += [_shown(f, kind, labels) for f in shown]
    perhaps = [f for f in compared if f.verdict.startswith("perhaps")]
    if perhaps:
        perhaps.sort(key=_weight)
        told = "; ".join(_brief(f, labels) for f in perhaps[:_PERHAPS])
        if len(perhaps) > _PERHAPS:
            told += f"; and {len(perhaps) - _PERHAPS} more"
        text = f"Perhaps, but possible by chance among {counted(len(compared), 'measure')}: {told}."
        sentences.append(Sentence(tone="open", text=text, anchor=anchor_of(perhaps[0])))
    sentences += _open(compared, labels)
    told = ", ".join(f"{kind} on {n}" for kind, n in counts.items() if n)
    verdict = f"{told} of {counted(len(compared), 'measure')}" if told else "no difference shown"
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
    """Put primary measures first, then large differences of rates."""
    size = figure.paired.estimate if figure.paired and figure.measure.unit == "rate" else 0.0
    return not figure.measure.primary, -abs(size)


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
        f"[{sizes[1]}, {sizes[2]}], n = {paired.n:,}.",
        anchor=anchor_of(figure),
    )


def _brief(figure: Figure, labels: Labels) -> str:
    paired, unit = figure.paired, figure.measure.unit
    assert paired is not None
    return (
        f"{labels.place(figure)} {difference(paired.estimate, unit)} {difference_unit(unit)} "
        f"{bounds(paired.low, paired.high, unit)}, n = {paired.n:,}"
    )


def _open(compared: Sequence[Figure], labels: Labels) -> list[Sentence]:
    """Say how much could still be lost where no difference was shown."""
    hidden = [f for f in compared if f.verdict in {"not shown", "unchanged"}]
    if not hidden:
        return []
    unchanged = sum(f.verdict == "unchanged" for f in hidden)
    text = f"No difference shown on {counted(len(hidden), 'measure')}"
    if unchanged:
        text += f" ({unchanged} of them with the same outcome on every item)"
    worst = max([f for f in hidden if f.measure.primary] or hidden, key=_possible_loss)
    loss = _possible_loss(worst)
    if loss > 0:
        text += f"; losses up to {difference(loss, 'rate', sign=False)} points remain possible"
        text += f" ({labels.place(worst)}, n = {_pairs(worst):,})"
    return [Sentence(tone="open", text=text + ".", anchor=anchor_of(worst))]


def _pairs(figure: Figure) -> int:
    return figure.paired.n if figure.paired else 0


def _possible_loss(figure: Figure) -> float:
    """Return the largest loss a rate's interval leaves open; 0 for other units, which have no common scale."""
    paired = figure.paired
    if paired is None or figure.measure.unit != "rate" or figure.measure.direction == "neither":
        return 0.0
    loss = -paired.low if figure.measure.direction == "higher" else paired.high
    return 0.0 if math.isnan(loss) else loss
