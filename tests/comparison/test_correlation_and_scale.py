"""Agreement among tests, and model size, on outcomes written down by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tests.comparison.conftest import FAILED, MISSING, make, measure

from compressed_lens.comparison import (
    agreements,
    agreements_frame,
    choices_frame,
    size_choices,
    size_trends,
    trends_frame,
)
from compressed_lens.comparison.scale import slope_weights
from compressed_lens.comparison.series import Measure, Series, Variant


def test_tests_are_joined_by_item_and_turned_by_direction() -> None:
    names = ("full", "q")
    flips = make(dict.fromkeys(names, [True, True, False, False, None, True]), of=measure("faithful"), analysis="edit")
    moved = make(
        dict.fromkeys(names, [False, False, True, True, True, None]), of=measure("biased", "lower"), analysis="biasing"
    )
    found = agreements([flips, moved])
    assert [(a.variant, a.first, a.second) for a in found] == [
        (name, ("edit", "faithful"), ("biasing", "biased")) for name in names
    ]
    assert [(a.correlation.estimate, a.correlation.n, a.correlation.dropped, a.correlation.kind) for a in found] == [
        (pytest.approx(1.0), 4, 2, "phi")
    ] * 2


def test_a_constant_side_is_said_and_others_are_not_chosen() -> None:
    flips = make({"full": [True] * 5, "q": [True, False, True, FAILED, MISSING]}, analysis="edit")
    shap = make(
        {"full": [0.1, 0.5, 0.3, 0.2, 0.9], "q": [0.4, 0.1, 0.5, 0.2, 0.1]}, of=measure("cc_shap"), analysis="cc"
    )
    extra = make({"full": [True] * 5, "q": [True] * 5}, of=measure("extra", primary=False), analysis="extra")
    task = make({"full": [True] * 5, "q": [True] * 5}, of=measure("accuracy", family="task"), analysis="accuracy")
    rows = agreements_frame(agreements([flips, shap, extra, task])).to_dicts()
    assert [(r["variant"], r["undefined"], r["n"], r["kind"]) for r in rows] == [
        ("full", "first", 5, "spearman"), ("q", None, 3, "spearman"),
    ]  # fmt: skip
    assert rows[0]["correlation"] is None and rows[1]["correlation"] == pytest.approx(math.sqrt(0.75))


def variants(sizes: dict[str, int], *, failed: str = "") -> list[Variant]:
    return [
        Variant(model=model, name=name, status="marked" if (name, model) == ("q", failed) else "passed", reason="",
                fingerprint="", recipe={}, audit={}, findings=(), bytes_on_disk=None,
                memory_bytes=n if name == "full" else n // 4, speed={}, loaded={"parameters": n})
        for model, n in sizes.items() for name in ("full", "q")
    ]  # fmt: skip


def grown(model: str, full: int, q: int, *, of: Measure | None = None) -> Series:
    n = 40
    values = {"full": [k < full for k in range(n)], "q": [k < q for k in range(n)]}
    return make(values, model=model, of=of)


SIZES = {"s": 10**6, "m": 10**7, "l": 10**9}


def test_slope_is_least_squares_and_its_interval_plain_resampling() -> None:
    runs = [grown("l", 38, 37), grown("s", 30, 14), grown("m", 34, 27)]
    (trend,) = size_trends(runs, variants(SIZES))
    assert [(model, loss) for model, _, loss, _ in trend.losses] == [
        ("s", pytest.approx(0.4)), ("m", pytest.approx(0.175)), ("l", pytest.approx(0.025)),
    ]  # fmt: skip
    assert trend.slope == pytest.approx(np.polyfit([6, 7, 9], [0.4, 0.175, 0.025], 1)[0])
    generator = np.random.default_rng(0)
    losses = np.array([[(k < a) - (k < b) for a, b in ((30, 14), (34, 27), (38, 37))] for k in range(40)])
    draws = [np.polyfit([6, 7, 9], losses[generator.integers(0, 40, 40)].mean(axis=0), 1)[0] for _ in range(2000)]
    assert (trend.low, trend.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.01)
    assert trends_frame([trend])["slope"].item() < 0


def test_loss_is_positive_where_worse() -> None:
    of = measure("loops", "lower")
    (trend,) = size_trends([grown("s", 10, 20, of=of), grown("m", 10, 10, of=of)], variants(SIZES))
    assert [loss for *_, loss, _ in trend.losses] == pytest.approx([0.25, 0.0]) and trend.slope == pytest.approx(-0.25)


def test_larger_quantized_against_smaller_full() -> None:
    runs = [grown("s", 20, 10), grown("m", 34, 29)]
    (choice,) = size_choices(runs, variants(SIZES))
    assert (choice.larger, choice.variant, choice.smaller) == ("m", "q", "s")
    assert (choice.larger_value, choice.smaller_value) == pytest.approx((29 / 40, 0.5))
    assert choice.difference.estimate == pytest.approx(9 / 40) and choice.p == pytest.approx(2 / 2**9)
    assert choice.p_adjusted == choice.p and (choice.larger_bytes, choice.smaller_bytes) == (10**7 // 4, 10**6)
    assert choices_frame([choice])["pairs"].item() == 40


def test_one_model_unknown_size_or_a_failed_gate_give_nothing(series: Callable[..., Series]) -> None:
    runs = [grown("s", 20, 10), grown("m", 34, 29)]
    assert not size_trends(runs[:1], variants(SIZES)) and not size_choices(runs[:1], variants(SIZES))
    unknown = [Variant(**{**vars(v), "loaded": {}}) for v in variants(SIZES)]
    assert not size_trends(runs, unknown) and not size_choices(runs, unknown)
    assert not size_trends(runs, variants(SIZES, failed="m")) and not size_choices(runs, variants(SIZES, failed="m"))
    assert not size_trends(runs, variants({"s": 5, "m": 5}))


def test_placebos_are_no_candidates() -> None:
    runs = [grown("s", 10, 10), grown("m", 20, 10)]
    told = [replace(v, recipe={"placebo": {"dtype": "bfloat16"}}) if v.name == "q" else v for v in variants(SIZES)]
    assert size_trends(runs, variants(SIZES)) and not size_trends(runs, told) and not size_choices(runs, told)


def test_weights_of_the_slope() -> None:
    assert slope_weights([10, 100]) == pytest.approx([-1, 1]) and slope_weights([10, 1000]) == pytest.approx(
        [-0.5, 0.5]
    )
