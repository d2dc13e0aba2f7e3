"""Words ranked by their contribution: Shapley values against their definition, occlusion against plain scores."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import combinations, permutations, product
from math import factorial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.explanations.answers import drive, sure

from compressed_lens.explanations import prompting
from compressed_lens.explanations.attributed import (
    Ranking,
    RankingMethod,
    ask_contributions,
    exact_shapley,
    per_word,
    prefixes,
    random_orders,
    sampled_shapley,
    top_words,
    without,
    word_spans,
)
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Ask, Attribution, Request, Response, Score, Scores
from compressed_lens.tasks import load_task
from compressed_lens.tasks.base import Item, Task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

TEXT = "The film isn't good, good at all."
ITEM = Item(id="1", fields={"title": "T", "text": TEXT}, answers=("bad",))
TASK = Task(name="t", kind="classification", items=(ITEM,), labels=("good", "bad"), instruction="Decide.")


def test_words_and_texts_without_some() -> None:
    spans = word_spans(TEXT)
    assert [TEXT[a:b] for a, b in spans] == ["The", "film", "isn't", "good", "good", "at", "all"]
    assert without(TEXT, spans[2:4]) == "The film , good at all."
    assert without(TEXT, spans[:1]) == "film isn't good, good at all."
    assert without(TEXT, spans) == ", ."
    assert word_spans("... !") == []


def test_tokens_go_to_the_word_they_share_most_with() -> None:
    spans = [(0, 3), (4, 8)]  # "The film"
    found = Attribution(spans=((0, 6), (6, 9), (9, 10), (10, 14), (14, 15)), values=(100.0, 1.0, 2.0, 4.0, 50.0))
    assert per_word(spans, found, offset=6) == [1.0, 4.0]
    straddling = Attribution(spans=((0, 5), (5, 8)), values=(1.0, 2.0))
    assert per_word(spans, straddling) == [1.0, 2.0]
    assert per_word([], found) == []


def game(size: int, seed: int) -> dict[frozenset[int], float]:
    rng = random.Random(seed)
    return {frozenset(s): rng.uniform(-5, 0) for n in range(size + 1) for s in combinations(range(size), n)}


@pytest.mark.parametrize(("size", "seed"), list(product((1, 2, 3, 5), (0, 1))))
def test_shapley_values_equal_the_mean_over_all_orders(size: int, seed: int) -> None:
    values = game(size, seed)
    mean = [0.0] * size
    for order in permutations(range(size)):
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            mean[player] += (values[before | {player}] - values[before]) / factorial(size)
    assert exact_shapley(values, size) == pytest.approx(mean)
    assert sampled_shapley(values, list(permutations(range(size)))) == pytest.approx(mean)
    assert sum(mean) == pytest.approx(values[frozenset(range(size))] - values[frozenset()])


def test_sampled_shapley_adds_up_and_comes_close() -> None:
    values = game(6, 0)
    few = random_orders(6, evaluations=24, seed=0)
    assert len(few) == 4
    assert all(sorted(order) == list(range(6)) for order in few)
    assert few[1] == few[0][::-1]
    assert few == random_orders(6, evaluations=24, seed=0) != random_orders(6, evaluations=24, seed=1)
    assert sum(sampled_shapley(values, few)) == pytest.approx(values[frozenset(range(6))] - values[frozenset()])
    many = sampled_shapley(values, random_orders(6, evaluations=20_000, seed=0))
    assert many == pytest.approx(exact_shapley(values, 6), abs=0.1)
    assert len(random_orders(9, evaluations=1, seed=0)) == 2
    assert prefixes([2, 0]) == [frozenset(), frozenset({2}), frozenset({2, 0})]


@pytest.mark.parametrize(
    ("contributions", "top", "expected"),
    [
        ((0, 0, 3, 1, 2, -1, 0), 5, ("isn't", "good")),
        ((5, 4, 3, 2, 1, 0.5, 0.1), 3, ("The", "film", "isn't")),
        ((-5, -4, -3, -2, -1, -6, -7), 3, ("good",)),
        ((0, 0, 0, 0, 0, 0, 0), 3, ("The",)),
    ],
)
def test_top_words(contributions: tuple[float, ...], top: int, expected: tuple[str, ...]) -> None:
    assert top_words(TEXT, contributions, top) == expected
    assert top_words("", [], top) == ()


def shown_words(request: Request | Ask) -> list[str]:
    inner = request.request if isinstance(request, Ask) else request
    assert isinstance(inner, Score)
    line = inner.prompt.messages[0].content.splitlines()[2]
    return [line[a:b] for a, b in word_spans(line)][1:]


@pytest.mark.parametrize("method", ["occlusion", "shap"])
@pytest.mark.parametrize("evaluations", [1, 1000])
def test_an_additive_model_gets_its_weights_back(method: RankingMethod, evaluations: int) -> None:
    weights = {"The": 0.1, "film": -0.5, "isn't": 2.0, "good": -1.0, "at": 0.0, "all": 0.25}

    def reply(request: Request | Ask) -> Response:
        value = -20.0 + sum(weights[word] for word in shown_words(request))
        return Scores(log_probabilities=(value,), tokens=(1,), greedy=(True,))

    ranking = Ranking(method=method, evaluations=evaluations)
    found, asked = drive(ask_contributions(TASK, ITEM, label="bad", field="text", ranking=ranking, to="full"), reply)
    assert found == pytest.approx([0.1, -0.5, 2.0, -1.0, -1.0, 0.0, 0.25])
    assert len(asked) == 1
    assert all(isinstance(request, Ask) and request.to == "full" for request in asked[0])
    exact = method == "shap" and evaluations == 1000
    assert len(asked[0]) == (2**7 if exact else 8 if method == "occlusion" else 14)


def test_a_text_without_words_asks_nothing() -> None:
    item = Item(id="1", fields={"text": "..."}, answers=("bad",))
    assert drive(
        ask_contributions(TASK, item, label="bad", field="text", ranking=Ranking()), lambda request: sure((), "")
    ) == ([], [])


@pytest.fixture(scope="module")
def reference(load_model: Callable[[Path], HFModel]) -> HFModel:
    return load_model(locate_model("reference"))


def answered(model: HFModel, request: Any) -> Response:
    from compressed_lens.lm.protocol import METHODS

    return cast(Response, getattr(model, METHODS[type(request)])([request])[0])


@pytest.mark.parametrize("method", ["occlusion", "shap", "gradient_x_input", "integrated_gradients"])
def test_on_the_reference_model(reference: HFModel, method: RankingMethod) -> None:
    task = load_task("testbed-pairs", limit=1)
    item = task.items[0]
    ranking = Ranking(method=method, steps=8)
    found, asked = drive(
        ask_contributions(task, item, label="neutral", field="hypothesis", ranking=ranking),
        lambda request: answered(reference, request),
    )
    text = item.fields["hypothesis"]
    spans = word_spans(text)
    assert len(found) == len(spans) > 3
    if method in {"gradient_x_input", "integrated_gradients"}:
        (request,) = asked[0]
        tokens = answered(reference, request)
        assert isinstance(tokens, Attribution)
        line = f"Hypothesis: {text}"
        letters = [i + len(line) - len(text) for a, b in spans for i in range(a, b)]
        inside = [v for (a, b), v in zip(tokens.spans, tokens.values, strict=True) if set(letters) & set(range(a, b))]
        assert sum(found) == pytest.approx(sum(inside))
        return

    def plainly(kept: frozenset[int]) -> float:
        shown = " ".join(
            "".join(
                "" if any(a <= i < b for k, (a, b) in enumerate(spans) if k not in kept) else c
                for i, c in enumerate(text)
            ).split()
        )
        prompt = prompting.classify(task, prompting.with_field(item, "hypothesis", shown))
        return reference.score([Score(prompt=prompt, continuations=("neutral",))])[0].log_probabilities[0]

    size = len(spans)
    everything = frozenset(range(size))
    if method == "occlusion":
        assert found == pytest.approx([plainly(everything) - plainly(everything - {i}) for i in range(size)], abs=1e-4)
    else:
        assert 2**size <= ranking.evaluations
        values = {frozenset(s): plainly(frozenset(s)) for n in range(size + 1) for s in combinations(range(size), n)}
        assert found == pytest.approx(exact_shapley(values, size), abs=1e-4)
