"""Shared beginnings run once: every number is that of a plain forward, each token is counted once, on every family."""

from __future__ import annotations

import random

import pytest
import torch
from tests.lm.inside.conftest import FAMILIES, random_model
from tests.lm.inside.every import EVERY, PLAIN, differences, every
from tests.lm.inside.plain import plain_logits, plain_states

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inside.beginning import common, final_states, pack_alike
from compressed_lens.lm.inside.suffix import Edit, Entry, Suffix

START = [5, 9, 30, 41, 8, 77, 12, 60, 33]
TAILS = ([50, 3, 21, 90], [11, 7, 64, 28, 19, 102, 35], [2, 13, 99, 1, 71])
ROWS = [[*START, *tail] for tail in TAILS]
CLOSE = {"atol": 2e-4, "rtol": 1e-3}
WINDOWED = {"MistralConfig", "Gemma2Config", "Gemma3TextConfig"}


def suffix(model: HFModel, tokens: int, rows: list[list[int]] = ROWS) -> tuple[Suffix, int]:
    """Return a suffix and how many tokens it has cost."""
    inside = model._inside
    _ = inside.anatomy
    before = model.forward_tokens
    return Suffix.of(inside.anatomy, inside.passes, rows, tokens=tokens), model.forward_tokens - before


@pytest.mark.parametrize("tokens", [1, 3])
def test_states_are_those_of_plain_forwards_and_the_beginning_is_counted_once(family: HFModel, tokens: int) -> None:
    one, spent = suffix(family, tokens)
    for n, row in enumerate(ROWS):
        for own, plain in zip(one.states, plain_states(family, row), strict=True):
            torch.testing.assert_close(own[n, -tokens:], plain[-tokens:], **CLOSE)
    # A window shorter than the prompts measures distances that padding in the middle would change.
    times = len(ROWS) if family.name in WINDOWED else 1
    assert spent == sum(map(len, TAILS)) + times * len(START)


@pytest.mark.parametrize("length", [2, 3, 4, 8])
def test_any_number_of_shared_tokens(family: HFModel, length: int) -> None:
    rows = [[*START[:length], *tail] for tail in TAILS]
    one, spent = suffix(family, 2, rows)
    for n, row in enumerate(rows):
        torch.testing.assert_close(one.states[-1][n, -2:], plain_states(family, row)[-1][-2:], **CLOSE)
    worth = length >= 0.25 * max(map(len, rows)) and family.name not in WINDOWED
    assert spent == sum(map(len, TAILS)) + (1 if worth else len(rows)) * length


def test_equal_rows_and_one_that_is_the_beginning_of_another(family: HFModel) -> None:
    for rows in ([ROWS[0], ROWS[0]], [START, ROWS[1]], [START[:3], ROWS[1]]):
        one, _ = suffix(family, 2, rows)
        for n, row in enumerate(rows):
            torch.testing.assert_close(one.states[-1][n, -2:], plain_states(family, row)[-1][-2:], **CLOSE)


@pytest.mark.parametrize("tokens", [1, 3])
def test_changed_rows_and_what_is_decoded_behind_them(family: HFModel, tokens: int) -> None:
    one, _ = suffix(family, tokens)
    prompts = [2, 0, 1, 1]
    changed = one.states[1][prompts].clone()
    changed[:, 0] += torch.randn(changed[:, 0].shape, generator=torch.Generator().manual_seed(0))
    ran = one.run([Entry(block=1, prompts=torch.tensor(prompts), states=changed)], keep=True)
    own = family._inside.anatomy.logits(ran.states)
    assert ran.prefix is not None
    logits, prefix = family._inside.passes.extend(ran.prefix, [[44, 17]] * 4)
    more, _ = family._inside.passes.extend(prefix, [[23]] * 4)
    for n, prompt in enumerate(prompts):
        place = len(ROWS[prompt]) - tokens
        plain = plain_logits(family, [*ROWS[prompt], 44, 17, 23], {1: {place: changed[n, 0]}})
        torch.testing.assert_close(torch.cat([own[n], logits[n], more[n]]), plain[place:], **CLOSE)


def test_gradients(family: HFModel) -> None:
    one, _ = suffix(family, 2)
    alone = [suffix(family, 2, [row])[0] for row in ROWS]
    states = one.states[1].clone().requires_grad_(True)
    with torch.enable_grad():
        (whole,) = torch.autograd.grad(one.through(1, states).square().sum(), states)
        for n, single in enumerate(alone):
            state = single.states[1].clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(single.through(1, state).square().sum(), state)
            scale = float(gradient.abs().max())
            torch.testing.assert_close(whole[n] / scale, gradient[0] / scale, **CLOSE)


def test_edits(family: HFModel) -> None:
    one, _ = suffix(family, 1)
    entry = Entry(block=0, prompts=torch.arange(3), states=one.states[0])

    def halve(inputs: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        return inputs * torch.where(numbers == 1, 0.5, 1.0)[:, None, None]

    ran = one.run([entry], edits=[Edit(block=1, part="ffn", change=halve)])
    for n in (0, 2):
        torch.testing.assert_close(ran.states[n], one.states[-1][n], **CLOSE)
    single, _ = suffix(family, 1, [ROWS[1]])
    entry = Entry(block=0, prompts=torch.tensor([0]), states=single.states[0])
    alone = single.run([entry], edits=[Edit(block=1, part="ffn", change=lambda inputs, _: inputs * 0.5)])
    torch.testing.assert_close(ran.states[1], alone.states[0], **CLOSE)


def test_final_states(family: HFModel) -> None:
    inside = family._inside
    for rows in (ROWS, list(TAILS), [START], [START, START]):
        found = final_states(inside.anatomy, inside.passes, rows)
        for state, row in zip(found, rows, strict=True):
            torch.testing.assert_close(state, plain_states(family, row)[-1][-1], **CLOSE)


@pytest.mark.parametrize(("window", "times"), [(len(ROWS[1]) + 256, 1), (len(ROWS[1]) + 255, len(ROWS))])
@pytest.mark.parametrize("name", sorted(WINDOWED))
def test_a_window_with_room_for_the_prompts_and_what_is_decoded(
    name: str, window: int, times: int, chat_tokenizer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, name, {**FAMILIES[name], "sliding_window": window})
    model = random_model(name, chat_tokenizer)
    one, spent = suffix(model, 2)
    assert spent == sum(map(len, TAILS)) + times * len(START)
    ran = one.run([Entry(block=1, prompts=torch.tensor([1, 0]), states=one.states[1][[1, 0]])], keep=True)
    assert ran.prefix is not None
    logits, _ = model._inside.passes.extend(ran.prefix, [[44, 17, 23]] * 2)
    for found, row in zip(logits, (ROWS[1], ROWS[0]), strict=True):
        torch.testing.assert_close(found, plain_logits(model, [*row, 44, 17, 23])[-3:], **CLOSE)


@pytest.mark.parametrize("name", EVERY)
def test_every_inspection_gives_the_same_alone(family: HFModel, name: str) -> None:
    block = "it rains in a park and the film is red. "
    requests = every(tuple((block + text, mention, target) for text, mention, target in PLAIN))[name]
    together = family.inspect(requests)
    for request, answer in zip(requests, together, strict=True):
        (alone,) = family.inspect([request])
        found = differences(dict(alone.values), dict(answer.values))
        # "projected" says how much was done.
        assert not [one for one in found if ".projected:" not in one], f"{name} of {request.prompt.text}"


def test_weights_are_looked_at_without_padding_in_the_middle(family: HFModel) -> None:
    inside = family._inside
    one = Suffix.of(inside.anatomy, inside.passes, ROWS, look={"weights"})
    for n, row in enumerate(ROWS):
        alone = Suffix.of(inside.anatomy, inside.passes, [row], look={"weights"})
        for own, single in zip(one.weights, alone.weights, strict=True):
            seen = min(own.shape[-1], single.shape[-1])
            torch.testing.assert_close(own[n, ..., -seen:], single[0, ..., -seen:], **CLOSE)


def test_batches_hold_every_row_once_and_keep_to_the_budget() -> None:
    dice = random.Random(0)
    rows = [[dice.randrange(3) for _ in range(dice.randrange(1, 12))] for _ in range(200)]
    for budget in (1, 30, 500):
        batches = pack_alike(rows, budget)
        assert sorted(n for batch in batches for n in batch) == list(range(len(rows)))
        for batch in batches:
            assert len(batch) == 1 or len(batch) * max(len(rows[n]) for n in batch) <= budget


def test_rows_that_begin_alike_stay_together() -> None:
    rows = [[kind] * 10 + [n % 97, n] for n in range(300) for kind in (1, 2)]
    batches = pack_alike(rows, 10**6)
    assert [{rows[n][0] for n in batch} for batch in batches] == [{1}, {2}]
    # Few rows are not worth a pass of their own.
    assert len(pack_alike(rows[:8], 10**6)) == 1
    assert common([1, 2, 3], [1, 2]) == 2
    assert common([1, 2, 3], [1, 4, 3]) == 1
