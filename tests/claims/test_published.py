"""The numbers in the package against their source, and the arithmetic that claims share."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import binomtest

from compressed_lens.claims import Published
from compressed_lens.claims.published import (
    JUDGES,
    RECALL,
    RELATIONS,
    TABLE_ONE,
    TWO_HOPS,
    mean_gain,
    percent_difference,
    rate_of,
    select,
    signs,
    unpaired_difference,
)
from compressed_lens.errors import DataError
from compressed_lens.statistics import rate_interval


@pytest.mark.parametrize("name", [TABLE_ONE, JUDGES, RECALL, TWO_HOPS])
def test_tables_are_the_published_ones(name: str, shared: Path) -> None:
    assert_frame_equal(Published.load().frames[name], pl.read_csv(shared / "data" / "published" / f"{name}.csv"))


def test_relations_are_those_of_the_data(shared: Path) -> None:
    import json

    files = sorted((shared / "data" / "lre" / "data" / "factual").glob("*.json"))
    assert len(files) == 26
    counts = sorted(len(json.loads(file.read_text())["samples"]) for file in files)
    assert sorted(Published.load().frames[RELATIONS]["queries"].to_list()) == counts


def test_doubts_name_cells_that_exist() -> None:
    tables = Published.load()
    for doubt in tables.doubts:
        frame = tables.frames[doubt.table]
        assert not doubt.model or doubt.model in frame[frame.columns[0]].to_list()
        assert not doubt.column or doubt.column in frame.columns
        told = frame[frame.columns[1]].to_list() if doubt.table != RECALL else frame.columns
        assert not doubt.variant or doubt.variant in told
        assert doubt.mark in "ABCDU" and doubt.doubt.endswith(".")


def test_changes_are_turned_so_that_positive_is_better() -> None:
    tables = Published.load()
    assert len(tables.table_one) == 280 and len(tables.judges) == 108
    assert len(tables.recall) == 14 and len(tables.two_hops) == 24
    found = {(c.model, c.variant, c.column): c for c in tables.table_one}
    perplexity = found["Qwen2.5-7B", "bib4", "cfe_esnli_ppl"]
    assert perplexity.gain == pytest.approx(94.34 - 64.99) and perplexity.sign == 1
    assert perplexity.relative == pytest.approx(100 * 29.35 / 94.34)
    score = found["Qwen2.5-7B", "bib4", "nle_esnli_bart"]
    assert score.gain == pytest.approx(-0.13) and score.sign == -1 and score.relative == pytest.approx(-13 / 6.56)
    assert found["Qwen2.5-7B", "bib8", "nle_esnli_bart"].sign == 0
    assert signs(select(tables.table_one, ends="ppl")) == (21, 34, 1)
    assert mean_gain(select(tables.table_one, columns=("cfe_ag_lfr",))) == pytest.approx(1.621, abs=5e-4)


def test_unpaired_interval_is_newcombes() -> None:
    """Newcombe 1998, table II, example (a): 56/70 and 48/80, method 10."""
    found = unpaired_difference(rate_interval(48, 80), rate_interval(56, 70))
    assert (found.estimate, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    back = unpaired_difference(rate_interval(56, 70), rate_interval(48, 80))
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_rates_in_per_cent_have_wilsons_interval() -> None:
    ends = binomtest(324, 500).proportion_ci(method="wilson")
    found = rate_of(64.8, 500)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=1e-9)
    apart = percent_difference(64.8, 67.4, 500)
    assert apart.estimate == pytest.approx(2.6) and apart.low < 0 < apart.high and apart.method == "newcombe"


def test_a_cell_that_is_not_there() -> None:
    tables = Published.load()
    assert tables.cell(TABLE_ONE, "Llama3-8B", "gptq4", "cfe_ag_lfr") == 65.2
    with pytest.raises(DataError, match="no cell of Llama3-8B, gptq8"):
        tables.cell(TABLE_ONE, "Llama3-8B", "gptq8", "cfe_ag_lfr")
