"""The primitive against plain forwards, on every family: blocks, padding, several tokens, edits, what comes after."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from tests.lm.inside.plain import plain_logits, plain_states

from compressed_lens.errors import ModelError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inside.suffix import Edit, Entry, Suffix

ROWS = ([5, 9, 30, 41, 8, 77, 12, 60, 33], [50, 3, 21, 90], [11, 7, 64, 28, 19, 102, 35])
CLOSE = {"atol": 2e-4, "rtol": 1e-3}


def suffix(model: HFModel, tokens: int = 1, **options: object) -> Suffix:
    inside = model._inside
    return Suffix.of(inside.anatomy, inside.passes, ROWS, tokens=tokens, **options)  # type: ignore[arg-type]


def test_states_are_those_of_plain_forwards(family: HFModel) -> None:
    one = suffix(family, 3)
    for n, row in enumerate(ROWS):
        for own, plain in zip(one.states, plain_states(family, row), strict=True):
            torch.testing.assert_close(own[n, -3:], plain[-3:], **CLOSE)


@pytest.mark.parametrize("tokens", [1, 4])
def test_rows_that_join_at_any_block_equal_plain_forwards(family: HFModel, tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    one = suffix(family, tokens)
    blocks = len(family._inside.anatomy.blocks)
    entries, wanted = [], []
    for block in (2, 0, 1, blocks):
        prompts = torch.tensor([1, 0, 2, 0])
        states = one.states[block][prompts].clone()
        states[:, 0] += torch.randn(states[:, 0].shape, generator=generator)
        entries.append(Entry(block=block, prompts=prompts, states=states))
        for row, state in zip(prompts.tolist(), states, strict=True):
            place = len(ROWS[row]) - tokens
            if block < blocks:
                wanted.append(plain_logits(family, ROWS[row], {block: {place: state[0]}})[-tokens:])
            else:
                wanted.append(family._inside.anatomy.logits(state))
    ran = one.run(entries)
    torch.testing.assert_close(family._inside.anatomy.logits(ran.states), torch.stack(wanted), **CLOSE)


def test_gradients_flow_to_every_entry_at_once(family: HFModel) -> None:
    one = suffix(family)
    entries = [
        Entry(block=b, prompts=torch.tensor([0]), states=one.states[b][:1].clone().requires_grad_(True)) for b in (0, 2)
    ]
    with torch.enable_grad():
        total = family._inside.anatomy.logits(one.run(entries).states)[:, -1, 5].sum()
    gradients = torch.autograd.grad(total, [entry.states for entry in entries])
    for entry, gradient in zip(entries, gradients, strict=True):
        direction = torch.zeros_like(entry.states[0, 0])
        direction[3] = 1e-2
        ends = [
            plain_logits(family, ROWS[0], {entry.block: {-1: entry.states[0, 0].detach() + sign * direction}})[-1, 5]
            for sign in (1, -1)
        ]
        assert float(gradient[0, 0, 3]) == pytest.approx(float(ends[0] - ends[1]) / 2e-2, abs=2e-2, rel=2e-2)


def test_decoding_goes_on_from_changed_rows(family: HFModel) -> None:
    one = suffix(family, 2)
    changed = one.states[1][[0, 1]].clone()
    changed[:, 0] *= 0.5
    ran = one.run([Entry(block=1, prompts=torch.tensor([0, 1]), states=changed)], keep=True)
    assert ran.prefix is not None
    logits, _ = family._inside.passes.extend(ran.prefix, [[44, 17], [44, 17]])
    for n in range(2):
        place = len(ROWS[n]) - 2
        plain = plain_logits(family, [*ROWS[n], 44, 17], {1: {place: changed[n, 0]}})
        torch.testing.assert_close(logits[n], plain[-2:], **CLOSE)


def test_edits_reach_the_rows_they_are_for(family: HFModel) -> None:
    one = suffix(family)
    anatomy = family._inside.anatomy
    entry = Entry(block=0, prompts=torch.tensor([0, 0]), states=one.states[0][[0, 0]])

    def silence(inputs: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        return inputs * (numbers == 0)[:, None, None]

    for part in ("neurons", "ffn", "attention"):
        ran = one.run([entry], edits=[Edit(block=1, part=part, change=silence)])  # type: ignore[arg-type]
        torch.testing.assert_close(ran.states[0], one.states[-1][0], **CLOSE)
        assert (ran.states[1] - ran.states[0]).abs().max() > 0.05
    assert anatomy.blocks[1].down is not None


def test_a_prompt_shorter_than_the_suffix_and_a_single_token(family: HFModel) -> None:
    inside = family._inside
    rows = [[5, 9, 30], [8]]
    one = Suffix.of(inside.anatomy, inside.passes, rows, tokens=5)
    assert one.tokens == 3
    for n, row in enumerate(rows):
        torch.testing.assert_close(one.states[-1][n, -1], plain_states(family, row)[-1][-1], **CLOSE)


def test_nothing_is_kept_alive_behind_a_batch(reference: HFModel) -> None:
    one = suffix(reference)
    seen = weakref.ref(one)
    gc.collect()
    gc.disable()
    try:
        one.run([Entry(block=0, prompts=torch.tensor([0]), states=one.states[0][:1])])
        del one
        assert seen() is None
    finally:
        gc.enable()


def test_the_parts_add_up(family: HFModel) -> None:
    one = suffix(family, 2, look=("attention", "ffn"))
    for n in range(len(one.attention)):
        torch.testing.assert_close(one.states[n] + one.attention[n] + one.ffn[n], one.states[n + 1], **CLOSE)


def test_an_unknown_architecture_is_refused(chat_tokenizer: object) -> None:
    import transformers

    config = transformers.MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=8, vocab_size=420)
    model = HFModel(transformers.MambaForCausalLM(config), chat_tokenizer, weights="mamba", name="mamba")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="not understood"):
        _ = model._inside.anatomy
