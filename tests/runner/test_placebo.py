"""Placebo variants: the same weights under other numerics, with cells, responses and builds of their own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compressed_lens.comparison.series import variant_list
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inspections import Intervene
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Generate, Inspect, Prompt
from compressed_lens.runner import Run, load_run, plan, resume, run
from compressed_lens.runner.variants import Base
from compressed_lens.study.load import from_arguments
from compressed_lens.study.schema import PLACEBOS, Study

MakeStudy = Callable[..., Study]
DRAWN = {"name": "drawn", "analysis": "nle", "settings": {"temperature": 1.5, "max_new_tokens": 8}}
REFUSED = {"placebo-float32": "dtype float32 already", "placebo-sdpa": "attention sdpa already"}
ALL = [*PLACEBOS, {"name": "both", "placebo": {"dtype": "float16", "attention": "eager", "batch_tokens": 99}}]
NAMES = [*PLACEBOS, "both"]
_DEEP = 100
RUN = [name for name in NAMES if name not in REFUSED]


@pytest.fixture(scope="module")
def make(make_study: MakeStudy) -> MakeStudy:
    """The study of the runner's tests, with every placebo and an analysis that draws."""
    return lambda **changed: make_study(**{"variants": ALL, "analyses": ["accuracy", DRAWN], **changed})


@pytest.fixture(scope="module")
def done(make: MakeStudy, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(make(), out=tmp_path_factory.mktemp("placebo") / "run", progress=False)


def values(of: Run, variant: str, analysis: str) -> list[dict[str, Any]]:
    rows = of.records.filter(variant=variant, analysis=analysis)
    assert rows["failed"].null_count() == len(rows)
    return [json.loads(text) for text in rows["values"]]


def test_a_placebo_shares_nothing_with_full_precision(done: Run) -> None:
    rows = {row["variant"]: row for row in done.variants.iter_rows(named=True)}
    alive = ["full", *RUN]
    assert [rows[name]["status"] for name in alive] == ["passed"] * len(alive)
    assert len({rows[name]["fingerprint"] for name in alive}) == len(alive)
    assert len(set(done.records["cell"])) == 2 * len(alive)
    for name in RUN:
        assert json.loads(rows[name]["speed"])["executed_requests"] >= 8, "not answered out of full precision's cache"
        checks = {finding["check"] for finding in json.loads(rows[name]["integrity"])["findings"]}
        assert "divergence from full precision" in checks
        assert not checks & {"something is quantized", "smaller than the base"}


def test_the_store_says_what_a_placebo_is(done: Run) -> None:
    known = {variant.name: variant for variant in variant_list(done.variants)}
    assert [name for name, variant in known.items() if variant.placebo] == NAMES
    assert known["placebo-sdpa"].recipe == {"placebo": {"attention": "sdpa"}}
    assert known["both"].recipe == {"placebo": {"dtype": "float16", "attention": "eager", "batch_tokens": 99}}
    assert known["placebo-batch"].recipe == {"placebo": {"batch_tokens": 1}}
    loaded = {name: variant.loaded for name, variant in known.items() if variant.loaded}
    assert loaded["placebo-eager"] == {**loaded["full"], "attention": "eager"}
    assert (loaded["full"]["attention"], loaded["full"]["dtype"]) == ("sdpa", "float32")
    assert loaded["placebo-bfloat16"]["dtype"] == "bfloat16"
    assert loaded["placebo-batch"] == loaded["placebo-seed"] == loaded["full"]


def test_what_full_precision_has_already_is_no_placebo(done: Run) -> None:
    told = {row["variant"]: (row["status"], row["reason"]) for row in done.variants.iter_rows(named=True)}
    for name, reason in REFUSED.items():
        assert told[name][0] == "unavailable"
        assert reason in told[name][1] and name in told[name][1]


def test_numerics_change_and_draws_change_where_they_should(done: Run) -> None:
    for name in ("placebo-bfloat16", "placebo-float16"):
        shift = [
            abs(a["gold_probability"] - b["gold_probability"])
            for a, b in zip(values(done, "full", "accuracy"), values(done, name, "accuracy"), strict=True)
        ]
        assert 0 < max(shift) < 0.1
    assert values(done, "placebo-seed", "accuracy") == values(done, "full", "accuracy")
    texts = {
        name: [v["explanation"] for v in values(done, name, "drawn")]
        for name in ("full", "placebo-seed", "placebo-batch")
    }
    assert texts["placebo-seed"] != texts["full"]
    assert texts["placebo-batch"] == texts["full"]


def test_resuming_loads_no_model_and_lost_records_come_back(
    done: Run, make: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(done.records.select("cell", "item", "values").rows())
    with sqlite3.connect(done.folder / "run.sqlite") as connection:
        connection.execute("DELETE FROM records WHERE item IN ('i0', 'i3')")
    again = resume(done.folder, progress=False)
    assert set(again.records.select("cell", "item", "values").rows()) == before
    with sqlite3.connect(done.folder / "run.sqlite") as connection:
        spent = connection.execute("SELECT amounts FROM work WHERE session = 2").fetchall()
    assert sum(json.loads(text).get("executed_requests", 0) for (text,) in spent) == 0

    def refuse(*_: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(Base, "_open", refuse)
    variants = [one for one in ALL if str(one) not in REFUSED]
    assert len(run(make(variants=variants), out=done.folder, progress=False).records) == 8 * (1 + len(RUN))


def test_a_plan_takes_a_placebo_for_what_it_is(done: Run, make: MakeStudy, tmp_path: Path) -> None:
    planned = plan(make(), out=done.folder)
    own = {v.variant: v for v in planned.variants}
    assert {v.made for v in planned.variants} == {"as it is"}
    assert own["placebo-bfloat16"].bytes_on_disk == own["full"].bytes_on_disk
    assert own["placebo-bfloat16"].memory_bytes * 2 == own["placebo-batch"].memory_bytes
    assert all(cell.done == cell.items for cell in planned.cells if cell.variant not in REFUSED)
    assert sum("small batches" in note for note in planned.notes) == 2
    fresh = {cell.variant: cell.tokens for cell in plan(make(), out=tmp_path / "new").cells}
    assert fresh["placebo-batch"] == fresh["full"] > 0


def test_only_draws_of_the_model_follow_its_seed(tiny_llama_folder: Path) -> None:
    plain, other = (HFModel.load(tiny_llama_folder, device="cpu", draws=draws) for draws in (0, 1))
    prompt = Prompt(text="the river runs to")
    request = Generate(prompt=prompt, max_new_tokens=12, temperature=2.0, seed=4)
    later = Generate(prompt=prompt, max_new_tokens=12, temperature=2.0, seed=5)
    assert other.generate([request]) == plain.generate([later]) != plain.generate([request])
    greedy = Generate(prompt=prompt, max_new_tokens=12, seed=4)
    assert other.generate([greedy]) == plain.generate([greedy])
    at_random = Inspect(prompt=prompt, by=Intervene(target=" the", sets=(((0, 1), (1, 2)),), draws=3))
    assert other.inspect([at_random]) == plain.inspect([at_random])
    assert other.fingerprint != plain.fingerprint


def test_batches_decide_nothing_on_a_cpu(tmp_path: Path) -> None:
    """The claim of batch invariance: row by row, every text and decision is the same, and numbers to 1e-5."""
    study = from_arguments(
        model={"name": "reference", "path": str(locate_model("reference"))},
        variants=["placebo-batch"],
        tasks=["testbed-facts", "testbed-reviews", "testbed-twohop"],
        analyses=["recall", "accuracy", "nle", "layer_recall", "divergence", "cct"],
        limit=3,
        device="cpu",
        cache_dir=str(tmp_path / "cache"),
    )
    done = run(study, out=tmp_path / "run", progress=False)
    compared = 0
    both = [load_run(done.folder).records.filter(variant=name) for name in ("full", "placebo-batch")]
    for one, other in zip(*(rows.iter_rows(named=True) for rows in both), strict=True):
        assert [one[key] for key in ("task", "analysis", "item")] == [
            other[key] for key in ("task", "analysis", "item")
        ]
        assert one["failed"] == other["failed"]
        _same(json.loads(one["values"]), json.loads(other["values"]))
        compared += one["failed"] is None
    assert compared >= 24


def _same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            _same(value, other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            _same(a, b)
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-5, abs=1e-5)
    elif isinstance(one, int) and one > _DEEP:
        assert abs(one - other) <= 1, "a rank hundreds deep, between two tokens that are as good as tied"
    else:
        assert one == other
