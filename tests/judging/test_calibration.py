"""Trust in a judge and what people would say, on planted ratings whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from compressed_lens.errors import DataError
from compressed_lens.judging.agreement import RATINGS
from compressed_lens.judging.calibration import people_estimates, trust
from compressed_lens.statistics import prediction_powered

ITEMS = 400
TRUTH = {"full": 3.0, "rtn-3bit": 2.5}


def planted(seed: int, rated: int, judges: dict[str, float]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Judges a point too generous that follow people to a degree, and people's ratings of the first `rated` items."""
    generator = np.random.default_rng(seed)
    told, said = [], []
    for item in range(ITEMS):
        for variant, level in TRUTH.items():
            quality = generator.normal()
            place = ("m", variant, "t", "rating", str(item), "coherence")
            for judge, follows in judges.items():
                noise = math.sqrt(1 - follows**2) * generator.normal()
                told.append((*place, judge, level + 1 + follows * quality + noise))
            if item < rated:
                said += [(*place, rater, level + quality + generator.normal(0, 0.1)) for rater in ("anna", "ben")]
    return tuple(pl.DataFrame(rows, schema=list(RATINGS), orient="row") for rows in (told, said))


def test_trust_in_judges_that_follow_people_and_that_do_not() -> None:
    found = trust(*planted(1, 60, {"good": 0.95, "poor": 0.1, "fair": 0.65}), bound=0.6)
    rows = {row["judge"]: row for row in found.iter_rows(named=True)}
    assert {judge: row["verdict"] for judge, row in rows.items()} == {
        "good": "trusted", "poor": "not trusted", "fair": "undecided",
    }  # fmt: skip
    assert all((row["items"], row["texts"], row["bound"]) == (60, 120, 0.6) for row in rows.values())
    assert rows["good"]["low"] > 0.6 > rows["poor"]["high"]
    assert rows["fair"]["needed"] > 60 and rows["good"]["needed"] is None


def test_few_items_earn_no_trust() -> None:
    (row,) = trust(*planted(1, 12, {"good": 0.97}), bound=0.6).to_dicts()
    assert row["verdict"] == "undecided" and row["low"] > 0.6 and row["needed"] >= 20


def test_estimates_are_of_people_and_not_of_the_judge() -> None:
    held, seen = [], []
    for seed in range(60):
        found = people_estimates(*planted(seed, 40, {"good": 0.9}))
        rows = {(row["variant"], row["what"]): row for row in found.iter_rows(named=True)}
        assert set(rows) == {("full", "mean"), ("rtn-3bit", "mean"), ("rtn-3bit", "change")}
        for (variant, what), row in rows.items():
            truth = TRUTH[variant] if what == "mean" else -0.5
            held.append(row["low"] <= truth <= row["high"])
            assert (row["items"], row["rated"]) == (ITEMS, 40)
        seen.append((rows["full", "mean"]["judge_mean"], rows["full", "mean"]["gain"]))
    assert 0.89 <= np.mean(held) <= 0.99
    assert np.mean([mean for mean, _ in seen]) == pytest.approx(4.0, abs=0.05)
    assert np.median([gain for _, gain in seen]) > 2


def test_figures_are_those_of_the_statistics() -> None:
    judged, human = planted(3, 50, {"good": 0.8})
    row = people_estimates(judged, human).filter(variant="full").to_dicts()[0]
    ratings = judged.filter(variant="full")["rating"].to_numpy()
    people = np.full(ITEMS, math.nan)
    people[:50] = (
        human.filter(variant="full").group_by("item", maintain_order=True).agg(pl.col("rating").mean())["rating"]
    )
    expected = prediction_powered(people, ratings)
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx(
        (expected.powered.estimate, expected.powered.low, expected.powered.high)
    )
    assert row["people_mean"] == pytest.approx(people[:50].mean())


def test_dimensions_that_people_did_not_rate_are_left_out() -> None:
    judged, human = planted(5, 30, {"good": 0.8})
    more = pl.concat([judged, judged.with_columns(dimension=pl.lit("trustworthiness"))])
    assert trust(more, human, bound=0.6).equals(trust(judged, human, bound=0.6))
    assert people_estimates(more, human).equals(people_estimates(judged, human))


def test_too_few_ratings_give_no_estimate_and_none_in_common_is_an_error() -> None:
    judged, human = planted(4, 2, {"good": 0.8})
    found = people_estimates(judged, human)
    assert found["estimate"].null_count() == len(found) == 3 and found["judge_mean"].null_count() == 0
    elsewhere = human.with_columns(model=pl.lit("another"))
    for call in (lambda: people_estimates(judged, elsewhere), lambda: trust(judged, elsewhere, bound=0.6)):
        with pytest.raises(DataError, match="no text in common"):
            call()
