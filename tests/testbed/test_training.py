"""Training documents are the very ids the toolkit later asks with, and training is repeatable."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from compressed_lens.explanations import prompting
from compressed_lens.ids import file_digest
from compressed_lens.lm.protocol import Prompt
from compressed_lens.lm.text import join, render
from compressed_lens.tasks.base import Item
from compressed_lens.testbed import corpus, pairs, reviews, train, vocabulary, world
from compressed_lens.testbed.example import Example

STAGES = tuple(train.Stage(steps=1, rate=1e-3, facts=8, conversations=4, pairs=0.5) for _ in range(2))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folders = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    for folder in folders:
        train.train(folder, seed=5, stages=STAGES, log_every=1)
    return folders


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    documents = [*corpus.fact_documents(), *islice(corpus.task_documents(Random(1)), 500)]
    return vocabulary.build((s.text for d in documents for _, s in d.segments), tmp_path_factory.mktemp("tokenizer"))


def test_same_seed_same_weights_and_log(runs: tuple[Path, Path]) -> None:
    first, second = runs
    for name in ("model.safetensors", "tokenizer.json"):
        assert file_digest(first / name) == file_digest(second / name)
    logs = [[json.loads(line) for line in (run / "training_log.jsonl").read_text().splitlines()] for run in runs]
    for entry, again in zip(*logs, strict=True):
        assert {k: v for k, v in entry.items() if "seconds" not in k} == {
            k: v for k, v in again.items() if "seconds" not in k
        }
    assert [(entry["stage"], entry["step"]) for entry in logs[0]] == [(1, 1), (2, 1)]


def test_weights_load_with_plain_transformers(runs: tuple[Path, Path]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(runs[0])
    assert model.dtype == torch.bfloat16
    assert all(w % 128 == 0 for w in (model.config.hidden_size, model.config.intermediate_size))
    assert AutoTokenizer.from_pretrained(runs[0]).chat_template == vocabulary.CHAT_TEMPLATE


@pytest.mark.parametrize("form", ["explain", "counterfactual", "guided", "explain_then_predict"])
def test_conversations_are_the_toolkits_own_prompts(tokenizer: Any, form: str) -> None:
    example = reviews.generate(Random(2))
    item = Item(id="", fields=example.fields, answers=(example.label,))
    prompt = {
        "explain": lambda: prompting.explain(corpus.REVIEWS, item, example.label),
        "counterfactual": lambda: prompting.counterfactual(corpus.REVIEWS, item, example.label, example.target),
        "guided": lambda: prompting.counterfactual_guided(
            corpus.REVIEWS, item, example.label, ", ".join(example.evidence), example.target
        ),
        "explain_then_predict": lambda: prompting.explain_then_predict(corpus.REVIEWS, item),
    }[form]()
    ids, learned = train.encode(tokenizer, corpus.conversation(corpus.REVIEWS, example, form))
    asked = list(render(tokenizer, prompt).ids)
    assert ids[: len(asked)] == asked
    assert all(weight > 0 for weight in learned[len(asked) :])
    assert ids[-1] == tokenizer.eos_token_id


def test_statements_are_the_toolkits_own_seam(tokenizer: Any) -> None:
    prompt, answer, is_question = next(world.training_statements())
    assert not is_question
    ids, learned = train.encode(tokenizer, corpus.fact_documents()[0])
    rendered = render(tokenizer, Prompt(text=prompt))
    answered = join(tokenizer, rendered, answer)
    assert ids[: len(answered)] == list(answered)
    assert len(answered) > len(rendered.ids)
    assert learned == [0.0] * len(rendered.ids) + [1.0] * (len(ids) - len(rendered.ids))


def test_calibration_text_is_read_as_training_documents(tokenizer: Any) -> None:
    texts = corpus.calibration_texts(Random(9), conversations=3, facts=4)
    documents = [*islice(corpus.task_documents(Random(9)), 3), *corpus.fact_documents()]
    known = {tuple(train.encode(tokenizer, document)[0]) for document in documents}
    assert {tuple(tokenizer.encode(text, add_special_tokens=False)) for text in texts} <= known
    assert len(set(texts)) == 7


def test_every_name_is_one_token(tokenizer: Any) -> None:
    names = {f.object for f in world.facts()} | {w for f in world.facts() for w in f.subject.split()}
    assert {n for n in names if len(tokenizer.encode(n, add_special_tokens=False)) != 1} == set()


def test_loss_counts_answers_fully_and_prompts_lightly(tokenizer: Any) -> None:
    model = train.new_model(tokenizer, 0)
    batch = [train.encode(tokenizer, d) for d in corpus.fact_documents()[:3]]
    with torch.no_grad():
        loss = train.loss_of(model, batch, torch.Generator().manual_seed(0))
        kept, total, count = torch.Generator().manual_seed(0), 0.0, 0
        for ids, learned in batch:
            light = torch.rand(len(ids), generator=kept) < train.PROMPT_SHARE
            log = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            for t in range(1, len(ids)):
                weight = learned[t] or train.PROMPT_WEIGHT * float(light[t])
                total -= weight * log[t - 1, ids[t]].item()
                count += learned[t]
    assert loss.item() == pytest.approx(total / count, rel=1e-4)


def test_a_series_labels_several_trained_hypotheses_about_one_premise() -> None:
    rng = Random(12)
    for _ in range(40):
        segments = [segment for _, segment in corpus.series(rng).segments]
        premise = segments[0].text.split("Premise: ")[1].split("\n")[0]
        hypotheses = [s.text.split("Hypothesis: ")[1].split("\n")[0] for s in segments[::2]]
        labels = [s.text for s in segments[1::2]]
        assert [pairs.judge(premise, hypothesis) for hypothesis in hypotheses] == labels
        assert len(labels) == corpus.SERIES_LENGTH + 1
        for hypothesis, label in zip(hypotheses, labels, strict=True):
            fields = {"premise": premise, "hypothesis": hypothesis}
            example = Example(fields=fields, label=label, evidence=(), explanation="", target="", edited="")
            assert not corpus.is_held_out(example)
