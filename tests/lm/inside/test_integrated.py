"""Integrated gradients of neurons: the plain rendering, completeness, the four rules, batches, packed weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.lm.inside import literal_neurons as literal

from compressed_lens.errors import ModelError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inside.integrated import quadrature
from compressed_lens.lm.inspections import IntegratedNeurons, Rule
from compressed_lens.lm.protocol import Inspect, Prompt

RULES: tuple[Rule, ...] = ("left", "right", "trapezoid", "linspace")
FACTS = (("Klovonia lies on the continent of", "Westland"), ("Kluso Vomez plays the", "harp"))
PLAIN = (("the capital of France is", " Paris"), ("Question: is the film good", " or"), ("a man", " in a red"))


def ask(model: HFModel, *facts: tuple[str, str], batch_tokens: int = 8192, **settings: Any) -> list[dict[str, Any]]:
    settings = {"steps": 4, "share": 0.0, "most": 10**6, **settings}
    requests = [Inspect(prompt=Prompt(text=text), by=IntegratedNeurons(target=t, **settings)) for text, t in facts]
    return [dict(found.values) for found in model.inspect(requests, batch_tokens=batch_tokens)]


def ids(model: HFModel, fact: tuple[str, str]) -> tuple[list[int], int]:
    prompt = Prompt(text=fact[0])
    return list(model._reader.prompt(prompt)), model._reader.first(prompt, fact[1])


def check(model: HFModel, fact: tuple[str, str], found: dict[str, Any], rule: Rule = "right", steps: int = 4) -> None:
    """Compare an answer with the plain rendering."""
    row, token = ids(model, fact)
    wanted = literal.attributions(model, row, token, rule, steps)
    largest = max(float(block.max()) for block in wanted)
    near = 2e-4 * max(float(block.abs().max()) for block in wanted)
    assert found["maximum"] == pytest.approx(largest, rel=1e-3, abs=near)
    assert found["total"] == pytest.approx([float(block.sum()) for block in wanted], rel=1e-3, abs=10 * near)
    own = {(block, index): value for block, index, value in found["neurons"]}
    assert list(own.values()) == sorted(own.values(), reverse=True)
    assert min(own.values()) > 0
    for block, values in enumerate(wanted):
        for index, value in enumerate(values.tolist()):
            assert own.get((block, index), 0.0) == pytest.approx(max(value, 0.0), rel=1e-3, abs=near)
    assert found["probability"] == pytest.approx(float(literal.probability(model, row, token)[0]), rel=1e-3)
    assert found["token"] == model.tokenizer.decode([token])
    for block, change in enumerate(found["change"]):
        silent = literal.scaled_probability(model, row, token, block, 0.0)
        assert change == pytest.approx(found["probability"] - silent, abs=1e-3 * found["probability"])


@pytest.mark.parametrize("rule", RULES)
def test_every_family_gives_what_the_plain_rendering_gives(family: HFModel, rule: Rule) -> None:
    for fact, found in zip(PLAIN, ask(family, *PLAIN, rule=rule), strict=True):
        check(family, fact, found, rule)


def test_the_reference_model_gives_what_the_plain_rendering_gives(reference: HFModel) -> None:
    check(reference, FACTS[0], ask(reference, FACTS[0], steps=6)[0], steps=6)


def test_attributions_add_up_to_the_change_of_the_probability(reference: HFModel) -> None:
    errors = {}
    for steps in (5, 20, 100, 400):
        found = ask(reference, *FACTS, rule="trapezoid", steps=steps)
        errors[steps] = max(abs(t - c) for one in found for t, c in zip(one["total"], one["change"], strict=True))
    assert max(abs(c) for one in found for c in one["change"]) > 0.05
    assert errors[5] > errors[20] > errors[100] > errors[400]
    assert errors[100] < 1e-3
    assert errors[400] < 5e-5


def test_behind_a_norm_the_path_jumps_at_its_start(chat_tokenizer: Any) -> None:
    from tests.lm.inside.conftest import random_model

    model = random_model("Gemma2Config", chat_tokenizer)
    row, token = ids(model, PLAIN[0])
    one = ask(model, PLAIN[0], steps=50)[0]
    assert max(map(abs, one["change"])) > 0.1 * one["probability"]
    assert max(map(abs, one["total"])) < 1e-2 * max(map(abs, one["change"]))
    early = literal.scaled_probability(model, row, token, 1, 0.05)
    assert early == pytest.approx(one["probability"], rel=1e-2)


def test_rules_are_their_formulas() -> None:
    def applied(rule: Rule, steps: int, function: Callable[[float], float]) -> float:
        return sum(weight * function(alpha) for alpha, weight in quadrature(rule, steps))

    def cube(x: float) -> float:
        return x**3 + 1

    m = 20
    assert applied("left", m, cube) == pytest.approx(1 + sum((k / m) ** 3 for k in range(m)) / m)
    assert applied("right", m, cube) == pytest.approx(1 + sum((k / m) ** 3 for k in range(1, m + 1)) / m)
    assert applied("trapezoid", m, cube) == pytest.approx(1.25 + 0.25 / m**2)
    assert applied("linspace", m, cube) == pytest.approx(1 + sum((k / (m - 1)) ** 3 for k in range(m)) / m)
    assert [len(quadrature(rule, m)) for rule in RULES] == [m, m, m + 1, m]
    for rule in RULES:
        assert sum(weight for _, weight in quadrature(rule, m)) == pytest.approx(1)
        assert math.isclose(applied(rule, 4000, cube), 1.25, abs_tol=1e-3)
    assert quadrature("linspace", 1) == ((0.0, 1.0),)


def flat(found: dict[str, Any]) -> dict[tuple[int, int], float]:
    return {(block, index): value for block, index, value in found["neurons"]}


@pytest.mark.parametrize("batch_tokens", [1, 300, 8192])
def test_batches_change_nothing(reference: HFModel, batch_tokens: int) -> None:
    facts = (*FACTS, ("The continent of Klovonia is", "Eastland"), ("Kluso", "miner"))
    alone = [ask(reference, fact, rule="trapezoid")[0] for fact in facts]
    together = ask(reference, *facts, rule="trapezoid", batch_tokens=batch_tokens)
    for one, other in zip(alone, together, strict=True):
        for name in ("maximum", "probability", "change", "total"):
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-6)
        mine, theirs = flat(one), flat(other)
        for neuron in mine.keys() | theirs.keys():
            assert mine.get(neuron, 0) == pytest.approx(theirs.get(neuron, 0), rel=1e-3, abs=1e-5 * one["maximum"])


def test_rows_run_one_by_one_where_they_must(reference: HFModel) -> None:
    strict = HFModel(reference.module, reference.tokenizer, weights="strict", rule="strict")
    mine, theirs = ask(reference, *FACTS, steps=2), ask(strict, *FACTS, steps=2)
    for one, other in zip(mine, theirs, strict=True):
        assert other["total"] == pytest.approx(one["total"], rel=1e-4, abs=1e-6)


def test_only_the_best_are_listed(reference: HFModel) -> None:
    everything = ask(reference, FACTS[1])[0]
    some = ask(reference, FACTS[1], share=0.2)[0]
    few = ask(reference, FACTS[1], share=0.2, most=2)[0]
    assert some["neurons"] == [n for n in everything["neurons"] if n[2] >= 0.2 * everything["maximum"]]
    assert 2 < len(some["neurons"]) < len(everything["neurons"])
    assert few["neurons"] == some["neurons"][:2]


def test_requests_of_several_rules_come_back_in_order(reference: HFModel) -> None:
    asked = [
        Inspect(prompt=Prompt(text=text), by=IntegratedNeurons(target=target, rule=rule, steps=2))
        for (text, target), rule in zip((*FACTS, *FACTS), ("left", "right", "right", "left"), strict=True)
    ]
    for request, found in zip(asked, reference.inspect(asked), strict=True):
        assert isinstance(request.by, IntegratedNeurons)
        (alone,) = reference.inspect([request])
        assert found.values["total"] == pytest.approx(alone.values["total"], rel=1e-4, abs=1e-6)


def test_a_mixture_of_experts_is_refused(chat_tokenizer: Any) -> None:
    import transformers

    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.MixtralConfig(
        **size, num_key_value_heads=2, num_local_experts=2, vocab_size=len(chat_tokenizer)
    )
    model = HFModel(transformers.MixtralForCausalLM(config), chat_tokenizer, weights="moe", name="experts")
    with pytest.raises(ModelError, match="mixture of experts"):
        ask(model, PLAIN[0])


@pytest.fixture(scope="module", params=["rtn-4bit", "bnb-4bit", "bnb-8bit", "gptq", "awq"])
def packed(request: pytest.FixtureRequest, stories_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> HFModel:
    """stories260K, packed: by llm-compressor, by bitsandbytes, and in the formats of GPTQ and AWQ."""
    from tests.lm.test_load_packed import Case, write

    from compressed_lens.quantization import prepare

    folder = tmp_path_factory.mktemp("packed") / request.param
    if request.param in {"gptq", "awq"}:
        write(stories_folder, folder, Case(method=request.param))
    else:
        folder = prepare(stories_folder, request.param, cache_dir=folder).folder
    return HFModel.load(folder, device="cpu")


def test_packed_weights_give_what_the_plain_rendering_gives(packed: HFModel) -> None:
    assert packed.method != "full"
    fact = ("Once upon a time there was a little", "girl")
    check(packed, fact, ask(packed, fact, rule="trapezoid")[0], "trapezoid")


def test_it_runs_in_half_precision(reference: HFModel) -> None:
    import copy

    rounded = copy.deepcopy(reference.module).to(torch.bfloat16)
    half = HFModel(rounded, reference.tokenizer, weights="half")
    exact = HFModel(copy.deepcopy(rounded).float(), reference.tokenizer, weights="exact")
    for one, other in zip(ask(half, *FACTS, steps=10), ask(exact, *FACTS, steps=10), strict=True):
        assert one["maximum"] == pytest.approx(other["maximum"], rel=0.1)
        top = [set(map(tuple, (n[:2] for n in found["neurons"][:10]))) for found in (one, other)]
        assert len(top[0] & top[1]) >= 7
