"""Divergence from full precision, against brute force over the whole vocabulary."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.analyses.test_by_hand import CHAINS, FACTS, NLI, drive, scores, text

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Record, declared_metrics, family_of
from compressed_lens.analyses.divergence import Divergence, label_divergence
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.errors import ModelError, StudyError
from compressed_lens.explanations import prompting
from compressed_lens.lm.distributions import Against, Likeliest
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Ask, Inspect, Inspection, Prompt, Score
from compressed_lens.tasks import Task, load_task

ITEMS = 6


@pytest.fixture(scope="module")
def full(load_model: Callable[[Path], HFModel]) -> HFModel:
    return load_model(locate_model("reference"))


@pytest.fixture(scope="module")
def damaged() -> HFModel:
    """The reference model with noise on every weight."""
    model = HFModel.load(locate_model("reference"), device="cpu", apart="noise")
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.add_(0.5 * parameter.std() * torch.randn(parameter.shape, generator=generator))
    return model


def run(model: HFModel, full: HFModel, task: Task, **settings: Any) -> dict[str, Record]:
    found: dict[str, Record] = {}
    analysis = create("divergence", settings)
    jobs = [Job(key=item.id, analysis=analysis, task=task, item=item) for item in task.items]
    engine = Engine(model, others=lambda name: full)
    engine.run(jobs, lambda job, record: found.update({job.item.id: record}))
    return found


def logits_over(model: HFModel, prompt: Prompt, answer: str) -> tuple[torch.Tensor, list[int]]:
    """Logits in front of every token of the answer, by one plain forward, and these tokens."""
    ids = model.encode(prompt)
    written = model.tokenizer(answer, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        out = model.module(torch.tensor([[*ids, *written]])).logits[0].double()
    return out[len(ids) - 1 : -1], written


def exact(full: HFModel, own: HFModel, prompt: Prompt, answer: str) -> dict[str, Any]:
    a, written = logits_over(full, prompt, answer)
    b, again = logits_over(own, prompt, answer)
    assert written == again and written
    p, q = a.log_softmax(-1), b.log_softmax(-1)
    kl = (p.exp() * (p - q)).sum(-1)
    return {
        "kl": float(kl.mean()),
        "largest_kl": float(kl.max()),
        "same_top_token": float((a.argmax(-1) == b.argmax(-1)).double().mean()),
        "token_probability": float(q.exp()[range(len(written)), written].mean()),
    }


def values_of(records: Mapping[str, Record]) -> list[dict[str, Any]]:
    assert not any(record.failed for record in records.values())
    return [dict(record.values) for record in records.values()]


def test_the_whole_vocabulary_gives_the_exact_divergence(full: HFModel, damaged: HFModel) -> None:
    for name in ("testbed-facts", "testbed-twohop"):
        task = load_task(name, limit=ITEMS)
        whole = run(damaged, full, task, top=100_000, max_new_tokens=8)
        some = run(damaged, full, task, top=64, max_new_tokens=8)
        few = run(damaged, full, task, top=1, max_new_tokens=8)
        seen = [0.0, 0.0]
        for item in task.items:
            values = dict(whole[item.id].values)
            want = exact(full, damaged, Prompt(text=item.fields["prompt"]), str(values["answer"]))
            for key, value in want.items():
                assert values[key] == pytest.approx(value, rel=1e-5, abs=1e-7), key
            assert values["outside"] == 0.0
            bounds = [float(each[item.id].values["kl"]) for each in (few, some, whole)]  # type: ignore[arg-type]
            assert bounds == sorted(bounds), "finer parts can only raise it"
            seen = [seen[0] + bounds[1], seen[1] + bounds[2]]
        assert seen[1] / ITEMS > 0.1, "the damage shows"
        assert seen[0] > 0.99 * seen[1], "the default leaves out little"


def test_labels_by_hand_and_on_a_real_classification(full: HFModel, damaged: HFModel) -> None:
    assert label_divergence({"a": math.log(0.2), "b": math.log(0.2)}, {"a": -1.0, "b": -1.0}) == 0.0
    by_hand = 0.75 * math.log(0.75 / 0.25) + 0.25 * math.log(0.25 / 0.75)
    mass = {"a": math.log(0.3), "b": math.log(0.1)}
    assert label_divergence(mass, {"a": -5.0 + math.log(0.25), "b": -5.0 + math.log(0.75)}) == pytest.approx(by_hand)
    task = load_task("testbed-reviews", limit=ITEMS)
    records = run(damaged, full, task, max_new_tokens=4)
    for item in task.items:
        prompt = prompting.classify(task, item)
        request = Score(prompt=prompt, continuations=task.labels_of(item))
        p, q = (
            torch.tensor(model.score([request])[0].log_probabilities).double().log_softmax(0)
            for model in (full, damaged)
        )
        assert records[item.id].values["label_kl"] == pytest.approx(float((p.exp() * (p - q)).sum()), rel=1e-4)


def test_full_against_itself_is_zero_and_one(full: HFModel) -> None:
    for name in ("testbed-facts", "testbed-reviews"):
        for values in values_of(run(full, full, load_task(name, limit=ITEMS), max_new_tokens=8)):
            assert (values["kl"], values["largest_kl"], values["same_top_token"]) == (0.0, 0.0, 1.0)
            assert values["label_kl"] in (None, 0.0)
            assert 0 < values["token_probability"] <= 1


def test_batches_change_nothing(full: HFModel, damaged: HFModel) -> None:
    task = load_task("testbed-facts", limit=ITEMS)
    together = run(damaged, full, task, max_new_tokens=8)
    alone: dict[str, Record] = {}
    for item in task.items:
        job = Job(key=item.id, analysis=create("divergence", {"max_new_tokens": 8}), task=task, item=item)
        engine = Engine(damaged, others=lambda name: full, batch_tokens=1)
        engine.run([job], lambda job, record: alone.update({job.item.id: record}))
    for name, record in together.items():
        for key, value in record.values.items():
            other = alone[name].values[key]
            assert other == (value if isinstance(value, str | None) else pytest.approx(value, rel=1e-5, abs=1e-6)), key


def test_any_architecture_and_an_empty_answer(model: HFModel) -> None:
    prompt = Prompt(text="the river runs")
    for answer in (" to the sea", ""):
        taken = model.inspect([Inspect(prompt=prompt, by=Likeliest(continuation=answer, top=5))])[0].values
        by = Against(continuation=answer, ids=tuple(taken["ids"]), packed=taken["packed"])
        own = model.inspect([Inspect(prompt=prompt, by=by)])[0].values
        positions = max(1, len(taken["ids"]))
        assert own["kl"] == [0.0] * positions and own["same_top"] == [True] * positions
        assert len(own["probability"]) == len(taken["ids"])
        assert len(taken["outside"]) == positions and all(0 <= share < 1 for share in taken["outside"])


def test_other_tokens_are_refused(full: HFModel) -> None:
    prompt = Prompt(text="the river runs")
    taken = full.inspect([Inspect(prompt=prompt, by=Likeliest(continuation=" to the sea"))])[0].values
    wrong = Against(continuation=" to the sea", ids=(*taken["ids"][:-1], 1), packed=taken["packed"])
    with pytest.raises(ModelError, match="as other tokens"):
        full.check(Inspect(prompt=prompt, by=wrong))


def test_what_is_not_finite_fails_the_item() -> None:
    asked, record = drive(Divergence(), FACTS, [[text("Paris")], [taken(finite=False)]])
    assert isinstance(asked[0], Ask) and asked[0].to == "full"
    assert record.failed == "a next-token distribution is not finite"
    gone = Inspection(values={"kl": [], "same_top": [], "probability": [], "finite": False})
    _, record = drive(Divergence(), CHAINS, [[text("Paris")], [taken()], [gone]])
    assert record.failed == "a next-token distribution is not finite"
    _, record = drive(
        Divergence(), NLI, [[text("x"), scores(-1.0, -1.0, -1.0), scores(-1.0, math.nan, -1.0)], [taken()]]
    )
    assert record.failed == "a next-token distribution is not finite"


def taken(*, finite: bool = True) -> Inspection:
    return Inspection(values={"ids": [1], "packed": "", "outside": [0.1], "finite": finite})


def test_it_is_exploratory_and_its_settings_are_checked() -> None:
    analysis = create("divergence")
    assert family_of(analysis) == "other"
    assert {metric.direction for metric in declared_metrics(analysis)} == {"neither"}
    with pytest.raises(StudyError, match="top cannot be 0"):
        create("divergence", {"top": 0})
