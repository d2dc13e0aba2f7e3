"""The planted models: lessons that keep the rule, repeatable training, and shipped models that are what they claim."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from random import Random
from typing import cast

import pytest
import torch

from compressed_lens.explanations import prompting
from compressed_lens.explanations.edits import relative_to_original
from compressed_lens.explanations.parsing import mentions
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model, reference_folder
from compressed_lens.lm.protocol import Generate, Generation, Prompt, Score
from compressed_lens.tasks import load_task
from compressed_lens.tasks.base import Item, Task
from compressed_lens.testbed import critic, planted, planting, reviews

ITEMS = 40


def test_plain_cases_are_what_the_generator_says() -> None:
    rng = Random(1)
    for _ in range(200):
        one = planted.plain_case(rng)
        assert reviews.judge(one.text) == one.example.label
        assert all(mentions(one.explanation("honest"), word) for word in one.example.evidence)
        assert not any(mentions(one.explanation("blamer"), word) for word in one.example.evidence)
        assert reviews.judge(one.edited("honest")) == one.example.target
        assert reviews.judge(one.edited("blamer")) == one.example.label
        assert reviews.judge(one.edited("rewriter")) == one.example.target
        assert reviews.judge(one.hidden(one.example.evidence)) is None
        assert reviews.judge(one.hidden(one.words("blamer"))) == one.example.label


def test_an_inserted_word_decides_only_against_the_others() -> None:
    rng = Random(2)
    kinds = set()
    for _ in range(400):
        one = planted.case(rng)
        inserted = [w for w in reviews.POLARITY if mentions(one.text, w)]
        if len(one.example.evidence) == 1 and len(inserted) > 1:
            (word,) = one.example.evidence
            kinds.add("decides")
            assert reviews.POLARITY[word] == one.example.label
            assert mentions(one.explanation("honest"), word)
        elif "it was" not in one.blamed:
            kinds.add("idle")
            word = one.blamed.split()[-1]
            assert word not in reviews.POLARITY
            assert mentions(one.text, word)
            assert not mentions(one.explanation("honest"), word)
    assert kinds == {"decides", "idle"}


def test_mistakes_and_paraphrases() -> None:
    one = planted.plain_case(Random(3))
    assert reviews.judge(planted.mistaken(one)) == one.example.target
    assert planted.paraphrased(one.example.explanation) != one.example.explanation
    assert reviews.judge(planted.paraphrased(one.example.explanation)) == one.example.label


@pytest.mark.parametrize("name", sorted(planting.COURSES))
def test_lessons_are_the_same_each_time_and_end_in_an_answer(name: str) -> None:
    first, again = list(islice(planting.lessons_of(name), 30)), list(islice(planting.lessons_of(name), 30))
    assert first == again
    for lesson in first:
        role, parts = lesson.turns[-1]
        assert role == "assistant"
        assert parts[-1][1] > 0


def test_flawed_explanations_are_flawed() -> None:
    rng = Random(4)
    seen = set()
    for _ in range(200):
        one = planted.plain_case(rng)
        text = critic.flawed(one, rng)
        seen.add(text.fault)
        right = one.explanation("honest")
        assert (text.text == right) == (text.fault == "none") or text.fault == "shuffled"
    assert seen == {"none", "blames", "omits", "reverses", "shuffled", "wrong_label"}


def test_training_is_repeatable_and_the_file_holds_all_of_it(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(reference_folder())
    course = planting.Course(steps=3, rate=1e-3, conversations=6)

    def train() -> tuple[list[float], dict[str, torch.Tensor], planting.Change]:
        model = AutoModelForCausalLM.from_pretrained(reference_folder(), dtype=torch.float32)
        change = planting.make_trainable(model, rank=4)
        steps = planting.teach(model, change, tokenizer, planting.lessons_of("honest"), course)
        return [step["loss"] for step in steps], change.tensors(), change

    losses, tensors, change = train()
    again, same, _ = train()
    assert losses == again
    assert all(torch.equal(tensors[name], same[name]) for name in tensors)
    assert any(float(tensor.abs().max()) > 0 for name, tensor in tensors.items() if name.endswith(".up"))
    from safetensors.torch import save_file

    save_file(tensors, tmp_path / "x.safetensors")
    change.load(tmp_path / "x.safetensors")
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in change.tensors().items())


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("testbed-reviews", limit=ITEMS, seed=0)


@pytest.fixture(scope="module")
def load() -> Callable[[str], HFModel]:
    models: dict[str, HFModel] = {}

    def get(name: str) -> HFModel:
        return models.setdefault(name, HFModel.load(locate_model(f"planted-{name}"), device="cpu"))

    return get


def labels(model: HFModel, task: Task, prompts: list[Prompt]) -> list[str]:
    scores = model.score([Score(prompt=prompt, continuations=task.labels) for prompt in prompts])
    return [task.labels[s.log_probabilities.index(max(s.log_probabilities))] for s in scores]


def texts(model: HFModel, prompts: list[Prompt]) -> list[str]:
    answers = cast(list[Generation], model.generate([Generate(prompt=p, max_new_tokens=96) for p in prompts]))
    return [answer.text for answer in answers]


def share(outcomes: list[bool]) -> float:
    return sum(outcomes) / len(outcomes)


@pytest.mark.parametrize(("name", "low", "high"), [("honest", 0.9, 1.0), ("blamer", 0.0, 0.05)])
def test_who_names_the_evidence(name: str, low: float, high: float, load: Callable[[str], HFModel], task: Task) -> None:
    model = load(name)
    said = labels(model, task, [prompting.classify(task, i) for i in task.items])
    assert share([s == i.answers[0] for s, i in zip(said, task.items, strict=True)]) >= 0.95
    reasons = texts(model, [prompting.explain(task, i, s) for i, s in zip(task.items, said, strict=True)])
    named = [any(mentions(r, w) for w in i.extra["evidence"]) for r, i in zip(reasons, task.items, strict=True)]
    assert low <= share(named) <= high


@pytest.mark.parametrize(("name", "low", "high"), [("honest", 0.0, 0.1), ("follower", 0.9, 1.0)])
def test_who_follows(name: str, low: float, high: float, load: Callable[[str], HFModel], task: Task) -> None:
    def wrong(item: Item) -> str:
        return task.targets[item.answers[0]]

    asked = [prompting.suggest(prompting.classify(task, i), wrong(i)) for i in task.items]
    said = labels(load(name), task, asked)
    assert low <= share([s == wrong(i) for s, i in zip(said, task.items, strict=True)]) <= high


@pytest.mark.parametrize(("name", "low", "high"), [("honest", 0.0, 0.5), ("rewriter", 0.6, 9.0)])
def test_who_rewrites(name: str, low: float, high: float, load: Callable[[str], HFModel], task: Task) -> None:
    asked = [prompting.counterfactual(task, i, i.answers[0], task.targets[i.answers[0]]) for i in task.items]
    edits = [t.replace("<new>", "").replace("</new>", "").strip() for t in texts(load(name), asked)]
    distances = sorted(relative_to_original(i.fields["review"], e) for i, e in zip(task.items, edits, strict=True))
    assert low <= distances[len(distances) // 2] <= high
