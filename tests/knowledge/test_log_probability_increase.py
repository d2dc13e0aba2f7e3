"""Neurons, layers and query neurons of facts: by hand, against full precision, with planted damage."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.analyses.test_by_hand import FACTS, drive

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Record
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.errors import StudyError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inspections import Layers, Neurons
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Ask, Inspection, Prompt
from compressed_lens.tasks import Task, load_task
from compressed_lens.tasks.base import Item


@pytest.fixture(scope="module")
def reference(load_model: Callable[[Path], HFModel]) -> HFModel:
    return load_model(locate_model("reference"))


@pytest.fixture(scope="module")
def facts() -> Task:
    return load_task("testbed-facts")


def run(model: HFModel, full: HFModel, task: Task, name: str, step: int, **settings: Any) -> list[Record]:
    analysis, records = create(name, settings), {}
    jobs = [Job(key=(item.id,), analysis=analysis, task=task, item=item) for item in task.items[::step]]
    Engine(model, others=lambda _: full).run(jobs, lambda job, record: records.update({job.item.id: record}))
    assert len(records) == len(jobs)
    for record in records.values():
        assert record.failed is None
        json.dumps(dict(record.values), allow_nan=False)
    return list(records.values())


def mean(records: Sequence[Record], name: str) -> Any:
    return np.mean([record.values[name] for record in records], axis=0)  # type: ignore[arg-type]


def damaged(model: HFModel, parts: Sequence[str], size: float, seed: int = 0) -> HFModel:
    """The model with noise of `size` standard deviations in some weights."""
    module, dice = copy.deepcopy(model.module), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in parts:
            weight = module.get_submodule(part).weight
            weight.add_(torch.randn(weight.shape, generator=dice) * size * weight.std())
    return HFModel(module, model.tokenizer, weights=f"{parts} {size} {seed}")


def block_parts(block: int) -> list[str]:
    inner = ("mlp.down_proj", "mlp.up_proj", "mlp.gate_proj", *(f"self_attn.{n}_proj" for n in "qkvo"))
    return [f"model.layers.{block}.{name}" for name in inner]


def found(neurons: list[list[float]], *, reaching: int | None = None) -> dict[str, Any]:
    return {"neurons": neurons, "reaching": reaching, "projected": 3, "of": [10, 10]}


def seen(ffn: dict[str, Any], watched: Sequence[float] = (), **more: Any) -> Inspection:
    values = {"ffn": ffn, "watched": list(watched), "token": " Paris", "scale": 2.0, "known": True, **more}
    return Inspection(values=values)


def test_neurons_by_hand() -> None:
    full = seen(found([[0, 1, 3.0], [0, 2, 2.0], [1, 5, 1.0]]))
    own = seen(found([[1, 7, 4.0], [0, 1, 2.5], [1, 8, 1.5]]), scale=3.0, known=False)
    again = seen(found([], reaching=5), watched=[1.2, -0.5])
    back = seen(found([]), watched=[0.5, 0.9])
    asked, record = drive(create("neurons", {"top": 3}), FACTS, [[full, own], [again, back]])
    by = [(one.request.by if isinstance(one, Ask) else one.by) for one in asked]  # type: ignore[union-attr]
    assert isinstance(asked[0], Ask) and isinstance(asked[3], Ask)
    assert by[0] == by[1] == Neurons(target="Paris", top=3)
    assert by[2] == Neurons(target="Paris", top=0, reach=1.0, watch=((0, 2), (1, 5)))
    assert by[3] == Neurons(target="Paris", top=0, watch=((1, 7), (1, 8)))
    values = record.values
    assert values["tau"] == 1.0
    assert values["survival"] == values["survival_known"] == 5
    assert (values["survivors"], values["entered"]) == (2, 2)
    assert values["jaccard"] == 1 / 5
    assert values["lost"] == pytest.approx((3.0 - 2.5) + (2.0 - 1.2) + (1.0 + 0.5))
    assert values["gained"] == pytest.approx((4.0 - 0.5) + (1.5 - 0.9))
    assert values["lost_by_block"] == pytest.approx([1.3, 1.5])
    assert values["gained_by_block"] == pytest.approx([0.0, 4.1])
    assert values["compensation"] == pytest.approx(1.5 / 2.8)
    assert values["rank_correlation"] == pytest.approx(1.0)
    assert values["top"] == [[0, 1, 3.0, 2.5], [0, 2, 2.0, 1.2], [1, 5, 1.0, -0.5]]
    assert values["top_entered"] == [[1, 7, 0.5, 4.0], [1, 8, 0.9, 1.5]]
    assert values["survivors_by_block"] == [2, 0]
    assert values["entered_by_block"] == [0, 2]
    assert (values["known"], values["full_known"], values["scale_ratio"]) == (False, True, 1.5)
    # Random sets of 2 and 1 of the first block's ten, 1 and 2 of the second's: at least one in common.
    assert values["jaccard_p"] == pytest.approx(1 - (8 / 10) * (8 / 10))


def test_fewer_than_tau_needs_no_count() -> None:
    full = seen(found([[0, 1, 3.0], [0, 2, 2.0]]), known=False)
    own = seen(found([[0, 2, 2.1], [0, 1, 1.0]]))
    asked, record = drive(create("neurons", {"top": 2}), FACTS, [[full, own]])
    assert len(asked) == 2
    assert record.values["survival"] == record.values["survivors"] == 1
    assert record.values["survival_known"] is record.values["survivors_known"] is None
    assert record.values["rank_correlation"] is None


def test_scores_that_are_not_finite_fail_the_item() -> None:
    whole = seen(found([[0, 1, 3.0]]), attention=found([[0, 0, 1, 2, 0.5]]))
    for broken in (
        seen(found([]), attention=found([[0, 0, 1, 2, 0.5]])),
        seen(found([[0, 1, 3.0]]), attention=found([])),
    ):
        _, record = drive(create("neurons", {"attention": True}), FACTS, [[whole, broken]])
        assert record.failed == "no neuron has a finite score"


def test_layers_by_hand() -> None:
    def layers(attention: list[float], scale: float) -> Inspection:
        told = {"attention": attention, "ffn": [1.0, 0.5], "heads": [[0.1, 0.2], [0.3, 0.4]], "scale": scale}
        return Inspection(values={**told, "token": " Paris", "log_probability": -0.1, "known": True})

    first = [layers([1.0, 2.0], 2.0), layers([0.0, 0.0], 4.0)]
    asked, record = drive(create("layer_contributions"), FACTS, [first, [layers([0.5, 2.5], 2.0)]])
    assert [one.by for one in asked[1:]] == [Layers(target="Paris"), Layers(target="Paris", scale=2.0)]  # type: ignore[union-attr]
    assert record.values["attention_drop"] == record.values["drop"] == [0.5, -0.5]
    assert record.values["change"] == [0.5, 0.5]
    assert record.values["peak"] == 0
    assert record.values["drop_total"] == record.values["ffn_drop_total"] == 0.0
    assert record.values["scale_ratio"] == 2.0
    asked, record = drive(create("layer_contributions", {"scale": "own"}), FACTS, [first])
    assert record.values["drop"] == [1.0, 2.0]


def test_full_precision_against_itself(reference: HFModel, facts: Task) -> None:
    """In batches that differ from each other: 300 survive, no layer drops, exactly."""
    for record in run(reference, reference, facts, "neurons", 40, attention=True):
        values = record.values
        assert values["survival"] == values["survivors"] == values["attention_survival"] == 300
        assert values["jaccard"] == values["attention_jaccard"] == 1.0
        assert values["lost"] == values["gained"] == values["entered"] == 0
        assert values["rank_correlation"] == pytest.approx(1.0)
        assert 0 < values["jaccard_null"] < 0.5  # type: ignore[operator]
    for scale in ("full", "own"):
        for record in run(reference, reference, facts, "layer_contributions", 40, scale=scale):
            assert record.values["drop"] == [0.0] * 6
            assert record.values["peak"] is None
    for record in run(reference, reference, facts, "query_neurons", 40):
        assert record.values["kept"] in (None, 1.0)


@pytest.mark.parametrize("block", range(6))
def test_planted_damage_peaks_at_its_block(reference: HFModel, facts: Task, block: int) -> None:
    """The change peaks there for damage of any size; the signed drop for damage that costs knowledge."""
    out = [name for name in block_parts(block) if name.endswith(("down_proj", "o_proj"))]
    for names, size in ((out, 0.3), (block_parts(block), 2.0)):
        records = run(damaged(reference, names, size, seed=block), reference, facts, "layer_contributions", 24)
        change, drop = mean(records, "change"), mean(records, "drop")
        assert int(change.argmax()) == block
        # Nothing in front of the damage changes, so nothing there may drop.
        assert change[:block].max(initial=0.0) < 1e-5
    assert int(drop.argmax()) == block
    assert drop[block] > 1.0


def test_the_own_scale_hides_where_late_damage_is(reference: HFModel, facts: Task) -> None:
    """Why `scale: full` is the default: a larger scale shrinks what intact blocks are said to add."""
    variant = damaged(reference, block_parts(5), 1.0)
    drop = mean(run(variant, reference, facts, "layer_contributions", 24, scale="own"), "drop")
    assert int(drop.argmax()) == 0
    assert drop[0] > 0.1


def test_survivors_fall_with_damage_where_the_count_does_not(reference: HFModel, facts: Task) -> None:
    every = [part for block in range(6) for part in block_parts(block)]
    survivors, survival = [300.0], [300.0]
    for size in (0.1, 0.5, 2.0):
        records = run(damaged(reference, every, size), reference, facts, "neurons", 60)
        survivors.append(mean(records, "survivors"))
        survival.append(mean(records, "survival"))
        assert all(sum(r.values["survivors_by_block"]) == r.values["survivors"] for r in records)  # type: ignore[arg-type]
        assert all(r.values["survivors"] <= r.values["survival"] for r in records)  # type: ignore[operator]
    assert survivors == sorted(survivors, reverse=True)
    assert survivors[-1] < 150
    assert survival[-1] > 400


def test_attention_neurons_of_the_reference_model_read_embeddings(reference: HFModel, facts: Task) -> None:
    records = run(reference, reference, facts, "query_neurons", 20)
    assert float(np.median([record.values["from_embedding"] for record in records])) > 0.99  # type: ignore[arg-type]
    assert any(record.values["found"] for record in records)
    for record in records:
        assert (record.values["kept"] is None) == (record.values["found"] == 0)


def begins_with_a_space(model: HFModel, item: Item) -> bool:
    first = model._inside.reader.first(Prompt(text=item.fields["prompt"]), item.answers[0])
    return not model._inside.text(first).strip()


@pytest.mark.parametrize("name", ["layer_recall", "layer_contributions", "integrated_neurons"])
def test_a_first_token_that_tells_nothing_fails_the_item(
    name: str, shared: Path, stories_folder: Path, load_model: Callable[[Path], HFModel]
) -> None:
    model, task = load_model(stories_folder), load_task("lre", path=str(shared / "data" / "lre"), limit=12)
    odd = [item.id for item in task.items if begins_with_a_space(model, item)]
    assert 0 < len(odd) < len(task.items)
    failed: dict[Any, str | None] = {}
    jobs = [Job(key=item.id, analysis=create(name), task=task, item=item) for item in task.items]
    Engine(model, others=lambda _: model).run(jobs, lambda job, record: failed.update({job.key: record.failed}))
    assert [item.id for item in task.items if failed[item.id]] == odd
    assert all("nothing but a space" in str(failed[key]) for key in odd)


def test_query_neurons_change_with_damage(
    shared: Path, stories_folder: Path, load_model: Callable[[Path], HFModel]
) -> None:
    model, task = load_model(stories_folder), load_task("lre", path=str(shared / "data" / "lre"), limit=18)
    task = replace(task, items=tuple(item for item in task.items if not begins_with_a_space(model, item))[:6])
    every = [part for block in range(5) for part in block_parts(block)]
    kept = [1.0]
    for size in (0.02, 1.0):
        records = run(damaged(model, every, size), model, task, "query_neurons", 1)
        kept.append(mean(records, "kept"))
        assert mean(records, "jaccard_null") < 0.3
    assert kept == sorted(kept, reverse=True)
    assert kept[1] > 0.5 > kept[2]


def test_what_each_model_predicts(reference: HFModel, facts: Task) -> None:
    for record in run(reference, reference, facts, "neurons", 60, target="predicted", top=20):
        assert record.values["known"] is record.values["full_known"] is True
        assert record.values["survival"] == 20


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("neurons", {"top": 0}),
        ("neurons", {"attention": 1}),
        ("neurons", {"target": "gold"}),
        ("layer_contributions", {"scale": "half"}),
        ("layer_contributions", {"target": "gold"}),
        ("query_neurons", {"values": 0}),
        ("query_neurons", {"top": -1}),
    ],
)
def test_settings_are_checked(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="cannot be"):
        create(name, settings)


def test_numbers_of_a_model_with_fewer_neurons(tiny_llama: HFModel) -> None:
    from compressed_lens.tasks.base import Item

    item = Item(id="1", fields={"prompt": "the capital of France is"}, answers=("Paris",))
    task = Task(name="one", kind="recall", items=(item,))
    (record,) = run(tiny_llama, tiny_llama, task, "neurons", 1)
    assert record.values["survival"] == record.values["survivors"] == 3 * 64
    assert record.values["jaccard_p"] == 1.0
    assert not math.isnan(record.values["tau"])  # type: ignore[arg-type]
