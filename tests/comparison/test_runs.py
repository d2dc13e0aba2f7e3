"""Runs side by side: what is refused and why, what agrees, and paired differences against literal loops."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from compressed_lens.comparison.runs import RunComparison, side_by_side
from compressed_lens.comparison.runs_frames import checks_frame, differences_frame, records_frame
from compressed_lens.errors import DataError
from compressed_lens.report.run_data import RunData
from compressed_lens.statistics import holm
from compressed_lens.store import Store
from compressed_lens.study.schema import Study

ITEMS = 40
METRICS = [
    {"name": "correct", "value": "correct", "direction": "higher", "unit": "rate", "summary": "", "on_failure": 0.0,
     "primary": True, "family": "task"},
    {"name": "odds", "value": "odds", "direction": "higher", "unit": "nats", "summary": "", "primary": True,
     "family": "task"},
    {"name": "words", "value": "words", "direction": "neither", "unit": "words", "summary": "", "family": "quality"},
]  # fmt: skip


@dataclass(frozen=True)
class Told:
    values: Mapping[str, Any]
    failed: str | None = None


@dataclass
class Plan:
    """One small run; a test changes one thing of it."""

    model: str = "small"
    path: str = "org/small"
    weights: str = "w"
    seed: int = 0
    luck: int = 1
    settings: dict[str, Any] = field(
        default_factory=lambda: {"mode": "score", "normalize": "sum", "max_new_tokens": 32}
    )
    method: str = "accuracy"
    metrics: list[dict[str, Any]] = field(default_factory=lambda: [dict(m) for m in METRICS])
    judges: list[dict[str, Any]] = field(default_factory=list)
    instruction: str = "Is it good?"
    templates: str = "t"
    items: range = range(ITEMS)
    content: str = "text"
    status: str = "passed"
    recorded: int = ITEMS
    kernel: str = "dense"
    versions: dict[str, str] = field(default_factory=lambda: {"torch": "2.13.0"})
    bytes_of_judge: str = ""


def write(folder: Path, plan: Plan) -> RunData:
    """Write a run of full precision and one variant through the real store, and read it."""
    study = Study.model_validate(
        {"name": "s", "seed": plan.seed, "models": [{"name": plan.model, "path": plan.path}], "variants": ["rtn-4bit"],
         "tasks": ["reviews"], "analyses": ["accuracy"], "judges": plan.judges}
    )  # fmt: skip
    task = f"t-{plan.instruction}-{plan.templates}-{plan.items}-{plan.content}"
    with Store.create(folder, study) as store:
        store.begin_session({"versions": plan.versions, "revision": "abc", "seed": plan.seed})
        store.put_task(
            "reviews", fingerprint=task, kind="classification",
            info={"labels": ["a", "b"], "instruction": plan.instruction},
            items=[(f"i{n}", {"fields": {"text": f"{plan.content} {n}"}, "answers": ["a"]}) for n in plan.items],
        )  # fmt: skip
        places = [(plan.model, variant, "reviews", "accuracy", len(plan.items)) for variant in ("full", "rtn-4bit")]
        store.put_grid(places)
        for position, place in enumerate(places):
            fingerprint = f"{plan.weights}-{place[1]}-{plan.kernel}"
            store.put_build(
                place[1], fingerprint=fingerprint, recipe={"bits": 4} if position else {}, audit=None,
                integrity={"passed": True, "findings": []}, bytes_on_disk=1, memory_bytes=1,
                loaded={"dtype": "float32", "device": "cpu", "kernel": plan.kernel},
            )  # fmt: skip
            store.put_variant(
                plan.model, place[1], position=position, status=plan.status if position else "passed", build=place[1],
                reason="repeats itself" if plan.status == "marked" else "",
            )  # fmt: skip
            cell = f"{fingerprint}{task}{plan.method}{plan.settings}{plan.seed}{plan.bytes_of_judge}"
            store.put_cell(
                cell, place[:4], fingerprint=fingerprint, task_fingerprint=task, method=plan.method,
                settings=plan.settings, seed=plan.seed, items=len(plan.items), metrics=plan.metrics,
            )  # fmt: skip
            for n in plan.items[: plan.recorded]:
                draw = np.random.default_rng((plan.luck, n, position))
                if draw.random() < 0.05:
                    store.write_record(cell, f"i{n}", 0, Told({}, "unparsed"))
                    continue
                values = {"correct": bool(draw.random() < 0.8 - 0.3 * position), "odds": float(draw.normal())}
                store.write_record(cell, f"i{n}", 0, Told({**values, "words": int(draw.integers(3, 30))}))
    return RunData.read(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunData]:
    """Make runs, each once."""
    known: dict[str, RunData] = {}

    def make(**changes: Any) -> RunData:
        key = repr(changes)
        if key not in known:
            known[key] = write(tmp_path_factory.mktemp("run"), Plan(**changes))
        return known[key]

    return make


def checks(compared: RunComparison) -> dict[str, tuple[str, str]]:
    """Return result and detail of each check of the first pair of cells."""
    return {check.name: (check.result, check.detail) for check in compared.cells[0].checks}


def test_a_run_and_itself(made: Callable[..., RunData]) -> None:
    compared = side_by_side([made(), made()])
    assert not compared.alone and len(compared.cells) == 2
    assert {check.result for cell in compared.cells for check in cell.checks} == {"passed"}
    for cell in compared.cells:
        assert cell.relation == "same model" and not cell.refused and not cell.left_out
        found = cell.records
        assert found is not None and found.same == found.shared == ITEMS and not found.unlike
        assert len(cell.differences) == len(METRICS)
        for mine, figure in zip(cell.baseline, cell.differences, strict=True):
            assert figure.paired is not None and figure.paired.estimate == 0
            assert figure.paired.low <= 0 <= figure.paired.high and figure.p == 1
            assert figure.own == mine.own and figure.verdict in {"equivalent", "non-inferior", "undecided"}


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "settings": ({"settings": {"mode": "score", "normalize": "mean", "top": 3}}, "settings",
                 "max_new_tokens 32 / absent; normalize sum / mean; top absent / 3"),
    "analysis": ({"method": "recall"}, "analysis", "accuracy / recall"),
    "seed": ({"seed": 1}, "seed", "0 / 1"),
    "instruction": ({"instruction": "Is it bad?"}, "prompts", "instruction Is it good? / Is it bad?"),
    "templates": ({"templates": "u"}, "prompts", "prompt templates"),
    "content": ({"content": "other"}, "items", "40 of 40 shared items differ in content (fields)"),
    "no shared items": ({"items": range(100, 140)}, "items", "No item is in both"),
    "unfinished": ({"recorded": 30}, "finished", "B:small/full is partial: 30 of 40 records"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_says_why(case: str, made: Callable[..., RunData]) -> None:
    changes, check, detail = REFUSED[case]
    compared = side_by_side([made(), made(**changes)])
    result, told = checks(compared)[check]
    assert result == "refused" and detail in told
    for cell in compared.cells:
        assert cell.refused and not cell.figures and cell.records is None
    frame = checks_frame(compared)
    assert frame.filter(result="refused")["detail"].str.len_chars().min() > 5
    assert differences_frame(compared).is_empty() and records_frame(compared).is_empty()


def test_a_variant_that_failed_the_gate_is_refused(made: Callable[..., RunData]) -> None:
    full, other = side_by_side([made(), made(status="marked")]).cells
    assert not full.refused
    (check,) = other.refused
    assert check.name == "gate" and check.detail == "B:small/rtn-4bit failed the integrity gate: repeats itself"


WARNED: dict[str, tuple[dict[str, Any], str, str]] = {
    "fewer items": ({"items": range(25)}, "items", "on the 25 items that are in both (15 only in A, 0 only in B)"),
    "kernel": ({"kernel": "packed"}, "numerics", "kernel dense / packed"),
    "versions": ({"versions": {"torch": "2.12.0"}}, "software", "torch 2.13.0 / 2.12.0"),
}  # fmt: skip


@pytest.mark.parametrize("case", WARNED)
def test_what_is_compared_with_a_reservation(case: str, made: Callable[..., RunData]) -> None:
    changes, check, detail = WARNED[case]
    compared = side_by_side([made(), made(**changes)])
    result, told = checks(compared)[check]
    assert result == "warning" and detail in told
    assert all(cell.differences and not cell.refused for cell in compared.cells)
    for cell in compared.cells:
        found = cell.records
        assert found is not None and found.same == found.shared
        assert found.shared == len(changes.get("items", range(ITEMS))) and found.only_first == ITEMS - found.shared


def test_kinds_of_pairs(made: Callable[..., RunData]) -> None:
    def kind(**changes: Any) -> str:
        return side_by_side([made(), made(**changes)]).cells[0].relation

    assert kind() == "same model" and kind(kernel="packed") == "same recipe"
    assert kind(path="org/large", weights="v", luck=2) == "other model"
    within = side_by_side([made()], [(("", "full"), ("small", "rtn-4bit"))])
    assert [cell.relation for cell in within.cells] == ["other variant"]


def test_differences_are_those_of_a_loop(made: Callable[..., RunData]) -> None:
    a, b = made(), made(path="org/large", weights="v", luck=2, model="large", items=range(5, 45))
    compared = side_by_side([a, b])
    for cell in compared.cells:
        assert cell.relation == "other model" and checks(compared)["tokenizer"][0] == "warning"
        assert dict(cell.left_out) == {"odds": "nats depend on a model's own tokens or layers, and the models differ"}
        rows = [{row["item"]: row for row in run.records.filter(variant=cell.first.variant.name).iter_rows(named=True)}
                for run in (a, b)]  # fmt: skip
        changes = []
        for item in rows[0].keys() & rows[1].keys():
            sides = [not row[item]["failed"] and json.loads(row[item]["values"])["correct"] for row in rows]
            changes.append(float(sides[1]) - float(sides[0]))
        figure = next(f for f in cell.differences if f.measure.name == "correct")
        assert figure.paired is not None and figure.paired.n == len(changes) == 35
        assert figure.paired.estimate == pytest.approx(np.mean(changes))
        assert (figure.lost, figure.gained) == (changes.count(-1.0), changes.count(1.0))
        assert figure.margin == 0.02
    frame = differences_frame(compared)
    assert frame.height == 4 and set(frame["metric"]) == {"correct", "words"}
    for variant in ("full", "rtn-4bit"):
        part = frame.filter(pl.col("confirmatory"), first_variant=variant)
        assert part["p_adjusted"].to_list() == pytest.approx(holm(part["p"].to_numpy()).tolist())


def test_counts_of_records_add_up(made: Callable[..., RunData]) -> None:
    for changes in ({"luck": 3}, {"luck": 4, "items": range(10, 45)}, {"luck": 5, "items": range(3)}):
        for cell in side_by_side([made(), made(**changes)]).cells:
            found = cell.records
            assert found is not None
            assert found.same + found.close + found.different + found.missing == found.shared
            assert found.shared + found.only_first == ITEMS
            assert found.shared + found.only_second == len(changes.get("items", range(ITEMS)))
            assert found.different and "odds" in found.unlike


def test_a_changed_definition_leaves_the_metric_out(made: Callable[..., RunData]) -> None:
    changed = [{**METRICS[0], "on_failure": None}, {**METRICS[2], "name": "length"}]
    cell = side_by_side([made(), made(metrics=changed)]).cells[0]
    assert dict(cell.left_out) == {
        "correct": "its definition differs: on_failure 0.0 / none",
        "odds": "only run A has it",
        "words": "only run A has it",
        "length": "only run B has it",
    }
    assert not cell.differences


def test_judges(made: Callable[..., RunData]) -> None:
    told = {"method": "tigerscore", "settings": {"scorer": "critic"}}
    one = {**told, "judges": [{"name": "critic", "path": "/models/big"}]}
    assert checks(side_by_side([made(**one), made(**one)]))["judges"][0] == "passed"
    moved = {**told, "judges": [{"name": "critic", "path": "/elsewhere/big"}], "luck": 2, "weights": "v", "path": "x/y"}
    assert checks(side_by_side([made(**one), made(**moved)]))["judges"][0] == "warning"
    other = {**told, "judges": [{"name": "critic", "path": "/models/huge"}], "bytes_of_judge": "huge"}
    assert "path big / huge" in checks(side_by_side([made(**one), made(**other)]))["judges"][1]
    swapped = {**one, "bytes_of_judge": "new"}
    result, detail = checks(side_by_side([made(**one), made(**swapped)]))["judges"]
    assert result == "refused" and "other bytes answered as: critic" in detail
    own = {"method": "perplexity", "settings": {"scorer": "full"}}
    result, detail = checks(side_by_side([made(**own), made(**own, weights="v", path="x/y")]))["judges"]
    assert result == "refused" and "two rulers" in detail


def test_the_noise_floor_of_the_first_run_holds(made: Callable[..., RunData]) -> None:
    placebo = "rtn-4bit"
    run = made()
    variants = run.variants.with_columns(
        recipe=pl.when(pl.col("variant") == placebo)
        .then(pl.lit('{"placebo": {"dtype": "float16"}}'))
        .otherwise("recipe")
    )
    noisy, other = replace(run, variants=variants), made(luck=2, kernel="packed")
    (known,) = [f for f in noisy.figures if (f.variant, f.measure.name) == (placebo, "correct")]
    cells = side_by_side([noisy, other]).cells
    floors = {(c.first.variant.name, f.measure.name): f.floor for c in cells for f in c.differences}
    assert known.paired is not None and floors["full", "correct"] == abs(known.paired.estimate) > 0
    assert floors[placebo, "correct"] is None
    alien = side_by_side([noisy, made(luck=2, weights="v", path="org/large")]).cells[0]
    assert {f.floor for f in alien.differences} == {None}


def test_close_is_not_the_same(made: Callable[..., RunData]) -> None:
    run = made()
    nudged = pl.Series("values", [
        json.dumps({k: v + 1e-7 if k == "odds" and n % 2 else v for k, v in json.loads(text).items()})
        for n, text in enumerate(run.records["values"])
    ])  # fmt: skip
    for cell in side_by_side([run, replace(run, records=run.records.with_columns(nudged))]).cells:
        found = cell.records
        assert found is not None and found.close > 10 and found.different == 0 and not found.unlike
    renamed = pl.Series("values", [text.replace('"words"', '"length"') for text in run.records["values"]])
    (cell, _) = side_by_side([run, replace(run, records=run.records.with_columns(renamed))]).cells
    assert cell.records is not None and cell.records.one_sided == ("length", "words") and cell.records.same == ITEMS


def test_every_cell_has_a_place_and_every_refusal_a_reason(made: Callable[..., RunData]) -> None:
    draw = np.random.default_rng(5)
    changes: list[dict[str, Any]] = [c for c, *_ in (*REFUSED.values(), *WARNED.values())]
    changes += [{"status": "marked"}, {"model": "large"}, {"luck": 7}]
    for _ in range(12):
        sides = [{k: v for n in draw.choice(len(changes), 2) for k, v in changes[n].items()} for _ in range(2)]
        runs = [made(**side) for side in sides]
        compared = side_by_side(runs)
        for number, run in enumerate(runs):
            letter = "AB"[number]
            placed = [(s.variant.name, s.series.task) for c in compared.cells for s in [(c.first, c.second)[number]]]
            alone = [(one.variant, one.task) for one in compared.alone if one.run == letter]
            assert sorted([*placed, *alone]) == sorted((row["variant"], row["task"]) for row in run.cells.to_dicts())
        for cell in compared.cells:
            assert len(cell.checks) == 12 and all(len(check.detail) > 5 for check in cell.checks)
            assert bool(cell.refused) == (cell.records is None) and (not cell.refused or not cell.figures)
            named = {figure.measure.name for figure in cell.differences} | {name for name, _ in cell.left_out}
            assert cell.refused or named == {m.name for s in (cell.first, cell.second) for m in s.series.measures}
        told = checks_frame(compared)
        assert told["detail"].null_count() == 0 and told.height >= 12 * len(compared.cells)


def test_who_has_no_partner(made: Callable[..., RunData]) -> None:
    a, b = made(), made()
    b = replace(b, variants=b.variants.filter(pl.col("variant") != "rtn-4bit"))
    compared = side_by_side([a, b, a])
    assert [(one.run, one.variant, one.why) for one in compared.alone] == [
        ("A", "rtn-4bit", "run B has no small/rtn-4bit; see --pair")
    ]
    assert len(compared.cells) == 1 + 2 and [run[0] for run in compared.runs] == ["A", "B", "C"]
    assert checks_frame(compared).filter(check="partner")["second_run"].to_list() == [None]


def test_what_cannot_be_asked(made: Callable[..., RunData]) -> None:
    with pytest.raises(DataError, match="Give two or more"):
        side_by_side([made()])
    with pytest.raises(DataError, match=r"no variant 'rtn-5bit'.*Did you mean 'small/rtn-4bit'"):
        side_by_side([made(), made()], [(("", "full"), ("", "rtn-5bit"))])
