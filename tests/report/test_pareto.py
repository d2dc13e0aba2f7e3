"""Pareto fronts, names beside marks, and bent scales: geometry against brute force."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from compressed_lens.comparison.measures import figures
from compressed_lens.comparison.series import FULL, Measure, Outcome, Series, Variant
from compressed_lens.comparison.uses import UseVerdict, use_verdicts
from compressed_lens.report.headline import Labels
from compressed_lens.report.labels import placed
from compressed_lens.report.pareto import HEIGHT, WIDTH, Pareto, front, paretos, staircase, standings
from compressed_lens.report.scale import Bent, log_numbers, padded_bent

HIT = Measure(name="hit", value="hit", direction="higher", unit="rate", summary="", primary=True, family="task")
MISS = Measure(name="miss", value="miss", direction="lower", unit="rate", summary="", primary=True, family="task")
WORDS = Measure(name="words", value="words", direction="neither", unit="", summary="", primary=True, family="task")
ITEMS = 200


def variant(name: str, size: int | None, *, status: str = "passed", seconds: float = 10.0, **recipe: object) -> Variant:
    return Variant(
        model="m", name=name, status=status, reason="", fingerprint="", recipe=recipe, audit={}, findings=(),
        bytes_on_disk=size, memory_bytes=None, speed={"seconds": seconds, "executed_tokens": 1000}, loaded={},
    )  # fmt: skip


VARIANTS = (
    variant("full", 8_000_000),
    variant("big", 6_000_000, seconds=5),
    variant("small", 4_000_000, seconds=20),
    variant("bad", 4_200_000, seconds=30),
    variant("broken", 1_000_000, status="marked"),
    variant("again", 8_000_000, placebo="float64"),
)
LOST = {"full": 0, "big": 0, "small": 10, "bad": 60, "broken": 190, "again": 1}


def series() -> Series:
    return Series(
        model="m", task="t", analysis="a", method="a", settings={}, measures=(HIT, MISS, WORDS),
        rows=tuple((f"i{k}", 0) for k in range(ITEMS)), groups=("",) * ITEMS, planned=dict.fromkeys(LOST, ITEMS),
        outcomes={name: tuple(
            Outcome(values={"hit": k >= lost, "miss": k < lost // 2, "words": k + lost}, failed=None)
            for k in range(ITEMS)
        ) for name, lost in LOST.items()},
    )  # fmt: skip


@pytest.fixture(scope="module")
def verdicts() -> tuple[UseVerdict, ...]:
    return use_verdicts(figures([series()], VARIANTS), VARIANTS)


@pytest.fixture(scope="module")
def pareto(verdicts: tuple[UseVerdict, ...]) -> Pareto:
    (found,) = paretos(verdicts, VARIANTS, Labels([f for v in verdicts for f in v.figures]))
    return found


def test_a_point_is_on_the_front_unless_another_is_as_good_in_both() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = [(float(a), float(b)) for a, b in rng.integers(0, 6, (12, 2))]
        for better, sign in (("left", -1), ("right", 1)):
            expected = []
            for cost, worth in points:
                beaten = False
                for c, w in points:
                    no_worse = sign * c >= sign * cost and w >= worth
                    beaten |= no_worse and (sign * c > sign * cost or w > worth)
                expected.append(not beaten)
            assert front(points, better=better) == tuple(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("better", ["left", "right"])
def test_the_staircase_is_the_best_that_can_be_had_at_a_cost(better: str) -> None:
    rng = np.random.default_rng(1)
    points = [(float(a), float(b)) for a, b in rng.uniform(0, 100, (30, 2)).round(1)]  # y grows down: worth is -y
    on = front([(x, -y) for x, y in points], better=better)  # type: ignore[arg-type]
    best = sorted(p for p, kept in zip(points, on, strict=True) if kept)
    assert len(best) > 2
    path = staircase(best, better)  # type: ignore[arg-type]
    corners = walk(path)
    for x in np.linspace(best[0][0] + 1e-6, best[-1][0] - 1e-6, 57):
        reachable = [y for c, y in points if (c <= x if better == "left" else c >= x)]
        assert drawn_height(corners, x) == pytest.approx(min(reachable), abs=1e-3)


def walk(path: str) -> list[tuple[float, float]]:
    """Return the corners of a path of M, H and V."""
    corners: list[tuple[float, float]] = []
    for kind, text in re.findall(r"([MHV])([^MHV]+)", path):
        numbers = [float(part) for part in text.split()]
        x, y = corners[-1] if corners else (0.0, 0.0)
        corners.append({"M": tuple(numbers), "H": (numbers[0], y), "V": (x, numbers[0])}[kind])  # type: ignore[arg-type]
    return corners


def drawn_height(corners: Sequence[tuple[float, float]], x: float) -> float:
    return next(y for (a, y), (b, y2) in zip(corners, corners[1:], strict=False) if y == y2 and a <= x <= b)


def test_the_worst_confirmatory_measure_in_its_margins(verdicts: tuple[UseVerdict, ...]) -> None:
    rows = {row.variant: row for row in standings([v for v in verdicts if v.use == "task"])}
    assert rows[FULL].worth == 0 and rows[FULL].figure is None
    for name, lost in LOST.items():
        if name == FULL:
            continue
        # Margins of rates of tasks are two points; "hit" falls by twice what "miss" rises, "words" has no direction.
        assert rows[name].worth == pytest.approx(-lost / ITEMS / 0.02)
        assert rows[name].low <= rows[name].worth <= rows[name].high
        assert rows[name].figure is not None and rows[name].figure.measure in ({HIT} if lost else {HIT, MISS})


def test_only_sound_candidates_are_on_a_front(pareto: Pareto) -> None:
    size, speed = pareto.charts
    assert (size.cost, size.better, speed.cost, speed.better) == ("size on disk", "left", "tokens per second", "right")
    kinds = {mark.variant: (mark.kind, mark.front) for mark in size.marks}
    assert kinds == {
        "full": ("full", False), "big": ("front", True), "small": ("front", True), "bad": ("dominated", False),
        "broken": ("failed", False), "again": ("placebo", False),
    }  # fmt: skip
    assert {mark.variant for mark in speed.marks if mark.front} == {"big"}
    assert "On the front: small and big; beaten: full and bad." in size.title
    broken = next(mark for mark in size.marks if mark.variant == "broken")
    assert broken.beyond and broken.top is None, "a failed variant does not set the scale"
    assert [mark.label is None for mark in size.marks] == [False] * 5 + [True]


def test_the_table_holds_what_the_charts_draw(pareto: Pareto) -> None:
    rows = {row.variant: row for row in pareto.rows}
    assert list(rows) == [v.name for v in VARIANTS]
    assert rows["small"].costs == ("4.00 MB", "50.0")
    cell = rows["small"].cells[0]
    assert cell.text == "\u22122.5" and cell.measure == "hit on t" and cell.fronts == "front: size"
    assert rows["big"].cells[0].fronts == "front: size and speed" and rows["full"].cells[0].text == "0"


def test_what_full_precision_holds_to_rounding_has_no_margin() -> None:
    cosine = Measure(name="cosine", value="cosine", direction="higher", unit="cosine", summary="", primary=True)
    values = {FULL: [1.0 - 1e-8 * (k % 2) for k in range(ITEMS)], "q": [0.5 + 0.01 * (k % 7) for k in range(ITEMS)]}
    of = replace(
        series(),
        measures=(cosine,),
        planned=dict.fromkeys(values, ITEMS),
        outcomes={n: tuple(Outcome(values={"cosine": v}, failed=None) for v in every) for n, every in values.items()},
    )
    found = {figure.variant: figure for figure in figures([of], (VARIANTS[0], variant("q", 1)))}
    assert found["q"].margin is None and found["q"].verdict == "worse"


def test_uses_and_costs_that_were_not_measured_have_no_chart(verdicts: tuple[UseVerdict, ...]) -> None:
    sizeless = [variant(v.name, None, seconds=0.0) for v in VARIANTS]
    assert paretos(verdicts, sizeless, Labels([])) == ()
    assert paretos((), VARIANTS, Labels([])) == ()


def test_names_cover_neither_marks_nor_each_other() -> None:
    rng = np.random.default_rng(2)
    for crowd in (1.0, 0.3):
        points = [(float(WIDTH * (0.5 + crowd * (a - 0.5))), float(HEIGHT * b)) for a, b in rng.uniform(0, 1, (10, 2))]
        names = {n: f"gptq-{n}bit" for n in range(10)}
        found = placed(points, names, WIDTH, HEIGHT)
        assert set(found) == set(names)
        boxes = []
        for n, spot in found.items():
            long = 6.4 * len(names[n])
            left = points[n][0] + spot.dx - {"start": 0, "middle": long / 2, "end": long}[spot.anchor]
            middle = points[n][1] + spot.dy
            boxes.append((left, middle - 6, left + long, middle + 6))
        for n, (left, top, right, bottom) in enumerate(boxes):
            assert left >= 0 and right <= WIDTH and top >= -1 and bottom <= HEIGHT + 1
            for x, y in points:
                assert not (left < x < right and top < y < bottom), "a name lies on a mark"
            for other in boxes[:n]:
                assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_a_name_without_room_is_left_out() -> None:
    assert placed([(5.0, 5.0)], {0: "a name far too long"}, 40.0, 20.0) == {}


def test_a_bent_scale_is_even_at_zero_and_denser_beyond() -> None:
    scale = Bent(-1.0, 0.2, 0.02)
    assert scale(-1.0) == pytest.approx(0) and scale(0.2) == pytest.approx(100)
    values = np.linspace(-1, 0.2, 200)
    places = np.array([scale(v) for v in values])
    assert (np.diff(places) > 0).all()
    within = (scale(0.02) - scale(0.0)) / (scale(0.01) - scale(0.0))
    assert 1.7 < within < 2, "up to the margin twice the difference is about twice the way"
    assert scale(-0.5) - scale(-1.0) < scale(0.0) - scale(-0.02)
    ticks = scale.round_numbers(gap=10)
    assert 0 in ticks and {-0.02, 0.02} <= {round(t, 6) for t in ticks} and ticks == sorted(ticks)
    gaps = np.diff([scale(t) for t in ticks])
    assert (gaps >= 10 - 1e-9).all() and len(ticks) >= 5


def test_a_padded_bent_range_has_the_same_room_on_both_sides() -> None:
    low, high = padded_bent(-1.0, 0.2, knee=0.02)
    scale = Bent(low, high, 0.02)
    assert scale(-1.0) == pytest.approx(100 - scale(0.2)) and 0 < scale(-1.0) < 10


@pytest.mark.parametrize(("low", "high"), [(2e6, 8e6), (300.0, 12_000.0), (1.0, 1e9), (15.9, 16.4)])
def test_log_scales_have_a_few_round_numbers(low: float, high: float) -> None:
    ticks = log_numbers(low, high)
    assert 2 <= len(ticks) <= 10 and all(low <= tick <= high for tick in ticks)
    assert all(not math.isnan(tick) and tick > 0 for tick in ticks)
