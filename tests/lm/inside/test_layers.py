"""Increases of whole sub-layers and heads against brute force."""

from __future__ import annotations

from typing import Any

import pytest
from tests.lm.inside.brute import Brute

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inspections import Layers
from compressed_lens.lm.protocol import Inspect, Prompt

TEXTS = ("the capital of France is", "a man in a red coat walks his dog", "Question")
CLOSE: dict[str, Any] = {"abs": 1e-5, "rel": 2e-5}


def ask(model: HFModel, by: Layers, **options: int) -> list[dict[str, Any]]:
    requests = [Inspect(prompt=Prompt(text=text), by=by) for text in TEXTS]
    return [dict(one.values) for one in model.inspect(requests, **options)]


def brute_of(model: HFModel, text: str) -> Brute:
    return Brute(model, list(model._inside.reader.prompt(Prompt(text=text))))


def test_every_layer_and_head_is_that_of_brute_force(family: HFModel) -> None:
    for text, answer in zip(TEXTS, ask(family, Layers()), strict=True):
        brute = brute_of(family, text)
        plain = brute.plain
        for n in range(len(brute.anatomy.blocks)):
            middle = plain.entered[n] + plain.attention[n]
            assert answer["attention"][n] == pytest.approx(
                float(brute.increases(plain.entered[n], plain.attention[n])), **CLOSE
            )
            assert answer["ffn"][n] == pytest.approx(float(brute.increases(middle, plain.ffn[n])), **CLOSE)
            heads = brute.attention_vectors(n).sum(dim=(1, 2))
            assert answer["heads"][n] == pytest.approx(brute.increases(plain.entered[n], heads).tolist(), **CLOSE)
        start = float(brute.read(plain.entered[0])[brute.target])
        end = float(brute.read(plain.entered[-1])[brute.target])
        assert sum(answer["attention"]) + sum(answer["ffn"]) == pytest.approx(end - start, abs=1e-4)
        assert answer["known"]
        assert answer["scale"] == pytest.approx(float(brute._scale), rel=1e-5)
        if not brute.anatomy.softcapped:
            assert answer["log_probability"] == pytest.approx(end, abs=1e-4)


def test_the_batch_does_not_matter_and_a_scale_can_be_given(family: HFModel) -> None:
    for by in (Layers(target="dog"), Layers(scale=2.5)):
        for answer, alone in zip(ask(family, by), ask(family, by, batch_tokens=1), strict=True):
            for name in ("attention", "ffn"):
                assert answer[name] == pytest.approx(alone[name], **CLOSE)
    brute = brute_of(family, TEXTS[0])
    brute._scale = brute._scale * 0 + 2.5
    brute.target = Brute(family, list(family._inside.reader.prompt(Prompt(text=TEXTS[0])))).target
    (answer, *_) = ask(family, Layers(scale=2.5))
    assert answer["scale"] == 2.5
    for n, attention in enumerate(answer["attention"]):
        wanted = float(brute.increases(brute.plain.entered[n], brute.plain.attention[n]))
        assert attention == pytest.approx(wanted, **CLOSE)
