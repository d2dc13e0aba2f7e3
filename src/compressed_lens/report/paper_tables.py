"""The tables of the two papers, for a run: families of measures, differences, transitions, judges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Literal, TypeVar

from compressed_lens.comparison.measures import CONFIDENCE, Figure
from compressed_lens.comparison.series import FULL, Variant
from compressed_lens.comparison.transitions import Transition
from compressed_lens.report.formatting import amount, bounds, difference, number
from compressed_lens.report.headline import Labels
from compressed_lens.report.panels import FAMILY_TITLES
from compressed_lens.report.tex import MARKS, Cell, Column, Line, PaperTable

if TYPE_CHECKING:
    import polars as pl

_WIDEST = 8
_WIDEST_DIFFERENCES = 4
_WIDEST_TRANSITIONS = 3
_TOLD = {
    "worse": "worse than full precision",
    "better": "better",
    "different": "different",
    "equivalent": "equivalent within the margin",
    "non-inferior": "not worse by the margin",
    "failed": "failed the integrity gate",
}
_FEWER = "a small number beside a value is its n where it rests on fewer."
_Key = TypeVar("_Key", bound=tuple[str, ...])
_Measured = tuple[str, str, str]
_Place = tuple[str, str]


def paper_tables(
    figures: Sequence[Figure], transitions: Sequence[Transition], variants: Sequence[Variant], ratings: pl.DataFrame
) -> tuple[PaperTable, ...]:
    """Return the tables of a run in the papers' form: rows are model x precision, columns task x measure.

    * a table a family, as Table 1 of arXiv 2601.00282: primary measures, best in bold, verdicts as marks;
    * the paired differences of the same measures, with intervals;
    * transitions of its yes/no measures, as Figure 3 there: preserved, lost, gained in per cent of the pairs;
    * mean ratings of each judge, as Table 5 there.

    A table that is too wide is split into parts. What was not measured has no table.

    Args:
        figures: The run's.
        transitions: The run's.
        variants: In the order of the rows; those never recorded have none.
        ratings: What `judging.agreement.judge_ratings` returns; may be empty.
    """
    primary = [figure for figure in figures if figure.measure.primary]
    labels = Labels(primary)
    names = {_measured(figure): labels.measure(figure) for figure in primary}
    found: list[PaperTable] = []
    for family, title in FAMILY_TITLES.items():
        part = [figure for figure in primary if figure.measure.family == family]
        moved = [t for t in transitions if t.measure.primary and t.measure.family == family]
        found += _values(family, title, part, variants, names)
        found += _differences(family, title, part, variants, names)
        found += _transitions(family, title, moved, variants, names)
    return (*found, *_judges(ratings, variants))


def _measured(one: Figure | Transition) -> _Measured:
    return one.task, one.analysis, one.measure.name


def _keys(figures: Iterable[Figure | Transition]) -> list[_Measured]:
    """Return the measures, those of one task together."""
    keys = list(dict.fromkeys(map(_measured, figures)))
    tasks = list(dict.fromkeys(task for task, _, _ in keys))
    return sorted(keys, key=lambda key: tasks.index(key[0]))


def _values(
    family: str,
    title: str,
    figures: Sequence[Figure],
    variants: Sequence[Variant],
    names: Mapping[_Measured, str],
) -> Iterator[PaperTable]:
    for part, keys in _parts(_keys(figures), _WIDEST):
        chosen = [f for f in figures if _measured(f) in keys and f.own.n]
        by_key = {key: [f for f in chosen if _measured(f) == key] for key in keys}
        most = {key: max((f.own.n for f in own), default=0) for key, own in by_key.items()}
        best = {key: _best(own, _sound(variants)) for key, own in by_key.items()}
        cells = {
            ((f.model, f.variant), key): (
                Cell(
                    text=_shown(f),
                    bold=(f.model, f.variant) in best[key],
                    mark=_mark(f),
                    note=str(f.own.n) if f.own.n < most[key] else "",
                ),
            )
            for f in chosen
            for key in [_measured(f)]
        }
        lines = _lines(variants, keys, cells, 1)
        yield PaperTable(
            name=f"{family}{part}",
            caption=f"{title}{part}: means over items, rates in per cent; best of a model in bold. {_marks(lines)}"
            f"Line n: items; {_FEWER} {_verdicts(chosen)}",
            columns=tuple(
                _column(own[0], names) if own else Column(group=k[0], name=k[2]) for k, own in by_key.items()
            ),
            lines=lines,
            last=("n", *(str(most[key]) for key in keys)),
        )


def _shown(figure: Figure) -> str:
    return amount(figure.own.estimate, figure.measure.unit).removesuffix(" %")


def _best(figures: Sequence[Figure], sound: set[_Place]) -> set[_Place]:
    """Return where one measure is best within each model, as it is printed; nothing where all are alike."""
    found: set[_Place] = set()
    for model in {figure.model for figure in figures}:
        own = [f for f in figures if f.model == model and (model, f.variant) in sound]
        if own and own[0].measure.direction != "neither":
            choose = max if own[0].measure.direction == "higher" else min
            top = _shown(choose(own, key=lambda f: f.own.estimate))
            places = {(model, f.variant) for f in own if _shown(f) == top}
            found |= places if len(places) < len(own) else set()
    return found


def _differences(
    family: str,
    title: str,
    figures: Sequence[Figure],
    variants: Sequence[Variant],
    names: Mapping[_Measured, str],
) -> Iterator[PaperTable]:
    compared = [(f, f.paired) for f in figures if f.paired is not None and f.paired.n]
    for part, keys in _parts(_keys(f for f, _ in compared), _WIDEST_DIFFERENCES):
        chosen = [(f, paired) for f, paired in compared if _measured(f) in keys]
        most = {key: max(paired.n for f, paired in chosen if _measured(f) == key) for key in keys}
        cells = {}
        for f, paired in chosen:
            unit = f.measure.unit
            text = f"{difference(paired.estimate, unit)} {bounds(paired.low, paired.high, unit)}".strip()
            note = str(paired.n) if paired.n < most[_measured(f)] else ""
            cells[(f.model, f.variant), _measured(f)] = (Cell(text=text, mark=_mark(f), note=note),)
        lines = _lines(variants, keys, cells, 1)
        methods = ", ".join(sorted({paired.method for _, paired in chosen if paired.method}))
        yield PaperTable(
            name=f"{family} differences{part}",
            caption=f"{title}, change from full precision{part}: mean paired difference, {CONFIDENCE:.0%} interval "
            f"({methods}). {_marks(lines)}Line n: pairs; {_FEWER} {_verdicts([f for f, _ in chosen])}",
            columns=tuple(
                _column(next(f for f, _ in chosen if _measured(f) == key), names, rate="points") for key in keys
            ),
            lines=lines,
            last=("n", *(str(most[key]) for key in keys)),
        )


def _transitions(
    family: str,
    title: str,
    moved: Sequence[Transition],
    variants: Sequence[Variant],
    names: Mapping[_Measured, str],
) -> Iterator[PaperTable]:
    counts = ("preserved", "lost", "gained")
    for part, keys in _parts(_keys(moved), _WIDEST_TRANSITIONS):
        chosen = [t for t in moved if _measured(t) in keys and t.pairs]
        most = {key: max((t.pairs for t in chosen if _measured(t) == key), default=0) for key in keys}
        cells = {
            ((t.model, t.variant), _measured(t)): tuple(
                Cell(
                    text=f"{100 * t.share(getattr(t, name)):.1f}",
                    note=str(t.pairs) if name == counts[0] and t.pairs < most[_measured(t)] else "",
                )
                for name in counts
            )
            for t in chosen
        }
        lines = _lines(variants, keys, cells, len(counts))
        yield PaperTable(
            name=f"{family} transitions{part}",
            caption=f"{title}, transitions from full precision{part}: per cent of the pairs that were good under both "
            "(preserved), under full precision only (lost), under the variant only (gained); the rest was bad under "
            f"both. {_marks(lines)}Line n: pairs; {_FEWER}",
            columns=tuple(
                Column(group=f"{key[0]}: {names.get(key, key[2])}", name=name) for key in keys for name in counts
            ),
            lines=lines,
            last=("n", *(text for key in keys for text in (str(most[key]), "", ""))),
        )


def _judges(ratings: pl.DataFrame, variants: Sequence[Variant]) -> Iterator[PaperTable]:
    given: dict[tuple[str, str], dict[tuple[_Place, tuple[str, str]], list[float]]] = {}
    for row in ratings.iter_rows(named=True):
        cells = given.setdefault((row["task"], row["analysis"]), {})
        place = (row["model"], row["variant"]), (row["dimension"], row["rater"])
        cells.setdefault(place, []).append(row["rating"])
    for (task, analysis), rated in given.items():
        for part, keys in _parts(sorted({key for _, key in rated}), _WIDEST):
            most = {key: max(len(values) for (_, k), values in rated.items() if k == key) for key in keys}
            shown = {place: values for place, values in rated.items() if place[1] in most}
            lines = _lines(variants, keys, _rated(shown, most, _sound(variants)), 1)
            yield PaperTable(
                name=f"judges {task} {analysis}{part}",
                caption=f"Mean ratings, 1 to 5, of {analysis} on {task}{part}, by dimension and judge; best of a model "
                f"in bold. {_marks(lines)}Line n: texts; {_FEWER}",
                columns=tuple(Column(group=dimension, name=judge, direction="higher") for dimension, judge in keys),
                lines=lines,
                last=("n", *(str(most[key]) for key in keys)),
            )


def _rated(
    given: Mapping[tuple[_Place, tuple[str, str]], Sequence[float]],
    most: Mapping[tuple[str, str], int],
    sound: set[_Place],
) -> dict[tuple[_Place, tuple[str, str]], tuple[Cell, ...]]:
    means = {place: f"{fmean(values):.2f}" for place, values in given.items()}
    cells: dict[tuple[_Place, tuple[str, str]], tuple[Cell, ...]] = {}
    for (place, key), values in given.items():
        rivals = [text for (other, k), text in means.items() if k == key and other[0] == place[0] and other in sound]
        bold = place in sound and means[place, key] == max(rivals, key=float) and len(set(rivals)) > 1
        note = str(len(values)) if len(values) < most[key] else ""
        cells[place, key] = (Cell(text=means[place, key], bold=bold, note=note),)
    return cells


def _sound(variants: Iterable[Variant]) -> set[_Place]:
    """Return what may be best: variants that passed the gate, placebos left out."""
    return {(v.model, v.name) for v in variants if v.gate in {"reference", "passed"} and not v.placebo}


def _lines(
    variants: Sequence[Variant],
    keys: Sequence[_Key],
    cells: Mapping[tuple[_Place, _Key], tuple[Cell, ...]],
    width: int,
) -> tuple[Line, ...]:
    """Return a row for every variant that has any cell."""
    gaps: tuple[Cell | None, ...] = (None,) * width
    lines = [
        Line(
            model=v.model,
            precision=v.name,
            failed=v.gate == "failed",
            cells=tuple(cell for key in keys for cell in cells.get(((v.model, v.name), key), gaps)),
        )
        for v in variants
    ]
    return tuple(line for line in lines if any(line.cells))


def _parts(keys: Sequence[_Key], width: int) -> Iterator[tuple[str, list[_Key]]]:
    count = -(-len(keys) // width)
    for n in range(count):
        yield (f" (part {n + 1} of {count})" if count > 1 else ""), list(keys[n * width : (n + 1) * width])


def _column(figure: Figure, names: Mapping[_Measured, str], *, rate: str = "%") -> Column:
    unit, name = figure.measure.unit, names[_measured(figure)]
    shown = rate if unit == "rate" else "" if unit in name else unit
    arrows: Mapping[str, Literal["higher", "lower"]] = {"higher": "higher", "lower": "lower"}
    return Column(
        group=figure.task,
        name=f"{name} ({shown})" if shown else name,
        direction=arrows.get(figure.measure.direction, ""),
    )


def _mark(figure: Figure) -> str:
    return figure.verdict if figure.verdict in MARKS and figure.gate != "failed" and figure.variant != FULL else ""


def _marks(lines: Sequence[Line]) -> str:
    """Explain the marks that occur."""
    seen = {cell.mark for line in lines for cell in line.cells if cell is not None}
    seen |= {"failed"} if any(line.failed for line in lines) else set()
    told = [f"[{name}] {_TOLD[name]}" for name in MARKS if name in seen]
    return f"{'; '.join(told)}. " if told else ""


def _verdicts(figures: Sequence[Figure]) -> str:
    told = (f"{f.measure.name.replace('_', ' ')} {_margin(f)}" for f in figures if f.margin is not None)
    margins = "; ".join(dict.fromkeys(told))
    return (
        f"Verdicts rest on the {CONFIDENCE:.0%} interval of the paired difference, with Holm's correction over a "
        "variant's confirmatory measures; without a mark: undecided, which is no evidence of equality."
        f"{f' Margins: {margins}.' if margins else ''}"
    )


def _margin(figure: Figure) -> str:
    if figure.measure.unit == "rate":
        return f"{100 * (figure.margin or 0):.3g} points"
    return number(figure.margin)
