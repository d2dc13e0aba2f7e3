"""The logit lens against plain forwards: every family, every state, mentions, batches, packed weights, damage."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.lm.inside.plain import plain_logits, plain_states

from compressed_lens.lm import forward
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inspections import Lens
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Inspect, Message, Prompt
from compressed_lens.quantization import prepare

ASKED = (
    ("the capital of France is", "Paris", ""),
    ("a man in a red coat walks his dog", "good", "a red coat"),
    ("the sea and the river", "runs", "the"),
    ("the capital of France", "Rome", ""),
    ("a man in a red coat walks his dog in the park", "label", "a red coat"),
)


def ask(model: HFModel, *asked: tuple[str, str, str], batch_tokens: int = 8192) -> list[dict[str, Any]]:
    requests = [Inspect(prompt=Prompt(text=text), by=Lens(target=t, mention=m)) for text, t, m in asked]
    return [dict(found.values) for found in model.inspect(requests, batch_tokens=batch_tokens)]


def check(model: HFModel, asked: tuple[str, str, str], found: dict[str, Any]) -> None:
    """Compare an answer with plain forwards over the whole prompt."""
    text, target, mention = asked
    row = model.encode(Prompt(text=text))
    end = text.rfind(mention) + len(mention) if mention else len(text)
    place = len(model.encode(Prompt(text=text[:end]))) - 1
    token = model.encode(Prompt(text=f"{text[:end]} {target}"))[place + 1]
    assert (found["place"], found["token"]) == (place, model.tokenizer.decode([token]))
    states = plain_states(model, row)
    assert len(found["rank"]) == len(states)
    for layer, state in enumerate(states):
        # The last state is read out by the model itself.
        last = layer == len(states) - 1
        logits = plain_logits(model, row)[place] if last else model._inside.anatomy.logits(state[place]).detach()
        wanted = float(logits.double().log_softmax(-1)[token])
        assert found["log_probability"][layer] == pytest.approx(wanted, rel=1e-4, abs=2e-4)
        near = (logits - logits[token]).abs() < 1e-4 * logits.abs().max()
        better = int((logits > logits[token]).sum())
        assert abs(found["rank"][layer] - 1 - better) <= int(near.sum()) - 1
        best = (logits > logits.max() - 1e-4 * logits.abs().max()).nonzero()[:, 0].tolist()
        assert found["top"][layer] in [model.tokenizer.decode([n]) for n in best]


def test_every_state_of_every_family_equals_a_plain_forward(family: HFModel) -> None:
    for asked, found in zip(ASKED, ask(family, *ASKED), strict=True):
        check(family, asked, found)


def test_the_reference_model_and_its_four_bit_copy(reference: HFModel, tmp_path: Path) -> None:
    folder = prepare(locate_model("reference"), "bnb-4bit", cache_dir=tmp_path).folder
    packed = HFModel.load(folder, device="cpu")
    assert packed.method == "bitsandbytes"
    text, mention = "The city of the birthplace of Gira Durer is in the country of", "the birthplace of Gira Durer"
    found = [ask(model, (text, "Drolmouth", mention))[0] for model in (reference, packed)]
    for model, one in zip((reference, packed), found, strict=True):
        check(model, (text, "Drolmouth", mention), one)
    assert found[0]["log_probability"] != pytest.approx(found[1]["log_probability"], abs=1e-3)


def test_what_else_is_in_the_batch_does_not_matter(family: HFModel) -> None:
    together = ask(family, *ASKED)
    alone = [ask(family, asked)[0] for asked in ASKED]
    small = ask(family, *ASKED, batch_tokens=16)
    strict = ask(HFModel(family.module, family.tokenizer, weights="", rule="strict"), *ASKED)
    for way in (alone, small, strict):
        for one, other in zip(together, way, strict=True):
            assert one["log_probability"] == pytest.approx(other["log_probability"], rel=1e-4, abs=1e-4)
            assert (one["place"], one["token"]) == (other["place"], other["token"])


def test_logits_are_held_a_chunk_at_a_time(reference: HFModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [("The capital of Klovonia is", target, "") for target in ("Wotburg", "Norland", "the")]
    whole = ask(reference, *asked)
    seen: list[int] = []
    logits = reference._inside.anatomy.logits
    monkeypatch.setattr(forward, "_LOGIT_ELEMENTS", 4 * reference._passes.vocabulary)
    monkeypatch.setattr(reference._inside.anatomy, "logits", lambda s: (seen.append(len(s)), logits(s))[1])
    assert [one["rank"] for one in ask(reference, *asked)] == [one["rank"] for one in whole]
    assert max(seen) == 4
    assert sum(seen) == 3 * 7


def test_equal_prompts_are_run_once(reference: HFModel) -> None:
    _ = reference._inside.anatomy  # which it proves first
    before = reference.forward_tokens
    ask(reference, *[("The capital of Klovonia is", target, "") for target in ("Wotburg", "Norland", "the")])
    assert reference.forward_tokens - before == len(reference.encode(Prompt(text="The capital of Klovonia is")))


def test_a_conversation_is_read_at_its_mention(tiny_llama: HFModel) -> None:
    prompt = Prompt(messages=(Message(role="user", content="the capital of France"),))
    found = tiny_llama.inspect([Inspect(prompt=prompt, by=Lens(target="Paris", mention="France"))])[0].values
    row = tiny_llama.encode(prompt)
    cut = tiny_llama.tokenizer.decode(row[: found["place"] + 1])
    assert cut.endswith("France")
    token = tiny_llama.tokenizer.convert_tokens_to_ids(tiny_llama.tokenizer.tokenize(found["token"]))[0]
    wanted = plain_logits(tiny_llama, row)[found["place"]].log_softmax(-1)[token]
    assert found["log_probability"][-1] == pytest.approx(float(wanted), abs=1e-4)


def test_what_is_not_finite_is_none(tiny_llama: HFModel) -> None:
    module = copy.deepcopy(tiny_llama.module)
    with torch.no_grad():
        module.model.layers[1].mlp.down_proj.weight.fill_(math.inf)
    broken = HFModel(module, tiny_llama.tokenizer, weights="broken")
    broken._inside.__dict__["_opened"] = type(tiny_llama._inside.anatomy)(broken._passes, name="broken")
    found = ask(broken, ASKED[0])[0]
    assert [value is None for value in found["log_probability"]] == [False, False, True, True]
    assert found["rank"][2:] == [None, None]
