"""One verdict for each use of a variant: task performance, factual knowledge, explanations, faithfulness."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from compressed_lens.analyses.base import Family
from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.series import FULL, Gate, Variant

if TYPE_CHECKING:
    import polars as pl

UseVerdictWord = Literal["worse", "undecided", "non-inferior", "equivalent", "not measured"]

USES: Mapping[Family, str] = {
    "task": "task performance",
    "knowledge": "factual knowledge",
    "quality": "quality of explanations",
    "faithfulness": "faithfulness",
}
_ORDER = ("worse", "undecided", "non-inferior", "better", "equivalent")


@dataclass(frozen=True, kw_only=True)
class UseVerdict:
    """How a variant stands in one use.

    Attributes:
        gate: How it stands at the integrity gate; if that failed the verdict is no fair picture of the method.
        placebo: Whether it is a placebo variant: a yardstick, no candidate.
        verdict: "worse" if any confirmatory measure is worse; else "undecided" if any is undecided; else "equivalent"
            if all are, else "non-inferior"; "not measured" without any.
        figures: The confirmatory measures it rests on, the deciding one first.
        needed: For an undecided use: pairs in all after which every undecided measure would be decided; None where no
            number of pairs would do for one of them.
    """

    model: str
    variant: str
    use: Family
    gate: Gate
    placebo: bool
    verdict: UseVerdictWord
    figures: tuple[Figure, ...]
    needed: int | None

    @property
    def more(self) -> float | None:
        """How many times the present pairs `needed` is, at its most demanding measure; None as for `needed`."""
        factors = [f.needed / f.paired.units for f in self.figures if f.needed and f.paired and f.paired.units]
        return max(factors) if factors and self.needed is not None else None


def use_verdicts(figures: Iterable[Figure], variants: Sequence[Variant]) -> tuple[UseVerdict, ...]:
    """Return a verdict for every (model, variant, use) in study order, full precision left out.

    The chance of any false "worse" of a variant is at most 5 %, because Holm's correction ran over all its confirmatory
    measures. "Equivalent" and "non-inferior" need every measure to pass, which needs no correction (intersection-union
    test, Berger 1982). A measure that applies under full precision, and of which the variant has records but no
    interval (all of them failed, say), is not passed over: it counts as undecided.

    Args:
        figures: What `figures` returns.
        variants: The run's variants.
    """
    given = [figure for figure in figures if figure.confirmatory]
    applied = {figure.place for figure in given if figure.variant == FULL and figure.own.n > 1}
    found: dict[tuple[str, str, str], list[Figure]] = {}
    for figure in given:
        counted = figure
        if figure.verdict == "not comparable" and figure.recorded and figure.place in applied:
            counted = replace(figure, verdict="undecided")
        if counted.verdict not in {"reference", "not comparable"}:
            found.setdefault((figure.model, figure.variant, figure.measure.family), []).append(counted)
    return tuple(
        _use(variant, use, found.get((variant.model, variant.name, use), []))
        for variant in variants
        if variant.name != FULL
        for use in USES
    )


def _use(variant: Variant, use: Family, figures: list[Figure]) -> UseVerdict:
    ordered = sorted(figures, key=_telling)
    words = {figure.verdict for figure in ordered}
    verdict: UseVerdictWord = "not measured"
    if words:
        verdict = (
            "worse"
            if "worse" in words
            else "undecided"
            if "undecided" in words
            else "equivalent"
            if words == {"equivalent"}
            else "non-inferior"
        )
    open_ones = [figure.needed for figure in ordered if figure.verdict == "undecided"]
    known = [needed for needed in open_ones if needed is not None]
    return UseVerdict(
        model=variant.model,
        variant=variant.name,
        use=use,
        gate=variant.gate,
        placebo=variant.placebo,
        verdict=verdict,
        figures=tuple(ordered),
        needed=max(known) if verdict == "undecided" and len(known) == len(open_ones) else None,
    )


def _telling(figure: Figure) -> tuple[int, float, float]:
    """Order measures by what they decide: the surest loss first, then what takes most items, then the largest loss."""
    doubt = (figure.p_adjusted or 0.0) if figure.verdict == "worse" else -(figure.needed or math.inf)
    return _ORDER.index(figure.verdict), doubt, -figure.loss / figure.margin if figure.margin else 0.0


def use_frame(verdicts: Iterable[UseVerdict]) -> pl.DataFrame:
    """Return verdicts as a Polars frame, one row a (model, variant, use).

    Columns: `model, variant, placebo, gate, use, verdict`; `needed` pairs; `measures` it rests on; the deciding one:
    `task, analysis, metric, difference, low, high, margin, floor, pairs`.
    """
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("model", "variant"), pl.String),
        "placebo": pl.Boolean,
        **dict.fromkeys(("gate", "use", "verdict"), pl.String),
        **dict.fromkeys(("needed", "measures"), pl.Int64),
        **dict.fromkeys(("task", "analysis", "metric"), pl.String),
        **dict.fromkeys(("difference", "low", "high", "margin", "floor"), pl.Float64),
        "pairs": pl.Int64,
    }
    return pl.DataFrame([_row(verdict) for verdict in verdicts], schema=schema, orient="row")


def _row(verdict: UseVerdict) -> tuple[object, ...]:
    head = (verdict.model, verdict.variant, verdict.placebo, verdict.gate, verdict.use, verdict.verdict)
    first = verdict.figures[0] if verdict.figures else None
    if first is None or first.paired is None:
        return (*head, verdict.needed, 0, *[None] * 9)
    return (
        *(*head, verdict.needed, len(verdict.figures), first.task, first.analysis, first.measure.name),
        *(first.paired.estimate, first.paired.low, first.paired.high, first.margin, first.floor, first.paired.n),
    )
