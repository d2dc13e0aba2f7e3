"""Data, analyses, engine and real models together; the numbers against plain one-by-one forwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Analysis, Record
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.knowledge.matching import recalled
from compressed_lens.tasks import Task, load_task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel


def run(model: HFModel, task: Task, *analyses: Analysis) -> dict[tuple[str, str], Record]:
    records: dict[tuple[str, str], Record] = {}
    jobs = [Job(key=(a.name, i.id), analysis=a, task=task, item=i) for a in analyses for i in task.items]
    Engine(model).run(jobs, lambda job, record: records.update({(job.analysis.name, job.item.id): record}))
    assert len(records) == len(jobs)
    return records


def continuation_log_probability(model: HFModel, prompt: str, answer: str) -> float:
    """Sum of log-probabilities of `answer` after a plain `prompt`, by one forward pass without padding."""
    import torch

    tokenizer, module = model.tokenizer, model.module
    start = tokenizer(prompt)["input_ids"]
    whole = tokenizer(f"{prompt} {answer}")["input_ids"]
    assert whole[: len(start)] == start
    with torch.no_grad():
        logits = module(torch.tensor([whole])).logits[0].float().log_softmax(-1)
    return float(sum(logits[i - 1, whole[i]] for i in range(len(start), len(whole))))


def greedy(model: HFModel, prompt: str, tokens: int) -> str:
    """Greedy text after a plain `prompt`, by one forward pass a token."""
    import torch

    ids = list(model.tokenizer(prompt)["input_ids"])
    size = len(ids)
    with torch.no_grad():
        for _ in range(tokens):
            token = int(model.module(torch.tensor([ids])).logits[0, -1].argmax())
            if token == model.tokenizer.eos_token_id:
                break
            ids.append(token)
    decode = model.tokenizer.decode
    return decode(ids, skip_special_tokens=True)[len(decode(ids[:size], skip_special_tokens=True)) :]


def test_recall_on_real_facts_equals_plain_forwards(
    shared: Path, stories_folder: Path, load_model: Callable[[Path], HFModel]
) -> None:
    model = load_model(stories_folder)
    task = load_task("lre", path=str(shared / "data" / "lre"), limit=5)
    records = run(model, task, create("recall", {"max_new_tokens": 6}))
    for item in task.items:
        values = records["recall", item.id].values
        prompt = item.fields["prompt"]
        own = continuation_log_probability(model, prompt, item.answers[0])
        assert values["log_probability"] == pytest.approx(own, abs=1e-3)
        said = greedy(model, prompt, max(6, cast(int, values["object_tokens"]) + 2))
        assert str(values["continuation"]).strip() == said.strip()
        assert values["correct"] == recalled(said, item.answers)
        assert str(values["continuation"]).startswith(str(values["first_token"]))


def test_every_item_of_the_real_sets_gets_its_record(
    shared: Path, stories_folder: Path, load_model: Callable[[Path], HFModel]
) -> None:
    model = load_model(stories_folder)
    for name, folder in (("esnli", "esnli_test"), ("ecqa", "ecqa_val")):
        task = load_task(name, path=str(shared / "data" / folder), limit=6)
        analyses = [create("accuracy"), create("nle", {"max_new_tokens": 8})]
        records = run(model, task, *analyses)
        for item in task.items:
            accuracy, nle = records["accuracy", item.id], records["nle", item.id]
            assert accuracy.failed is None and nle.failed is None
            assert accuracy.values["prediction"] in task.labels_of(item)
            assert accuracy.values["prediction"] == nle.values["prediction"]
            assert nle.values["reference_overlap"] is not None
            assert sum(accuracy.values["probabilities"].values()) == pytest.approx(1)  # type: ignore[union-attr]


def test_a_chat_model_without_any_skill_still_gives_records(tiny_llama: HFModel) -> None:
    task = load_task("testbed-reviews", limit=2)
    analyses = [
        create("accuracy", {"mode": "generate", "max_new_tokens": 6}),
        create("nle", {"style": "explain-then-predict", "max_new_tokens": 6}),
    ]
    records = run(tiny_llama, task, *analyses)
    for record in records.values():
        assert record.failed is not None or record.values["unparsed"] in {True, False}


def test_the_reference_model_labels_explains_and_recalls(load_model: Callable[[Path], HFModel]) -> None:
    from compressed_lens.lm.locate import locate_model

    model = load_model(locate_model("reference"))
    for name in ("testbed-reviews", "testbed-pairs"):
        task = load_task(name, limit=20)
        records = run(model, task, create("accuracy"), create("nle"))
        for analysis in ("accuracy", "nle"):
            assert sum(bool(records[analysis, i.id].values["correct"]) for i in task.items) >= 13
        assert sum(bool(records["nle", i.id].values["names_evidence"]) for i in task.items) >= 10
        assert sum(bool(records["nle", i.id].values["usable"]) for i in task.items) >= 15
    facts = load_task("testbed-facts", limit=20)
    records = run(model, facts, create("recall", {"max_new_tokens": 8, "match": "word", "rank": True}))
    assert sum(bool(records["recall", i.id].values["correct"]) for i in facts.items) >= 15
    for item in facts.items:
        values = records["recall", item.id].values
        if values["correct"]:
            assert values["rank"] == 1
