"""Linear relations without Jacobians against the same with them, taken through whole plain forwards."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.lm.inside.plain import plain_states
from torch import Tensor

from compressed_lens.errors import ModelError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inside.relation import product, takes_forward
from compressed_lens.lm.inside.suffix import Entry, Suffix
from compressed_lens.lm.inspections import Example, LinearRelation
from compressed_lens.lm.linear import dense_copy
from compressed_lens.lm.protocol import Inspect, Prompt
from compressed_lens.quantization import prepare

EXAMPLES = (
    ("the capital of France is", "France", "Paris"),
    ("the film in the park", "film", "good"),
    ("a man in a red coat walks", "red coat", "his"),
)
TESTS = (("the capital of the sea is", "the sea", "Paris"), ("a dog runs to the", "dog", "river"))
BETAS = (1.0, 2.5)


def ask(text: str, mention: str, target: str, **settings: Any) -> Inspect:
    examples = tuple(Example(prompt=Prompt(text=t), mention=m, target=o) for t, m, o in EXAMPLES)
    by = LinearRelation(
        target=target, mention=mention, **{"examples": examples, "layer": 1, "betas": BETAS, **settings}
    )
    return Inspect(prompt=Prompt(text=text), by=by)


def place(model: HFModel, text: str, mention: str) -> tuple[list[int], int]:
    prompt = Prompt(text=text)
    return list(model._inside.reader.prompt(prompt)), model._inside.reader.place(prompt, mention)


def jacobian(model: HFModel, ids: list[int], spot: int, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the state at `spot`, the end of the last token and the Jacobian, through whole plain forwards."""
    blocks = model._inside.anatomy.blocks
    states = plain_states(model, ids)
    ends: list[Tensor] = []

    def end(state: Tensor) -> Tensor:
        def enter(_: Any, args: Any, kwargs: Any) -> Any:
            changed = (args[0] if args else kwargs["hidden_states"]).clone()
            changed[0, spot] = state
            return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": changed})

        def leave(_: Any, __: Any, output: Any) -> None:
            ends.append((output[0] if isinstance(output, tuple) else output)[0, -1])

        hooks = [
            blocks[layer].module.register_forward_pre_hook(enter, with_kwargs=True),
            blocks[-1].module.register_forward_hook(leave),
        ]
        model.module(torch.tensor([ids]), use_cache=False)
        for hook in hooks:
            hook.remove()
        return ends[-1]

    take: Any = torch.autograd.functional.jacobian
    matrix: Tensor = take(end, states[layer][spot])
    return states[layer][spot], states[-1][-1], matrix


def literal(model: HFModel, request: Inspect, layer: int) -> Tensor:
    """Return the logits of the affine map [betas, vocabulary], W and b written out."""
    by = request.by
    assert isinstance(by, LinearRelation)
    weights, biases = [], []
    for example in by.examples:
        ids, spot = place(model, str(example.prompt.text), example.mention)
        state, end, matrix = jacobian(model, ids, spot, layer)
        weights.append(matrix)
        biases.append(end - matrix @ state)
    weight, bias = torch.stack(weights).mean(dim=0), torch.stack(biases).mean(dim=0)
    ids, spot = place(model, str(request.prompt.text), by.mention)
    state = plain_states(model, ids)[layer][spot]
    with torch.no_grad():
        return model._inside.anatomy.logits(torch.stack([beta * (weight @ state) + bias for beta in by.betas]))


def check(model: HFModel, request: Inspect, layer: int, values: Any, close: float) -> None:
    logits = literal(model, request, layer)
    by = request.by
    assert isinstance(by, LinearRelation)
    token = model._inside.reader.first(request.prompt, by.target)
    assert values["layer"] == layer
    assert values["log_probability"] == pytest.approx(logits.log_softmax(dim=-1)[:, token].tolist(), abs=close)
    for n, row in enumerate(logits):
        top = row.topk(2)
        if top.values[0] - top.values[1] > close:
            assert values["top"][n] == model._inside.text(int(top.indices[0]))
        near = ((row - row[token]).abs() < close).sum()
        assert abs(values["rank"][n] - int(1 + (row > row[token]).sum())) < near


@pytest.mark.parametrize(("layer", "number"), [(0, 0), (1, 1), (0.5, 2), (-2, 2)])
def test_equals_the_map_with_its_jacobian_on_every_family(family: HFModel, layer: float, number: int) -> None:
    requests = [ask(*test, layer=layer) for test in TESTS]
    for request, answer in zip(requests, family.inspect(requests), strict=True):
        check(family, request, number, answer.values, 2e-4)


def test_products_equal_those_of_the_jacobian_in_float64(tiny_llama: HFModel) -> None:
    exact = HFModel(copy.deepcopy(tiny_llama.module).double(), tiny_llama.tokenizer, weights="exact", name="exact")
    inside = exact._inside
    ids, spot = place(exact, *EXAMPLES[0][:2])
    with inside.anatomy.eager():
        one = Suffix.of(inside.anatomy, inside.passes, [ids], tokens=len(ids) - spot)
        state, end, matrix = jacobian(exact, ids, spot, 1)
        vectors = torch.randn(4, inside.anatomy.width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        rows = torch.zeros(4, dtype=torch.long)
        entry = Entry(block=1, prompts=rows, states=one.states[1][rows])
        for forward in (True, False):
            found = product(one, entry, vectors, rows, forward=forward)
            # Attention weights are float32 whatever the model computes in.
            torch.testing.assert_close(found, vectors @ matrix.T, atol=2e-6, rtol=1e-5)


def test_both_ways_of_a_product_agree_on_every_family(family: HFModel) -> None:
    inside = family._inside
    ids, spot = place(family, *EXAMPLES[2][:2])
    with inside.anatomy.eager():
        one = Suffix.of(inside.anatomy, inside.passes, [ids], tokens=len(ids) - spot)
        rows = torch.zeros(3, dtype=torch.long)
        entry = Entry(block=1, prompts=rows, states=one.states[1][rows])
        vectors = torch.randn(3, inside.anatomy.width, generator=torch.Generator().manual_seed(1))
        there = product(one, entry, vectors, rows, forward=True)
        back = product(one, entry, vectors, rows, forward=False)
    torch.testing.assert_close(there, back, atol=1e-4, rtol=1e-4)
    assert there.abs().max() > 0.1


def test_packed_layers_are_taken_backward_twice(stories_folder: Path, tmp_path: Path) -> None:
    prepared = prepare(stories_folder, "bnb-4bit-nf4", cache_dir=tmp_path)
    packed = HFModel.load(prepared.folder, device="cpu")
    dense = HFModel(dense_copy(packed.module), packed.tokenizer, weights="dense", name="dense")
    assert takes_forward(dense.module)
    assert not takes_forward(packed.module)
    requests = [ask(*test, layer=2) for test in TESTS]
    for own, plain in zip(packed.inspect(requests), dense.inspect(requests), strict=True):
        assert own.values["log_probability"] == pytest.approx(plain.values["log_probability"], abs=1e-4)


def test_a_request_gets_the_same_numbers_whatever_else_is_in_the_batch(tiny_llama: HFModel) -> None:
    fewer = ask(*TESTS[0], examples=ask(*TESTS[0]).by.examples[:2], layer=2)  # type: ignore[attr-defined]
    requests = [*(ask(*test) for test in TESTS), fewer]
    for batch_tokens in (1, 30):
        for request, answer in zip(requests, tiny_llama.inspect(requests), strict=True):
            (alone,) = tiny_llama.inspect([request], batch_tokens=batch_tokens)
            assert alone.values["log_probability"] == pytest.approx(answer.values["log_probability"], abs=1e-5)
            assert {**alone.values, "log_probability": 0} == {**answer.values, "log_probability": 0}


def test_the_model_is_linear_where_nothing_happens(tiny_llama: HFModel) -> None:
    """From the last state of a prompt that ends with its subject on, the map is the identity."""
    examples = tuple(
        Example(prompt=Prompt(text=t), mention=m, target="a") for t, m in (("the film", "film"), ("a coat", "coat"))
    )
    (answer,) = tiny_llama.inspect([ask("the river", "river", "a", examples=examples, layer=-1, betas=(1.0,))])
    assert answer.values["agrees"] == [True]
    assert answer.values["top"] == [answer.values["predicted"]]
    inside = tiny_llama._inside
    ids, _ = place(tiny_llama, "the river", "river")
    logits = tiny_llama.module(torch.tensor([ids])).logits[0, -1].float()
    assert answer.values["known"] == (answer.values["rank"] == [1])
    token = inside.reader.first(Prompt(text="the river"), "a")
    assert answer.values["log_probability"][0] == pytest.approx(float(logits.log_softmax(-1)[token]), abs=1e-4)
    assert all(map(math.isfinite, answer.values["log_probability"]))


@pytest.mark.parametrize(
    ("settings", "reason"), [({"layer": 9}, "no layer 9"), ({"examples": ()}, "no training pairs")]
)
def test_requests_that_make_no_sense_are_refused(tiny_llama: HFModel, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        tiny_llama.inspect([ask(*TESTS[0], **settings)])
