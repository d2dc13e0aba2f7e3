"""Items that lack what an analysis needs fail with a sentence, and a run goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Record
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.knowledge.facts import other_wordings, subject_of
from compressed_lens.lm.locate import locate_model
from compressed_lens.tasks import load_task
from compressed_lens.tasks.base import Item

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from compressed_lens.lm.hf import HFModel

FACT = Item(id="fact", fields={"prompt": "None of Zürich is in"}, answers=("Bern",), extra={"subject": "Zürich"})
ODD: dict[str, Item] = {
    "one token": replace(FACT, fields={"prompt": "The"}, extra={}),
    "null": replace(FACT, extra={"subject": None, "paraphrases": None}),
    "elsewhere": replace(FACT, extra={"subject": "Basel"}),
    "punctuation": replace(FACT, answers=('"Bern"',)),
    "all subject": replace(FACT, fields={"prompt": "Zürich"}),
}
OF_A_SUBJECT = ("causal_tracing", "linear_relation")
ON_FACTS = (
    *("recall", "layer_recall", "layer_contributions", "neurons", "query_neurons", "integrated_neurons"),
    *("neuron_ablation", *OF_A_SUBJECT),
)
ON_CHAINS = ("two_hop", "composability", "entity_recall", "consistency", "patchscopes", "back_patching")


@pytest.mark.parametrize(
    ("extra", "subject"),
    [({"subject": "Zürich"}, "Zürich"), ({"subject": None}, ""), ({"subject": "Basel"}, ""), ({}, "")],
)
def test_the_subject_is_one_that_the_prompt_holds(extra: dict[str, Any], subject: str) -> None:
    assert subject_of(replace(FACT, extra=extra)) == subject


def test_other_wordings() -> None:
    assert other_wordings(replace(FACT, extra={"paraphrases": ["a", "b"]})) == ("a", "b")
    assert other_wordings(FACT) == other_wordings(ODD["null"]) == ()


@pytest.mark.parametrize("name", [*ON_FACTS, *ON_CHAINS])
def test_odd_items_fail_alone(name: str, load_model: Callable[[Path], HFModel]) -> None:
    model = load_model(locate_model("reference"))
    items = tuple(replace(item, id=key) for key, item in ODD.items())
    task = replace(load_task("testbed-facts", limit=1), items=items)
    settings = {"recall": {"rank": True, "paraphrases": True}, "neurons": {"attention": True}}.get(name, {})
    analysis = create(name, settings)
    found: dict[str, Record] = {}
    jobs = [Job(key=item.id, analysis=analysis, task=task, item=item) for item in items]
    Engine(model, others=lambda _: model).run(jobs, lambda job, record: found.update({job.item.id: record}))
    if name in ON_CHAINS:
        assert {record.failed for record in found.values()} == {"the item has no chain of two facts"}
    elif name == "linear_relation":
        assert all(record.failed for record in found.values())
    else:
        without = {"one token", "null", "elsewhere"} if name in OF_A_SUBJECT else set()
        assert {key for key, record in found.items() if record.failed} == without
    assert not any("Error" in (record.failed or "") for record in found.values())
