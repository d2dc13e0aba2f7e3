"""Scaled sets of neurons against plain forwards with hooks; random sets; batches."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tests.lm.inside.literal_neurons import intervened

from compressed_lens.errors import ModelError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inside.intervene import random_sets
from compressed_lens.lm.inspections import Intervene, Neuron
from compressed_lens.lm.protocol import Inspect, Prompt

TEXTS = (("the capital of France is", " Paris"), ("Question: is the film good", " or"), ("a man", " in a red"))
SETS: tuple[tuple[Neuron, ...], ...] = (((1, 4),), ((0, 3), (2, 7), (2, 8), (0, 3)), (), ((2, 40), (1, 11)))


def ask(model: HFModel, *, batch_tokens: int = 8192, **settings: Any) -> list[dict[str, Any]]:
    requests = [
        Inspect(prompt=Prompt(text=text), by=Intervene(target=target, sets=SETS, **settings)) for text, target in TEXTS
    ]
    return [dict(found.values) for found in model.inspect(requests, batch_tokens=batch_tokens)]


@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_every_family_gives_what_plain_forwards_give(family: HFModel, factor: float) -> None:
    for (text, target), found in zip(TEXTS, ask(family, factor=factor), strict=True):
        row = list(family._reader.prompt(Prompt(text=text)))
        token = family._reader.first(Prompt(text=text), target)
        plain = intervened(family, row, (), 1.0)
        assert found["before"] == pytest.approx(float(plain[token]), abs=1e-3)
        moved = 0.0
        for neurons, value, kept in zip(SETS, found["log_probability"], found["kept"], strict=True):
            wanted = intervened(family, row, neurons, factor)
            assert value == pytest.approx(float(wanted[token]), abs=1e-3)
            assert kept == (int(wanted.argmax()) == int(plain.argmax()))
            moved = max(moved, abs(float(wanted[token] - plain[token])))
        assert moved > 5e-3
        assert found["log_probability"][2] == pytest.approx(found["before"], abs=1e-5, rel=1e-5)
        assert found["token"] == family.tokenizer.decode([token])
        assert found["random"] == found["random_kept"] == [[]] * len(SETS)


@pytest.mark.parametrize("batch_tokens", [1, 40])
def test_batches_change_nothing(reference: HFModel, batch_tokens: int) -> None:
    one, other = ask(reference, draws=2), ask(reference, draws=2, batch_tokens=batch_tokens)
    for mine, theirs in zip(one, other, strict=True):
        assert theirs["log_probability"] == pytest.approx(mine["log_probability"], abs=1e-5, rel=1e-5)
        assert sum(theirs["random"], []) == pytest.approx(sum(mine["random"], []), abs=1e-5, rel=1e-5)
        assert theirs["kept"] == mine["kept"]


def test_rows_run_one_by_one_where_they_must(reference: HFModel) -> None:
    strict = HFModel(reference.module, reference.tokenizer, weights="strict", rule="strict")
    for mine, theirs in zip(ask(reference), ask(strict), strict=True):
        assert theirs["log_probability"] == pytest.approx(mine["log_probability"], abs=1e-5, rel=1e-5)


def test_random_sets_are_read_as_sets_are(reference: HFModel) -> None:
    sizes = [reference._inside.anatomy.neurons(n) for n in range(6)]
    drawn = random_sets(SETS, sizes, draws=3, seed=9)
    found = ask(reference, draws=3, seed=9)
    for (text, target), one in zip(TEXTS, found, strict=True):
        for own, values, kept in zip(drawn, one["random"], one["random_kept"], strict=True):
            by = Intervene(target=target, sets=tuple(own))
            (again,) = reference.inspect([Inspect(prompt=Prompt(text=text), by=by)])
            assert again.values["log_probability"] == pytest.approx(values, abs=1e-5, rel=1e-5)
            assert again.values["kept"] == kept


def test_random_sets_have_the_shape_of_theirs_and_nothing_of_any() -> None:
    sizes = [48, 48, 64]
    drawn = random_sets(SETS, sizes, draws=20, seed=1)
    used = {neuron for neurons in SETS for neuron in neurons}
    for neurons, own in zip(SETS, drawn, strict=True):
        assert len(own) == 20
        for one in own:
            assert Counter(b for b, _ in one) == Counter(b for b, _ in set(neurons))
            assert len(set(one)) == len(one)
            assert not used & set(one)
            assert all(0 <= index < sizes[block] for block, index in one)
    assert len(set(drawn[1])) > 10
    assert drawn == random_sets(SETS, sizes, draws=20, seed=1)
    assert drawn != random_sets(SETS, sizes, draws=20, seed=2)
    assert (
        random_sets((SETS[0], SETS[0]), sizes, draws=3, seed=1)[0] == random_sets((SETS[0],), sizes, draws=3, seed=1)[0]
    )


@pytest.mark.parametrize("neuron", [(6, 0), (-1, 0), (0, 512), (0, -1)])
def test_a_neuron_that_does_not_exist_is_refused(reference: HFModel, neuron: Neuron) -> None:
    with pytest.raises(ModelError, match="There is no neuron"):
        reference.inspect([Inspect(prompt=Prompt(text="a"), by=Intervene(target="harp", sets=((neuron,),)))])


def test_too_few_neurons_to_draw_from_are_refused() -> None:
    with pytest.raises(ModelError, match="has 1 other neurons"):
        random_sets((((0, 0), (0, 1)),), [3], draws=1, seed=0)
