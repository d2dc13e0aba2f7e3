"""Transition tables against plain counting; the counts add up to the items whatever happened to them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.comparison.conftest import FAILED, MISSING, make, measure

from compressed_lens.comparison import figures, outcome_tables, transitions, transitions_frame
from compressed_lens.comparison.series import Measure, Outcome, Series, Variant
from compressed_lens.comparison.transitions import Transition
from compressed_lens.statistics import paired_rate_interval

SIDES = (True, False, None, FAILED, MISSING)


def only(one: Series) -> Transition:
    (found,) = transitions([one], figures([one], {}))
    return found


def test_every_pair_of_sides_has_one_place() -> None:
    pairs = list(itertools.product(SIDES, SIDES))
    t = only(make({"full": [a for a, _ in pairs], "q": [b for _, b in pairs]}, planned=30))
    assert (t.preserved, t.lost, t.gained, t.both_bad) == (1, 1, 1, 1)
    assert (t.not_applicable_full, t.not_applicable_variant, t.not_applicable_both) == (2, 2, 1)
    assert (t.failed_full, t.failed_variant, t.failed_both) == (3, 3, 1)
    assert t.unrecorded == 9 + 5 and t.items == 30


@given(
    st.lists(st.tuples(st.sampled_from(SIDES), st.sampled_from(SIDES)), min_size=1, max_size=40),
    st.sampled_from(["higher", "lower", "neither"]),
    st.sampled_from([None, 0.0, 1.0]),
)
def test_counts_add_up_and_equal_plain_counting(pairs: list, direction: str, on_failure: float | None) -> None:
    one = make(
        {"full": [a for a, _ in pairs], "q": [b for _, b in pairs]},
        of=measure(direction=direction, on_failure=on_failure),
    )
    found = transitions([one], figures([one], {}))
    values = [v for pair in pairs for v in pair if isinstance(v, bool)]
    recorded = any(b is not MISSING for _, b in pairs)
    if not values or not recorded:
        assert not found
        return
    (t,) = found
    good = {True: direction != "lower", False: direction == "lower"}

    def counts_as(side: object) -> object:
        if side is FAILED and on_failure is not None:
            return good[bool(on_failure)]
        return good[side] if isinstance(side, bool) else side

    plain = Counter((counts_as(a), counts_as(b)) for a, b in pairs)
    assert (t.preserved, t.lost, t.gained, t.both_bad) == tuple(
        plain[key] for key in ((True, True), (True, False), (False, True), (False, False))
    )
    assert t.pairs + t.not_applicable + t.failed + t.unrecorded == t.items == len(pairs)


def test_chances_and_interval() -> None:
    full, q = [True] * 30 + [False] * 10, [True] * 23 + [False] * 7 + [True] + [False] * 9
    t = only(make({"full": full, "q": q}))
    assert (t.lost, t.gained, t.share(t.preserved)) == (7, 1, 23 / 40)
    assert t.p == pytest.approx(stats.binomtest(1, 8).pvalue)
    tango = paired_rate_interval(7, 1, 40)
    assert (t.net.estimate, t.net.low, t.net.high) == pytest.approx((-6 / 40, tango.low, tango.high))
    turned = only(make({"full": full, "q": q}, of=measure("stuck", "lower")))
    assert (turned.lost, turned.gained, turned.both_bad) == (1, 7, 23)
    assert (turned.net.low, turned.net.high) == pytest.approx((-tango.high, -tango.low)) and turned.p == t.p


def test_holm_runs_over_the_whole_grid() -> None:
    full = [True] * 20
    variants = {"one": [False] * 8 + [True] * 12, "two": [False] * 6 + [True] * 14}
    both = [make({"full": full, **variants}, analysis=name) for name in ("a", "b")]
    found = transitions(both, figures(both, {}))
    assert [t.p_adjusted for t in found] == pytest.approx([4 / 128, 2 / 32, 4 / 128, 2 / 32])
    frame = transitions_frame(found)
    counted = frame.select(c for c in frame.columns if c.startswith(("not_applicable", "failed"))).sum_horizontal()
    assert frame["items"].to_list() == (frame["pairs"] + frame["unrecorded"] + counted).to_list()


def test_placebos_take_no_part_in_the_candidates_correction() -> None:
    values = {"full": [True] * 20, "q": [False] * 8 + [True] * 12, "half": [False] * 6 + [True] * 14}
    both = [make(values, analysis=name) for name in ("a", "b")]
    found = transitions(both, figures(both, [variant("q"), variant("half", placebo=True)]))
    assert [t.p_adjusted for t in found] == pytest.approx([2 * t.p for t in found])


def test_only_truth_values_have_transitions() -> None:
    for values in ([0.25, 0.5, 1.0], [1, 0, 1], ["yes", "no", "yes"], [None, None, None]):
        one = make({"full": values, "q": values})
        assert not transitions([one], figures([one], {}))
    alone = make({"q": [True, False]})
    assert not transitions([alone], figures([alone], {}))


def test_repeats_of_an_item_are_no_independent_pairs() -> None:
    full, q = [True] * 24, [False] * 12 + [True] * 12
    single, repeated = only(make({"full": full, "q": q})), only(make({"full": full, "q": q}, repeats=4))
    assert single.lost == repeated.lost == 12
    assert single.p is not None and repeated.p is not None and single.p < 0.001 and repeated.p > 0.1


def test_outcomes_add_up(rate: Callable[..., Measure]) -> None:
    one = make({"full": [True] * 6, "q": [True] * 6}, planned=8)
    told = {
        "full": ["ok", "ok", "empty", "ok", "ok", "ok"],
        "q": ["ok", "refused", None, FAILED, MISSING, "ok"],
    }

    def outcome(word: str | None) -> Outcome | None:
        if word is MISSING:
            return None
        return Outcome(values={} if word is None else {"outcome": word}, failed="why" if word is FAILED else None)

    words = Series(**{**vars(one), "outcomes": {v: tuple(map(outcome, w)) for v, w in told.items()}})
    (table,) = outcome_tables([one, words])
    assert table.classes == ("ok", "empty", "refused", "no outcome", "failed", "not recorded")
    assert dict(table.counts) == {"full": (5, 1, 0, 0, 0, 2), "q": (2, 0, 1, 1, 1, 3)}
    assert all(sum(counts) == table.items == 8 for _, counts in table.counts)


def test_many_items_use_the_bootstrap_of_the_measures() -> None:
    generator = np.random.default_rng(0)
    full, q = (list(map(bool, generator.random(300) < p)) for p in (0.8, 0.6))
    one = make({"full": full, "q": q})
    (figure,) = [f for f in figures([one], {}) if f.variant == "q"]
    assert only(one).net == figure.paired and only(one).net.method == "studentized"


def test_the_churn_of_placebos_is_the_floor_of_the_others() -> None:
    variants = [
        variant("half", placebo=True), variant("eager", placebo=True), variant("broken", status="marked", placebo=True),
        variant("q"), variant("other", model="n", placebo=True),
    ]  # fmt: skip
    full = [True, True, False, False]
    one = make(
        {
            "full": full,
            "half": [False, True, True, False],
            "eager": [True, True, True, False],
            "broken": [False, False, True, True],
            "q": [False, True, False, False],
        }
    )
    other = make({"full": full, "other": [False] * 4}, model="n")
    found = transitions([one, other], figures([one, other], variants))
    floors = {(t.model, t.variant): t.floor_churn for t in found}
    assert floors == {
        ("m", "half"): None, ("m", "eager"): None, ("m", "broken"): None, ("m", "q"): 0.5, ("n", "other"): None,
    }  # fmt: skip
    assert transitions_frame(found)["churn_floor"].to_list() == [None, None, None, 0.5, None]
    assert all(t.floor_churn is None for t in transitions([one], figures([one], ())))


def variant(name: str, *, model: str = "m", status: str = "passed", placebo: bool = False) -> Variant:
    recipe = {"placebo": {"dtype": "bfloat16"}} if placebo else {}
    told = {"reason": "", "fingerprint": name, "audit": {}, "findings": (), "speed": {}, "loaded": {}}
    return Variant(model=model, name=name, status=status, recipe=recipe, bytes_on_disk=None, memory_bytes=None, **told)
