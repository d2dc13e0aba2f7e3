"""Agreement of judges and people on planted ratings, from frames as a run gives them and from a CSV file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from compressed_lens.analyses.base import Record
from compressed_lens.errors import DataError
from compressed_lens.judging.agreement import (
    RATINGS,
    agreement,
    judge_ratings,
    judge_shift,
    pairwise,
    read_human_ratings,
    with_humans,
)
from compressed_lens.statistics import krippendorff_alpha
from compressed_lens.store import Store
from compressed_lens.study.schema import Study

ITEMS = 60


def planted(seed: int = 0) -> pl.DataFrame:
    """Three judges over one latent quality: "good" follows it, "mild" a point higher, "odd" inverts the drop."""
    generator = np.random.default_rng(seed)
    rows = []
    for item in range(ITEMS):
        quality = generator.uniform(2.2, 3.8)
        for variant, drop in (("full", 0.0), ("rtn-3bit", -0.6)):
            for judge, level, sign in (("good", 0.0, 1), ("mild", 1.0, 1), ("odd", 0.0, -1)):
                rating = quality + level + sign * drop + generator.normal(0, 0.15)
                rows.append(("m", variant, "t", "rating", str(item), "coherence", judge, rating))
    return pl.DataFrame(rows, schema=list(RATINGS), orient="row")


def test_a_judge_whose_sign_flips_is_visible() -> None:
    shift = judge_shift(planted())
    rows = {row["judge"]: row for row in shift.iter_rows(named=True)}
    assert set(rows) == {"good", "mild", "odd"}
    assert rows["good"]["shift"] == pytest.approx(-0.6, abs=0.1)
    assert rows["mild"]["shift"] == pytest.approx(-0.6, abs=0.1)
    assert rows["odd"]["shift"] == pytest.approx(0.6, abs=0.1)
    for row in rows.values():
        assert row["low"] < row["shift"] < row["high"]
        assert row["p"] < 0.001
        assert row["n"] == ITEMS
        assert row["rating"] - row["full"] == pytest.approx(row["shift"])
        assert row["same_sign"] is False
    agreeing = judge_shift(planted().filter(pl.col("rater") != "odd"))
    assert agreeing["same_sign"].to_list() == [True, True]
    alone = judge_shift(planted().filter(pl.col("rater") == "good"))
    assert alone["same_sign"].to_list() == [None]


def test_alpha_sees_levels_and_rank_correlation_does_not() -> None:
    ratings = planted()
    (row,) = agreement(ratings).iter_rows(named=True)
    table = np.array([ratings.filter(pl.col("rater") == name)["rating"].to_list() for name in ("good", "mild", "odd")])
    assert row["alpha"] == pytest.approx(krippendorff_alpha(table, level="interval"))
    assert (row["raters"], row["units"], row["ratings"]) == (3, 2 * ITEMS, 6 * ITEMS)
    assert row["low"] < row["alpha"] < row["high"]
    pairs = {(row["first"], row["second"]): row for row in pairwise(ratings).iter_rows(named=True)}
    same = pairs["good", "mild"]
    assert same["spearman"] > 0.85
    assert same["difference"] == pytest.approx(1.0, abs=0.1)
    assert same["p"] < 1e-6
    assert pairs["good", "odd"]["spearman"] < same["low"]
    two = agreement(ratings.filter(pl.col("rater").is_in(["good", "mild"])))
    centred = ratings.with_columns(
        pl.when(pl.col("rater") == "mild").then(pl.col("rating") - 1).otherwise("rating").alias("rating")
    )
    assert agreement(centred.filter(pl.col("rater") != "odd"))["alpha"][0] > two["alpha"][0] + 0.3


def human_file(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "human.csv"
    pl.DataFrame(rows).write_csv(path)
    return path


def test_judges_against_people(tmp_path: Path) -> None:
    ratings = planted()
    good = ratings.filter(pl.col("rater") == "good")
    generator = np.random.default_rng(5)
    rows = [
        {
            "item": row["item"],
            "variant": row["variant"],
            "model": "m",
            "dimension": "coherence",
            "rater": person,
            "rating": "" if person == "p2" and row["item"] == "0" else f"{np.clip(row['rating'] + noise, 1, 5):.2f}",
        }
        for row in good.iter_rows(named=True)
        for person, noise in (("p1", generator.normal(0, 0.2)), ("p2", generator.normal(0, 0.2)))
    ]
    human = read_human_ratings(human_file(tmp_path, rows))
    assert len(human) == 4 * ITEMS - 2
    (among,) = agreement(human).iter_rows(named=True)
    assert among["raters"] == 2
    assert among["units"] == 2 * ITEMS - 2
    assert among["alpha"] > 0.7
    found = {row["judge"]: row for row in with_humans(ratings, human).iter_rows(named=True)}
    assert found["good"]["spearman"] > 0.85
    assert found["odd"]["spearman"] < 0.4
    assert found["mild"]["difference"] == pytest.approx(1.0, abs=0.1)
    assert found["good"]["n"] == 2 * ITEMS
    with pytest.raises(DataError, match="no text in common"):
        with_humans(ratings.with_columns(pl.lit("other").alias("model")), human)
    twice = pl.concat([ratings, ratings.with_columns(pl.lit("again").alias("analysis"))])
    with pytest.raises(DataError, match="more than one task or analysis"):
        with_humans(twice, human)
    told = with_humans(twice, human.with_columns(pl.lit("again").alias("analysis")))
    assert set(told["analysis"]) == {"again"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rating": "7"}, "has the rating '7' \\(item 1, variant full, dimension coherence, rater p\\)"),
        ({"rating": "good"}, "has the rating 'good'"),
        ({"rating": "nan"}, "has the rating 'nan'"),
        ({"item": "0"}, "'p' rates the coherence of item 0 \\(full\\) twice"),
    ],
)
def test_malformed_ratings_of_people(tmp_path: Path, change: dict[str, str], told: str) -> None:
    row = {"item": "0", "variant": "full", "model": "m", "dimension": "coherence", "rater": "p", "rating": "3"}
    with pytest.raises(DataError, match=told):
        read_human_ratings(human_file(tmp_path, [row, {**row, "item": "1", **change}]))


def test_absent_files_and_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_human_ratings(tmp_path / "none.csv")
    with pytest.raises(DataError, match="lack the column 'rater'"):
        read_human_ratings(
            human_file(tmp_path, [{"item": "0", "variant": "full", "model": "m", "dimension": "c", "rating": "3"}])
        )


def test_ratings_are_read_from_a_runs_records(tmp_path: Path) -> None:
    study = Study.model_validate(
        {"name": "s", "models": ["org/m"], "tasks": ["esnli"], "analyses": ["rating", "accuracy"]}
    )
    with Store.create(tmp_path, study) as store:
        store.put_task("esnli", fingerprint="t", kind="classification", info={}, items=[("a", {}), ("b", {})])
        places = [("m", "full", "esnli", method) for method in ("rating", "accuracy")]
        store.put_grid([(*place, 2) for place in places])
        for place in places:
            store.put_cell(
                place[3],
                place,
                fingerprint="f",
                task_fingerprint="t",
                method=place[3],
                settings={},
                seed=0,
                items=2,
                metrics=[],
            )
        told = {
            "coherence:x": 4.0,
            "coherence:y": None,
            "coherence": None,
            "answers": {"coherence:x": "4", "coherence:y": "?"},
        }
        store.write_record("rating", "a", 0, Record(values=told))
        expected = {"coherence:x": 2.5, "coherence": 2.5, "probabilities": {"coherence:x": [0, 0.5, 0.5, 0, 0]}}
        store.write_record("rating", "b", 0, Record(values=expected))
        store.write_record(
            "accuracy", "a", 0, Record(values={"correct": True, "answers": {"coherence:x": "1"}, "coherence:x": 1})
        )
        store.put_variant("m", "full", position=0, status="passed")
    with Store.open(tmp_path) as store:
        found = judge_ratings(store.records_frame(), store.cells())
    assert found.columns == list(RATINGS)
    assert [(r["item"], r["dimension"], r["rater"], r["rating"]) for r in found.iter_rows(named=True)] == [
        ("a", "coherence", "x", 4.0),
        ("b", "coherence", "x", 2.5),
    ]
    assert json.loads(json.dumps(found.to_dicts()))
    assert judge_shift(found).is_empty()
    assert pairwise(found).is_empty()
    assert agreement(found)["alpha"].to_list() == [None]
