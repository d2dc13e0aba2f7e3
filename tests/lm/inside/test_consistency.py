"""Consistency score and gradient: identities, finite differences, the second-order graph, batches, packed weights."""

from __future__ import annotations

import copy
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.lm.inside.literal_consistency import Asked, consistency, recall, second_order
from tests.lm.inside.plain import plain_logits, plain_states
from tests.lm.test_load_packed import Case, write
from torch.overrides import TorchFunctionMode

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inside.anatomy import Anatomy
from compressed_lens.lm.inspections import Consistency
from compressed_lens.lm.protocol import Inspect, Prompt
from compressed_lens.quantization import prepare
from compressed_lens.tasks import load_task

Question = tuple[str, str, str, str]
ASKED: tuple[Question, ...] = (
    ("the capital of the river in France is the", "the capital of Paris is the", "the river in France", "Paris"),
    ("a man in a red coat walks", "the label is", "a red coat", "good"),
    ("the capital of a man in a red coat is", "the capital of Paris is the", "a red coat", "bad"),
    ("Question: is the film", "it rains", "the film", "funny"),
)


def ask(model: HFModel, *asked: Question, batch_tokens: int = 8192) -> list[dict[str, Any]]:
    requests = [
        Inspect(prompt=Prompt(text=text), by=Consistency(other=Prompt(text=other), mention=mention, target=target))
        for text, other, mention, target in asked
    ]
    return [dict(found.values) for found in model.inspect(requests, batch_tokens=batch_tokens)]


def in_ids(model: HFModel, question: Question) -> Asked:
    text, other, mention, target = question
    cut = text[: text.rfind(mention) + len(mention)]
    place = len(model.encode(Prompt(text=cut))) - 1
    token = model.encode(Prompt(text=f"{cut} {target}"))[place + 1]
    return Asked(row=model.encode(Prompt(text=text)), other=model.encode(Prompt(text=other)), place=place, token=token)


class Exact(TorchFunctionMode):
    """Whatever asks for float32, as norms and soft-maxes do, gets float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()
        swap = {torch.float32: torch.float64}
        args = tuple(swap.get(a, a) if isinstance(a, torch.dtype) else a for a in args)
        return func(
            *args, **{k: swap.get(v, v) if isinstance(v, torch.dtype) else v for k, v in (kwargs or {}).items()}
        )


def exactly(model: HFModel) -> HFModel:
    """Return a copy in float64, to be run under `Exact`."""
    return unproven(HFModel(copy.deepcopy(model.module).double(), model.tokenizer, weights="exact"))


def unproven(model: HFModel) -> HFModel:
    """Leave out the proof of the anatomy, whose eager attention caps what Gemma 2's usual one does not."""
    model._inside.__dict__["_opened"] = Anatomy(model._passes, name="unproven")
    return model


def score_of(model: HFModel, asked: Asked, block: int, step: torch.Tensor | float) -> float:
    """Return the score with `step` added to the state that enters a block, by plain forwards."""
    state = plain_states(model, asked.row)[block][asked.place]
    own = plain_logits(model, asked.row, {block: {asked.place: state + step}})[-1:]
    return float(consistency(own, plain_logits(model, asked.other)[-1:])[0])


def difference(model: HFModel, asked: Asked, block: int) -> float:
    """Return the derivative by alpha: a central difference."""
    state = plain_states(model, asked.row)[block][asked.place].detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(recall(model, state[None], torch.tensor([asked.token])).sum(), state)
    width = 1e-5 * float(state.detach().norm() / slope.norm())
    up, down = (score_of(model, asked, block, sign * width * slope) for sign in (1, -1))
    return (up - down) / (2 * width)


def test_a_prompt_with_itself_scores_minus_its_entropy(family: HFModel) -> None:
    for text, _, mention, target in ASKED:
        (found,) = ask(family, (text, text, mention, target))
        logs = plain_logits(family, family.encode(Prompt(text=text)))[-1].double().log_softmax(-1)
        entropy = float(-(logs.exp() * logs).sum())
        assert found["score"] == pytest.approx(-entropy, abs=1e-4)
        assert found["entropy"] == pytest.approx(entropy, abs=1e-4)
        assert found["other_entropy"] == pytest.approx(entropy, abs=1e-4)
        assert found["same_top"] is True


def test_score_and_gradient_agree_with_plain_forwards_and_finite_differences(family: HFModel) -> None:
    model = exactly(family)
    for question, found in zip(ASKED, ask(family, *ASKED), strict=True):
        asked = in_ids(family, question)
        with Exact():
            score = score_of(model, asked, 0, 0.0)
            wanted = [difference(model, asked, block) for block in range(len(model._inside.anatomy.blocks))]
            own, other = (plain_logits(model, row)[-1] for row in (asked.row, asked.other))
        assert found["score"] == pytest.approx(score, rel=1e-4, abs=1e-4)
        assert found["same_top"] is bool(own.argmax() == other.argmax())
        largest = max(map(abs, wanted))
        assert found["gradient"][: len(wanted)] == pytest.approx(wanted, rel=1e-3, abs=1e-4 * largest)


def test_the_gradient_agrees_with_the_second_order_graph(family: HFModel) -> None:
    scores, slopes = second_order(family, [in_ids(family, question) for question in ASKED])
    for found, score, slope in zip(ask(family, *ASKED), scores.tolist(), slopes.tolist(), strict=True):
        assert found["score"] == pytest.approx(score, rel=1e-4, abs=1e-4)
        largest = max(map(abs, slope))
        assert found["gradient"][: len(slope)] == pytest.approx(slope, rel=1e-3, abs=1e-4 * largest)


def test_the_last_state_counts_only_at_the_end_of_the_prompt(family: HFModel) -> None:
    behind, _, _, at_the_end = ask(family, *ASKED)
    assert behind["gradient"][-1] is None
    asked = in_ids(family, ASKED[3])
    state = plain_states(family, asked.row)[-1][-1].detach().requires_grad_(True)
    own = family._inside.anatomy.logits(state)[None]
    score = consistency(own, plain_logits(family, asked.other)[-1:])
    (slope,) = torch.autograd.grad(score.sum(), state)
    (direction,) = torch.autograd.grad(recall(family, state[None], torch.tensor([asked.token])).sum(), state)
    assert at_the_end["gradient"][-1] == pytest.approx(float(slope @ direction), rel=1e-3, abs=1e-5)


def test_what_else_is_in_the_batch_does_not_matter(family: HFModel) -> None:
    together = ask(family, *ASKED)
    strict = HFModel(family.module, family.tokenizer, weights="", rule="strict")
    for way in ([ask(family, one)[0] for one in ASKED], ask(family, *ASKED, batch_tokens=20), ask(strict, *ASKED)):
        for one, other in zip(together, way, strict=True):
            largest = max(abs(slope) for slope in one["gradient"] if slope is not None)
            assert one["score"] == pytest.approx(other["score"], rel=1e-5, abs=1e-5)
            for a, b in zip(one["gradient"], other["gradient"], strict=True):
                assert (a is None) == (b is None)
                assert a is None or a == pytest.approx(b, rel=1e-3, abs=1e-5 * largest)


def test_equal_one_hop_prompts_and_shared_beginnings_are_run_once(reference: HFModel) -> None:
    chains = [item for item in load_task("testbed-twohop").items if item.extra["chain"]["e2"] == "Drolmouth"][:3]
    asked = [
        (item.fields["prompt"], chain["second"], chain["mention"], chain["e2"])
        for item in chains
        if (chain := item.extra["chain"])["second_relation"] == chains[0].extra["chain"]["second_relation"]
    ]
    assert len(asked) > 1
    _ = reference._inside.anatomy  # which it proves first
    before = reference.forward_tokens
    ask(reference, *asked)
    spent = reference.forward_tokens - before
    lengths = [in_ids(reference, question) for question in asked]
    again = sum(max(len(one.row) - one.place for one in lengths) for _ in asked)
    begun = os.path.commonprefix([list(one.row) for one in lengths])
    rest = sum(len(one.row) - len(begun) for one in lengths)
    assert begun and spent == len(begun) + rest + again + len(lengths[0].other)


def test_one_hop_prompts_of_all_batches_are_run_once(reference: HFModel) -> None:
    asked = [(f"{text} {end}", "the label is", "label", "good") for end in "abc" for text in ("the label", "a label")]
    _ = reference._inside.anatomy
    counted = [reference.forward_tokens]
    for count in (2, 6):
        ask(reference, *asked[:count], batch_tokens=1)
        counted.append(reference.forward_tokens)
    alone = [in_ids(reference, question) for question in asked]
    other = len(alone[0].other)
    for spent, some in zip((counted[1] - counted[0], counted[2] - counted[1]), (alone[:2], alone), strict=True):
        assert spent == other + sum(2 * len(one.row) - one.place for one in some)


def test_prompts_behind_one_block_of_examples_agree_with_plain_forwards(family: HFModel) -> None:
    block = "the river in France is red. a man in a park is good. the label is bad. "
    asked = [(block + text, block + other, mention, target) for text, other, mention, target in ASKED[:3]]
    _ = family._inside.anatomy
    before = family.forward_tokens
    together = ask(family, *asked)
    spent = family.forward_tokens - before
    questions = [in_ids(family, question) for question in asked]
    every = sum(2 * len(one.row) - one.place for one in questions) + sum(len(one.other) for one in questions)
    windows = getattr(family.module.config, "sliding_window", None)
    assert windows is not None or spent < 0.7 * every
    scores, slopes = second_order(family, questions)
    for found, score, slope in zip(together, scores.tolist(), slopes.tolist(), strict=True):
        assert found["score"] == pytest.approx(score, rel=1e-4, abs=1e-4)
        largest = max(map(abs, slope))
        assert found["gradient"][: len(slope)] == pytest.approx(slope, rel=1e-3, abs=1e-4 * largest)
    for question, found in zip(asked, together, strict=True):
        (alone,) = ask(family, question)
        largest = max(map(abs, alone["gradient"][:-1]))
        assert found["score"] == pytest.approx(alone["score"], rel=1e-5, abs=1e-5)
        assert found["gradient"][:-1] == pytest.approx(alone["gradient"][:-1], rel=1e-3, abs=1e-5 * largest)


@pytest.fixture(scope="module", params=["bnb-4bit", "bnb-8bit", "gptq", "awq"])
def packed(request: pytest.FixtureRequest, stories_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> HFModel:
    """stories260K, packed: by bitsandbytes, and in the formats of GPTQ and AWQ."""
    folder = tmp_path_factory.mktemp("packed") / request.param
    if request.param in {"gptq", "awq"}:
        write(stories_folder, folder, Case(method=request.param))
    else:
        folder = prepare(stories_folder, request.param, cache_dir=folder).folder
    return HFModel.load(folder, device="cpu")


def test_packed_weights_have_the_gradients_of_what_they_compute(packed: HFModel) -> None:
    assert packed.method != "full"
    question = ("The friend of the little girl went to the", "Lily went to the", "the little girl", "Lily")
    (found,) = ask(packed, question)
    scores, slopes = second_order(packed, [in_ids(packed, question)])
    assert found["score"] == pytest.approx(float(scores[0]), rel=1e-4)
    largest = float(slopes.abs().max())
    assert found["gradient"][:-1] == pytest.approx(slopes[0].tolist(), rel=1e-3, abs=1e-4 * largest)


def test_small_gradients_survive_half_precision(tiny_llama: HFModel) -> None:
    module = copy.deepcopy(tiny_llama.module)
    with torch.no_grad():  # a stream so large that the gradient by it is too small for float16
        module.model.embed_tokens.weight.mul_(2.0**10)
    rounded = module.to(torch.float16)
    half = HFModel(rounded, tiny_llama.tokenizer, weights="half")
    exact = HFModel(copy.deepcopy(rounded).float(), tiny_llama.tokenizer, weights="exact")
    for one, other in zip(ask(half, *ASKED), ask(exact, *ASKED), strict=True):
        assert one["score"] == pytest.approx(other["score"], rel=0.1)
        assert 0 < abs(other["gradient"][1]) < 1e-3
        assert one["gradient"][1] == pytest.approx(other["gradient"][1], rel=0.2, abs=0)


def test_gradients_where_both_prompts_are_nearly_certain(tiny_llama: HFModel) -> None:
    module = copy.deepcopy(tiny_llama.module)
    with torch.no_grad():  # one token for every prompt, all but certainly
        module.lm_head = torch.nn.Linear(module.config.hidden_size, module.config.vocab_size, bias=True)
        module.lm_head.weight.requires_grad_(False).copy_(tiny_llama.module.lm_head.weight)
        module.lm_head.bias.requires_grad_(False).zero_()[7] = 22.0
    model = unproven(HFModel(module, tiny_llama.tokenizer, weights="certain"))
    exact = exactly(model)
    for question, found in zip(ASKED, ask(model, *ASKED), strict=True):
        assert found["entropy"] < 0.01
        with Exact():
            slope = second_order(exact, [in_ids(model, question)])[1][0].tolist()
        assert found["gradient"][: len(slope)] == pytest.approx(slope, rel=1e-3, abs=1e-4 * max(map(abs, slope)))


def test_what_is_not_finite_is_none(tiny_llama: HFModel) -> None:
    module = copy.deepcopy(tiny_llama.module)
    with torch.no_grad():
        module.model.layers[1].mlp.down_proj.weight.fill_(math.inf)
    broken = unproven(HFModel(module, tiny_llama.tokenizer, weights="broken"))
    (found,) = ask(broken, ASKED[0])
    assert found["score"] is None
    assert set(found["gradient"]) == {None}
