"""Two-hop accuracy: the eight cases by hand, and on the reference model against plain greedy decoding."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.analyses.test_by_hand import CHAIN, CHAINS, drive, scores, text
from tests.analyses.test_end_to_end import continuation_log_probability, greedy, run

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Mosaic
from compressed_lens.errors import StudyError
from compressed_lens.explanations.sources import Unusable
from compressed_lens.knowledge.matching import recalled
from compressed_lens.lm.protocol import Generate, Message, Score
from compressed_lens.multihop.two_hop import OUTCOMES, TwoHop
from compressed_lens.tasks import load_task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

PROMPTS = ["The Louvre is in", "The capital of France is", "The capital of the country of the Louvre is"]
SCORES = [scores(-1.0), scores(-2.0), scores(-3.0, tokens=[7])]


@pytest.mark.parametrize("case", list(product([True, False], repeat=3)))
def test_each_of_the_eight_cases(case: tuple[bool, bool, bool]) -> None:
    said = [
        text(" " + name if right else " Oslo") for name, right in zip(("France", "Paris", "Paris"), case, strict=True)
    ]
    _, record = drive(TwoHop(), CHAINS, [SCORES, said])
    values = record.values
    assert (values["first_correct"], values["second_correct"], values["composed_correct"]) == case
    assert values["outcome"] == OUTCOMES[case]
    assert values["composed_given_both"] is (case[2] if case[0] and case[1] else None)
    assert record.failed is None


def test_the_cases_have_names_of_their_own() -> None:
    assert len(set(OUTCOMES.values())) == 8
    (mosaic,) = TwoHop.pictures
    assert isinstance(mosaic, Mosaic)
    assert mosaic.values == ("first_correct", "second_correct", "composed_correct")


def test_what_is_asked() -> None:
    said = [text(" France"), text(" Paris"), text(" Paris")]
    asked, record = drive(TwoHop(max_new_tokens=4), CHAINS, [SCORES, said])
    assert [(r.prompt.text, r.continuations) for r in asked if isinstance(r, Score)] == list(
        zip(PROMPTS, [("France",), ("Paris",), ("Paris",)], strict=True)
    )
    assert [(r.prompt.text, r.max_new_tokens) for r in asked if isinstance(r, Generate)] == list(
        zip(PROMPTS, [4, 4, 9], strict=True)
    )
    assert [record.values[f"{part}_log_probability"] for part in ("first", "second", "composed")] == [-1.0, -2.0, -3.0]
    asked, _ = drive(TwoHop(ask="chat"), CHAINS, [SCORES, said])
    assert [r.prompt.messages for r in asked if isinstance(r, Generate)] == [
        (Message(role="user", content=prompt),) for prompt in PROMPTS
    ]


def test_any_name_of_an_entity_counts() -> None:
    chain = {**CHAIN.extra["chain"], "e2_aliases": ["French Republic"], "e3_aliases": ["Paris", "City of Light"]}
    task = replace(CHAINS, items=(replace(CHAIN, extra={"chain": chain}),))
    said = [text(" france"), text(" City of Light"), text(" in Paris")]
    _, record = drive(TwoHop(), task, [SCORES, said])
    assert record.values["outcome"] == "both hops, not composed"
    _, record = drive(TwoHop(match="anywhere"), task, [SCORES, said])
    assert record.values["outcome"] == "both hops and composed"


def test_failures() -> None:
    broken = [scores(-1.0), scores(math.nan), scores(-1.0)]
    _, record = drive(TwoHop(), CHAINS, [broken, [text("a"), text("b"), text("c")]])
    assert record.failed == "an answer has no finite log-probability"
    assert record.values == {"first_text": "a", "second_text": "b", "composed_text": "c"}
    with pytest.raises(Unusable, match="no chain of two facts"):
        next(TwoHop().steps(CHAINS, replace(CHAIN, extra={})))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"ask": "sing"}, "ask cannot be 'sing'"), ({"match": "end"}, "match cannot be 'end'"),
     ({"max_new_tokens": 0}, "max_new_tokens cannot be 0")],
)  # fmt: skip
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        create("two_hop", settings)


def test_the_reference_model_against_plain_decoding(load_model: Callable[[Path], HFModel]) -> None:
    from compressed_lens.lm.locate import locate_model

    model = load_model(locate_model("reference"))
    task = load_task("testbed-twohop", limit=40, options={"chains": "held-out"})
    records = run(model, task, create("two_hop", {"max_new_tokens": 5}))
    hits = 0
    for item in task.items:
        values, chain = records["two_hop", item.id].values, item.extra["chain"]
        asked = {
            "first": (chain["first"], chain["e2"]),
            "second": (chain["second"], chain["e3"]),
            "composed": (item.fields["prompt"], chain["e3"]),
        }
        for part, (prompt, answer) in asked.items():
            said = greedy(model, prompt, 5)
            assert str(values[f"{part}_text"]).strip() == said.strip()
            assert values[f"{part}_correct"] is recalled(said, (answer,))
            plain = continuation_log_probability(model, prompt, answer)
            assert values[f"{part}_log_probability"] == pytest.approx(plain, abs=1e-3)
        hits += bool(values["composed_correct"])
    # Compositions training never showed: most are made, not all (docs/testbed.md).
    assert 24 <= hits < 40
