"""Questions that one claim asks of a run: judges, layers, edits, kernels, time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from tests.claims.test_own import hops, run_of, series, variant
from tests.comparison.conftest import measure

from compressed_lens.analyses.base import Curve
from compressed_lens.claims.own import OwnRun
from compressed_lens.claims.own_explanations import (
    eight_bit_kernels,
    hours,
    judges_apart,
    rewrites,
    standard_errors,
)
from compressed_lens.claims.own_knowledge import bridge_bottleneck, last_layers
from compressed_lens.comparison.series import Outcome, Series


def many(values: Mapping[str, Sequence[Mapping[str, Any]]], names: Sequence[str], **told: Any) -> Series:
    """Return a series of several measures (or lists); an item is its values by name."""
    n = len(next(iter(values.values())))
    one = series({"full": [True] * n}, of=measure(names[0]), **told)
    outcomes = {name: tuple(Outcome(values=row, failed=None) for row in rows) for name, rows in values.items()}
    measures = tuple(measure(name, unit="points", family="quality") for name in names)
    planned = dict.fromkeys(outcomes, n)
    return Series(**{**vars(one), "outcomes": outcomes, "measures": measures, "planned": planned})


def ratings(first: float, second: float) -> OwnRun:
    """Return a run with two judges who see these mean changes in every dimension."""
    generator = np.random.default_rng(3)
    noise = generator.normal(scale=0.3, size=(4, 60))
    names = [f"{dimension}:{judge}" for dimension in ("trustworthiness", "coherence") for judge in ("one", "two")]
    changes = (first, second, first, second)
    full = [dict.fromkeys(names, 3.0)] * 60
    other = [{name: 3.0 + changes[k] + noise[k, i] for k, name in enumerate(names)} for i in range(60)]
    return run_of(many({"full": full, "awq-4bit": other}, [*names, "mass:one"], method="rating"))


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [(0.5, -0.5, "reproduced"), (-0.5, -0.4, "not reproduced"), (-0.5, 0.0, "undecided")],
)
def test_judges_differ_in_sign_only_where_both_intervals_say_so(first: float, second: float, verdict: str) -> None:
    found = judges_apart(ratings(first, second))
    assert [one.verdict for one in found] == [verdict] * 2
    assert found[0].value == pytest.approx(abs(first - second), abs=0.15) and "one " in found[0].why
    (alone,) = judges_apart(run_of(many({"full": [{"coherence": 3.0}]}, ["coherence"], method="rating")))
    assert alone.what == "" and "two judges" in alone.why


@pytest.mark.parametrize(("place", "verdict"), [(5, "reproduced"), (4, "reproduced"), (1, "not reproduced")])
def test_the_layer_of_the_largest_drop(place: int, verdict: str) -> None:
    generator = np.random.default_rng(4)

    def rows(drop: float) -> list[dict[str, Any]]:
        every = generator.normal(scale=0.1, size=(40, 6))
        every[:, place] += drop
        return [{"drops": list(map(float, row))} for row in every]

    one = many({"full": rows(0.0), "awq-4bit": rows(1.0)}, ["none"], method="layer_contributions", task="lre")
    curve = Curve(name="FFN drop", value="drops", unit="nats", direction="lower", summary="", axis="block")
    run = run_of(Series(**{**vars(one), "pictures": (curve,)}))
    known = OwnRun(
        **{**{k: vars(run)[k] for k in ("name", "series", "variants", "sources")}, "paths": {"m": "Qwen2.5-7B"}}
    )
    (found,) = last_layers(known)
    assert found.verdict == verdict and found.value == place and "The same layer in 100%" in found.why
    (other,) = last_layers(run)
    assert other.verdict == "not comparable" and "about Qwen2.5-7B" in other.why


def test_kinds_of_chain_that_lose_a_hop_lose_both() -> None:
    first, second = [], []
    for k in range(10):
        lost = [False] * (2 * k) + [True] * (40 - 2 * k)
        first += lost
        second += [True] * 40
    one = hops(first, second, {"awq-4bit": first})
    grouped = Series(**{**vars(one), "groups": tuple(f"g{k // 40}" for k in range(400))})
    (found,) = bridge_bottleneck(run_of(grouped))
    assert found.value == pytest.approx(1.0) and found.n == 10
    assert found.verdict == "not comparable" and math.isnan(found.low), "a perfect order has no bootstrap interval"


def test_figures_for_the_reader_decide_nothing() -> None:
    edits = {"full": [{"flip_rate_hard": k < 30, "distance": 1.5 if k < 10 else 0.3} for k in range(50)]}
    one = many(edits, ["flip_rate_hard", "distance"], method="counterfactual", settings={"method": "fizle-naive"})
    run = OwnRun(
        name="r", series=(one,), sources={}, paths={},
        variants=(variant("full", speed={"seconds": 1800.0}), variant("bnb-8bit", loaded={"kernel": "int8"}, speed={})),
    )  # fmt: skip
    (error,), (share,) = standard_errors(run), rewrites(run)
    assert error.value == pytest.approx(100 * math.sqrt(0.6 * 0.4 / 50)) and share.value == pytest.approx(20)
    (kernel,), (time,) = eight_bit_kernels(run), hours(run)
    assert "int8" in kernel.what and time.value == pytest.approx(0.5)
    assert {one.verdict for one in (error, share, kernel, time)} == {"not comparable"}
    empty = run_of(series({"full": [True] * 3}), names=("full",))
    assert all(
        f(empty)[0].what == "" for f in (standard_errors, rewrites, eight_bit_kernels, judges_apart, last_layers)
    )
