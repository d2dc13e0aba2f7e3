"""Models that cannot be looked into: their items fail with the reason, and everything else is asked all the same."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Record
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.lm.hf import HFModel
from compressed_lens.tasks import load_task

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
    task = load_task("testbed-facts", limit=2)
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
