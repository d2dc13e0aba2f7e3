"""Entity recall and consistency of chains: by hand, on the reference model against plain forwards, on chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.analyses.test_by_hand import drive
from tests.analyses.test_end_to_end import run
from tests.lm.inside.plain import plain_logits, plain_states

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Record
from compressed_lens.errors import StudyError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inspections import Consistency, Lens
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Inspect, Inspection, Prompt
from compressed_lens.multihop.consistency import TwoHopConsistency
from compressed_lens.multihop.depth import beats, middle
from compressed_lens.multihop.entity_recall import EntityRecall
from compressed_lens.tasks import Task, load_task
from compressed_lens.tasks.base import Item

CHAIN: dict[str, Any] = {
    "e1": "Superstition",
    "e2": "Wonder",
    "e3": "Lula",
    "e2_aliases": ["Wonder"],
    "e3_aliases": ["Lula"],
    "first": "The singer of Superstition is",
    "second": "The mother of Wonder is",
    "mention": "the singer of Superstition",
    "entity": {"prompt": "The mother of the singer of Thriller is", "mention": "the singer of Thriller"},
    "relation": {"prompt": "The mother of the fan of Superstition is", "mention": "the fan of Superstition"},
    "without_e1": [],
    "first_relation": "singer",
    "second_relation": "mother",
}


def task(**parts: Any) -> Task:
    extra = {"chain": {**CHAIN, **parts}}
    prompt = "The mother of the singer of Superstition is"
    return Task(
        name="chains", kind="chain", items=(Item(id="1", fields={"prompt": prompt}, answers=("Lula",), extra=extra),)
    )


def lens(*values: float | None, first: str = " Wonder") -> Inspection:
    ranks = [None if value is None else 1 for value in values]
    top = ["x"] * len(values)
    return Inspection(values={"log_probability": [*values], "rank": ranks, "top": top, "token": first, "place": 7})


OTHER = lens(-1.0, first=" W")


def scored(*gradient: float | None, score: float | None = -2.0) -> Inspection:
    return Inspection(
        values={"score": score, "entropy": 1.0, "other_entropy": 1.5, "gradient": [*gradient], "same_top": False}
    )


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1.0], 1.0),
        ([1.0, 0.0], 0.5),
        ([9.0, 1.0, 9.0], 1.0),
        ([9.0, 9.0, 1.0, 0.5, None, 9.0, 9.0], 0.75),
        ([9.0, None, 9.0], None),
    ],
)
def test_the_middle_third(values: list[float | None], wanted: float | None) -> None:
    assert middle(values) == wanted


def test_equal_read_outs_are_half_a_win() -> None:
    assert beats([-1.0, -2.0, -3.0, -4.0], [-2.0, -1.0, -3.0, -4.000001]) == [1.0, 0.0, 0.5, 0.5]


def test_entity_recall_is_compared_with_both_substitutes() -> None:
    asked, record = drive(
        EntityRecall(), task(), [[lens(-9.0, -5.0, -7.0), lens(-9.0, -6.0, -6.0), lens(-8.0, -9.0, -7.5)]]
    )
    prompts = [
        (CHAIN["entity"] | {"prompt": "The mother of the singer of Superstition is", "mention": CHAIN["mention"]})
    ]
    prompts += [CHAIN["entity"], CHAIN["relation"]]
    assert asked == [
        Inspect(prompt=Prompt(text=one["prompt"]), by=Lens(target="Wonder", mention=one["mention"])) for one in prompts
    ]
    values = record.values
    assert values["entity_recall"] == [-9.0, -5.0, -7.0]
    assert (values["entity_margin"], values["relation_margin"]) == ([0.0, 1.0, -1.0], [-1.0, 4.0, 0.5])
    assert (values["entity_beats"], values["relation_beats"]) == ([0.5, 1.0, 0.0], [0.0, 1.0, 1.0])
    assert (values["middle_entity_beats"], values["middle_relation_beats"]) == (1.0, 1.0)
    assert (values["best_entity_recall"], values["best_state"], values["final_entity_recall"]) == (-5.0, 1, -7.0)
    assert values["middle_entity_recall"] == -5.0


def test_the_end_of_the_prompt_can_be_read_instead() -> None:
    asked, _ = drive(EntityRecall(at="end"), task(), [[lens(-1.0), lens(-1.0), lens(-1.0)]])
    assert [getattr(getattr(request, "by", None), "mention", None) for request in asked] == ["", "", ""]
    with pytest.raises(StudyError, match="at cannot be 'start'"):
        create("entity_recall", {"at": "start"})


def test_a_chain_without_substitutes_has_none() -> None:
    _, record = drive(EntityRecall(), task(entity=None, relation=None), [[lens(-3.0, -2.0, -1.0)]])
    assert record.failed is None
    for name in ("entity_margin", "entity_beats", "middle_entity_beats", "relation_beats", "middle_relation_beats"):
        assert record.values[name] is None
    _, record = drive(TwoHopConsistency(), task(entity=None), [[scored(1.0, 2.0, None)]])
    assert (record.values["pathway"], record.values["middle_pathway"]) == (None, None)


@pytest.mark.parametrize(("other", "reason"), [(lens(None), "not finite"), (OTHER, "starts with another token")])
def test_read_outs_that_cannot_be_compared_fail(other: Inspection, reason: str) -> None:
    _, record = drive(EntityRecall(), task(), [[lens(-1.0), other, lens(-1.0)]])
    assert reason in str(record.failed)
    _, record = drive(TwoHopConsistency(), task(), [[scored(1.0, None), lens(-1.0, -1.0), other]])
    assert reason in str(record.failed)


def test_consistency_counts_signs_and_both_hops() -> None:
    analysis = TwoHopConsistency()
    answers = [[scored(0.5, -0.1, 0.0, None), lens(-1.0, -1.0, -1.0, -1.0), lens(-2.0, -2.0, -2.0, -2.0)]]
    asked, record = drive(analysis, task(), answers)
    by = Consistency(other=Prompt(text=CHAIN["second"]), mention=CHAIN["mention"], target="Wonder")
    assert asked[0] == Inspect(prompt=Prompt(text="The mother of the singer of Superstition is"), by=by)
    values = record.values
    assert values["increases"] == [1.0, 0.0, 0.0, None]
    assert values["pathway"] == [1.0, 0.0, 0.0, None]
    assert (values["middle_increases"], values["middle_pathway"]) == (0.0, 0.0)
    assert (values["score"], values["same_top"]) == (-2.0, False)


def test_consistency_without_the_pathway_asks_once_and_fails_without_numbers() -> None:
    analysis = TwoHopConsistency(pathway=False)
    asked, record = drive(analysis, task(), [[scored(0.5, 0.1, None)]])
    assert len(asked) == 1
    assert record.values["pathway"] is None
    for broken in (scored(0.5, 0.1, None, score=None), scored(None, 0.1, None)):
        assert "not finite" in str(drive(analysis, task(), [[broken]])[1].failed)
    with pytest.raises(StudyError, match="pathway"):
        create("consistency", {"pathway": "yes"})


@pytest.fixture(scope="module")
def reference(load_model: Callable[[Path], HFModel]) -> HFModel:
    """The embedded reference model."""
    return load_model(locate_model("reference"))


def read_out(model: HFModel, prompt: str, mention: str, target: str) -> list[float]:
    """EntRec of every state by a plain forward over the whole prompt."""
    cut = prompt[: prompt.rfind(mention) + len(mention)]
    place = len(model.encode(Prompt(text=cut))) - 1
    token = model.encode(Prompt(text=f"{cut} {target}"))[place + 1]
    states = plain_states(model, model.encode(Prompt(text=prompt)))
    return [float(model._inside.anatomy.logits(s[place]).detach().double().log_softmax(-1)[token]) for s in states]


def test_records_of_real_chains_equal_plain_forwards(reference: HFModel) -> None:
    chains = load_task("testbed-twohop", limit=12, seed=3)
    records = run(reference, chains, EntityRecall(), TwoHopConsistency())
    for item in chains.items:
        chain, values = item.extra["chain"], records["entity_recall", item.id].values
        own = read_out(reference, item.fields["prompt"], chain["mention"], chain["e2"])
        assert values["entity_recall"] == pytest.approx(own, abs=1e-3)
        for name in ("entity", "relation"):
            other = read_out(reference, chain[name]["prompt"], chain[name]["mention"], chain["e2"])
            margin = [a - b for a, b in zip(own, other, strict=True)]
            assert values[f"{name}_margin"] == pytest.approx(margin, abs=1e-3)
        found = records["consistency", item.id].values
        p, q = (
            plain_logits(reference, reference.encode(Prompt(text=text)))[-1].double().log_softmax(-1)
            for text in (item.fields["prompt"], chain["second"])
        )
        assert found["score"] == pytest.approx(float((p.exp() * q + q.exp() * p).sum() / 2), abs=1e-4)
        assert found["gradient"][-1] is None  # type: ignore[index]


def share(records: dict[tuple[str, str], Record], value: str) -> float:
    found = [float(record.values[value]) for record in records.values()]  # type: ignore[arg-type]
    assert all(map(math.isfinite, found))
    return sum(found) / len(found)


@pytest.mark.parametrize("at", ["mention", "end"])
def test_a_random_model_recalls_by_chance(reference: HFModel, at: str) -> None:
    import transformers

    torch.manual_seed(0)
    model = HFModel(transformers.LlamaForCausalLM(reference.module.config), reference.tokenizer, weights="random")
    records = run(model, load_task("testbed-twohop", limit=150, seed=1), create("entity_recall", {"at": at}))
    assert share(records, "middle_entity_beats") == pytest.approx(0.5, abs=0.12)
    assert share(records, "middle_relation_beats") == pytest.approx(0.5, abs=0.12)
