"""Models that cannot be looked into: their items fail with the reason, and everything else is asked all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import transformers

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Record
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Prompt
from compressed_lens.tasks import load_task
from compressed_lens.tasks.base import Item

_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 420}
_EXPERTS = {"intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 3}


@pytest.mark.parametrize(
    ("config", "module", "fails", "works"),
    [
        (
            transformers.MambaConfig(state_size=8, **_SIZES),
            transformers.MambaForCausalLM,
            {"layer_recall": "not understood", "neurons": "not understood"},
            ["recall"],
        ),
        (
            transformers.MixtralConfig(**_EXPERTS, **_SIZES),
            transformers.MixtralForCausalLM,
            {"neurons": "mixture of experts", "integrated_neurons": "mixture of experts"},
            ["recall", "layer_recall", "layer_contributions"],
        ),
    ],
)
def test_items_fail_with_the_reason(
    config: Any, module: Any, fails: dict[str, str], works: list[str], chat_tokenizer: Any
) -> None:
    model = HFModel(module(config), chat_tokenizer, weights=type(config).__name__, name="odd one")
    whole = load_task("testbed-facts", limit=20)
    task = replace(whole, items=tuple(item for item in whole.items if _tells(model, item))[:2])
    assert len(task.items) == 2
    records: dict[str, list[Record]] = {}
    jobs = [
        Job(key=(name, item.id), analysis=create(name), task=task, item=item)
        for name in (*fails, *works)
        for item in task.items
    ]
    engine = Engine(model, others=lambda _: model)
    engine.run(jobs, lambda job, record: records.setdefault(job.analysis.name, []).append(record))
    for name, reason in fails.items():
        assert all(reason in (record.failed or "") for record in records[name]), records[name]
    for name in works:
        assert not any(record.failed for record in records[name])


@pytest.mark.parametrize(
    ("name", "settings", "task", "reason"),
    [
        ("patchscopes", {"sources": (99,)}, "testbed-twohop", "no state 99"),
        ("back_patching", {"targets": (6,)}, "testbed-twohop", "no state 6"),
        ("linear_relation", {"layer": 40, "pairs": 1}, "testbed-facts", "no layer 40"),
        ("neuron_ablation", {"count": 3072}, "testbed-facts", "too few for a random set"),
    ],
)
def test_settings_the_model_has_nothing_for_fail_the_items(
    name: str, settings: dict[str, Any], task: str, reason: str
) -> None:
    model = HFModel.load(locate_model("reference"), device="cpu")
    whole = load_task(task)
    asked = replace(
        whole, items=tuple(_failing(item) for item in whole.items[:60] if item.group == whole.items[0].group)
    )
    records: list[Record] = []
    jobs = [Job(key=item.id, analysis=create(name, settings), task=asked, item=item) for item in asked.items]
    Engine(model, others=lambda _: model).run(jobs, lambda _, record: records.append(record))
    assert len(records) == len(jobs) > 1
    assert all(reason in (record.failed or "") for record in records), records


def _tells(model: HFModel, item: Item) -> bool:
    """Return whether the object's first token is more than a space."""
    first = model._inside.reader.first(Prompt(text=item.fields["prompt"]), item.answers[0])
    return bool(model._inside.text(first).strip())


def _failing(item: Item) -> Item:
    """Return a chain with an answer that no model gives; a fact as it is."""
    chain = item.extra.get("chain")
    return replace(item, extra={"chain": {**chain, "e3": "nobody", "e3_aliases": ["nobody"]}}) if chain else item
