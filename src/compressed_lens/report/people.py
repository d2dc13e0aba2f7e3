"""The section People: what raters said of each variant, from the analyses of a run's human studies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from compressed_lens.human.findings import HEADLINE, POOLED, HumanAnalysis
from compressed_lens.report.formatting import DASH, MINUS, counted, identifier, p_value
from compressed_lens.report.likert import Bar, Row, bars, bounds
from compressed_lens.report.panels import scale_for
from compressed_lens.report.scale import change_label
from compressed_lens.report.words import LEANING, SYMBOLS
from compressed_lens.statistics.equivalence import FEWEST_PAIRS

KIND_TITLES: Mapping[str, str] = {"explanation": "explanations", "counterfactual": "counterfactuals"}

_METHODS: Mapping[str, str] = {
    "linear": "linear mixed model",
    "clustered": "means, clustered by rater and item",
    "ordinal": "cumulative-link mixed model",
}


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
    """One human study as the report shows it.

    Attributes:
        shifted: The judges that `shifts` has a column of.
        shifts: (texts, dimension, variant, people's change, each judge's), pooled over models.
    """

    name: str
    margin: str
    facts: tuple[str, ...]
    panels: tuple[PeoplePanel, ...]
    agreement: tuple[tuple[str, ...], ...]
    matches: str
    judges: tuple[tuple[str, ...], ...]
    shifted: tuple[str, ...]
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
        judges=tuple(_judge(found, row) for row in found.judges.iter_rows(named=True)),
        shifted=tuple(found.shifts["judge"].unique(maintain_order=True)),
        shifts=tuple(_shifts(found)),
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
            words=_words(row, found.margin),
            counts=f"{row['ratings']:,} ratings · {row['raters']:,} raters · {row['items']:,} items",
            x=at(row["estimate"]),
            left=at(row["low"]),
            right=at(row["high"]),
        )

    drawn = bars(list(_cells(found, place)))
    pooled = [bar for bar in drawn if not bar.where]
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
        methods=tuple(
            _method(r, found.margin)
            for r in _of(found.differences.iter_rows(named=True), place)
            if r["model"] == POOLED
        ),
        bars=tuple(pooled or drawn),
        cells=tuple(bar for bar in drawn if bar.where) if pooled else (),
        sensitivity=tuple(_sensitivity(r) for r in _of(found.sensitivity.iter_rows(named=True), place)),
    )


def _of(rows: Iterator[dict[str, Any]], place: tuple[str, str]) -> Iterator[Row]:
    return (row for row in rows if (row["kind"], row["dimension"]) == place)


def _cells(found: HumanAnalysis, place: tuple[str, str]) -> Iterator[tuple[Row, Row]]:
    keys = ("model", "variant", "task")
    means = {tuple(r[k] for k in keys): r for r in _of(found.means.iter_rows(named=True), place)}
    for row in _of(found.counts.iter_rows(named=True), place):
        yield row, means[tuple(row[k] for k in keys)]


def _mark(verdict: str) -> str:
    return "" if verdict in {"", "not comparable"} else verdict


def _words(row: Row, margin: float) -> str:
    """Say the verdict, and why it is none where the figures beside it do not."""
    if row["verdict"] == "not comparable":
        return "no interval: too few ratings, or raters who never disagree"
    told = f"{row['verdict']}, leaning {row['leaning']}" if row["leaning"] else str(row["verdict"])
    if row["verdict"] == "undecided" and row["items"] < FEWEST_PAIRS and row["low"] > -margin:
        word = "equivalent" if row["high"] < margin else "non-inferior"
        return f"{told}: {counted(row['items'], 'item')} are too few to call it {word}"
    return told


def symbol(verdict: str, leaning: str = "") -> str:
    """Return the symbol of a verdict."""
    return LEANING.get(leaning) or SYMBOLS.get(verdict, "")


def _method(row: Row, margin: float) -> tuple[str, ...]:
    unit = "" if row["unit"] == "points" else f", {row['unit']}"
    interval = _bounds(row["low"], row["high"])
    told = f"{symbol(row['verdict'], row['leaning'])} {_words(row, margin)}".strip() if row["verdict"] else ""
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
    figures = (_plain(row["alpha"]), bounds(row["low"], row["high"]), _plain(row["published"]))
    return kind, row["dimension"], row["level"], *sizes, *figures


def _matches(found: HumanAnalysis) -> str:
    """Say how many of the texts that people rated were rated by judges, too."""
    told = []
    for (kind, analysis), part in found.matches.group_by(["kind", "analysis"], maintain_order=True):
        same, texts, judged = (int(part[name].sum()) for name in ("same_text", "texts", "judged"))
        other = f" ({judged - same} more were rated in other words)" if judged > same else ""
        told.append(f"{analysis}: {same} of {texts} {KIND_TITLES.get(str(kind), str(kind))}{other}")
    return "; ".join(told)


def _judge(found: HumanAnalysis, row: Row) -> tuple[str, ...]:
    needed = f" (needs {row['needed']:,} items)" if row["needed"] else ""
    interval = bounds(row["low"], row["high"])
    figures = (_plain(row["spearman"]), interval, p_value(row["p"]), _points(row["difference"]))
    place = (_texts(found, row), row["task"], row["dimension"], row["judge"])
    return *place, f"{row['texts']:,}", *figures, f"{row['verdict']}{needed}"


def _shifts(found: HumanAnalysis) -> Iterator[tuple[str, ...]]:
    """Yield what each variant changed for people, and beside it for each judge."""
    pooled = found.shifts.filter(found.shifts["model"] == POOLED)
    judges = found.shifts["judge"].unique(maintain_order=True)
    keys = ["kind", "analysis", "dimension", "variant"]
    for _, part in pooled.group_by(keys, maintain_order=True):
        rows = {row["judge"]: row for row in part.iter_rows(named=True)}
        first = next(iter(rows.values()))
        told = (_shift(rows[judge]) if judge in rows else DASH for judge in judges)
        people_say = f"{_points(first['people'])} {_bounds(first['people_low'], first['people_high'])}".strip()
        yield _texts(found, first), first["dimension"], first["variant"], people_say, *told


def _shift(row: Row) -> str:
    way = {"same way": " ✓ same way", "wrong way": " ✕ wrong way"}.get(row["direction"], "")
    return f"{_points(row['shift'])} {_bounds(row['low'], row['high'])}".strip() + way


def _texts(found: HumanAnalysis, row: Row) -> str:
    """Return the kind of texts, and the judges' analysis where a kind has several."""
    kind = KIND_TITLES.get(row["kind"], row["kind"])
    several = found.matches.filter(found.matches["kind"] == row["kind"])["analysis"].n_unique() > 1
    return f"{kind} ({row['analysis']})" if several else kind


def _plain(value: float | None) -> str:
    """Write a coefficient from -1 to 1: two decimals."""
    return DASH if value is None else f"{round(value, 2) + 0.0:.2f}".replace("-", MINUS)


def _points(value: float | None) -> str:
    """Write a difference in points, or in log-odds: two decimals, with a sign."""
    if value is None:
        return DASH
    text = f"{abs(value):.2f}"
    return text if not text.strip("0.") else f"{MINUS if value < 0 else '+'}{text}"


def _bounds(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{_points(low)}, {_points(high)}]"
