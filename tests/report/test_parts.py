"""The small parts: formatting, geometry, and the choice of items to show."""

from __future__ import annotations

import math

import pytest

from compressed_lens.comparison.series import Measure, Outcome, Series
from compressed_lens.report import formatting
from compressed_lens.report.explorer import choose
from compressed_lens.report.items import LOST, Items
from compressed_lens.report.scale import round_numbers
from compressed_lens.terminal import visible

RIGHT = Measure(name="right", value="right", direction="higher", unit="rate", summary="")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0"), (12.345, "12.3"), (-0.01234, "\u22120.0123"), (1234.6, "1,235"), (999.4, "999"), (math.nan, "–"),
     (None, "–"), (-math.inf, "\u2212∞"), (1e-9, "0.000000")],
)  # fmt: skip
def test_numbers(value: float | None, expected: str) -> None:
    assert formatting.number(value) == expected


def test_rates_and_their_differences() -> None:
    assert formatting.amount(0.9333, "rate") == "93.3 %" and formatting.amount(2.0, "nats") == "2.00"
    assert formatting.difference(-0.0312, "rate") == "\u22123.1" and formatting.difference(0.0312, "rate") == "+3.1"
    assert formatting.difference(-0.0001, "rate") == "\u22120.01"
    assert formatting.difference(-0.000001, "rate") == "0.0"
    assert (
        formatting.bounds(-0.05, 0.01, "rate") == "[\u22125.0, +1.0]" and formatting.bounds(math.nan, 1, "rate") == ""
    )
    assert formatting.p_value(0.0) == "< 0.001" and formatting.p_value(0.0391) == "0.039"
    assert formatting.size(11_100_000) == "11.1 MB" and formatting.size(999) == "999 B"


def test_only_what_disturbs_the_page_is_changed() -> None:
    kept = "naïve \u05d0\u05d1 \u200f 😀 tab\t line\n"
    assert visible(kept) == kept
    assert visible("a\x00b\x1b\u202ec\ud83d") == "a\u2400b\u241b[U+202E]c\ufffd"


@pytest.mark.parametrize(("low", "high"), [(-0.8, 0.05), (-0.011, 0.013), (-3.0, 900.0), (-1.0, 1.0)])
def test_ticks_are_few_round_and_include_zero(low: float, high: float) -> None:
    ticks = round_numbers(low, high)
    assert 2 <= len(ticks) <= 7 and 0 in ticks and all(low <= tick <= high for tick in ticks)


def series(outcomes: dict[str, list[bool | None]]) -> Series:
    n = len(next(iter(outcomes.values())))
    return Series(
        model="m", task="t", analysis="a", method="a", settings={}, measures=(RIGHT,),
        rows=tuple((f"i{k}", 0) for k in range(n)), groups=("",) * n, planned=dict.fromkeys(outcomes, n),
        outcomes={name: tuple(
            None if right is None else Outcome(values={"right": right, "text": "same"}, failed=None) for right in values
        ) for name, values in outcomes.items()},
    )  # fmt: skip


def test_flips_of_every_variant_are_chosen_first() -> None:
    n = 100
    one, other = [True] * n, [True] * n
    for row in range(90, 100):
        one[row] = False
    other[50] = False
    table = Items(series=series({"full": [True] * n, "one": one, "other": other}))
    chosen = choose(table, limit=12)
    assert len(chosen) == 12 and list(chosen) == sorted(chosen)
    assert 50 in chosen and sum(row >= 90 for row in chosen) >= 5
    assert [int(mark) & LOST for mark in table.marks[2]].count(LOST) == 1


def test_everything_is_kept_when_it_fits_and_missing_records_are_no_flips() -> None:
    table = Items(series=series({"full": [True, True, None], "one": [None, False, True]}))
    assert choose(table, limit=5) == (0, 1, 2) and table.marks.tolist() == [[0, 0, 0], [0, LOST, 0]]
    alone = Items(series=series({"full": [True] * 9}))
    assert choose(alone, limit=4) == (0, 1, 2, 3) and not alone.marks.any()


def test_other_names_have_other_ids() -> None:
    names = [("a.b",), ("a-b",), ("a b",), ("a", "b"), ("a_b",), ("a<b",)]
    ids = [formatting.identifier(*parts) for parts in names]
    assert len(set(ids)) == len(ids) and not any(set(one) & set(" <>&\"'") for one in ids)
