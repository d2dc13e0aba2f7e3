"""Effects of series made by hand: what each table holds, in which direction, and with repeats."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from compressed_lens.comparison import figures
from compressed_lens.comparison.effects import effects, effects_frame
from compressed_lens.statistics import mcnemar_p


def of(series, gate: str = "passed", **more):
    found = effects([series], {("m", "q"): gate}, **more)
    return found, effects_frame(found).to_dicts()


def test_a_yes_or_no_has_flips_and_odds(series) -> None:
    full = [True] * 40 + [False] * 20
    other = [False] * 9 + [True] * 31 + [True] * 3 + [False] * 17
    (effect,), (row,) = of(series({"full": full, "q": other}))
    assert (row["lost"], row["gained"], row["pairs"]) == (9, 3, 60)
    assert row["mcnemar_p"] == mcnemar_p(9, 3) and row["mcnemar_mid_p"] < row["mcnemar_p"]
    assert row["odds"] == 3.0 and row["odds_low"] < 1 < row["odds_high"]
    assert row["wilcoxon_p"] is None and row["cliffs_delta"] is None and effect.ranks is None
    assert row["margin"] == 0.05 and row["p_non_inferior"] > 0.5 and row["d_z"] < 0


def test_lower_is_better_turns_lost_and_gained(series, rate) -> None:
    full = [True] * 40 + [False] * 20
    other = [False] * 9 + [True] * 31 + [True] * 3 + [False] * 17
    _, (row,) = of(series({"full": full, "q": other}, of=rate(direction="lower")))
    assert (row["lost"], row["gained"]) == (3, 9) and row["odds"] == pytest.approx(1 / 3)
    assert row["p_non_inferior"] < 0.05


def test_an_amount_has_ranks_and_delta(series, rate) -> None:
    generator = np.random.default_rng(1)
    full = generator.normal(size=50)
    other = full + generator.normal(-0.3, 0.4, size=50)
    _, (row,) = of(series({"full": full.tolist(), "q": other.tolist()}, of=rate(unit="nats")))
    assert row["wilcoxon_p"] == pytest.approx(stats.wilcoxon(other - full).pvalue, rel=1e-6)
    assert row["shift_low"] < row["shift"] < row["shift_high"] < 0 and row["rank_biserial"] < 0 and row["zeros"] == 0
    assert row["cliffs_delta"] == pytest.approx(np.sign(other[None, :] - full[:, None]).mean())
    assert row["delta_low"] < row["cliffs_delta"] < row["delta_high"]
    assert row["lost"] is None and row["odds"] is None and row["mcnemar_p"] is None
    assert row["margin"] == pytest.approx(0.2 * full.std(ddof=1)) and row["p_equivalent"] >= row["p_non_inferior"]
    _, (row,) = of(
        series({"full": full.tolist(), "q": other.tolist()}, of=rate(unit="nats")), margins={"faithful": 3.0}
    )
    assert row["margin"] == 3.0 and row["p_equivalent"] < 1e-6


def test_repeats_of_an_item_enter_with_their_mean(series, rate) -> None:
    generator = np.random.default_rng(2)
    full = generator.normal(size=30)
    other = full + generator.normal(0.2, 0.5, size=30)
    twice = {"full": np.repeat(full, 2).tolist(), "q": np.repeat(other, 2).tolist()}
    _, (alone,) = of(series({"full": full.tolist(), "q": other.tolist()}, of=rate(unit="nats")))
    _, (repeated,) = of(series(twice, of=rate(unit="nats"), repeats=2))
    assert repeated["pairs"] == 30
    for key in ("d_z", "wilcoxon_p", "shift", "shift_low", "cliffs_delta", "delta_low", "rank_biserial"):
        assert repeated[key] == pytest.approx(alone[key]), key
    _, (rates,) = of(series({"full": [True, False] * 20, "q": [True, True] * 20}, repeats=2))
    assert rates["pairs"] == 20 and rates["lost"] is None and rates["mcnemar_p"] is None


def test_what_has_no_pair_is_left_out_and_secondary_measures_may_be(series, rate) -> None:
    assert of(series({"full": [True, None], "q": [None, True]}))[1] == []
    assert of(series({"q": [True, True]}))[1] == []
    secondary = series({"full": [True, False], "q": [True, False]}, of=rate(primary=False))
    assert len(of(secondary)[1]) == 1 and of(secondary, primary_only=True)[1] == []


def test_the_margin_is_that_of_the_verdicts(series, rate) -> None:
    rounding = [5.0 + 1e-9 * (k % 3) for k in range(30)]
    one = series({"full": rounding, "q": rounding[::-1]}, of=rate(unit="nats"))
    (figure,) = [f for f in figures([one], []) if f.variant == "q"]
    _, (row,) = of(one)
    assert row["margin"] is figure.margin is None, "what differs in its last digits alone is no scale"


def test_nothing_changed(series, rate) -> None:
    _, (row,) = of(series({"full": [True, False] * 30, "q": [True, False] * 30}), gate="failed")
    assert row["gate"] == "failed" and row["mcnemar_p"] == 1.0 and row["d_z"] is None
    assert row["odds"] is None and row["odds_low"] == 0.0 and math.isinf(row["odds_high"])
    same = [0.5, 1.5, 2.5] * 10
    _, (row,) = of(series({"full": same, "q": same}, of=rate(unit="nats", direction="neither")))
    assert row["wilcoxon_p"] == 1.0 and row["shift"] == 0.0 and row["delta_low"] is None and row["margin"] is None
