"""Queries against brute force over the outcomes of a made-up series."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from compressed_lens.comparison.series import Measure, Outcome, Series
from compressed_lens.report.items import Items
from compressed_lens.view.query import Query, Show, find

RIGHT = Measure(name="right", value="right", direction="higher", unit="rate", summary="", on_failure=0.0)
REFUSED = Measure(name="refused", value="refused", direction="lower", unit="rate", summary="")
LENGTH = Measure(name="length", value="length", direction="neither", unit="tokens", summary="")
Told = dict[str, Any] | str | None


def said(right: bool, refused: bool | None, length: int, text: str) -> dict[str, Any]:
    return {"right": right, "refused": refused, "length": length, "text": text}


ROWS: list[tuple[str, str, Told, Told]] = [
    # id, group, full precision, variant; a text is a reason of failure, None is not recorded
    ("a", "x", said(True, False, 5, "Paris"), said(True, False, 5, "Paris")),
    ("b", "x", said(True, False, 5, "one"), said(False, False, 9, "two")),
    ("c", "y", said(False, True, 7, "one"), said(True, False, 1, "ÉTÉ")),
    ("d", "y", said(True, False, 5, "one"), "cut"),
    ("e", "y", "unparsed", said(True, False, 5, "one")),
    ("f", "", said(True, False, 5, "one"), None),
    ("g", "", said(True, None, 5, "one"), said(True, True, 4, "one")),
]


@pytest.fixture
def items() -> Items:
    def outcome(told: Told) -> Outcome | None:
        if told is None:
            return None
        return Outcome(values={}, failed=told) if isinstance(told, str) else Outcome(values=told, failed=None)

    return Items(
        series=Series(
            model="m", task="t", analysis="a", method="a", settings={}, measures=(RIGHT, REFUSED, LENGTH),
            rows=tuple((row[0], 0) for row in ROWS), groups=tuple(row[1] for row in ROWS),
            outcomes={"full": tuple(outcome(row[2]) for row in ROWS), "v": tuple(outcome(row[3]) for row in ROWS)},
            planned={"full": len(ROWS), "v": len(ROWS)},
        )
    )  # fmt: skip


def ask(items: Items, **query: Any) -> str:
    """The ids that are left, in order."""
    rows = items.series.rows
    texts = [" ".join(str(row[k]) for k in (0, 1, 2, 3)).lower() for row in ROWS]
    return "".join(rows[row][0] for row in find(items, Query(**query), texts).rows)


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ({}, "abcdefg"),
        # A failure counts as not right, on either side; it says nothing about refusals.
        ({"show": "lost"}, "bd"),
        ({"show": "gained"}, "ce"),
        ({"show": "changed"}, "bcde"),
        ({"show": "failed"}, "de"),
        ({"reason": "cut"}, "d"),
        ({"reason": "unparsed"}, "e"),
        ({"group": "y"}, "cde"),
        ({"group": "y", "show": "lost"}, "d"),
        ({"search": "été"}, "c"),
        ({"search": "PARIS"}, "a"),
        # One measure: its own flips, worst first, those without a value last.
        ({"measure": "refused", "show": "lost"}, ""),
        ({"measure": "refused", "show": "gained"}, "c"),
        ({"measure": "right"}, "bdagcef"),
        ({"measure": "length", "show": "gained"}, "b"),
        ({"measure": "length", "show": "lost"}, "cg"),
        ({"measure": "length"}, "cbgadef"),
    ],
)
def test_what_is_left(items: Items, query: dict[str, Any], left: str) -> None:
    assert ask(items, **query) == ask(items, **query, variant="v") == left


def test_counts_are_what_each_choice_would_leave(items: Items) -> None:
    shows: tuple[Show, ...] = ("all", "lost", "gained", "changed", "failed")
    for more in ({}, {"group": "y"}, {"measure": "length"}, {"reason": "cut"}):
        counts = find(items, Query(**more), ()).counts
        assert counts == {show: len(ask(items, show=show, **more)) for show in shows}


def test_a_series_without_full_precision_has_no_flips(items: Items) -> None:
    alone = Items(series=replace(items.series, outcomes={"v": items.series.outcomes["v"]}))
    assert ask(alone, show="lost") == ask(alone, show="gained") == ask(alone, show="changed") == ""
    assert ask(alone, show="failed") == "d" and ask(alone, measure="right") == "abcdefg"
    assert all(math.isnan(value) for value in alone.change(RIGHT, 0))


@pytest.mark.parametrize("query", [{"variant": "w"}, {"measure": "w"}])
def test_unknown_names_are_refused(items: Items, query: dict[str, str]) -> None:
    with pytest.raises(KeyError):
        ask(items, **query)
