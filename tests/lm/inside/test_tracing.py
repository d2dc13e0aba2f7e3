"""Causal tracing against its literal rendering: one whole forward for every sample, token and block."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor

from compressed_lens.errors import ModelError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inside.tracing import read, window_of
from compressed_lens.lm.inspections import CausalTracing, Restored
from compressed_lens.lm.protocol import Inspect, Prompt

PARTS: tuple[Restored, ...] = ("state", "ffn", "attention")


def ask(text: str, mention: str, target: str = "Paris", **settings: Any) -> Inspect:
    by = CausalTracing(target=target, mention=mention, **{"samples": 2, "parts": PARTS, **settings})
    return Inspect(prompt=Prompt(text=text), by=by)


REQUESTS = (
    ask("the capital of France is", "France"),
    ask("a man in a red coat walks his dog", "red coat", "in", window=2, noise=1.0),
    ask("Question runs to", "Question", "the", samples=1, window=3),
)


def writers(block: Any, part: str) -> Any:
    if part == "state":
        return block.module
    return block.attention_writer if part == "attention" else block.ffn_writer


def first(output: Any) -> Tensor:
    state: Tensor = output[0] if isinstance(output, tuple) else output
    return state


def forward(model: HFModel, ids: Sequence[int], hooks: Sequence[tuple[Any, Any]]) -> Tensor:
    """Return the last logits of one plain forward with hooks on some modules' outputs."""
    with ExitStack() as held, torch.no_grad():
        for module, hook in hooks:
            handle = module.register_forward_hook(hook)
            held.callback(handle.remove)
        logits: Tensor = model.module(torch.tensor([list(ids)]), use_cache=False).logits[0, -1].float()
    return logits


def literal(model: HFModel, request: Inspect) -> dict[str, Any]:
    """Trace as the definition says, with plain forwards and nothing shared."""
    by = request.by
    assert isinstance(by, CausalTracing)
    subject = read(model._inside, request)
    blocks = model._inside.anatomy.blocks
    kept: dict[tuple[str, int], Tensor] = {}

    def keep(part: str, block: int) -> Any:
        return lambda _, __, output: kept.update({(part, block): first(output)[0].clone()})

    watched = [(writers(block, part), keep(part, block.index)) for block in blocks for part in PARTS]
    clean = forward(model, subject.ids, watched).softmax(dim=-1)

    def noisy(sample: int) -> Any:
        def hook(_: Any, __: Any, output: Tensor) -> Tensor:
            output = output.clone()
            output[0, subject.start : subject.start + subject.size] += subject.noise[sample]
            return output

        return model.module.get_input_embeddings(), hook

    def put(part: str, block: int, place: int) -> Any:
        def hook(_: Any, __: Any, output: Any) -> Any:
            changed = first(output).clone()
            changed[0, place] = kept[part, block][place]
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return writers(blocks[block], part), hook

    def chance(restore: Sequence[tuple[str, int, int]]) -> float:
        samples = [
            forward(model, subject.ids, [noisy(n), *(put(*one) for one in restore)]).softmax(dim=-1)[subject.token]
            for n in range(by.samples)
        ]
        return float(torch.stack(samples).double().mean())

    places = range(subject.start, len(subject.ids))
    every = range(len(blocks))
    return {
        "clean": float(clean[subject.token]),
        "low": chance([]),
        "known": int(clean.argmax()) == subject.token,
        "state": [[chance([("state", block, place)]) for block in every] for place in places],
        **{
            part: [
                [chance([(part, n, place) for n in window_of(block, subject.window, len(blocks))]) for block in every]
                for place in places
            ]
            for part in ("ffn", "attention")
        },
        "before": [chance([("state", block, place)]) for block in every for place in range(subject.start)],
        "all": chance([("state", 0, place) for place in places]),
    }


def same(found: Any, wanted: dict[str, Any], close: float) -> None:
    assert found["known"] == wanted["known"]
    for key in ("clean", "low", *PARTS):
        torch.testing.assert_close(
            torch.tensor(found[key], dtype=torch.float64),
            torch.tensor(wanted[key], dtype=torch.float64),
            atol=close,
            rtol=0,
        )


def test_equals_the_literal_rendering_on_every_family(family: HFModel) -> None:
    for request, answer in zip(REQUESTS, family.inspect(REQUESTS), strict=True):
        wanted = literal(family, request)
        same(answer.values, wanted, 1e-5)
        # What stands before the subject does not see the noise, and all that sees it, restored, gives all back.
        assert wanted["before"] == pytest.approx([wanted["low"]] * len(wanted["before"]), abs=1e-6)
        assert wanted["all"] == pytest.approx(wanted["clean"], abs=1e-6)


def test_equals_the_literal_rendering_on_the_reference_model(reference: HFModel) -> None:
    request = ask("The capital of Dasonia is", "Dasonia", "Wotburg", samples=2)
    (answer,) = reference.inspect([request])
    same(answer.values, literal(reference, request), 1e-5)
    values = answer.values
    assert values["known"]
    assert values["clean"] - values["low"] > 0.3
    assert values["tokens"] == [" Dasonia", " is"]
    assert values["state"][-1][-1] == pytest.approx(values["clean"], abs=1e-6)


def test_a_request_gets_the_same_numbers_whatever_else_is_in_the_batch(tiny_llama: HFModel) -> None:
    together = tiny_llama.inspect(REQUESTS)
    for batch_tokens in (1, 40):
        for request, answer in zip(REQUESTS, together, strict=True):
            (alone,) = tiny_llama.inspect([request], batch_tokens=batch_tokens)
            same(alone.values, dict(answer.values), 1e-6)
            assert {key: alone.values[key] for key in ("tokens", "deviation", "window")} == {
                key: answer.values[key] for key in ("tokens", "deviation", "window")
            }


def test_rows_that_must_run_alone_do(tiny_llama: HFModel, monkeypatch: pytest.MonkeyPatch) -> None:
    together = tiny_llama.inspect(REQUESTS)
    monkeypatch.setattr(tiny_llama._inside, "strict", True)
    widths = []
    call = type(tiny_llama._inside.passes).call

    def watched(self: Any, **kwargs: Any) -> Any:
        widths.append(len(kwargs["input_ids"]))
        return call(self, **kwargs)

    monkeypatch.setattr(type(tiny_llama._inside.passes), "call", watched)
    for answer, wanted in zip(tiny_llama.inspect(REQUESTS), together, strict=True):
        same(answer.values, dict(wanted.values), 1e-6)
    assert set(widths) == {1}


def test_the_noise_depends_on_prompt_and_seed_alone(tiny_llama: HFModel) -> None:
    inside = tiny_llama._inside
    one, again = read(inside, REQUESTS[0]), read(inside, ask("the capital of France is", "France", parts=()))
    assert torch.equal(one.noise, again.noise)
    louder = read(inside, ask("the capital of France is", "France", deviation=2 * one.deviation))
    torch.testing.assert_close(louder.noise, 2 * one.noise)
    assert not torch.equal(one.noise, read(inside, ask("the capital of France is", "France", seed=2)).noise)
    many = read(inside, ask("the capital of France is", "France", samples=400))
    assert float(many.noise.std()) == pytest.approx(3 * one.deviation, rel=0.02)
    embedded = tiny_llama.module.get_input_embeddings()(torch.tensor(one.ids[one.start : one.start + one.size]))
    assert one.deviation == pytest.approx(float(embedded.std()))


def test_without_noise_nothing_changes(tiny_llama: HFModel) -> None:
    (answer,) = tiny_llama.inspect([ask("the capital of France is", "France", noise=0.0)])
    values = answer.values
    for part in PARTS:
        for row in values[part]:
            assert row == pytest.approx([values["clean"]] * len(row), abs=1e-6)
    assert values["low"] == pytest.approx(values["clean"], abs=1e-6)


@pytest.mark.parametrize(
    ("block", "size", "wanted"),
    [
        (5, 10, range(10)),
        (5, 3, range(4, 7)),
        (5, 2, range(4, 6)),
        (0, 4, range(2)),
        (11, 4, range(9, 12)),
        (3, 1, range(3, 4)),
    ],
)
def test_windows(block: int, size: int, wanted: range) -> None:
    assert window_of(block, size, 12) == wanted


def test_a_subject_that_is_not_there_is_refused(tiny_llama: HFModel) -> None:
    with pytest.raises(ModelError, match="not in the prompt"):
        tiny_llama.inspect([ask("the capital of France is", "Spain")])
