"""Mean ranks against the published table's, rules for the missing, and intervals against plain resampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.comparison.test_verdicts import variant

from compressed_lens.comparison import figures, long_frame, lower_is_better, published, ranking, rankings
from compressed_lens.comparison.series import Measure, Series
from compressed_lens.errors import DataError

FOUR = ("awq", "gptq4", "bib8", "bib4")


@pytest.fixture(scope="module")
def table(shared: Path) -> pl.DataFrame:
    return published(pl.read_csv(shared / "data" / "published" / "self_explanations_table1.csv"))


def told(frame: pl.DataFrame, rule: Any = "skip") -> dict[str, str]:
    return {one.variant: f"{one.mean_rank:.2f}" for one in ranking(frame, rule=rule, replicates=500).ranked}


def test_directions_are_read_from_the_headers(table: pl.DataFrame) -> None:
    down = table.filter(direction="lower")["column"].unique().sort().to_list()
    assert down == ["cfe_ag_ppl", "cfe_ag_ts", "cfe_esnli_ppl", "cfe_esnli_ts"]
    assert lower_is_better("edit distance") and not lower_is_better("artsy") and not lower_is_better("accuracy")


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (pl.lit(value=True), {"awq": "2.58", "gptq4": "2.62", "bib8": "2.76", "bib4": "3.13", "gptq8": "3.36"}),
        (
            pl.col("model").str.starts_with("Qwen"),
            {"awq": "2.74", "gptq4": "2.75", "bib8": "2.99", "bib4": "3.16", "gptq8": "3.36"},
        ),
        (pl.col("variant").is_in(FOUR), {"awq": "2.28", "gptq4": "2.43", "bib8": "2.47", "bib4": "2.82"}),
    ],
    ids=["all six models", "Qwen only", "four common quantizers"],
)
def test_published_mean_ranks(table: pl.DataFrame, part: pl.Expr, expected: dict[str, str]) -> None:
    found = told(table.filter(part))
    assert found == expected and list(found) == list(expected)


def test_common_rule_keeps_the_four_quantizers_of_every_model(table: pl.DataFrame) -> None:
    found = ranking(table, rule="common", replicates=500)
    assert [one.variant for one in found.ranked] == list(FOUR) and found.left_out == ("gptq8",)
    assert told(table, "common") == told(table.filter(pl.col("variant").is_in(FOUR)))


def test_the_two_halves_of_the_table_disagree(table: pl.DataFrame) -> None:
    edits = told(table.filter(pl.col("column").str.starts_with("cfe")))
    texts = told(table.filter(pl.col("column").str.starts_with("nle")))
    assert next(iter(edits.items())) == ("awq", "2.26")
    assert next(iter(texts.items())) == ("gptq4", "2.27")
    assert list(texts).index("awq") == 3 and texts["awq"] == "3.04"


def test_no_quantizer_is_significantly_first(table: pl.DataFrame) -> None:
    found = ranking(table, replicates=2000)
    assert found.rows == 60 and [one.rows for one in found.ranked] == [60, 60, 60, 60, 40]
    first, second = found.ranked[:2]
    assert first.low < second.mean_rank < first.high
    assert second.mean_rank - first.mean_rank < found.critical_difference


def long(rows: list[tuple[str, str, str, str, float | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["model", "variant", "column", "direction", "value"], orient="row")


def test_directions_ties_and_missing_cells() -> None:
    frame = long(
        [("m", v, c, d, x) for c, d, row in (("up", "higher", (3, 2, 2)), ("down", "lower", (3, None, 1)),
                                             ("alone", "lower", (None, 5, None)))
         for v, x in zip("abc", row, strict=True)] + [("m", "full", "up", "higher", 9)]
    )  # fmt: skip
    found = {one.variant: one for one in ranking(frame, replicates=200).ranked}
    assert {name: one.mean_rank for name, one in found.items()} == {"a": 1.5, "b": 2.5, "c": 1.75}
    assert {name: (one.rows, one.first) for name, one in found.items()} == {"a": (2, 1), "b": (1, 0), "c": (2, 1)}
    assert found["b"].rows == 1, "a row with one quantizer is no contest"


def test_interval_is_that_of_plain_resampling() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(size=(4, 6, 3)) + [0, 0.3, 0.6]
    frame = long(
        [(f"m{m}", f"v{v}", f"c{c}", "lower", float(values[m, c, v]))
         for m in range(4) for c in range(6) for v in range(3)]
    )  # fmt: skip
    ranks = values.argsort(axis=2).argsort(axis=2) + 1
    draws = [ranks[generator.integers(0, 4, 4)][:, generator.integers(0, 6, 6)].mean(axis=(0, 1)) for _ in range(4000)]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    for one in ranking(frame, replicates=8000).ranked:
        v = int(one.variant[1])
        assert (one.low, one.high) == pytest.approx((low[v], high[v]), abs=0.06)
        assert one.mean_rank == pytest.approx(ranks[:, :, v].mean())
    (single,) = {math.isnan(one.low) for one in ranking(frame.filter(model="m0", column="c0"), replicates=10).ranked}
    assert single


def test_a_run_is_ranked_by_its_primary_metrics(series: Callable[..., Series], rate: Callable[..., Measure]) -> None:
    def one(name: str, good: int, bad: int, **more: Any) -> Series:
        values = {"full": [True] * 8, "good": [True] * good + [False] * (8 - good),
                  "bad": [True] * bad + [False] * (8 - bad), "broken": [False] * 8, "p": [True] * 8}  # fmt: skip
        return series(values, of=rate(**more), analysis=name)

    runs = [
        one("accuracy", 6, 7, family="task"),
        one("edit_test", 7, 5),
        one("loops", 7, 5, direction="lower", family="quality"),
        one("length", 7, 5, direction="neither", family="quality"),
        one("detail", 1, 5, primary=False),
    ]
    told = [variant("full"), variant("broken", status="marked"), variant("p", placebo=True)]
    frame = long_frame(figures(runs, told))
    assert set(frame["variant"]) == {"good", "bad"} and set(frame["family"]) == {"task", "quality", "faithfulness"}
    found = {r.family: [one.variant for one in r.ranked] for r in rankings(frame)}
    assert list(found) == ["overall", "task", "quality", "faithfulness"]
    assert found["task"] == ["bad", "good"] and found["faithfulness"] == ["good", "bad"]
    assert found["quality"] == ["bad", "good"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("m", "a", "c", "up", 1.0)], "direction 'up'"),
        ([("m", "a", "c", "lower", 1.0), ("m", "a", "c", "lower", 2.0)], "stands twice"),
        ([("m", "full", "c", "lower", 1.0)], "No quantizer can be ranked"),
        ([("m", "a", "c", "lower", None), ("m", "b", "c", "lower", 1.0)], "No quantizer can be ranked"),
    ],
)
def test_what_cannot_be_ranked_is_one_sentence(rows: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ranking(long(rows))


def test_published_tables_are_checked(table: pl.DataFrame) -> None:
    frame = pl.DataFrame({"model": ["m"], "prec": ["a"], "acc": [1.0]})
    with pytest.raises(DataError, match="no column of numbers 'acuracy'"):
        published(frame, columns=["acuracy"])
    with pytest.raises(DataError, match="no column of numbers after"):
        published(frame.drop("acc"))
    assert published(frame, lower=["acc"])["direction"].to_list() == ["lower"]
