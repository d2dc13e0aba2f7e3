"""Causal tracing of facts: by hand, and on the reference model."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Curve, Record, pictures_of
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.errors import StudyError
from compressed_lens.knowledge.causal_tracing import ROLES, effects_by_role
from compressed_lens.lm.inspections import CausalTracing
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Ask, Inspect, Inspection, Prompt
from compressed_lens.tasks import Item, Task, load_task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

FACT = Item(
    id="f",
    fields={"prompt": "The capital of New South Wales is"},
    answers=("Sydney",),
    group="capital",
    extra={"subject": "New South Wales"},
)
GRID = [[0.2, 0.1], [0.3, 0.1], [0.6, 0.15], [0.1, 0.5]]
LOOK = {"clean": 0.8, "low": 0.1, "known": True, "deviation": 0.02, "token": " New"}


def drive(item: Item, *answers: list[dict[str, Any]], **settings: Any) -> tuple[list[Any], Record]:
    """Send one list of answers a step; return everything asked and the record."""
    analysis = create("causal_tracing", settings)
    steps = analysis.steps(Task(name="t", kind="recall", items=(item,)), item)
    asked: list[Any] = []
    try:
        asked += next(steps)
        for answer in answers:
            asked += steps.send([Inspection(values=values) for values in answer])
    except StopIteration as end:
        return asked, end.value
    raise AssertionError("the analysis asks for more")


def test_effects_by_role() -> None:
    effects = effects_by_role(GRID, 0.1, 3)
    assert tuple(effects) == ROLES
    assert effects["first_subject"] == pytest.approx([0.1, 0.0])
    assert effects["middle_subject"] == pytest.approx([0.2, 0.0])
    assert effects["last_subject"] == pytest.approx([0.5, 0.05])
    assert effects["first_after"] == effects["last"] == pytest.approx([0.0, 0.4])
    assert effects["further"] is None
    longer = effects_by_role([*GRID, [0.4, 0.2], [0.0, 0.6], [0.1, 0.1]], 0.1, 1)
    assert longer["first_subject"] == longer["last_subject"] == pytest.approx([0.1, 0.0])
    assert longer["middle_subject"] is None
    assert longer["first_after"] == pytest.approx([0.2, 0.0])
    assert longer["further"] == pytest.approx([0.175, 0.2625])
    ends = effects_by_role(GRID[:3], 0.0, 3)
    assert ends["first_after"] is None
    assert ends["last"] == ends["last_subject"]


def test_the_noise_of_every_variant_is_as_loud_as_full_precision_says() -> None:
    own = {**LOOK, "deviation": 0.5}
    traced = {"tokens": [" New", " South", " Wales", " is"], "subject_tokens": 3, "window": 1, **LOOK, "clean": 0.7}
    asked, record = drive(FACT, [LOOK, own], [{**traced, "state": GRID}], parts=("state",), samples=4)
    full, look, trace = asked
    assert isinstance(full, Ask)
    assert full.to == "full"
    assert full.request == look
    assert isinstance(trace, Inspect)
    assert trace.by == CausalTracing(
        target="Sydney", mention="New South Wales", samples=4, deviation=0.02, parts=("state",)
    )
    values = dict(record.values)
    assert values["total_effect"] == pytest.approx(0.6)
    assert values["state_last_subject"] == pytest.approx([0.5, 0.05])
    assert values["state_peak"] == pytest.approx(0.5)
    assert values["state_peak_block"] == 0
    assert values["state_further"] is None
    assert values["outcome"] == "traced"
    json.dumps(values, allow_nan=False)


def test_facts_that_cannot_be_traced() -> None:
    _, unknown = drive(FACT, [LOOK, {**LOOK, "known": False}])
    assert unknown.failed is None
    assert dict(unknown.values) == {"known": False, "outcome": "not known"}
    for subject in ("", "Queensland"):
        item = Item(id="f", fields=FACT.fields, answers=FACT.answers, extra={"subject": subject})
        asked, failed = drive(item)
        assert not asked
        assert failed.failed == "the prompt does not hold the subject"


@pytest.mark.parametrize(
    "settings",
    [{"samples": 0}, {"noise": -1.0}, {"blocks": 0}, {"parts": ["mlp"]}, {"parts": []}, {"parts": ["state", "state"]}],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(StudyError):
        create("causal_tracing", settings)


def test_pictures_and_metrics_are_of_the_parts_asked_for() -> None:
    analysis = create("causal_tracing", {"parts": ["ffn"]})
    curves = [picture.value for picture in pictures_of(analysis) if isinstance(picture, Curve)]
    assert curves == ["ffn_last_subject", "ffn_last"]
    assert [m.name for m in analysis.metrics] == ["total_effect", "ffn_peak", "ffn_peak_block", "known"]


def test_on_the_reference_model(load_model: Callable[..., HFModel]) -> None:
    model = load_model(locate_model("reference"))
    facts = load_task("testbed-facts", limit=4)
    analysis = create("causal_tracing", {"samples": 2})
    records: dict[str, Record] = {}
    jobs = [Job(key=item.id, analysis=analysis, task=facts, item=item) for item in facts.items]
    Engine(model, others=lambda _: model).run(jobs, lambda job, record: records.update({job.item.id: record}))
    for item in facts.items:
        values: Any = records[item.id].values
        assert records[item.id].failed is None
        assert values["known"]
        alone = CausalTracing(
            target=item.answers[0],
            mention=item.extra["subject"],
            samples=2,
            deviation=values["deviation"],
            parts=("state", "ffn", "attention"),
        )
        (answer,) = model.inspect([Inspect(prompt=Prompt(text=item.fields["prompt"]), by=alone)])
        found = answer.values
        assert values["total_effect"] == pytest.approx(found["clean"] - found["low"], abs=1e-6)
        assert values["attention_last"] == pytest.approx(
            [chance - found["low"] for chance in found["attention"][-1]], abs=1e-6
        )
        # All that the prompt's last token knows is there once its last state is back.
        assert values["state_last"][-1] == pytest.approx(values["total_effect"], abs=1e-6)
        # And it knows it from the first block on, where it reads the subject (docs/knowledge.md).
        assert values["state_last"][0] == pytest.approx(values["total_effect"], abs=0.05)
        assert max(values["state_last_subject"]) < 0.1
        json.dumps(dict(values), allow_nan=False)
