"""The tables of the two papers, for a run: families of measures, differences, transitions, judges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Literal, TypeVar

from compressed_lens.comparison.measures import CONFIDENCE, Figure
from compressed_lens.comparison.series import FULL, Variant, sound_of
from compressed_lens.comparison.transitions import Transition
from compressed_lens.report.formatting import amount, bounds, difference, number
from compressed_lens.report.panels import FAMILY_TITLES
from compressed_lens.report.tex import MARKS, Cell, Column, Line, PaperTable

if TYPE_CHECKING:
    import polars as pl

_ROOM = 115
_GAP = 2
_SHORT_UNIT = 6
_TOLD = {
    "worse": "worse than full precision",
    "better": "better",
    "different": "different",
    "equivalent": "equivalent within the margin",
    "non-inferior": "not worse by the margin",
    "failed": "failed the integrity gate",
}
_FEWER = "in brackets the n of a value that rests on fewer."
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
    found: list[PaperTable] = []
    for family, title in FAMILY_TITLES.items():
        part = [figure for figure in primary if figure.measure.family == family]
        moved = [t for t in transitions if t.measure.primary and t.measure.family == family]
        found += _values(family, title, part, variants)
        found += _differences(family, title, part, variants)
        found += _transitions(family, title, moved, variants)
    return (*found, *_judges(ratings, variants))


def _measured(one: Figure | Transition) -> _Measured:
    return one.task, one.analysis, one.measure.name


def _keys(figures: Iterable[Figure | Transition]) -> list[_Measured]:
    """Return the measures, those of one task together."""
    keys = list(dict.fromkeys(map(_measured, figures)))
    tasks = list(dict.fromkeys(task for task, _, _ in keys))
    return sorted(keys, key=lambda key: tasks.index(key[0]))


def _values(family: str, title: str, figures: Sequence[Figure], variants: Sequence[Variant]) -> Iterator[PaperTable]:
    by_key = {key: [f for f in figures if _measured(f) == key and f.own.n] for key in _keys(figures)}
    by_key = {key: own for key, own in by_key.items() if own}
    most = {key: max(f.own.n for f in own) for key, own in by_key.items()}
    cells: dict[tuple[_Place, _Measured], tuple[Cell, ...]] = {}
    for key, own in by_key.items():
        best = _best(own, sound_of(variants))
        for f in own:
            note = str(f.own.n) if f.own.n < most[key] else ""
            bold = (f.model, f.variant) in best
            cells[(f.model, f.variant), key] = (Cell(text=_shown(f), bold=bold, mark=_mark(f), note=note),)
    columns = {key: (_column(own[0], "%"),) for key, own in by_key.items()}
    for part, keys in _parts(columns, cells):
        lines = _lines(variants, keys, cells, 1)
        chosen = [f for key in keys for f in by_key[key]]
        yield PaperTable(
            name=f"{family}{part}",
            caption=f"{title}{part}: means over items, rates in per cent; best of a model in bold. {_marks(lines)}"
            f"Line n: items; {_FEWER} {_verdicts(chosen)}{_units(chosen)}",
            columns=tuple(column for key in keys for column in columns[key]),
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
    family: str, title: str, figures: Sequence[Figure], variants: Sequence[Variant]
) -> Iterator[PaperTable]:
    compared = [(f, f.paired) for f in figures if f.paired is not None and f.paired.n]
    most: dict[_Measured, int] = {}
    for f, paired in compared:
        most[_measured(f)] = max(paired.n, most.get(_measured(f), 0))
    cells: dict[tuple[_Place, _Measured], tuple[Cell, ...]] = {}
    for f, paired in compared:
        unit = f.measure.unit
        text = f"{difference(paired.estimate, unit)} {bounds(paired.low, paired.high, unit)}".strip()
        note = str(paired.n) if paired.n < most[_measured(f)] else ""
        cells[(f.model, f.variant), _measured(f)] = (Cell(text=text, mark=_mark(f), note=note),)
    every = [f for f, _ in compared]
    columns = {key: (_column(next(f for f in every if _measured(f) == key), "points"),) for key in _keys(every)}
    for part, keys in _parts(columns, cells):
        lines = _lines(variants, keys, cells, 1)
        chosen = [f for f in every if _measured(f) in keys]
        methods = ", ".join(sorted({f.paired.method for f in chosen if f.paired and f.paired.method}))
        yield PaperTable(
            name=f"{family} differences{part}",
            caption=f"{title}, change from full precision{part}: mean paired difference, {CONFIDENCE:.0%} interval "
            f"({methods}). {_marks(lines)}Line n: pairs; {_FEWER} {_verdicts(chosen)}{_units(chosen)}",
            columns=tuple(column for key in keys for column in columns[key]),
            lines=lines,
            last=("n", *(str(most[key]) for key in keys)),
        )


def _transitions(
    family: str, title: str, moved: Sequence[Transition], variants: Sequence[Variant]
) -> Iterator[PaperTable]:
    counts = ("preserved", "lost", "gained")
    known = [t for t in moved if t.pairs]
    most = {key: max(t.pairs for t in known if _measured(t) == key) for key in _keys(known)}
    cells = {
        ((t.model, t.variant), _measured(t)): tuple(
            Cell(
                text=f"{100 * t.share(getattr(t, name)):.1f}",
                note=str(t.pairs) if name == counts[0] and t.pairs < most[_measured(t)] else "",
            )
            for name in counts
        )
        for t in known
    }
    columns = {key: tuple(Column(group=key[0], part=_part(key), name=name) for name in counts) for key in most}
    for part, keys in _parts(columns, cells):
        lines = _lines(variants, keys, cells, len(counts))
        yield PaperTable(
            name=f"{family} transitions{part}",
            caption=f"{title}, transitions from full precision{part}: per cent of the pairs that were good under both "
            "(preserved), under full precision only (lost), under the variant only (gained); the rest was bad under "
            f"both. {_marks(lines)}Line n: pairs; {_FEWER}",
            columns=tuple(column for key in keys for column in columns[key]),
            lines=lines,
            last=("n", *(text for key in keys for text in (str(most[key]), "", ""))),
        )


def _part(key: _Measured) -> str:
    """Name a measure under its task: the analysis, and the metric where it is called otherwise."""
    _, analysis, metric = key
    return analysis if analysis == metric else f"{analysis}: {metric.replace('_', ' ')}"


def _judges(ratings: pl.DataFrame, variants: Sequence[Variant]) -> Iterator[PaperTable]:
    given: dict[tuple[str, str], dict[tuple[_Place, tuple[str, str]], list[float]]] = {}
    for row in ratings.iter_rows(named=True):
        cells = given.setdefault((row["task"], row["analysis"]), {})
        place = (row["model"], row["variant"]), (row["dimension"], row["rater"])
        cells.setdefault(place, []).append(row["rating"])
    for (task, analysis), rated in given.items():
        keys_of = sorted({key for _, key in rated})
        most = {key: max(len(values) for (_, k), values in rated.items() if k == key) for key in keys_of}
        written = _rated(rated, most, sound_of(variants))
        columns = {key: (Column(group=key[0], name=key[1], direction="higher"),) for key in keys_of}
        for part, keys in _parts(columns, written):
            lines = _lines(variants, keys, written, 1)
            yield PaperTable(
                name=f"judges {task} {analysis}{part}",
                caption=f"Mean ratings, 1 to 5, of {analysis} on {task}{part}, by dimension and judge; best of a model "
                f"in bold. {_marks(lines)}Line n: texts; {_FEWER}",
                columns=tuple(column for key in keys for column in columns[key]),
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


def _parts(
    columns: Mapping[_Key, tuple[Column, ...]], cells: Mapping[tuple[_Place, _Key], tuple[Cell, ...]]
) -> Iterator[tuple[str, list[_Key]]]:
    """Split measures so that each table has room on a page, as estimated from the number of characters."""
    sides = max((len(place[0]) + len(place[1]) for place, _ in cells), default=0)
    found: list[list[_Key]] = []
    heads: list[list[int]] = []  # of the last table: room that each heading takes, and what stands under it
    last = ("", "")
    for key, own in columns.items():
        longest = [
            max(
                [len(column.name) + _GAP, *(len(c[n].text) + len(c[n].note) for (_, k), c in cells.items() if k == key)]
            )
            for n, column in enumerate(own)
        ]
        width, head = sum(longest) + _GAP * len(own), (own[0].group, own[0].part)
        grown = (
            [*heads[:-1], [heads[-1][0], heads[-1][1] + width]] if head == last else [*heads, [len(own[0].part), width]]
        )
        if not found or sum(map(max, grown)) > _ROOM - sides:
            found.append([])
            grown = [[len(own[0].part) + _GAP, width]]
        found[-1].append(key)
        heads, last = grown, head
    for n, keys in enumerate(found, start=1):
        yield (f" (part {n} of {len(found)})" if len(found) > 1 else ""), keys


def _column(figure: Figure, rate: str) -> Column:
    unit, name = figure.measure.unit, figure.measure.name.replace("_", " ")
    shown = rate if unit == "rate" else unit if len(unit) <= _SHORT_UNIT else ""
    arrows: Mapping[str, Literal["higher", "lower"]] = {"higher": "higher", "lower": "lower"}
    return Column(
        group=figure.task,
        part=figure.analysis,
        name=f"{name} ({shown})" if shown else name,
        direction=arrows.get(figure.measure.direction, ""),
    )


def _units(figures: Sequence[Figure]) -> str:
    """Name the units that are too long for a heading."""
    long = {f.measure.name.replace("_", " "): f.measure.unit for f in figures if len(f.measure.unit) > _SHORT_UNIT}
    return f" Units: {'; '.join(f'{name}: {unit}' for name, unit in long.items())}." if long else ""


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
