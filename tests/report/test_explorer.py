"""The items that travel in the page: what a block holds, and what is left out when there is too much."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressed_lens.comparison.series import Measure, Outcome, Series
from compressed_lens.report import explorer
from compressed_lens.report.items import GAINED, LOST, Items
from compressed_lens.report.run_data import RunData

RATED = Measure(name="tone", value="tone", direction="higher", unit="points", summary="")


def unpacked(data: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(data)))
    return found


@pytest.fixture(scope="module")
def run(run_folder: Path) -> RunData:
    return RunData.read(run_folder)


def test_a_block_holds_every_value_of_every_record(run: RunData) -> None:
    made = explorer.blocks(run)
    assert [(one.task, one.analysis) for one in made] == [(s.task, s.analysis) for s in run.series]
    for one, series in zip(made, run.series, strict=True):
        data = unpacked(one.data)
        assert one.shown == one.total == len(data["ids"]) == len(series.rows) == 40
        for place, variant in enumerate(data["variants"]):
            for row, outcome in enumerate(series.outcomes[variant]):
                out = data["out"][place]
                if outcome is None:
                    assert out["state"][row] == -1
                    continue
                reason = data["reasons"][out["state"][row] - 1] if out["state"][row] else None
                told = {name: data["strings"][refs[row]] for name, refs in out["texts"] if refs[row] >= 0}
                told |= {name: values[row] for name, values in out["facts"] if values[row] is not None}
                assert reason == outcome.failed and told.keys() == outcome.values.keys()
                for name, value in outcome.values.items():
                    assert told[name] == (pytest.approx(value, rel=1e-3) if isinstance(value, float) else value)


def test_marks_are_the_flips(run: RunData) -> None:
    series = next(one for one in run.series if one.analysis == "recall")
    table = Items(series=series)
    full = np.array([o.values["correct"] for o in series.outcomes["full"] if o is not None])
    for place, variant in enumerate(table.variants):
        if not any(series.outcomes[variant]):
            continue
        own = np.array([o.values["correct"] for o in series.outcomes[variant] if o is not None])
        assert ((table.marks[place] & LOST > 0) == (full & ~own)).all()
        assert ((table.marks[place] & GAINED > 0) == (own & ~full)).all()


def test_too_much_is_cut_to_the_most_telling_items(
    tmp_path: Path, plant_run: Callable, settings: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunData.read(plant_run(tmp_path / "run", settings(items=400, variants=("full", "rtn-3bit"))))
    everything = explorer.blocks(run)
    sizes = [len(one.data) for one in everything]
    budget = sum(sizes) // 2
    made = explorer.blocks(run, budget=budget)
    assert sum(len(one.data) for one in made) <= budget and all(one.shown >= 20 for one in made)
    assert max(len(one.data) for one in made) <= 1.001 * budget - sum(sorted(len(one.data) for one in made)[:-1])
    cut = next(one for one in made if one.analysis == "nle")
    assert cut.shown < cut.total == 400
    data, whole = unpacked(cut.data), unpacked(everything[[o.analysis for o in everything].index("nle")].data)
    flipped = {i for i, mark in zip(whole["ids"], whole["marks"][1], strict=True) if mark & LOST}
    assert len(flipped & set(data["ids"])) == min(len(flipped), cut.shown)
    assert data["ids"] == sorted(data["ids"]) and data["total"] == 400
    monkeypatch.setattr(explorer, "_OUTCOMES", 3 * 3 * 100)
    assert [one.shown for one in explorer.blocks(run)] == [100, 100, 100], "three variants with hqq, three series"
    tiny = explorer.blocks(run, budget=1)
    assert [one.shown for one in tiny] == [20, 20, 20], "so few are always there"


def test_judges_are_told_one_by_one() -> None:
    values = {
        "text": "x", "tone": 3.5, "tone:critic": 4, "tone:editor": 3, "mass:critic": 0.9,
        "shares": {"yes": 0.123456789, "no": 2.83399833e-05},
        "answers": {"tone:critic": "Rating: 4", "tone:editor": ""}, "probabilities": {"tone:editor": [0.1, 0.9]},
    }  # fmt: skip
    series = Series(
        model="m", task="t", analysis="a", method="a", settings={}, measures=(RATED,), rows=(("i", 0), ("j", 0)),
        groups=("", ""), outcomes={"full": (Outcome(values=values, failed=None), None)}, planned={"full": 2},
    )  # fmt: skip
    data = unpacked(explorer.block(Items(series=series), (0, 1), {}, {}))
    refer = data["strings"].index
    assert data["out"][0]["ratings"] == [
        ["tone", "critic", [refer("Rating: 4"), -1], None],
        ["tone", "editor", [-1, -1], [[0.1, 0.9], None]],
    ]
    facts = {name: column[0] for name, column in data["out"][0]["facts"]}
    assert facts == {
        "tone": 3.5,
        "tone:critic": 4,
        "tone:editor": 3,
        "mass:critic": 0.9,
        "shares": '{"yes": 0.1235, "no": 2.834e-05}',
    }


def test_long_texts_are_clipped_and_said_once() -> None:
    long = "y" * 50_000
    told = Outcome(values={"text": long}, failed=None)
    series = Series(
        model="m", task="t", analysis="a", method="a", settings={}, measures=(RATED,), rows=(("i", 0),), groups=("",),
        outcomes={"full": (told,), "v": (told,)}, planned={"full": 1, "v": 1},
    )  # fmt: skip
    data = unpacked(explorer.block(Items(series=series), (0,), {"i": {"fields": {"text": "in"}, "answers": ["a"]}}, {}))
    (text,) = [one for one in data["strings"] if len(one) > 10]
    assert text.startswith("yyy") and text.endswith("[30,000 more characters]") and len(text) < 20_100
    assert data["fields"] == [["text", [data["strings"].index("in")]]]
    assert data["answers"] == [[data["strings"].index("a")]] and data["telling"] == 1


def test_the_variant_shown_first_lost_most_and_is_sound_and_no_placebo(run: RunData) -> None:
    (series,) = [one for one in run.series if one.analysis == "recall"]
    table = Items(series=series)
    gates = explorer.standings(run.variant_list, series.model)
    assert gates["rtn-2bit"] == "failed" and gates["hqq-4bit"] == "unavailable"
    assert table.variants[explorer.head(table, gates)["telling"]] == "rtn-3bit"
    placebo = [replace(v, recipe={"placebo": {}}) if v.name == "rtn-3bit" else v for v in run.variant_list]
    gates = explorer.standings(placebo, series.model)
    assert gates["rtn-3bit"] == "placebo"
    assert table.variants[explorer.head(table, gates)["telling"]] not in {"rtn-3bit", "rtn-2bit", "full"}
