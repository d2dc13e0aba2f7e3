"""The section People: what raters said of each variant, from the analyses of a run's human studies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from compressed_lens.human.findings import ALL_TASKS, HEADLINE, POOLED, HumanAnalysis
from compressed_lens.report.formatting import DASH, MINUS, counted, identifier, number, p_value
from compressed_lens.report.panels import scale_for
from compressed_lens.report.scale import change_label
from compressed_lens.report.words import LEANING, SYMBOLS

KIND_TITLES: Mapping[str, str] = {"explanation": "explanations", "counterfactual": "counterfactuals"}

_POINTS = (1, 2, 3, 4, 5)
_MIDDLE = 3
_TELLING = 0.09
_METHODS: Mapping[str, str] = {
    "linear": "linear mixed model",
    "clustered": "means, clustered by rater and item",
    "ordinal": "cumulative-link mixed model",
}

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One point's part of a bar: its place and width in per cent of the drawing, and its share where there is room."""

    point: int
    x: float
    width: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Bar:
    """How the points of one cell are spread, drawn so that the middles of the scale stand above each other.

    Attributes:
        middle: Where they stand, in per cent of the width.
    """

    variant: str
    where: str
    mean: str
    interval: str
    counts: str
    title: str
    shares: tuple[str, ...]
    middle: float
    segments: tuple[Segment, ...]


@dataclass(frozen=True, kw_only=True)
class PeopleRow:
    """One variant against full precision.

    Attributes:
        mark: Kind of its mark, as in `panels.mark`.
        x: Place of the estimate in per cent of the width; None where there is none.
        left: Place of the lower bound; None without an interval.
        right: Place of the upper bound.
        beyond: Always empty: no row lies outside the drawing.
        words: Verdict in words.
    """

    variant: str
    where: str
    mark: str
    difference: str
    interval: str
    p: str
    words: str
    counts: str
    x: float | None
    left: float | None
    right: float | None
    beyond: str = ""


@dataclass(frozen=True, kw_only=True)
class PeoplePanel:
    """One dimension of one kind of text.

    Attributes:
        key: Short id of its drawing.
        zero: Place of no difference, in per cent of the width.
        margin: Ends of the band of differences that would not matter.
        floor: None; people have no noise floor.
        rows: Pooled over models, by the headline method.
        by_model: The same by model; empty with one model.
        methods: (variant, method, difference and interval, p, verdict) of every method, pooled.
        bars: Pooled distributions; `cells` those of every model and task.
        sensitivity: (variant, data, left out, raters, ratings, difference and interval, verdict).
    """

    anchor: str
    key: str
    kind: str
    dimension: str
    zero: float
    margin: tuple[float, float]
    floor: None
    left_word: str
    right_word: str
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[PeopleRow, ...]
    by_model: tuple[PeopleRow, ...]
    methods: tuple[tuple[str, ...], ...]
    bars: tuple[Bar, ...]
    cells: tuple[Bar, ...]
    sensitivity: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class PeopleStudy:
    """One human study as the report shows it."""

    name: str
    margin: str
    facts: tuple[str, ...]
    panels: tuple[PeoplePanel, ...]
    agreement: tuple[tuple[str, ...], ...]
    matches: str
    judges: tuple[tuple[str, ...], ...]
    shifts: tuple[tuple[str, ...], ...]


def people(analyses: Mapping[str, HumanAnalysis | str]) -> tuple[PeopleStudy, ...]:
    """Return every human study of a run whose analysis could be read, as shown."""
    known = [(name, found) for name, found in analyses.items() if isinstance(found, HumanAnalysis)]
    return tuple(_study(name, found, n) for n, (name, found) in enumerate(known))


def unread(analyses: Mapping[str, HumanAnalysis | str]) -> tuple[str, ...]:
    """Return a sentence for every analysis that could not be read."""
    return tuple(f"{name}: {why}" for name, why in analyses.items() if isinstance(why, str))


def _study(name: str, found: HumanAnalysis, number_of: int) -> PeopleStudy:
    places = list(dict.fromkeys(found.differences.select("kind", "dimension").iter_rows()))
    if not places:
        places = list(dict.fromkeys(found.counts.select("kind", "dimension").iter_rows()))
    return PeopleStudy(
        name=name,
        margin=f"{found.margin:g}",
        facts=_facts(found),
        panels=tuple(_panel(name, found, place, f"p{number_of}-{n}") for n, place in enumerate(places)),
        agreement=tuple(_agreement(row) for row in found.agreement.iter_rows(named=True)),
        matches=_matches(found),
        judges=tuple(_judge(row) for row in found.judges.iter_rows(named=True)),
        shifts=tuple(_shift(row) for row in found.shifts.iter_rows(named=True) if row["model"] == POOLED),
    )


def _facts(found: HumanAnalysis) -> tuple[str, ...]:
    """Say whose ratings are in the tables."""
    raters = found.raters
    rated = raters.filter(raters["texts"] > 0)
    kept = rated.filter(~rated["excluded"])
    ratings = int(kept["texts"].sum())
    facts = [f"{counted(ratings, 'rating')} by {counted(len(kept), 'rater')}."]
    checked = raters.filter(raters["checks"] > 0)
    failed = raters.filter(raters["failed"] > 0)
    if len(checked):
        codes = f": {', '.join(failed['rater'])}" if len(failed) else ""
        what = "left out" if found.exclude == "failed-checks" else "kept, as asked"
        told = f"{len(failed)} of {counted(len(checked), 'rater')} failed an attention check"
        facts.append(f"{told} and {'is' if len(failed) == 1 else 'are'} {what}{codes}." if codes else f"{told}.")
    else:
        facts.append("There were no attention checks.")
    for flag, told in (
        ("finished", "did not finish, and stay with what they rated"),
        ("straight", "gave one point to nearly every text"),
    ):
        column = kept[flag] if flag == "straight" else ~kept[flag]
        others = kept.filter(column)
        if len(others):
            facts.append(f"{counted(len(others), 'rater')} {told}: {', '.join(others['rater'])}.")
    return tuple(facts)


def _panel(name: str, found: HumanAnalysis, place: tuple[str, str], key: str) -> PeoplePanel:
    kind, dimension = place
    rows = [r for r in _of(found.differences.iter_rows(named=True), place) if r["unit"] == "points"]
    main = [r for r in rows if r["method"] == HEADLINE]
    known = [end for r in main for end in (r["estimate"], r["low"], r["high"]) if end is not None]
    scale, ticks = scale_for([0.0, -found.margin, found.margin, *known], found.margin)

    def at(value: float | None) -> float | None:
        return None if value is None else round(min(100.0, max(0.0, scale(value))), 1)

    def shown(row: Row) -> PeopleRow:
        return PeopleRow(
            variant=row["variant"],
            where="" if row["model"] == POOLED else row["model"],
            mark=f"leaning {row['leaning']}" if row["leaning"] else _mark(row["verdict"]),
            difference=_points(row["estimate"]),
            interval=_bounds(row["low"], row["high"]),
            p=p_value(row["p_adjusted"]),
            words=_words(row),
            counts=f"{row['ratings']:,} ratings · {row['raters']:,} raters · {row['texts']:,} texts",
            x=at(row["estimate"]),
            left=at(row["low"]),
            right=at(row["high"]),
        )

    bars = _bars(list(_cells(found, place)))
    pooled = [bar for bar in bars if not bar.where]
    return PeoplePanel(
        anchor=f"p-{identifier(name, kind, dimension)}",
        key=key,
        kind=KIND_TITLES.get(kind, kind),
        dimension=dimension,
        zero=at(0.0) or 0.0,
        margin=(at(-found.margin) or 0.0, at(found.margin) or 0.0),
        floor=None,
        left_word="worse",
        right_word="better",
        ticks=tuple((at(tick) or 0.0, change_label(tick, "points")) for tick in ticks),
        rows=tuple(shown(r) for r in main if r["model"] == POOLED),
        by_model=tuple(shown(r) for r in main if r["model"] != POOLED),
        methods=tuple(_method(r) for r in _of(found.differences.iter_rows(named=True), place) if r["model"] == POOLED),
        bars=tuple(pooled or bars),
        cells=tuple(bar for bar in bars if bar.where) if pooled else (),
        sensitivity=tuple(_sensitivity(r) for r in _of(found.sensitivity.iter_rows(named=True), place)),
    )


def _of(rows: Iterator[dict[str, Any]], place: tuple[str, str]) -> Iterator[Row]:
    return (row for row in rows if (row["kind"], row["dimension"]) == place)


def _cells(found: HumanAnalysis, place: tuple[str, str]) -> Iterator[tuple[Row, Row]]:
    keys = ("model", "variant", "task")
    means = {tuple(r[k] for k in keys): r for r in _of(found.means.iter_rows(named=True), place)}
    for row in _of(found.counts.iter_rows(named=True), place):
        yield row, means[tuple(row[k] for k in keys)]


def _bars(cells: list[tuple[Row, Row]]) -> list[Bar]:
    shares = [[float(count[f"share_{point}"]) for point in _POINTS] for count, _ in cells]
    left = max((_below(one) for one in shares), default=0.0)
    right = max((1 - _below(one) for one in shares), default=0.0)
    return [_bar(*cell, one, left, left + right) for cell, one in zip(cells, shares, strict=True)]


def _below(shares: list[float]) -> float:
    """Return the part of a bar that stands left of the middle: half of the middle point is on either side."""
    return sum(shares[: _MIDDLE - 1]) + shares[_MIDDLE - 1] / 2


def _bar(count: Row, mean: Row, shares: list[float], left: float, whole: float) -> Bar:
    x, segments = left - _below(shares), []
    for point, share in zip(_POINTS, shares, strict=True):
        text = f"{100 * share:.0f}" if share >= _TELLING else ""
        if share:
            width = round(100 * share / whole, 2)
            segments.append(Segment(point=point, x=round(100 * x / whole, 2), width=width, text=text))
        x += share
    pooled = count["model"] == POOLED and count["task"] == ALL_TASKS
    told = tuple(f"{100 * share:.0f} %" for share in shares)
    listed = ", ".join(f"{share} chose {point}" for point, share in zip(_POINTS, told, strict=True))
    where = "" if pooled else f"{count['model']}, {count['task']}"
    return Bar(
        variant=count["variant"],
        where=where,
        mean=f"{mean['mean']:.2f}",
        interval=_values(mean["low"], mean["high"]),
        counts=f"{count['ratings']:,} ratings · {count['raters']:,} raters · {count['texts']:,} texts",
        title=f"{count['variant']}{', ' + where if where else ''}: {listed}",
        shares=told,
        middle=round(100 * left / whole, 2),
        segments=tuple(segments),
    )


def _mark(verdict: str) -> str:
    return "" if verdict in {"", "not comparable"} else verdict


def _words(row: Row) -> str:
    if row["verdict"] == "not comparable":
        return "too few ratings for an interval"
    return f"{row['verdict']}, leaning {row['leaning']}" if row["leaning"] else str(row["verdict"])


def symbol(verdict: str, leaning: str = "") -> str:
    """Return the symbol of a verdict."""
    return LEANING.get(leaning) or SYMBOLS.get(verdict, "")


def _method(row: Row) -> tuple[str, ...]:
    unit = "" if row["unit"] == "points" else f", {row['unit']}"
    interval = _bounds(row["low"], row["high"])
    told = f"{symbol(row['verdict'], row['leaning'])} {_words(row)}".strip() if row["verdict"] else ""
    method = f"{_METHODS[row['method']]}{unit}" + ("" if row["converged"] else " (did not converge)")
    return (
        row["variant"],
        method,
        _points(row["estimate"]),
        interval,
        p_value(row["p"]),
        p_value(row["p_adjusted"]),
        told,
    )


def _sensitivity(row: Row) -> tuple[str, ...]:
    sizes = (f"{row['raters']:,}", f"{row['ratings']:,}")
    interval = _bounds(row["low"], row["high"])
    told = f"{symbol(row['verdict'])} {row['verdict']}".strip()
    return row["variant"], row["data"], row["left_out"], *sizes, _points(row["estimate"]), interval, told


def _agreement(row: Row) -> tuple[str, ...]:
    sizes = (f"{row['texts']:,}", f"{row['raters']:,}")
    kind = KIND_TITLES.get(row["kind"], row["kind"])
    figures = (number(row["alpha"]), _values(row["low"], row["high"]), number(row["published"]))
    return kind, row["dimension"], row["level"], *sizes, *figures


def _matches(found: HumanAnalysis) -> str:
    """Say how many of the texts that people rated were rated by judges, too."""
    told = []
    for (kind, analysis), part in found.matches.group_by(["kind", "analysis"], maintain_order=True):
        same, texts, judged = (int(part[name].sum()) for name in ("same_text", "texts", "judged"))
        other = f" ({judged - same} more were rated in other words)" if judged > same else ""
        told.append(f"{analysis}: {same} of {texts} {KIND_TITLES.get(str(kind), str(kind))}{other}")
    return "; ".join(told)


def _judge(row: Row) -> tuple[str, ...]:
    kind = KIND_TITLES.get(row["kind"], row["kind"])
    needed = f" (needs {row['needed']:,} items)" if row["needed"] else ""
    interval = _values(row["low"], row["high"])
    figures = (number(row["spearman"]), interval, p_value(row["p"]), _points(row["difference"]))
    return kind, row["task"], row["dimension"], row["judge"], f"{row['texts']:,}", *figures, f"{row['verdict']}{needed}"


def _shift(row: Row) -> tuple[str, ...]:
    kind = KIND_TITLES.get(row["kind"], row["kind"])
    people_say = f"{_points(row['people'])} {_bounds(row['people_low'], row['people_high'])}".strip()
    judge_says = f"{_points(row['shift'])} {_bounds(row['low'], row['high'])}".strip()
    signs = "same sign" if row["same_sign"] else "other sign"
    told = {"same way": "✓ same way", "wrong way": "✕ the wrong way"}.get(row["direction"], f"open ({signs})")
    place = (kind, row["dimension"], row["variant"], row["judge"])
    return *place, f"{row['texts']:,}", people_say, judge_says, told


def _points(value: float | None) -> str:
    """Write a difference in points, or in log-odds: two decimals, with a sign."""
    if value is None:
        return DASH
    text = f"{abs(value):.2f}"
    return text if not text.strip("0.") else f"{MINUS if value < 0 else '+'}{text}"


def _bounds(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{_points(low)}, {_points(high)}]"


def _values(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return f"[{low:.2f}, {high:.2f}]".replace("-", MINUS)
