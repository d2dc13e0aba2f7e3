"""Traces, readings, embeddings, attributions and draws against one-by-one plain forwards."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from compressed_lens.errors import ModelError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.protocol import (
    Attribute,
    AttributionMethod,
    Embed,
    Generate,
    Message,
    Prompt,
    Read,
    Request,
    Trace,
)
from compressed_lens.lm.text import answer_text, join

ALONE, TOGETHER = 1, 1 << 20
TOLERANCE = 1e-4
CONTINUATIONS = ("good", "neither of the two, says the man in the red coat", "", "日本", "a")


def plain_trace(model: HFModel, oracle: Any, request: Trace) -> tuple[list[float], list[float]]:
    """Log-probabilities and log-odds, in double precision, with no closed form."""
    rendered = model.render(request.prompt)
    ids = join(model.tokenizer, rendered, request.continuation)
    p = oracle.logits(ids).double().softmax(-1)
    chosen = [float(p[n - 1, ids[n]]) for n in range(len(rendered.ids), len(ids))]
    others = [float(p[n - 1].sum() - p[n - 1, ids[n]]) for n in range(len(rendered.ids), len(ids))]
    return [math.log(q) for q in chosen], [math.log(q / r) for q, r in zip(chosen, others, strict=True)]


@pytest.mark.parametrize("batch_tokens", [ALONE, 300, TOGETHER])
def test_traces_are_those_of_plain_forwards(
    model: HFModel, oracle: Any, prompts: list[Prompt], batch_tokens: int
) -> None:
    requests = [Trace(prompt=p, continuation=CONTINUATIONS[i % 5]) for i, p in enumerate(prompts[::2])]
    for request, found in zip(requests, model.trace(requests, batch_tokens=batch_tokens), strict=True):
        log_probabilities, odds = plain_trace(model, oracle, request)
        assert found.log_probabilities == pytest.approx(log_probabilities, abs=TOLERANCE)
        assert found.log_odds == pytest.approx(odds, abs=TOLERANCE)
        assert all(value <= 0 for value in found.log_probabilities)


def test_equal_traces_are_computed_once(tiny_llama: HFModel, prompts: list[Prompt]) -> None:
    request = Trace(prompt=prompts[1], continuation="good")
    before = tiny_llama.forward_tokens
    first, second = tiny_llama.trace([request, request])
    assert first == second
    assert tiny_llama.forward_tokens - before == len(tiny_llama.encode(prompts[1])) + len(first.log_odds) - 1


def test_log_odds_are_exact_where_the_model_is_certain(tiny_llama: HFModel, prompts: list[Prompt]) -> None:
    import copy

    module = copy.deepcopy(tiny_llama.module)
    with torch.no_grad():
        module.lm_head.weight *= 60
    sure = HFModel(module, tiny_llama.tokenizer, weights="sure")
    (answer,) = sure.generate([Generate(prompt=Prompt(text="The film is"), max_new_tokens=3)])
    (found,) = sure.trace([Trace(prompt=Prompt(text="The film is"), continuation=answer.text)])
    ids = sure.encode(Prompt(text="The film is"))
    logits = sure.next_logits([Prompt(text="The film is")])[0].double()
    first = join(sure.tokenizer, sure.render(Prompt(text="The film is")), answer.text)[len(ids)]
    others = torch.cat([logits[:first], logits[first + 1 :]]).logsumexp(0)
    assert found.log_odds[0] == pytest.approx(float(logits[first] - others), rel=1e-5)
    assert abs(found.log_odds[0]) > 20


def test_readings_are_token_log_probabilities(model: HFModel) -> None:
    texts = ["The capital of France is Paris.", "a", "", "a man walks his dog"]
    plain = model.token_log_probabilities(texts)
    for found, values in zip(model.read([Read(text=t) for t in texts]), plain, strict=True):
        assert found.log_probabilities == tuple(values.tolist())
        assert found.log_odds == ()


@pytest.mark.parametrize("batch_tokens", [ALONE, TOGETHER])
def test_embeddings_are_means_over_the_text_without_bos(model: HFModel, oracle: Any, batch_tokens: int) -> None:
    texts = ["The capital of France is Paris.", "a", "a man walks his dog " * 3]
    found = model.embed([Embed(text=t) for t in texts], batch_tokens=batch_tokens)
    bos = model.tokenizer("a")["input_ids"][:1] == [model.tokenizer.bos_token_id]
    for text, embedding in zip(texts, found, strict=True):
        states = oracle.hidden(Prompt(text=text))[-1]
        mean = states[1:].mean(0) if bos else states.mean(0)
        torch.testing.assert_close(torch.tensor(embedding.vector), mean, atol=TOLERANCE, rtol=1e-4)


def forward_from(model: HFModel, embeddings: torch.Tensor, ids: tuple[int, ...], size: int) -> torch.Tensor:
    """The log-probability of ids[size:] given input embeddings of all ids."""
    logits = model.module(inputs_embeds=embeddings[None], use_cache=False).logits[0].log_softmax(-1)
    return sum((logits[n - 1, ids[n]] for n in range(size, len(ids))), torch.zeros(()))


def plain_attribution(model: HFModel, request: Attribute) -> tuple[list[tuple[int, int]], list[float], float]:
    """Spans, values and the change of the log-probability when the part's embeddings are zeroed; one pass a step."""
    rendered = model.render(request.prompt)
    ids = join(model.tokenizer, rendered, request.target)
    size = len(rendered.ids)
    start = rendered.text.rindex(request.within)
    places, spans = [], []
    for place, (a, b) in enumerate(rendered.char_offsets):
        inside = [n for n in range(a, b) if start <= n < start + len(request.within)]
        if inside:
            places.append(place)
            spans.append((inside[0] - start, inside[-1] + 1 - start))
    full = model.module.get_input_embeddings()(torch.tensor(ids)).detach()
    none = full.clone()
    none[places] = 0
    points = [1.0]
    if request.method == "integrated_gradients":
        points = [(n + 0.5) / request.steps for n in range(request.steps)]
    total = torch.zeros(len(places))
    for point in points:
        here = (none + point * (full - none)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(forward_from(model, here, ids, size), here)
        total += (gradient[places] * full[places]).sum(-1) / len(points)
    with torch.no_grad():
        change = forward_from(model, full, ids, size) - forward_from(model, none, ids, size)
    return spans, total.tolist(), float(change)


@pytest.mark.parametrize("method", ["gradient_x_input", "integrated_gradients"])
def test_attributions_are_those_of_plain_gradients(model: HFModel, method: AttributionMethod) -> None:
    asked = [
        ("Is the film good or bad?", "film good", "good"),
        ("A man in a red coat. A man in a red coat walks.", "in a red coat", "neither"),
        ("Où est le café 🙂?", "café 🙂", "bad film"),
    ]
    requests = [
        Attribute(
            prompt=Prompt(messages=(Message(role="user", content=text),)),
            target=target,
            within=within,
            method=method,
            steps=3,
        )
        for text, within, target in asked
    ]
    for batch_tokens in (ALONE, TOGETHER):
        for request, found in zip(requests, model.attribute(requests, batch_tokens=batch_tokens), strict=True):
            spans, values, _ = plain_attribution(model, request)
            assert list(found.spans) == spans
            assert found.values == pytest.approx(values, abs=TOLERANCE, rel=1e-3)
            assert max(map(abs, values)) > 1e-4
    words = [requests[1].within[a:b].strip() for a, b in model.attribute(requests)[1].spans]
    assert "".join(words) == "inaredcoat"


def test_integrated_gradients_add_up_to_the_change(tiny_gpt2_folder: Path, load_model: Any) -> None:
    # Learned positions keep the path smooth; an RMS norm of a vanishing embedding jumps close to the baseline.
    model = load_model(tiny_gpt2_folder)
    prompt = Prompt(text="Is the film good or bad?")
    request = Attribute(prompt=prompt, target="good", within="film good", method="integrated_gradients", steps=100)
    (found,) = model.attribute([request])
    _, _, change = plain_attribution(model, request)
    assert abs(change) > 0.01
    assert sum(found.values) == pytest.approx(change, rel=0.01)


def test_what_cannot_be_asked_is_refused_beforehand(tiny_llama: HFModel) -> None:
    prompt, long = Prompt(text="Is the film good?"), "the river " * 160
    refused: list[tuple[Request, str]] = [
        (Trace(prompt=prompt, continuation=long), "do not fit"),
        (Embed(text=long), "do not fit"),
        (Embed(text=""), "empty"),
        (Attribute(prompt=prompt, target="good", within="Film"), "not in the prompt"),
        (Attribute(prompt=prompt, target="good", within=""), "not in the prompt"),
        (Attribute(prompt=prompt, target="", within="film"), "target"),
        (Attribute(prompt=prompt, target=long, within="film"), "do not fit"),
    ]
    for request, reason in refused:
        with pytest.raises(ModelError, match=reason):
            tiny_llama.check(request)
        with pytest.raises(ModelError, match=reason):
            getattr(tiny_llama, type(request).__name__.lower())([request])
    for fine in (Trace(prompt=prompt, continuation=""), Read(text=""), Read(text=long)):
        tiny_llama.check(fine)


def test_draws_do_not_depend_on_the_batch(model: HFModel, prompts: list[Prompt]) -> None:
    requests = [
        Generate(prompt=p, max_new_tokens=6, temperature=t, seed=seed)
        for p in prompts[:8]
        for t, seed in ((0.7, 0), (0.7, 1), (1.5, 0), (0.0, 3))
    ]
    together = model.generate(requests, batch_tokens=TOGETHER)
    assert together == model.generate(requests, batch_tokens=ALONE)
    assert together == model.generate(requests[::-1], batch_tokens=200)[::-1]
    greedy = model.generate([Generate(prompt=p, max_new_tokens=6) for p in prompts[:8]])
    assert together[3::4] == greedy
    assert together[0::4] != greedy
    assert together[0::4] != together[1::4]


def test_draws_follow_the_distribution(tiny_llama: HFModel) -> None:
    prompt, temperature, count = Prompt(text="The film is"), 0.3, 3000
    logits = tiny_llama.next_logits([prompt])[0].double()
    expected = (logits / temperature).softmax(-1)
    requests = [Generate(prompt=prompt, max_new_tokens=1, temperature=temperature, seed=n) for n in range(count)]
    found = Counter(answer.text for answer in tiny_llama.generate(requests, batch_tokens=TOGETHER))
    ids = tiny_llama.encode(prompt)
    likely = expected.topk(3)
    for p, token in zip(likely.values.tolist(), likely.indices.tolist(), strict=True):
        text = answer_text(tiny_llama.tokenizer, ids, [token])
        if text and "\ufffd" not in text:
            assert found[text] / count == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / count))
    assert len(found) > 1
