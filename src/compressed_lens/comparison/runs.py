"""Runs side by side: which of their cells may be compared, how far records agree, and what differs, item by item."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compressed_lens.comparison.comparable import (
    Check,
    Relation,
    comparability,
    measure_refusals,
    refused,
    relation,
)
from compressed_lens.comparison.measures import Figure, figures
from compressed_lens.comparison.reproduced import Records, reproduced
from compressed_lens.comparison.series import FULL, Series, Variant
from compressed_lens.comparison.sides import ComparedRun, LetteredRun, Side, outcomes_of, shared_items
from compressed_lens.errors import DataError
from compressed_lens.registry import nearest

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SECOND = "/second"  # no name of a variant: those have no slash
Place = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class PairedCell:
    """One cell of the first run beside one of another.

    Attributes:
        checks: The whole checklist.
        records: How far the records agree; None where the comparison is refused.
        figures: Paired differences, second minus first; empty where refused. `verdict` reads the second against the
            first; Holm's correction runs over the confirmatory measures of the pair of variants. The noise floor is
            the first run's, where its full precision is the first side and both have the same base; else none.
        left_out: (metric, why) of metrics that must not be compared.
    """

    first: Side
    second: Side
    relation: Relation
    checks: tuple[Check, ...]
    records: Records | None
    figures: tuple[Figure, ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def refused(self) -> tuple[Check, ...]:
        """The checks that forbid the comparison."""
        return refused(self.checks)

    @property
    def baseline(self) -> tuple[Figure, ...]:
        """The first side's own figures, in the order of `figures`."""
        return tuple(figure for figure in self.figures if figure.variant == FULL)

    @property
    def differences(self) -> tuple[Figure, ...]:
        """The second side's figures, with their difference to the first."""
        return tuple(figure for figure in self.figures if figure.variant == SECOND)


@dataclass(frozen=True, kw_only=True)
class Alone:
    """A (model, variant, task, analysis) of a run without a partner, and why; task and analysis "" for all of them."""

    run: str
    model: str
    variant: str
    task: str
    analysis: str
    why: str


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """Runs side by side: the first against each of the others.

    Attributes:
        runs: (letter, folder, name of the study, when its last session began, as seconds since 1970) of each run.
    """

    runs: tuple[tuple[str, Path, str, float], ...]
    cells: tuple[PairedCell, ...]
    alone: tuple[Alone, ...]


def side_by_side(runs: Sequence[ComparedRun], pairs: Sequence[tuple[Place, Place]] = ()) -> RunComparison:
    """Compare the first run with each of the others.

    Args:
        runs: Two or more (with `pairs`, one: it is then compared with itself).
        pairs: (model, variant) of the first run with (model, variant) of the others. Default: variants of the same
            name, of models of the same name, or of the only model of each run.

    Raises:
        DataError: Too few runs, or a pair names a variant that is not there.
    """
    chosen = [runs[0], runs[0]] if len(runs) == 1 and pairs else list(runs)
    if not 1 < len(chosen) <= len(_LETTERS):
        raise DataError(
            f"{len(chosen)} runs cannot be put side by side.", fix="Give two or more, or one with --pair FIRST=SECOND."
        )
    cells: list[PairedCell] = []
    alone: list[Alone] = []
    first, *others = (LetteredRun(letter=letter, run=run) for letter, run in zip(_LETTERS, chosen, strict=False))
    for other in others:
        matched, unmatched = _variants(first, other, pairs)
        alone += unmatched
        for mine, theirs in matched:
            found, left = _cells(first, mine, other, theirs)
            alone += left
            cells += _with_figures(found, _placebos(first.run, mine, theirs), first.run.study.get("margins") or {})
    told = tuple(
        (
            letter,
            run.folder,
            str(run.study.get("name", "")),
            float((run.environments or [{}])[-1].get("started", math.nan)),
        )
        for letter, run in zip(_LETTERS, chosen, strict=False)
    )
    return RunComparison(runs=told, cells=tuple(cells), alone=tuple(alone))


def _variants(
    first: LetteredRun, other: LetteredRun, pairs: Sequence[tuple[Place, Place]]
) -> tuple[list[tuple[Variant, Variant]], list[Alone]]:
    mine = {(v.model, v.name): v for v in first.run.variant_list}
    theirs = {(v.model, v.name): v for v in other.run.variant_list}
    if pairs:
        return [(_named(mine, a, first.letter), _named(theirs, b, other.letter)) for a, b in pairs], []
    models = [{model for model, _ in known} for known in (mine, theirs)]
    only = all(len(names) == 1 for names in models)
    renamed = {next(iter(models[0])): next(iter(models[1]))} if only else {}
    matched, alone = [], []
    partners = {(model, name): (renamed.get(model, model), name) for model, name in mine}
    for place, partner in partners.items():
        if partner in theirs:
            matched.append((mine[place], theirs[partner]))
        else:
            alone.append(_alone(first.letter, place, f"run {other.letter} has no {'/'.join(partner)}; see --pair"))
    taken = set(partners.values())
    alone += [
        _alone(other.letter, place, f"run {first.letter} has no variant of that name; see --pair")
        for place in theirs
        if place not in taken
    ]
    return matched, alone


def _named(known: Mapping[Place, Variant], place: Place, run: str) -> Variant:
    models = {model for model, _ in known}
    full = place if place[0] or len(models) > 1 else (next(iter(models)), place[1])
    if full not in known:
        names = ["/".join(one) for one in known]
        raise DataError(
            f"Run {run} has no variant '{'/'.join(filter(None, place))}'.",
            fix=nearest("/".join(full), names) or f"It has: {', '.join(names)}.",
        )
    return known[full]


def _alone(run: str, place: Place, why: str, task: str = "", analysis: str = "") -> Alone:
    return Alone(run=run, model=place[0], variant=place[1], task=task, analysis=analysis, why=why)


def _cells(
    first: LetteredRun, mine: Variant, other: LetteredRun, theirs: Variant
) -> tuple[list[PairedCell], list[Alone]]:
    """Pair the cells of two variants by the names of task and analysis, else by what they are."""
    rest = {(side.series.task, side.series.analysis): side for side in other.sides(theirs)}
    found, unmatched = [], []
    for side in first.sides(mine):
        partner = rest.pop((side.series.task, side.series.analysis), None)
        if partner is None:
            unmatched.append(side)
        else:
            found.append(_paired(side, partner))
    alone = []
    for side in unmatched:
        key = next((key for key, partner in rest.items() if _same_question(side, partner)), None)
        if key is not None:
            found.append(_paired(side, rest.pop(key)))
        else:
            alone.append(_left(side, other.letter))
    return found, alone + [_left(side, first.letter) for side in rest.values()]


def _left(side: Side, other: str) -> Alone:
    place = (side.variant.model, side.variant.name)
    return _alone(side.run, place, f"run {other} has no such cell", side.series.task, side.series.analysis)


def _same_question(a: Side, b: Side) -> bool:
    return (a.task_fingerprint, a.series.method, a.series.settings) == (
        b.task_fingerprint,
        b.series.method,
        b.series.settings,
    )


def _paired(first: Side, second: Side) -> PairedCell:
    checks = comparability(first, second)
    allowed = not refused(checks)
    return PairedCell(
        first=first,
        second=second,
        relation=relation(first, second),
        checks=checks,
        records=reproduced(first, second) if allowed else None,
        figures=(),
        left_out=tuple(measure_refusals(first, second)) if allowed else (),
    )


def _placebos(run: ComparedRun, mine: Variant, theirs: Variant) -> list[Variant]:
    """Return what gives a noise floor: the placebos of the first run's model, where its full precision is the first."""
    if mine.name != FULL:
        return []
    return [v for v in run.variant_list if v.placebo and v.model == mine.model and v.name != theirs.name]


def _with_figures(
    cells: Sequence[PairedCell], placebos: Sequence[Variant], margins: Mapping[str, float]
) -> list[PairedCell]:
    """Add the figures of the cells of one pair of variants: the first run takes the place of full precision."""
    allowed = [cell for cell in cells if not cell.refused]
    if not allowed:
        return list(cells)
    mine, theirs = allowed[0].first.variant, allowed[0].second.variant
    noise = [] if allowed[0].relation == "other model" else placebos
    series = [_lined_up(cell, noise) for cell in allowed]
    sides = [replace(mine, model="", name=FULL), replace(theirs, model="", name=SECOND, recipe={})]
    computed = figures(series, [*sides, *(replace(v, model="") for v in noise)], margins=margins)
    by_cell: dict[tuple[str, str], list[Figure]] = {}
    for figure in computed:
        if figure.variant in {FULL, SECOND}:
            by_cell.setdefault((figure.task, figure.analysis), []).append(figure)
    return [
        replace(cell, figures=tuple(by_cell.get((cell.first.series.task, cell.first.series.analysis), ())))
        for cell in cells
    ]


def _lined_up(cell: PairedCell, placebos: Sequence[Variant]) -> Series:
    """Return the records of both sides over the items they share, as one series without a model's name."""
    left_out = {name for name, _ in cell.left_out}
    items = set(shared_items(cell.first, cell.second))
    mine, theirs = outcomes_of(cell.first), outcomes_of(cell.second)
    groups = dict(zip(cell.first.series.rows, cell.first.series.groups, strict=True))
    rows = tuple(row for row in mine if row[0] in items)
    outcomes = {FULL: tuple(mine[row] for row in rows), SECOND: tuple(theirs.get(row) for row in rows)}
    for placebo in placebos:
        other = outcomes_of(replace(cell.first, variant=placebo))
        outcomes[placebo.name] = tuple(other.get(row) for row in rows)
    return replace(
        cell.first.series,
        model="",
        measures=tuple(m for m in cell.first.series.measures if m.name not in left_out),
        rows=rows,
        groups=tuple(groups[row] for row in rows),
        outcomes=outcomes,
        planned=dict.fromkeys(outcomes, len(rows)),
    )
