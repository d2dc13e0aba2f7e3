"""Linear relations: choice of training pairs and prompts by hand, and on the reference model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Record
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.errors import StudyError
from compressed_lens.knowledge.linear_relation import training_pairs
from compressed_lens.lm.inspections import LinearRelation
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Inspect, Inspection
from compressed_lens.tasks import Item, Task, load_task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

PLACES = (("France", "Paris"), ("Italy", "Rome"), ("Spain", "Madrid"), ("Japan", "Tokyo"), ("Peru", "Lima"))


def fact(subject: str, answer: str, *, group: str = "capital", prompt: str = "The capital of {} is") -> Item:
    text = prompt.format(subject)
    return Item(
        id=f"{group}/{text}", fields={"prompt": text}, answers=(answer,), group=group, extra={"subject": subject}
    )


ITEMS = tuple(fact(*place) for place in PLACES)
TASK = Task(name="t", kind="recall", items=(*ITEMS, fact("France", "euro", group="currency")))
FOUND = {
    "top": [" R", " the"],
    "agrees": [True, False],
    "rank": [1, 7],
    "log_probability": [-0.5, -2.0],
    "predicted": " R",
    "known": True,
    "layer": 3,
    "token": " R",
}


def drive(item: Item, found: dict[str, Any] | None = None, task: Task = TASK, **settings: Any) -> tuple[Any, Record]:
    """Return the one request asked for (None without) and the record."""
    steps = create("linear_relation", settings).steps(task, item)
    request = None
    try:
        (request,) = next(steps)
        steps.send([Inspection(values=found or FOUND)])
    except StopIteration as end:
        return request, end.value
    raise AssertionError("the analysis asks for more")


def test_training_pairs_are_other_subjects_of_the_relation() -> None:
    orders = []
    for item in ITEMS:
        pairs = training_pairs(TASK, item, count=4, seed=0)
        assert len(pairs) == 4
        assert item not in pairs
        assert {pair.group for pair in pairs} == {"capital"}
        orders.append([pair.id for pair in pairs])
    # Those who are not among the first share the same pairs.
    shared = [training_pairs(TASK, item, count=2, seed=0) for item in ITEMS]
    assert max(shared.count(pairs) for pairs in shared) == 3
    assert training_pairs(TASK, ITEMS[0], count=4, seed=1) != training_pairs(TASK, ITEMS[0], count=4, seed=0)


def test_a_subject_with_several_prompts_is_one_pair() -> None:
    again = tuple(fact(*place, prompt="{} has the capital") for place in PLACES)
    lost = Item(
        id="x", fields={"prompt": "The capital is"}, answers=("Oslo",), group="capital", extra={"subject": "Nor"}
    )
    task = Task(name="t", kind="recall", items=(*ITEMS, *again, lost))
    pairs = training_pairs(task, ITEMS[0], count=9, seed=0)
    assert sorted(pair.extra["subject"] for pair in pairs) == ["Italy", "Japan", "Peru", "Spain"]


def test_prompts_hold_the_other_training_pairs() -> None:
    request, record = drive(ITEMS[0], pairs=2, layer=3, betas=[2, 1.5])
    assert isinstance(request, Inspect)
    by = request.by
    assert isinstance(by, LinearRelation)
    one, two = training_pairs(TASK, ITEMS[0], count=2, seed=0)
    told = [f"{pair.fields['prompt']} {pair.answers[0]}" for pair in (one, two)]
    assert request.prompt.text == "\n".join([*told, "The capital of France is"])
    assert [example.prompt.text for example in by.examples] == [
        f"{told[1]}\n{one.fields['prompt']}",
        f"{told[0]}\n{two.fields['prompt']}",
    ]
    assert [example.mention for example in by.examples] == [one.extra["subject"], two.extra["subject"]]
    assert (by.layer, by.betas, by.target, by.mention) == (3, (2.0, 1.5), "Paris", "France")
    assert record.values["pairs"] == [one.extra["subject"], two.extra["subject"]]
    alone, _ = drive(ITEMS[0], pairs=2, few_shot=False)
    assert alone.prompt.text == "The capital of France is"
    assert [example.prompt.text for example in alone.by.examples] == [one.fields["prompt"], two.fields["prompt"]]


def test_faithful_is_a_prefix_of_the_object_at_the_first_beta() -> None:
    _, rome = drive(ITEMS[1], pairs=2)
    assert rome.values["faithful"] is True
    assert rome.values["faithful_known"] is True
    assert rome.values["faithful_by_beta"] == [True, False]
    assert (rome.values["rank"], rome.values["log_probability"], rome.values["agrees"]) == (1, -0.5, True)
    _, unknown = drive(ITEMS[1], {**FOUND, "known": False}, pairs=2)
    assert unknown.values["faithful_known"] is None
    assert unknown.values["faithful"] is True
    _, paris = drive(ITEMS[0], pairs=2)
    assert paris.values["faithful_known"] is False
    _, blank = drive(ITEMS[1], {**FOUND, "top": [" ", " R"]}, pairs=2)
    assert blank.values["faithful"] is False
    json.dumps(dict(rome.values), allow_nan=False)


def test_items_without_enough_to_learn_from_fail_with_the_reason() -> None:
    request, few = drive(ITEMS[0])
    assert request is None
    assert few.failed == "the relation has 4 other subjects to learn from, 5 are needed"
    _, lost = drive(
        Item(id="n", fields={"prompt": "It is"}, answers=("a",), group="capital", extra={"subject": "Oslo"})
    )
    assert lost.failed == "the prompt does not hold the subject"
    _, endless = drive(ITEMS[0], {**FOUND, "log_probability": [float("nan"), -1.0]}, pairs=2)
    assert endless.failed == "the affine map leaves the range of numbers"


@pytest.mark.parametrize(
    "settings",
    [
        {"layer": 1.5},
        {"layer": True},
        {"layer": "half"},
        {"betas": []},
        {"betas": [-1.0]},
        {"betas": 2.0},
        {"seed": -1},
        {"pairs": 0},
        {"few_shot": 1},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(StudyError):
        create("linear_relation", settings)


def run(model: HFModel, jobs: Sequence[Job]) -> list[Record]:
    records: list[Record] = []
    Engine(model).run(jobs, lambda _, record: records.append(record))
    return records


def test_on_the_reference_model(load_model: Callable[..., HFModel]) -> None:
    model = load_model(locate_model("reference"))
    facts = load_task("testbed-facts")
    chosen = [item for item in facts.items if item.group == "person_company"][:12]
    shares = {}
    for layer in (0, 2):
        analysis = create("linear_relation", {"layer": layer, "few_shot": False, "betas": [3.0]})
        jobs = [Job(key=item.id, analysis=analysis, task=facts, item=item) for item in chosen]
        records = run(model, jobs)
        values = [record.values for record in records]
        assert len(values) == len(chosen)
        assert all(value["known"] for value in values)
        shares[layer] = sum(bool(value["faithful_known"]) for value in values) / len(values)
    # The subject is read in the first block: from there on its states say nothing any more (docs/knowledge.md).
    assert shares[0] >= 0.8
    assert shares[2] <= 0.2
