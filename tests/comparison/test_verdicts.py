"""Verdicts: how often they are wrong, and that equality is never read off a difference that was not shown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.comparison.conftest import FAILED, MISSING, measure
from tests.comparison.conftest import make as handmade

from compressed_lens.comparison import figures, use_verdicts
from compressed_lens.comparison.gating import rulings
from compressed_lens.comparison.margins import margin_of
from compressed_lens.comparison.measures import Figure
from compressed_lens.comparison.series import Measure, Outcome, Series, Variant
from compressed_lens.comparison.verdicts import judged
from compressed_lens.errors import StudyError
from compressed_lens.statistics import Interval
from compressed_lens.study.margins import check_margins

RATES = [
    measure(name, family=family)
    for name, family in [("right", "task"), ("known", "knowledge"), ("true", "faithfulness")]
]
AMOUNTS = [
    measure("overlap", unit="nats", family="quality"),
    measure("errors", "lower", unit="points", family="quality"),
]


def interval(estimate: float, low: float, high: float, n: int = 100) -> Interval:
    return Interval(
        estimate=estimate, low=low, high=high, n=n, dropped=0, units=n, confidence=0.95, method="bca"
    )  # fmt: skip


def variant(name: str, *, model: str = "m", status: str = "passed", placebo: bool = False) -> Variant:
    return Variant(
        model=model, name=name, status=status, reason="", fingerprint="", audit={}, findings=(), bytes_on_disk=None,
        recipe={"placebo": {"dtype": "bfloat16"}} if placebo else {}, memory_bytes=None, speed={}, loaded={},
    )  # fmt: skip


def make(columns: dict[str, dict[str, np.ndarray]], measures: list[Measure], model: str = "m") -> Series:
    """Return a series from values by variant and measure."""
    n = len(next(iter(next(iter(columns.values())).values())))
    return Series(
        model=model, task="t", analysis="a", method="a", settings={}, measures=tuple(measures),
        rows=tuple((f"i{k}", 0) for k in range(n)), groups=("",) * n, planned=dict.fromkeys(columns, n),
        outcomes={
            name: tuple(Outcome(values={m: v[k].item() for m, v in told.items()}, failed=None) for k in range(n))
            for name, told in columns.items()
        },
    )  # fmt: skip


def answers(rng: np.random.Generator, chances: np.ndarray, levels: np.ndarray) -> dict[str, np.ndarray]:
    """Draw what a model does on items: yes or no by each item's chance, and skewed amounts around each item's level."""
    found = {m.name: rng.random(len(chances)) < chances for m in RATES}
    found["overlap"] = levels + rng.exponential(1.0, len(levels))
    found["errors"] = rng.poisson(levels).astype(float)
    return found


@pytest.mark.parametrize(("n", "runs"), [(50, 80), (300, 40)])
def test_a_placebo_is_rarely_called_worse(n: int, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides are draws from one distribution: the chance of any false 'worse' of a variant is at most 5 %."""
    monkeypatch.setattr("compressed_lens.comparison.measures.REPLICATES", 2_000)
    rng, worse, names = np.random.default_rng(n), 0, ("q1", "q2", "q3", "q4", "q5")
    told = [variant(name) for name in ("full", *names)]
    for _ in range(runs):
        chances, levels = rng.beta(4, 1, n), rng.gamma(1.0, 2.0, n)
        one = make({v.name: answers(rng, chances, levels) for v in told}, RATES + AMOUNTS)
        found = use_verdicts(figures([one], told), told)
        worse += len({use.variant for use in found if use.verdict == "worse"})
    assert worse / (runs * len(names)) <= 0.05


def test_a_loss_that_is_there_is_found() -> None:
    rng = np.random.default_rng(0)
    chances, levels = rng.beta(4, 1, 300), rng.gamma(1.0, 2.0, 300)
    full, q = answers(rng, chances, levels), answers(rng, chances, levels)
    q["known"] = q["known"] & (rng.random(300) < 0.8)
    found = figures([make({"full": full, "q": q}, RATES + AMOUNTS)], [variant("full"), variant("q")])
    verdicts = {use.use: use.verdict for use in use_verdicts(found, [variant("q")])}
    assert verdicts["knowledge"] == "worse" and "worse" not in {v for u, v in verdicts.items() if u != "knowledge"}


@given(
    st.floats(-1, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0.001, 0.5),
    st.sampled_from(["higher", "lower"]),
    st.floats(0, 1),
    st.integers(1, 200),
    st.one_of(st.none(), st.floats(0, 0.2)),
)
def test_only_the_interval_decides(  # noqa: PLR0917 (Hypothesis passes them by place)
    estimate: float, below: float, above: float, margin: float, direction: str, p: float, n: int, floor: float | None
) -> None:
    paired = interval(estimate, estimate - below, estimate + above, n)
    verdict, leaning = judged(paired, direction=direction, p=p, p_adjusted=p, margin=margin, floor=floor)
    inside = -margin < paired.low and paired.high < margin
    worst = paired.low if direction == "higher" else -paired.high
    assert (verdict == "equivalent") == (inside and n >= (20 if below + above > 1e-6 * margin else 73))
    if verdict == "non-inferior":
        assert worst > -margin and n >= 20
    if verdict in {"worse", "better"}:
        assert paired.excludes_zero and p < 0.05 and abs(estimate) > (floor or 0)
        assert (estimate > 0) == ((verdict == "better") == (direction == "higher"))
    assert not leaning or verdict == "undecided"
    # However little is shown, that alone is no equality.
    assert judged(paired, direction=direction, p=1.0, p_adjusted=1.0, margin=None, floor=None) == ("undecided", "")


def test_a_sure_but_tiny_loss_is_equivalent_and_one_within_the_noise_undecided() -> None:
    sure = {"direction": "higher", "p": 1e-9, "p_adjusted": 1e-8}
    assert judged(interval(-0.001, -0.002, -0.0005), **sure, margin=0.02, floor=None) == ("equivalent", "")
    loss = interval(-0.05, -0.08, -0.02)
    assert judged(loss, **sure, margin=0.02, floor=0.01) == ("worse", "")
    assert judged(loss, **sure, margin=0.02, floor=0.06) == ("undecided", "")
    assert judged(loss, **{**sure, "p_adjusted": 0.2}, margin=0.02, floor=None) == ("undecided", "worse")
    assert judged(loss, **{**sure, "direction": "neither"}, margin=None, floor=None) == ("different", "")
    assert judged(interval(math.nan, math.nan, math.nan, 1), **sure, margin=0.02, floor=None)[0] == "not comparable"


def by_name(found: tuple[Figure, ...]) -> dict[tuple[str, str], Figure]:
    return {(figure.variant, figure.measure.name): figure for figure in found}


def test_the_floor_is_the_largest_difference_of_a_sound_placebo() -> None:
    rng = np.random.default_rng(1)
    full = rng.random(200) < 0.9
    moved = {name: full.copy() for name in ("p1", "p2", "broken", "q")}
    for name, count in (("p1", 2), ("p2", 6), ("broken", 100), ("q", 5)):
        moved[name][np.flatnonzero(full)[:count]] = False
    columns = {"full": {"right": full}} | {name: {"right": values} for name, values in moved.items()}
    told = [variant("full"), variant("q"), variant("p1", placebo=True), variant("p2", placebo=True)]
    told.append(variant("broken", status="marked", placebo=True))
    found = by_name(figures([make(columns, RATES[:1])], told))
    assert found["q", "right"].floor == pytest.approx(6 / 200) and found["p2", "right"].floor is None
    assert found["q", "right"].verdict == "undecided", "it lost less than a placebo"
    assert found["p2", "right"].paired is not None
    placebos = {use.variant for use in use_verdicts(tuple(found.values()), told) if use.placebo}
    assert placebos == {"p1", "p2", "broken"}


def test_corrections_run_within_confirmatory_and_exploratory_measures() -> None:
    rng = np.random.default_rng(2)
    secondary = [measure(f"s{k}", primary=False) for k in range(6)]
    named = [measure("right"), measure("known"), measure("moved", "neither"), *secondary]
    full = {m.name: rng.random(120) < 0.7 for m in named}
    q = {name: np.where(rng.random(120) < 0.15, False, values) for name, values in full.items()}
    found = by_name(figures([make({"full": full, "q": q}, named)], [variant("full"), variant("q")]))
    raw = {name: found["q", name].p for name in full}
    first, second = sorted(raw[name] for name in ("right", "known"))
    holm = sorted(found["q", name].p_adjusted for name in ("right", "known"))
    assert holm == pytest.approx([min(1, 2 * first), min(1, max(2 * first, second))])
    others = [m.name for m in named[2:]]
    ordered = sorted(others, key=lambda name: raw[name])
    expected = [
        min(1, *(raw[ordered[j]] * len(ordered) / (j + 1) for j in range(k, len(ordered)))) for k in range(len(ordered))
    ]
    assert [found["q", name].p_adjusted for name in ordered] == pytest.approx(expected)
    assert not found["q", "moved"].confirmatory and found["q", "moved"].margin is None


def test_needed_pairs_are_named_and_decide() -> None:
    full = np.arange(100) < 90
    found = by_name(figures([make({"full": {"right": full}, "q": {"right": full}}, RATES[:1])], [variant("q")]))
    one = found["q", "right"]
    assert one.verdict == "undecided" and one.needed is not None and 185 <= one.needed <= 195
    full = np.arange(one.needed) % 10 > 0
    found = by_name(figures([make({"full": {"right": full}, "q": {"right": full}}, RATES[:1])], [variant("q")]))
    assert found["q", "right"].verdict == "equivalent"


def test_a_measure_that_moves_on_no_item_is_equivalent_on_enough_items_only() -> None:
    for n, verdict, needed in ((60, "undecided", 73), (73, "equivalent", None)):
        level = {"overlap": np.random.default_rng(0).gamma(1.0, 2.0, n)}
        (one,) = [f for f in figures([make({"full": level, "q": level}, AMOUNTS[:1])], [variant("q")]) if f.same]
        assert (one.verdict, one.needed) == (verdict, needed)


def test_a_measure_that_the_variant_fails_on_throughout_is_not_passed_over() -> None:
    of = measure("faithful")
    told = [variant("full"), variant("q")]

    def verdicts(full: list[object], q: list[object]) -> dict[str, str]:
        members = [handmade({"full": full, "q": q}, of=of), handmade({"full": [1.0] * 300, "q": [1.0] * 300},
                   of=measure("sure"), analysis="b")]  # fmt: skip
        return {use.use: use.verdict for use in use_verdicts(figures(members, told), told)}

    assert verdicts([True] * 300, [FAILED] * 300)["faithfulness"] == "undecided"
    assert verdicts([True] * 300, [None] * 300)["faithfulness"] == "undecided"
    assert verdicts([True] * 300, [MISSING] * 300)["faithfulness"] == "equivalent", "not recorded: not measured"
    assert verdicts([None] * 300, [True] * 300)["faithfulness"] == "equivalent", "does not apply to the model"
    alone = [handmade({"full": [True] * 300, "q": [FAILED] * 300}, of=of)]
    (use,) = [use for use in use_verdicts(figures(alone, told), told) if use.use == "faithfulness"]
    (ruling,) = [one for one in rulings([use], told) if one.use is not None]
    assert use.verdict == "undecided" and use.needed is None and not ruling.passed


def test_margins_by_the_most_specific_name() -> None:
    rate, amount = measure("usable", family="quality"), measure("score", unit="nats")
    told = {"a.usable": 0.01, "usable": 0.02, "a": 0.03, "quality": 0.04}
    for key, value in list(told.items()):
        assert margin_of(told, "a", rate, 1.0) == value
        del told[key]
    assert margin_of({}, "a", rate, 1.0) == 0.05 and margin_of({}, "a", measure("right", family="task"), 1.0) == 0.02
    assert margin_of({}, "a", amount, 3.0) == pytest.approx(0.6) and margin_of({}, "a", amount, 0.0) is None
    assert margin_of({"score": 1.0}, "a", measure("score", "neither"), 1.0) is None
    check_margins({"a.usable": 1.0, "quality": 1.0}, [("a", "usable", "quality")], where="x")
    with pytest.raises(StudyError, match="'usabel' is for nothing that is measured. Did you mean 'usable'"):
        check_margins({"usabel": 1.0}, [("a", "usable", "quality")], where="x")


def test_survivors_alone_do_not_clear_a_variant() -> None:
    """A variant that fails on the items it would have lost is judged on the rest; that is no equality."""
    full = [True] * 200
    for failed, expected in ((8, "equivalent"), (30, "undecided")):
        one = handmade({"full": full, "q": [FAILED] * failed + full[failed:]}, of=RATES[0])
        (found,) = (f for f in figures([one], [variant("q")]) if f.variant == "q")
        assert (found.verdict, found.unpaired, found.needed) == (expected, failed, None)
        one = handmade({"full": [FAILED] * failed + full[failed:], "q": full}, of=RATES[0])
        (found,) = (f for f in figures([one], [variant("q")]) if f.variant == "q")
        assert found.unpaired == 0, "what full precision failed on is no fault of the variant"
    counted = measure("right", family="task", on_failure=0.0)
    one = handmade({"full": full, "q": [FAILED] * 30 + full[30:]}, of=counted)
    (found,) = (f for f in figures([one], [variant("q")]) if f.variant == "q")
    assert (found.verdict, found.unpaired) == ("worse", 0), "where a failure counts as a loss it is one"
    gain = interval(0.2, 0.1, 0.3)
    told = {"direction": "higher", "p": 1e-6, "p_adjusted": 1e-6, "margin": 0.02, "floor": None}
    assert judged(gain, **told, failed=5) == ("better", "") and judged(gain, **told, failed=6)[0] == "undecided"
    assert judged(interval(-0.2, -0.3, -0.1), **told, failed=90) == ("worse", "")
