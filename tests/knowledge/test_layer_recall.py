"""Recall by layer: from which state on the object leads, the shift, and real facts against plain forwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.analyses.test_by_hand import drive
from tests.lm.inside.plain import plain_states

from compressed_lens.analyses.base import Record
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.knowledge.layer_recall import LayerRecall, recall_layer
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inspections import Lens
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Ask, Inspect, Inspection, Prompt
from compressed_lens.quantization import prepare
from compressed_lens.tasks import load_task
from compressed_lens.tasks.base import Item, Task

FACT = Item(id="f", fields={"prompt": "The capital of France is"}, answers=("Paris", "Lutetia"), group="capital")
FACTS = Task(name="facts", kind="recall", items=(FACT,))


def lens(*ranks: int | None) -> Inspection:
    logs = [None if rank is None else -float(rank) for rank in ranks]
    return Inspection(
        values={"rank": [*ranks], "log_probability": logs, "top": ["x"] * len(ranks), "token": " Paris", "place": 5}
    )


@pytest.mark.parametrize(
    ("ranks", "wanted"),
    [([1], 0), ([2], None), ([5, 1, 1], 1), ([1, 2, 1], 2), ([1, 1, 2], None), ([1, 1, 1], 0), ([9, 1, 3, 1, 1], 3)],
)
def test_the_recall_layer_is_where_rank_one_is_never_lost_again(ranks: list[int], wanted: int | None) -> None:
    assert recall_layer(ranks) == wanted


def test_the_full_model_is_asked_the_same() -> None:
    asked, record = drive(LayerRecall(), FACTS, [[lens(7, 1, 1, 1), lens(7, 2, 1, 1)]])
    request = Inspect(prompt=Prompt(text="The capital of France is"), by=Lens(target="Paris"))
    assert asked == [Ask(to="full", request=request), request]
    values = record.values
    assert (values["recall_layer"], values["recall_layer_shift"], values["recalled"]) == (2, 1, True)
    assert values["recalled_by"] == [0.0, 0.0, 1.0, 1.0]
    assert (values["share_recalled"], values["final_log_probability"]) == (0.5, -1.0)


def test_a_fact_that_is_not_recalled_has_no_layer() -> None:
    _, record = drive(LayerRecall(), FACTS, [[lens(7, 1, 1), lens(1, 1, 2)]])
    values = record.values
    assert (values["recall_layer"], values["recall_layer_shift"], values["share_recalled"]) == (None, None, 0.0)
    _, record = drive(LayerRecall(), FACTS, [[lens(7, 1, None), lens(1, 1, 1)]])
    assert (record.values["recall_layer"], record.values["recall_layer_shift"]) == (0, None)
    _, record = drive(LayerRecall(), FACTS, [[lens(7, 1, 1), lens(1, None, 1)]])
    assert "not finite" in str(record.failed)


def records_of(model: HFModel, full: HFModel, task: Task) -> dict[str, Record]:
    records: dict[str, Record] = {}
    jobs = [Job(key=item.id, analysis=LayerRecall(), task=task, item=item) for item in task.items]
    engine = Engine(model, others=lambda _: full)
    engine.run(jobs, lambda job, record: records.update({job.item.id: record}))
    return records


def test_real_facts_and_chains_equal_plain_forwards(load_model: Callable[[Path], HFModel], tmp_path: Path) -> None:
    full = load_model(locate_model("reference"))
    coarse = HFModel.load(prepare(locate_model("reference"), "rtn-3bit", cache_dir=tmp_path).folder, device="cpu")
    for name in ("testbed-facts", "testbed-twohop"):
        task = load_task(name, limit=15, seed=2)
        own, other = records_of(full, full, task), records_of(coarse, full, task)
        for item in task.items:
            row = full.encode(Prompt(text=item.fields["prompt"]))
            token = full.encode(Prompt(text=f"{item.fields['prompt']} {item.answers[0]}"))[len(row)]
            logits = [full._inside.anatomy.logits(state[-1]).detach() for state in plain_states(full, row)]
            logs = [float(one.log_softmax(-1)[token]) for one in logits]
            assert own[item.id].values["log_probability"] == pytest.approx(logs, abs=1e-3)
            layer = recall_layer([1 + int((one > one[token]).sum()) for one in logits])
            assert own[item.id].values["recall_layer"] == layer
            assert own[item.id].values["recall_layer_shift"] == (None if layer is None else 0)
            shifted = other[item.id].values["recall_layer"]
            wanted = None if shifted is None or layer is None else int(str(shifted)) - layer
            assert other[item.id].values["recall_layer_shift"] == wanted
        recalled = [sum(bool(record.values["recalled"]) for record in found.values()) for found in (own, other)]
        assert recalled[0] > recalled[1]
