"""Latent composability: what counts and what is left out, by hand and on the reference model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.analyses.test_by_hand import CHAIN, CHAINS, drive, text
from tests.analyses.test_end_to_end import greedy, run

from compressed_lens.analyses import create
from compressed_lens.errors import StudyError
from compressed_lens.lm.protocol import Generate
from compressed_lens.multihop.composability import Composability, multiple_choice, named_at
from compressed_lens.tasks import load_task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

OPTIONS = " which? A. Paris B. Rome C. Oslo"


@pytest.mark.parametrize(
    ("said", "outcome", "value"),
    [
        ((" France", " Paris", " Paris", " Rome"), "composed", True),
        ((" the town in FRANCE", " it is Paris", " the city: París!", " Rome"), "composed", True),
        ((" France", " Paris", " Oslo", " Rome"), "not composed", False),
        ((" France", " Paris", " Oslo", " Paris"), "not composed", False),
        ((" France", " Paris", OPTIONS.replace("Paris", "Bonn"), " Rome"), "not composed", False),
        ((" Spain", " Paris", " Paris", " Rome"), "a hop is missing", None),
        ((" France", " Lyon", " Paris", " Rome"), "a hop is missing", None),
        ((" Francesca", " Paris", " Paris", " Rome"), "a hop is missing", None),
        ((" France", OPTIONS, " Paris", " Rome"), "a hop is missing", None),
        ((" France", " Paris", " Paris", " Paris."), "guessable", None),
        ((" France", " Paris", " France, whose capital is Paris", " Rome"), "unusable", None),
        ((" France", " Paris", " Paris, in France", " Rome"), "composed", True),
        ((" France", " Paris", OPTIONS, " Rome"), "unusable", None),
        ((" France", " Paris", OPTIONS, " Paris"), "unusable", None),
    ],
)
def test_each_outcome(said: tuple[str, ...], outcome: str, value: bool | None) -> None:
    asked, record = drive(Composability(), CHAINS, [[text(each) for each in said]])
    assert [r.prompt.text for r in asked if isinstance(r, Generate)] == [
        "The Louvre is in", "The capital of France is", "The capital of the country of the Louvre is",
        "The capital of a certain country is",
    ]  # fmt: skip
    values = record.values
    assert (values["outcome"], values["composed"]) == (outcome, value)
    assert values["counted"] is (value is not None)
    assert values["hop_missing"] is (outcome == "a hop is missing")
    assert values["guessable"] is (outcome == "guessable") and values["unusable"] is (outcome == "unusable")


def test_exclusions_are_counted_even_where_a_hop_is_missing() -> None:
    _, record = drive(Composability(), CHAINS, [[text(" Spain"), text(" Paris"), text(" Paris"), text(" Paris")]])
    assert (record.values["guessable"], record.values["hop_missing"]) == (True, True)
    assert record.values["outcome"] == "a hop is missing"


def test_without_prompts_that_leave_e1_out_guessing_is_not_known() -> None:
    chain = {**CHAIN.extra["chain"], "without_e1": []}
    task = replace(CHAINS, items=(replace(CHAIN, extra={"chain": chain}),))
    _, record = drive(Composability(), task, [[text(" France"), text(" Paris"), text(" Paris")]])
    assert (record.values["guessable"], record.values["composed"]) == (None, True)


@pytest.mark.parametrize(
    ("said", "listed"),
    [("A. x B. y C. z", True), ("A) x\nB) y\nC) z", True), ("1. x 2. y 3. z", True), ("1) 2) 3)", True),
     ("A. x B. y", False), ("A. x B) y C. z", False), ("born in 1. 2.", False), ("", False)],
)  # fmt: skip
def test_lists_of_options(said: str, listed: bool) -> None:
    assert multiple_choice(said) is listed


@pytest.mark.parametrize(
    ("said", "names", "place"),
    [("The Beatles", ["beatles"], 0), ("by the Beatles", ["The Beatles"], 3), ("Parisian", ["Paris"], None),
     ("J. R. R. Tolkien", ["J.R.R. Tolkien"], 0), ("x", ["...", ""], None)],
)  # fmt: skip
def test_where_a_name_stands(said: str, names: list[str], place: int | None) -> None:
    assert named_at(said, names) == place


@pytest.mark.parametrize(
    ("settings", "message"), [({"ask": "x"}, "ask cannot"), ({"max_new_tokens": 0}, "cannot be 0")]
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        create("composability", settings)


def test_the_reference_model_against_plain_decoding(load_model: Callable[[Path], HFModel]) -> None:
    from compressed_lens.lm.locate import locate_model

    model = load_model(locate_model("reference"))
    task = load_task("testbed-twohop", limit=32)
    records = run(model, task, create("composability", {"max_new_tokens": 5}))
    for item in task.items:
        values, chain = records["composability", item.id].values, item.extra["chain"]
        said = {
            part: greedy(model, prompt, 5).lower()
            for part, prompt in (
                ("first", chain["first"]), ("second", chain["second"]), ("composed", item.fields["prompt"]),
                ("null1", chain["without_e1"][0]), ("null2", chain["without_e1"][1]),
            )
        }  # fmt: skip
        # Names of the invented world are single words of letters, and it never thinks aloud.
        e2, e3 = chain["e2"].lower(), chain["e3"].lower()
        known = e2 in said["first"] and e3 in said["second"]
        right = e3 in said["composed"]
        guess = right and (e3 in said["null1"] or e3 in said["null2"])
        assert values["guessable"] is guess and values["unusable"] is False
        assert values["composed"] is (right if known and not guess else None)
    counted = [r.values["composed"] for r in records.values() if r.values["counted"]]
    assert len(counted) >= 24 and sum(map(bool, counted)) >= 0.8 * len(counted)


def test_chains_of_real_relations_run_through(
    shared: Path, stories_folder: Path, load_model: Callable[[Path], HFModel]
) -> None:
    model = load_model(stories_folder)
    task = load_task("relations-twohop", path=str(shared / "data" / "relations_twohop"), limit=11)
    analyses = [create(name, {"max_new_tokens": 3}) for name in ("two_hop", "composability", "recall")]
    records = run(model, task, *analyses)
    assert len(records) == 33 and not any(record.failed for record in records.values())
