"""Curves against one interval a layer, computed alone; the layer that was damaged is the one that is found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from compressed_lens.analyses.base import Curve
from compressed_lens.comparison import VariantCurve, curves, curves_frame
from compressed_lens.comparison.curves import REPLICATES
from compressed_lens.comparison.series import Outcome, Series
from compressed_lens.statistics import mean_interval, paired_bootstrap, replicate_means, unit_sums

CURVE = Curve(name="entity recall", value="curve", unit="nats", direction="higher", summary="By layer", first=1)
SEED = 20_240_611


def make(lists: Mapping[str, Sequence[Any]], curve: Curve = CURVE, repeats: int = 1) -> Series:
    """Return a series of lists; a text in place of one is the reason of a failure, MISSING is no record."""
    n = len(next(iter(lists.values())))

    def outcome(value: Any) -> Outcome | None:
        if value == "missing":
            return None
        return Outcome(values={"curve": value}, failed=value if isinstance(value, str) else None)

    return Series(
        model="m", task="t", analysis="a", method="a", settings={}, measures=(), groups=("",) * n,
        rows=tuple((f"i{k // repeats}", k % repeats) for k in range(n)),
        outcomes={name: tuple(map(outcome, values)) for name, values in lists.items()},
        planned=dict.fromkeys(lists, n), pictures=(curve,),
    )  # fmt: skip


def of(series: Series, variant: str) -> VariantCurve:
    (found,) = [one for one in curves([series], {("m", "q"): "passed"}) if one.variant == variant]
    return found


@pytest.fixture(scope="module")
def planted() -> dict[str, list[list[float | None]]]:
    """Forty items of six layers, some entries missing; a loss in the layer at position 4, a smaller one at 1."""
    generator = np.random.default_rng(3)
    full = generator.normal(size=(40, 6)).cumsum(axis=1)
    q = full + generator.normal(scale=0.1, size=full.shape) - np.array([0, 0.2, 0, 0, 1.0, 0.1])
    lists: dict[str, list[list[float | None]]] = {"full": full.tolist(), "q": q.tolist()}
    for name, row, place in (("full", 3, 0), ("q", 5, 0), ("q", 9, 4)):
        lists[name][row][place] = None
    return lists


@pytest.mark.parametrize("repeats", [1, 2])
def test_each_place_is_what_it_is_alone(planted: dict[str, list[list[float | None]]], repeats: int) -> None:
    found = of(make(planted, repeats=repeats), "q")
    clusters = None if repeats == 1 else [f"i{k // repeats}" for k in range(40)]
    values = {name: np.array(lists, dtype=float) for name, lists in planted.items()}
    assert found.paired is not None and len(found.own) == len(found.paired) == 6
    told = {"clusters": clusters, "replicates": REPLICATES, "seed": SEED}
    for place in range(6):
        full, q = values["full"][:, place], values["q"][:, place]
        assert found.own[place].estimate == pytest.approx(np.nanmean(q))
        assert found.paired[place].estimate == pytest.approx(np.nanmean(q - full))
        for got, alone in ((found.own, mean_interval(q, **told)), (found.paired, paired_bootstrap(full, q, **told))):
            assert (got[place].low, got[place].high) == pytest.approx((alone.low, alone.high))
            assert (got[place].n, got[place].method) == (alone.n, "studentized")
    assert [one.n for one in found.paired] == [38, 40, 40, 40, 39, 40]


def test_the_damaged_layer_is_the_worst(planted: dict[str, list[list[float | None]]]) -> None:
    found = of(make(planted), "q")
    assert found.worst == 4 and found.again > 0.99
    frame = curves_frame([found])
    assert frame.filter(frame["worst"])["place"].to_list() == [5], "places are numbered from the curve's first"
    turned = Curve(**{**vars(CURVE), "direction": "lower"})
    assert of(make(planted, turned), "q").worst not in {1, 4}
    size = Curve(**{**vars(CURVE), "direction": "neither"})
    backwards = {"full": planted["q"], "q": planted["full"]}
    assert of(make(backwards, size), "q").worst == 4 and of(make(backwards), "q").worst != 4


def test_how_sure_the_place_is() -> None:
    generator = np.random.default_rng(0)
    losses = generator.normal(0.5, 1, size=(30, 3))
    found = of(make({"full": np.zeros((30, 3)).tolist(), "q": (-losses).tolist()}), "q")
    drawn = replicate_means(*unit_sums(losses)[:2], replicates=REPLICATES, seed=SEED)
    assert found.worst == losses.mean(axis=0).argmax()
    assert found.again == pytest.approx((drawn.argmax(axis=1) == found.worst).mean()) and 0.3 < found.again < 0.99


def test_full_against_itself_loses_nothing() -> None:
    lists = [[0.25, -1.5, 3.0]] * 6
    found = of(make({"full": lists, "q": lists}), "q")
    assert found.paired is not None and found.losses == (0, 0, 0)
    assert found.worst is None and math.isnan(found.again)
    assert all((one.low, one.high) == (0, 0) for one in found.paired)
    assert of(make({"full": lists}), "full").paired is None


def test_failed_missing_short_and_absent_lists_are_counted() -> None:
    lists = {
        "full": [[1.0, 2.0, 3.0]] * 5,
        "q": ["no subject", [0.5, None], None, [None, None, None], "missing"],
        "never": ["missing"] * 5,
    }
    found = of(make(lists), "q")
    assert (found.recorded, found.failed, found.without) == (4, 1, 2)
    assert [one.n for one in found.own] == [1, 0, 0]
    assert math.isnan(found.own[1].estimate) and found.worst == 0
    assert {one.variant for one in curves([make(lists)], {})} == {"full", "q"}
    assert not curves([make({"full": [None, "why"], "q": [None, None]})], {})
    frame = curves_frame(curves([make(lists)], {}))
    assert frame.height == 6 and frame.filter(variant="q")["value"].to_list() == [0.5, None, None]
    assert frame.filter(variant="full")["difference"].to_list() == [None] * 3
