"""Transitions, agreement, ranks and model size as they are shown: texts, shades, and positions in per cent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compressed_lens import comparison
from compressed_lens.comparison import (
    Agreement,
    Bottleneck,
    Figure,
    HopTable,
    OutcomeTable,
    Ranked,
    Ranking,
    Saturation,
    SizeChoice,
    SizeTrend,
    Transition,
    VariantCurve,
)
from compressed_lens.comparison.ranking import RULES, TIES
from compressed_lens.comparison.series import placebos_of
from compressed_lens.report.formatting import (
    DASH,
    amount,
    bounds,
    counted,
    difference,
    difference_unit,
    number,
    p_value,
    signed,
    size,
)
from compressed_lens.report.run_data import RunData
from compressed_lens.statistics.power import ALPHA

_SHADES = (0.1, 0.3, 0.5, 0.7)
_UNDEFINED = {
    "first": "the same on every item",
    "second": "the same on every item",
    "both": "both the same on every item",
    "few": "fewer than two items",
}


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """Everything of a run that looks across its metrics, variants or models.

    Attributes:
        rankings: Overall and by family; empty where fewer than two variants can be ranked.
    """

    transitions: tuple[Transition, ...]
    outcomes: tuple[OutcomeTable, ...]
    agreements: tuple[Agreement, ...]
    rankings: tuple[Ranking, ...]
    trends: tuple[SizeTrend, ...]
    choices: tuple[SizeChoice, ...]
    curves: tuple[VariantCurve, ...]
    hop_tables: tuple[HopTable, ...]
    saturations: tuple[Saturation, ...]
    bottlenecks: tuple[Bottleneck, ...]

    @classmethod
    def of(cls, run: RunData, figures: Sequence[Figure]) -> Comparisons:
        """Compute them; `figures` are the run's."""
        frame = comparison.long_frame(figures)
        return cls(
            transitions=comparison.transitions(run.series, figures),
            outcomes=comparison.outcome_tables(run.series),
            agreements=comparison.agreements(run.series),
            rankings=comparison.rankings(frame) if frame["variant"].n_unique() > 1 else (),
            trends=comparison.size_trends(run.series, run.variant_list),
            choices=comparison.size_choices(run.series, run.variant_list),
            curves=comparison.curves(run.series, run.gates),
            hop_tables=comparison.hop_tables(run.series, run.gates),
            saturations=comparison.saturations(run.series, run.gates),
            bottlenecks=comparison.bottlenecks(run.series, run.gates, placebos=placebos_of(run.variant_list)),
        )


@dataclass(frozen=True, kw_only=True)
class MatrixCell:
    """One correlation: `level` 0 to 4 is its shade, `kind` whether the tests agree; `title` is the whole of it."""

    kind: str
    level: int
    text: str
    note: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Correlations among tests over the items of one variant; `cells` holds None on and above the diagonal."""

    model: str
    task: str
    variant: str
    gate: str
    names: tuple[str, ...]
    cells: tuple[tuple[MatrixCell | None, ...], ...]


def correlation_text(agreement: Agreement) -> tuple[str, str]:
    """Return a correlation and its interval, or why there is none."""
    c = agreement.correlation
    if c.constant:
        which = {"first": agreement.first, "second": agreement.second}.get(c.constant)
        return f"undefined: {' '.join(which) + ' is ' if which else ''}{_UNDEFINED[c.constant]}", ""
    interval = "" if math.isnan(c.low) else f"[{signed(c.low)}, {signed(c.high)}]"
    return f"{signed(c.estimate)} ({c.kind})", interval


def matrices(agreements: Sequence[Agreement], gates: Mapping[tuple[str, str], str]) -> tuple[Matrix, ...]:
    """Return one correlation matrix a (model, task, variant)."""
    groups: dict[tuple[str, str, str], list[Agreement]] = {}
    for a in agreements:
        groups.setdefault((a.model, a.task, a.variant), []).append(a)
    return tuple(
        _matrix(place, members, gates.get((place[0], place[2]), "pending")) for place, members in groups.items()
    )


def _matrix(place: tuple[str, str, str], members: Sequence[Agreement], gate: str) -> Matrix:
    tests = list(dict.fromkeys(test for a in members for test in (a.first, a.second)))
    known = {(a.first, a.second): a for a in members}
    cells = tuple(
        tuple(
            _matrix_cell(known[column, row]) if n < m and (column, row) in known else None
            for n, column in enumerate(tests)
        )
        for m, row in enumerate(tests)
    )
    names = tuple(_test_name(test, tests) for test in tests)
    return Matrix(model=place[0], task=place[1], variant=place[2], gate=gate, names=names, cells=cells)


def _test_name(test: tuple[str, str], tests: Sequence[tuple[str, str]]) -> str:
    analysis, name = test
    alone = sum(other == analysis for other, _ in tests) == 1
    return analysis if alone else f"{analysis}: {name.replace('_', ' ')}"


def _matrix_cell(agreement: Agreement) -> MatrixCell:
    c = agreement.correlation
    text, interval = correlation_text(agreement)
    title = f"{' '.join(agreement.first)} and {' '.join(agreement.second)}: {text} {interval}, n = {c.n}"
    if c.constant:
        return MatrixCell(kind="none", level=0, text=DASH, note=f"n {c.n}", title=title)
    return MatrixCell(
        kind="better" if c.estimate > 0 else "worse",
        level=sum(abs(c.estimate) >= step for step in _SHADES),
        text=signed(c.estimate),
        note=f"{interval} n {c.n}",
        title=title,
    )


def ranking_rule(rankings: Sequence[Ranking]) -> str:
    """Return the rules of ties and of missing cells, in a sentence."""
    return f"{TIES}; {RULES[rankings[0].rule]}." if rankings else ""


def ranking_note(ranking: Ranking) -> str:
    """Say what a ranking rests on and whether its differences are more than chance."""
    rests = f"{counted(ranking.models, 'model')}, {counted(ranking.columns, 'column')}, {counted(ranking.rows, 'row')}"
    if math.isnan(ranking.p):
        return f"{rests}; one quantizer only, so no test."
    shown = "some quantizers rank differently" if ranking.p < ALPHA else "no difference in rank is shown"
    text = f"{rests}; {shown} (Friedman by permutation, p {_with_sign(ranking.p)}; "
    if math.isnan(ranking.critical_difference):
        text += "too few rows to tell any two apart)."
    else:
        text += f"mean ranks differ from {ranking.critical_difference:.2f} on)."
    return text + (f" Left out: {', '.join(ranking.left_out)}." if ranking.left_out else "")


def _with_sign(p: float) -> str:
    told = p_value(p)
    return told if told.startswith("<") else f"= {told}"


def rank_bounds(one: Ranked) -> str:
    """Return the interval of a mean rank, or a dash."""
    return DASH if math.isnan(one.low) else f"[{one.low:.2f}, {one.high:.2f}]"


def rank_place(one: Ranked, ranking: Ranking) -> tuple[float, float, float]:
    """Return where mean rank, lower and upper bound lie, in per cent of a scale from 1 to the number of quantizers."""
    widest = max(len(ranking.ranked) - 1, 1)
    ends = (one.mean_rank, *((one.mean_rank,) * 2 if math.isnan(one.low) else (one.low, one.high)))
    middle, low, high = (round(100 * (value - 1) / widest, 2) for value in ends)
    return middle, low, high


def trend_cells(trend: SizeTrend) -> tuple[str, ...]:
    """Return task, analysis, metric, variant, losses by model, slope and its interval, as shown."""
    unit = trend.measure.unit
    losses = "; ".join(f"{model} ({count(p)}) {difference(loss, unit)}" for model, p, loss, _ in trend.losses)
    slope = f"{difference(trend.slope, unit)} {difference_unit(unit)}"
    place = (trend.task, trend.analysis, trend.measure.name.replace("_", " "), trend.variant)
    return (*place, losses, slope, bounds(trend.low, trend.high, unit))


def choice_cells(choice: SizeChoice) -> tuple[str, ...]:
    """Return task, analysis, metric, larger, its memory, smaller, its memory, values, difference, interval, n."""
    unit = choice.measure.unit
    values = f"{amount(choice.larger_value, unit)} against {amount(choice.smaller_value, unit)}"
    return (
        *(choice.task, choice.analysis, choice.measure.name.replace("_", " ")),
        *(f"{choice.larger} {choice.variant}", size(choice.larger_bytes), choice.smaller, size(choice.smaller_bytes)),
        *(values, f"{difference(choice.difference.estimate, unit)} {difference_unit(unit)}"),
        *(bounds(choice.difference.low, choice.difference.high, unit), f"{choice.difference.n:,}"),
    )


def count(parameters: int) -> str:
    """Write a number of parameters as 4.0M or 7.6B."""
    for scale, letter in ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "K")):
        if parameters >= scale:
            return f"{number(parameters / scale)}{letter}"
    return str(parameters)
