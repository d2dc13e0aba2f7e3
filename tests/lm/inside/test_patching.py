"""Entity description and back-patching against plain forwards with hooks, every token recomputed from the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.lm.inside.plain import plain_logits, plain_states
from torch import Tensor

from compressed_lens.errors import ModelError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inspections import BackPatch, Describe
from compressed_lens.lm.protocol import Inspect, Prompt
from compressed_lens.lm.text import answer_text

IDENTITY = Prompt(text="river: river; red: red; sea: sea; x")
ASKED = (
    ("the capital of France is Paris", "the capital of France"),
    ("a man in a red coat walks his dog in the park", "a man"),
    ("the river runs to the sea", ""),
)
NEW = 5


def plain_greedy(model: HFModel, row: Sequence[int], replaced: dict[int, dict[int, Tensor]]) -> str:
    """Decode with the states replaced, by one plain forward over everything a token."""
    new: list[int] = []
    while len(new) < NEW:
        token = int(plain_logits(model, [*row, *new], replaced)[-1].argmax())
        if token == model.tokenizer.eos_token_id:
            break
        new.append(token)
    return answer_text(model.tokenizer, row, new)


def described(n: int, **settings: Any) -> Inspect:
    text, mention = ASKED[n]
    by = Describe(mention=mention, identity=IDENTITY, **{"max_new_tokens": NEW, **settings})
    return Inspect(prompt=Prompt(text=text), by=by)


def patched(n: int, donor: int | None = None, **settings: Any) -> Inspect:
    text, mention = ASKED[n]
    given: dict[str, Any] = {}
    if donor is not None:
        given = {"donor": Prompt(text=ASKED[donor][0]), "donor_mention": ASKED[donor][1]}
    by = BackPatch(mention=mention, **given, **{"max_new_tokens": NEW, **settings})
    return Inspect(prompt=Prompt(text=text), by=by)


def places(model: HFModel, n: int) -> tuple[list[int], int]:
    text, mention = ASKED[n]
    row = model.encode(Prompt(text=text))
    until = len(row) if not mention else len(model.encode(Prompt(text=text[: text.index(mention) + len(mention)])))
    return row, until - 1


def test_descriptions_equal_plain_forwards(family: HFModel) -> None:
    answers = family.inspect([described(n) for n in range(len(ASKED))])
    identity = family.encode(IDENTITY)
    different = set()
    for n, answer in enumerate(answers):
        row, place = places(family, n)
        states = plain_states(family, row)
        assert answer.values["sources"] == list(range(len(states)))
        assert answer.values["targets"] == list(range(len(states) - 1))
        assert answer.values["states"] == len(states)
        for source, texts in zip(answer.values["sources"], answer.values["texts"], strict=True):
            for target, said in zip(answer.values["targets"], texts, strict=True):
                assert said == plain_greedy(family, identity, {target: {len(identity) - 1: states[source][place]}})
                different.add(said)
    assert len(different) > 2


@pytest.mark.parametrize("donor", [None, 2])
def test_back_patches_equal_plain_forwards(family: HFModel, donor: int | None) -> None:
    answers = family.inspect([patched(n, donor) for n in range(len(ASKED))])
    different = set()
    for n, answer in enumerate(answers):
        row, place = places(family, n)
        giver, given = places(family, n if donor is None else donor)
        states = plain_states(family, giver)
        assert answer.values["pairs"] == [[s, t] for s in range(len(states)) for t in range(s)]
        for (source, target), said in zip(answer.values["pairs"], answer.values["texts"], strict=True):
            assert said == plain_greedy(family, row, {target: {place: states[source][given]}})
            different.add(said)
    assert len(different) > 2


def test_a_state_put_where_it_was_changes_nothing(reference: HFModel) -> None:
    prompt = Prompt(text="The capital of Dasonia is")
    plain = plain_greedy(reference, reference.encode(prompt), {})
    by = Describe(identity=prompt, sources=(0, 3, 5), targets=(0, 3, 5), max_new_tokens=NEW)
    texts = reference.inspect([Inspect(prompt=prompt, by=by)])[0].values["texts"]
    assert [texts[n][n] for n in range(3)] == [plain] * 3
    assert "Wotburg" in plain


def test_the_same_alone_in_small_batches_and_under_the_strict_rule(reference: HFModel) -> None:
    requests = [described(0), patched(1), described(2, stride=2), patched(0, 1), patched(2, sources="early")]
    together = reference.inspect(requests)
    assert [reference.inspect([request])[0] for request in requests] == together
    assert reference.inspect(requests, batch_tokens=64) == together
    strict = HFModel(reference.module, reference.tokenizer, weights="reference", rule="strict")
    assert strict.inspect(requests[:2]) == together[:2]


def test_states_are_chosen(reference: HFModel) -> None:
    early = reference.inspect([described(0, sources=(5, 2), targets="early", stride=2)])[0].values
    assert (early["sources"], early["targets"]) == ([5, 2], [0, 2])
    every = reference.inspect([described(0)])[0].values
    assert early["texts"] == [[every["texts"][s][t] for t in (0, 2)] for s in (5, 2)]
    some = reference.inspect([patched(0, stride=3)])[0].values
    assert some["pairs"] == [[3, 0], [6, 0], [6, 3]]
    with pytest.raises(ModelError, match="no state 6 .* from 0 to 5"):
        reference.inspect([described(0, targets=(6,))])
    with pytest.raises(ModelError, match="not in the prompt"):
        reference.check(
            Inspect(prompt=Prompt(text="a b"), by=BackPatch(donor=Prompt(text="the sea"), donor_mention="the river"))
        )


def test_an_answer_ends_where_the_context_is_full(reference: HFModel) -> None:
    context = reference.context_length
    assert context is not None
    long = Prompt(text="a " * (context - 12))
    room = context - len(reference.encode(long))
    assert 0 < room < 20
    by = Describe(identity=long, sources=(6,), targets=(5,), max_new_tokens=40)
    said = reference.inspect([Inspect(prompt=Prompt(text="The capital of Dasonia is"), by=by)])[0].values["texts"][0][0]
    assert len(reference.tokenizer(said, add_special_tokens=False)["input_ids"]) <= room


def test_rows_share_the_work(reference: HFModel) -> None:
    before = reference.forward_tokens
    reference.inspect([described(n, max_new_tokens=1) for n in range(2)])
    spent = reference.forward_tokens - before
    once = len(reference.encode(IDENTITY)) + sum(places(reference, n)[1] + 1 for n in range(2))
    # One pass over the repeating prompt and the two mentions, and for every cell a token from its block on.
    assert spent == once + sum(2 * 7 * (6 - target) for target in range(6)) / 6
