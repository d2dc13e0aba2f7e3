"""What the items of a run could show: from the width of the interval that is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from compressed_lens.comparison import figures
from compressed_lens.comparison.items import reaches, reaches_frame
from compressed_lens.statistics import items_for_margin


def of(one, **margins: float):
    found = reaches(figures([one], [], margins=margins))
    return found, reaches_frame(found).to_dicts()


def test_reach_of_a_rate(series) -> None:
    full = [True] * 60 + [False] * 40
    other = [False] * 3 + [True] * 57 + [True] * 2 + [False] * 38
    (reach,), (row,) = of(series({"full": full, "q": other}), faithful=0.02)
    half = (reach.figure.paired.high - reach.figure.paired.low) / 2
    assert row["detectable"] == pytest.approx(half * (1.959964 + 0.841621) / 1.959964)
    assert row["for_margin"] == items_for_margin(0.02, 0.05**0.5, rate=True)
    assert (row["pairs"], row["verdict"], row["unit"]) == (100, "undecided", "rate")
    assert row["needed"] == reach.figure.needed > 100


def test_no_change_has_a_reach(series) -> None:
    _, (row,) = of(series({"full": [True, False] * 50, "q": [True, False] * 50}), faithful=0.02)
    assert row["detectable"] > 0.05 and row["for_margin"] == row["needed"] == 189


def test_a_shown_loss_needs_no_items_for_equivalence(series) -> None:
    _, (row,) = of(series({"full": [True] * 100, "q": [True, False] * 50}))
    assert row["verdict"] == "worse" and row["for_margin"] is None and row["needed"] is None


def test_an_amount_and_repeats(series, rate) -> None:
    generator = np.random.default_rng(1)
    full = generator.normal(size=80)
    other = full + generator.normal(0, 0.5, size=80)
    _, (row,) = of(series({"full": full.tolist(), "q": other.tolist()}, of=rate(unit="nats")), faithful=0.1)
    assert row["detectable"] == pytest.approx(2.8 * 0.5 / 80**0.5, rel=0.2)
    assert row["for_margin"] == pytest.approx((3.24 * 0.5 / 0.1) ** 2, rel=0.35)
    twice = {"full": np.repeat(full, 2).tolist(), "q": np.repeat(other, 2).tolist()}
    _, (again,) = of(series(twice, of=rate(unit="nats"), repeats=2), faithful=0.1)
    assert again["pairs"] == 80 and again["for_margin"] == pytest.approx(row["for_margin"], rel=0.1)


def test_only_confirmatory_measures_with_a_pair(series, rate) -> None:
    assert of(series({"full": [True] * 30, "q": [False] * 30}, of=rate(direction="neither")))[1] == []
    assert of(series({"full": [True] * 30}))[1] == []
