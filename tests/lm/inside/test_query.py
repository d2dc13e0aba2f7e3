"""Query neurons against shares taken by hand: keys by autograd through the model's own projection to values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tests.lm.inside.brute import Brute, linear_norm, scale_of
from torch import Tensor, nn
from transformers import DynamicCache

from compressed_lens.errors import ModelError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inspections import QueryNeurons
from compressed_lens.lm.protocol import Inspect, Prompt

TEXTS = ("the capital of France is", "a man in a red coat walks", "Question")
VALUES = 4


class Held(nn.Module):
    """A norm whose scales stay what they are for the given states."""

    def __init__(self, norm: Any, states: Tensor) -> None:
        super().__init__()
        self.norm = norm
        self.scales = torch.stack([scale_of(norm, state.double()) for state in states])[:, None]

    def forward(self, states: Tensor) -> Tensor:
        bias = getattr(self.norm, "bias", None)
        held = linear_norm(self.norm, states.double(), self.scales) + (0 if bias is None else bias.double())
        return held.to(states.dtype)


def key(model: HFModel, row: list[int], block: int, neuron: Sequence[int]) -> tuple[Tensor, float]:
    """The direction by which a value reads its state, and what it reads there."""
    head, index, place = neuron
    parts = model._inside.anatomy.blocks[block]
    name = "ln_1" if hasattr(parts.module, "ln_1") else "input_layernorm"
    norm, states = getattr(parts.module, name), []

    def keep(_: Any, args: Any, kwargs: Any) -> Any:
        leaf = (args[0] if args else kwargs["hidden_states"]).detach().requires_grad_(True)
        states.append(leaf)
        return ((leaf, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": leaf})

    with torch.no_grad():
        handle = parts.module.register_forward_pre_hook(keep, with_kwargs=True)
        model.module(torch.tensor([row]))
        setattr(parts.module, name, Held(norm, states.pop()[0]))
    cache = DynamicCache()
    with torch.enable_grad():
        model.module(torch.tensor([row]), past_key_values=cache)
        values = cache.layers[block].values[0]
        heads = model._inside.anatomy.heads // len(values)
        (gradient,) = torch.autograd.grad(values[head // heads, place, index], states[0])
    handle.remove()
    setattr(parts.module, name, norm)
    found = gradient[0, place].double()
    return found, float(found @ states[0][0, place].detach().double())


def ask(model: HFModel, by: QueryNeurons, **options: int) -> list[dict[str, Any]]:
    requests = [Inspect(prompt=Prompt(text=text), by=by) for text in TEXTS]
    return [dict(one.values) for one in model.inspect(requests, **options)]


def test_shares_are_those_taken_by_hand(family: HFModel) -> None:
    answers = ask(family, QueryNeurons(values=VALUES, top=10))
    for text, answer in zip(TEXTS, answers, strict=True):
        row = list(family._inside.reader.prompt(Prompt(text=text)))
        brute = Brute(family, row)
        blocks = len(brute.anatomy.blocks)
        scores = brute.attention_scores()
        flat = torch.cat([table.flatten() for table in scores])
        best = [
            (float(table[place]), block, *place)
            for block, table in enumerate(scores)
            for place in map(tuple, (table >= flat.topk(VALUES).values[-1]).nonzero().tolist())
        ]
        assert len(best) == VALUES
        total = sum(one[0] for one in best)
        embedding, sizes = 0.0, [n.shape[0] for n in brute.plain.neurons]
        parts, neurons = torch.zeros(blocks, 2), torch.zeros(blocks, sizes[0], dtype=torch.double)
        for score, block, head, index, place in best:
            there = Brute(family, row[: place + 1])
            direction, read = key(family, row, block, (head, index, place))
            share = score / read
            embedding += float(there.plain.entered[0] @ direction) * share
            for earlier in range(block):
                parts[earlier, 0] += float(there.plain.attention[earlier] @ direction) * share
                parts[earlier, 1] += float(there.plain.ffn[earlier] @ direction) * share
                neurons[earlier] += (there.ffn_vectors(earlier)[:-1] @ direction) * share
        close = {"rel": 1e-3, "abs": 1e-4 * (1 + float(parts.abs().max()))}
        assert answer["total"] == pytest.approx(total, abs=1e-5)
        assert answer["embedding"] == pytest.approx(embedding, **close)
        assert answer["attention"] == pytest.approx(parts[:, 0].tolist(), **close)
        assert answer["ffn"] == pytest.approx(parts[:, 1].tolist(), **close)
        assert answer["of"] == sizes
        top = [score for score in neurons.flatten().topk(10).values.tolist() if score > 0]
        assert [score for *_, score in answer["neurons"]] == pytest.approx(top, **close)
        for block, index, score in answer["neurons"]:
            assert score == pytest.approx(float(neurons[block, index]), **close)


def test_shares_add_up_whatever_the_batch(family: HFModel) -> None:
    by = QueryNeurons(target="dog")
    for answer, alone in zip(ask(family, by), ask(family, by, batch_tokens=1), strict=True):
        total = answer["embedding"] + sum(answer["attention"]) + sum(answer["ffn"])
        size = max(map(abs, (*answer["attention"], *answer["ffn"], answer["embedding"], 1.0)))
        assert total == pytest.approx(answer["total"], abs=1e-4 * size)
        for name in ("attention", "ffn"):
            assert answer[name] == pytest.approx(alone[name], rel=1e-3, abs=1e-4 * size)


def test_values_that_are_read_otherwise_are_refused(reference: HFModel, monkeypatch: pytest.MonkeyPatch) -> None:
    anatomy = reference._inside.anatomy
    norm, rows, bias = anatomy.value_reader(0)
    monkeypatch.setattr(anatomy, "value_reader", lambda block: (norm, rows.flip(0), bias))
    # What is found here must not be remembered of a model that other tests share.
    monkeypatch.setattr(reference._inside, "proven", {})
    with pytest.raises(ModelError, match="not what their projection reads"):
        ask(reference, QueryNeurons())
