"""Value neurons against brute force: every score, exact top lists, counts; whatever the batch and the format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.lm.inside.brute import Brute

from compressed_lens.errors import ModelError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inspections import Neurons
from compressed_lens.lm.linear import dense_copy, is_quantized, linear_layers
from compressed_lens.lm.protocol import Inspect, Prompt
from compressed_lens.tasks import load_task

TEXTS = ("the capital of France is", "a man in a red coat walks his dog", "Question")
EVERY = 1_000_000
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def ask(model: HFModel, texts: Sequence[str], by: Neurons, **options: int) -> list[dict[str, Any]]:
    found = model.inspect([Inspect(prompt=Prompt(text=text), by=by) for text in texts], **options)
    return [dict(one.values) for one in found]


def row_of(model: HFModel, text: str) -> list[int]:
    return list(model._inside.reader.prompt(Prompt(text=text)))


def table(neurons: Sequence[Sequence[float]], like: torch.Tensor) -> torch.Tensor:
    """Scores put where they belong; NaN where none was told."""
    found = torch.full_like(like, torch.nan)
    for *place, score in neurons:
        found[tuple(int(n) for n in place)] = score
    return found


def assert_top(neurons: Sequence[Sequence[float]], all_scores: torch.Tensor, top: int) -> None:
    """The list is the top of all scores: in order, right scores, no better one left out; ties aside."""
    scores = torch.tensor([one[-1] for one in neurons], dtype=torch.double)
    assert len(neurons) == len({tuple(one[:-1]) for one in neurons}) == top
    assert (scores.diff() <= 0).all()
    told = table(neurons, all_scores)
    torch.testing.assert_close(told[~told.isnan()], all_scores[~told.isnan()], **CLOSE)
    assert not (all_scores[told.isnan()] > all_scores[~told.isnan()].min() + 2e-6).any()


def test_neuron_vectors_add_up_to_the_output(family: HFModel) -> None:
    brute = Brute(family, row_of(family, TEXTS[0]))
    for n, block in enumerate(brute.anatomy.blocks):
        norm_bias = getattr(block.ffn_norm, "bias", None)
        assert norm_bias is None
        torch.testing.assert_close(brute.ffn_vectors(n).sum(dim=0), brute.plain.ffn[n], atol=1e-5, rtol=1e-5)
        if block.attention_norm is None:
            total = brute.attention_vectors(n).sum(dim=(0, 1, 2)) + brute._bias(getattr(block.out, "bias", None))[0]
            torch.testing.assert_close(total, brute.plain.attention[n], atol=1e-5, rtol=1e-5)


def test_every_score_is_that_of_brute_force(family: HFModel) -> None:
    answers = ask(family, TEXTS, Neurons(top=EVERY, attention=True))
    for text, answer in zip(TEXTS, answers, strict=True):
        brute = Brute(family, row_of(family, text))
        scores = brute.ffn_scores()
        assert answer["ffn"]["of"] == [scores.shape[1]] * len(scores)
        assert answer["ffn"]["projected"] == scores.numel()
        torch.testing.assert_close(table(answer["ffn"]["neurons"], scores), scores, **CLOSE)
        own: dict[tuple[int, ...], float] = {tuple(place): s for *place, s in answer["attention"]["neurons"]}
        count = 0
        for block, plain in enumerate(brute.attention_scores()):
            seen = brute.plain.weights[block] > 0
            for head, index, place in seen[:, None].expand(plain.shape).nonzero().tolist():
                wanted = pytest.approx(float(plain[head, index, place]), abs=1e-5, rel=1e-5)
                assert own[block, head, index, place] == wanted
                count += 1
        assert len(own) == count == sum(answer["attention"]["of"])
        assert answer["known"]


def test_top_lists_and_counts_are_those_of_brute_force(family: HFModel) -> None:
    for text in TEXTS:
        scores = Brute(family, row_of(family, text)).ffn_scores()
        middle = float(scores.flatten().sort().values[[100, 101]].mean())
        (answer,) = ask(family, [text], Neurons(top=20, reach=middle, watch=((2, 3), (0, 47), (2, 3))))
        assert_top(answer["ffn"]["neurons"], scores, 20)
        assert answer["ffn"]["reaching"] == int((scores >= middle).sum()) == scores.numel() - 101
        assert answer["watched"] == pytest.approx(
            [float(scores[place]) for place in ((2, 3), (0, 47), (2, 3))], abs=1e-5
        )


def test_the_batch_does_not_matter(family: HFModel) -> None:
    by = Neurons(top=30, attention=True, reach=0.01, reach_attention=0.001, watch=((1, 2),), target="dog")
    together = ask(family, TEXTS, by)
    for answer, alone in zip(together, ask(family, TEXTS, by, batch_tokens=1), strict=True):
        assert answer["watched"] == pytest.approx(alone["watched"], abs=1e-5)
        assert (answer["token"], answer["known"]) == (alone["token"], alone["known"])
        for part in ("ffn", "attention"):
            assert answer[part]["of"] == alone[part]["of"]
            assert answer[part]["reaching"] == alone[part]["reaching"]
            scores = [[one[-1] for one in a[part]["neurons"]] for a in (answer, alone)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-5)


@pytest.fixture(scope="module")
def facts(shared: Path, stories_folder: Path, load_model: Callable[[Path], HFModel], reference: HFModel) -> Any:
    lre = load_task("lre", path=str(shared / "data" / "lre"), limit=50)
    own = load_task("testbed-facts", limit=50)
    return {"reference": (reference, own.items), "stories260K": (load_model(stories_folder), lre.items)}


@pytest.mark.parametrize("name", ["reference", "stories260K"])
def test_top_300_on_fifty_prompts(facts: Any, name: str) -> None:
    model, items = facts[name]
    assert len(items) == 50
    requests = [
        Inspect(prompt=Prompt(text=item.fields["prompt"]), by=Neurons(target=item.answers[0])) for item in items
    ]
    for item, answer in zip(items, model.inspect(requests), strict=True):
        prompt = Prompt(text=item.fields["prompt"])
        target = model._inside.reader.first(prompt, item.answers[0])
        values = answer.values
        scores = Brute(model, row_of(model, item.fields["prompt"]), target).ffn_scores()
        assert_top(values["ffn"]["neurons"], scores, 300)
        assert sum(values["ffn"]["of"]) == scores.numel()
        assert values["ffn"]["projected"] < 450


def test_top_300_attention_neurons(facts: Any) -> None:
    model, items = facts["reference"]
    for item in items[:3]:
        prompt = Prompt(text=item.fields["prompt"])
        (answer,) = model.inspect([Inspect(prompt=prompt, by=Neurons(target=item.answers[0], attention=True))])
        target = model._inside.reader.first(prompt, item.answers[0])
        scores = torch.stack(Brute(model, row_of(model, item.fields["prompt"]), target).attention_scores())
        assert_top(answer.values["attention"]["neurons"], scores, 300)


@pytest.mark.parametrize("format", ["gptq", "awq", "bitsandbytes"])
def test_packed_weights_score_as_their_dense_form(
    format: str, stories_folder: Path, tmp_path: Path, load_model: Callable[[Path], HFModel]
) -> None:
    from tests.lm.test_load_packed import Case, write

    from compressed_lens.quantization import prepare

    if format == "bitsandbytes":
        folder = prepare(stories_folder, {"recipe": "bnb-4bit-nf4"}, cache_dir=tmp_path).folder
    else:
        folder = tmp_path / "model"
        write(stories_folder, folder, Case(method=format))
    packed = HFModel.load(folder, device="cpu")
    assert any(map(is_quantized, linear_layers(packed.module).values()))
    dense = HFModel(dense_copy(packed.module), packed.tokenizer, weights="dense")
    by = Neurons(top=50, attention=True)
    for one, other in zip(ask(packed, TEXTS, by), ask(dense, TEXTS, by), strict=True):
        for part in ("ffn", "attention"):
            scores = [[neuron[-1] for neuron in answer[part]["neurons"]] for answer in (one, other)]
            assert scores[0] == pytest.approx(scores[1], abs=2e-3)
            assert len({tuple(a[part]["neurons"][0][:-1]) for a in (one, other)}) == 1
        brute = Brute(packed, row_of(packed, TEXTS[0]))
    assert_top(ask(packed, TEXTS[:1], by)[0]["ffn"]["neurons"], brute.ffn_scores(), 50)


def test_a_neuron_that_is_not_there(reference: HFModel) -> None:
    with pytest.raises(ModelError, match="no feed-forward neuron 512 in block 0"):
        ask(reference, TEXTS[:1], Neurons(watch=((0, 512),)))


def test_saturated_and_hopeless_targets_are_finite(reference: HFModel) -> None:
    """Increases of several nats up or down, where sums round to nothing or to one."""
    for target in ("", "zz"):
        values = ask(reference, TEXTS[:1], Neurons(top=EVERY, target=target))[0]
        token = reference._inside.reader.first(Prompt(text=TEXTS[0]), target) if target else None
        scores = Brute(reference, row_of(reference, TEXTS[0]), token).ffn_scores()
        torch.testing.assert_close(table(values["ffn"]["neurons"], scores), scores, **CLOSE)
