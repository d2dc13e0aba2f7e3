"""Recall with examples, other wordings and ranking: driven by hand, and on the reference model against plain scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.analyses.test_by_hand import CHAINS, drive, scores, text
from tests.analyses.test_end_to_end import continuation_log_probability, greedy, run

from compressed_lens.analyses import create
from compressed_lens.errors import StudyError
from compressed_lens.knowledge.matching import prediction, recalled
from compressed_lens.knowledge.recall import Recall, asking, examples
from compressed_lens.lm.protocol import Generate, Message, Prompt, Score
from compressed_lens.tasks import Item, Task, load_task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel


def fact(country: str, capital: str, *, group: str = "capital", **extra: Any) -> Item:
    return Item(
        id=f"{group}/{country}",
        fields={"prompt": f"The capital of {country} is"},
        answers=(capital,),
        group=group,
        extra={"subject": country, **extra},
    )


ITALY = fact("Italy", "Rome", paraphrases=["Italy's capital is", "Italy is ruled from"])
TASK = Task(
    name="facts",
    kind="recall",
    items=(
        ITALY,
        fact("Norway", "Oslo"),
        fact("Peru", "Lima"),
        fact("Kenya", "Nairobi"),
        replace(ITALY, id="capital/Italy#2"),
        fact("Ann", "Bea", group="mother"),
    ),
    candidates={"capital": ("Rome", "Oslo", "Lima", "Nairobi")},
)


def test_examples_are_other_facts_of_the_relation() -> None:
    drawn = [other.answers[0] for other in examples(TASK, ITALY, 2)]
    assert len(drawn) == 2 and set(drawn) < {"Oslo", "Lima", "Nairobi"}
    assert {other.answers[0] for other in examples(TASK, ITALY, 9)} == {"Oslo", "Lima", "Nairobi"}
    shuffled = replace(TASK, items=TASK.items[::-1])
    assert [other.answers[0] for other in examples(shuffled, ITALY, 2)] == drawn
    orders = {tuple(o.id for o in examples(TASK, replace(ITALY, id=str(n)), 3)) for n in range(30)}
    assert len(orders) == 6


def test_shots_stand_before_the_statement() -> None:
    asked, record = drive(Recall(shots=1), TASK, [[text(" Rome"), scores(-1.0)], [text(" Rome")]])
    (shot,) = examples(TASK, ITALY, 1)
    expected = f"{shot.fields['prompt']} {shot.answers[0]}\nThe capital of Italy is"
    assert [r.prompt for r in asked if isinstance(r, Generate | Score)] == [Prompt(text=expected)] * 3
    assert isinstance(asked[2], Generate) and asked[2].stop == ("\n",)
    assert record.values["shots"] == 1
    _, few = drive(Recall(shots=7), TASK, [[text(" Rome"), scores(-1.0)], [text(" Rome")]])
    assert few.values["shots"] == 3


def test_shots_in_a_conversation_are_turns() -> None:
    assert asking("chat", "The capital of Italy is", [fact("Peru", "Lima")]).messages == (
        Message(role="user", content="The capital of Peru is"),
        Message(role="assistant", content="Lima"),
        Message(role="user", content="The capital of Italy is"),
    )


@pytest.mark.parametrize(
    ("said", "consistency", "all_right"),
    [
        ((" Rome.", " Rome, yes", " rome"), 1.0, True),
        ((" Rome.", " Oslo", " Rome"), 1 / 3, False),
        ((" Oslo", " Oslo.", " oslo town"), 1.0, False),
        ((" Turin", " Turin, not Rome", " Lima"), 1 / 3, False),
        ((" Turin", " Oslo", " Lima"), 0.0, False),
    ],
)
def test_paraphrases_by_text(said: tuple[str, ...], consistency: float, all_right: bool) -> None:
    asked, record = drive(Recall(paraphrases=True), TASK, [[text(" R"), scores(-1.0)], [text(each) for each in said]])
    prompts = [r.prompt.text for r in asked[2:] if isinstance(r, Generate)]
    assert prompts == ["The capital of Italy is", "Italy's capital is", "Italy is ruled from"]
    assert record.values["consistency"] == pytest.approx(consistency)
    assert record.values["all_right"] is all_right
    assert record.values["correct"] is recalled(said[0], ("Rome",))


def test_paraphrases_by_rank_need_no_text_but_the_first() -> None:
    # Candidates: the right one, then the others in the data's order.
    table = [scores(-2.0, -1.0, -3.0, -4.0), scores(-1.0, -1.0, -3.0, -4.0), scores(-5.0, -6.0, -3.0, -4.0)]
    asked, record = drive(Recall(paraphrases=True, rank=True), TASK, [[text(" R"), *table], [text(" Rome")]])
    assert sum(isinstance(r, Score) for r in asked) == 3 and sum(isinstance(r, Generate) for r in asked) == 2
    assert record.values["predictions"] == ["Oslo", "Rome", "Lima"]
    assert (record.values["consistency"], record.values["all_right"]) == (0.0, False)
    assert (record.values["rank"], record.values["candidates"]) == (2, 4)


def test_a_fact_in_one_wording_has_no_consistency() -> None:
    only = replace(TASK, items=(fact("Norway", "Oslo"),))
    _, record = drive(Recall(paraphrases=True), only, [[text(" O"), scores(-1.0)], [text(" Oslo")]])
    assert record.values["consistency"] is None and record.values["all_right"] is None


def test_an_accepted_name_is_the_same_prediction() -> None:
    task = replace(TASK, items=(replace(ITALY, answers=("Rome", "Roma")),))
    said = [text(" Roma"), text(" Rome"), text(" roma.")]
    _, record = drive(Recall(paraphrases=True), task, [[text(" R"), scores(-1.0)], said])
    assert (record.values["consistency"], record.values["all_right"]) == (1.0, True)


def test_an_item_s_own_choices_are_its_rivals() -> None:
    task = replace(TASK, items=(replace(ITALY, choices=("Rome", "Turin")),))
    asked, record = drive(Recall(rank=True), task, [[text(" R"), scores(-2.0, -1.0)], [text(" Rome")]])
    assert isinstance(asked[1], Score) and asked[1].continuations == ("Rome", "Turin")
    assert (record.values["rank"], record.values["ranked_first"], record.values["candidates"]) == (2, False, 2)


def test_a_chain_is_recalled_by_its_composed_prompt() -> None:
    asked, record = drive(Recall(), CHAINS, [[text(" Paris"), scores(-1.0)], [text(" Paris")]])
    assert {r.prompt.text for r in asked if isinstance(r, Generate | Score)} == {CHAINS.items[0].fields["prompt"]}
    assert record.values["correct"] is True


def test_a_wording_without_a_finite_score_fails_the_item() -> None:
    table = [scores(-2.0, -1.0), scores(math.nan, -1.0), scores(-2.0, -1.0)]
    _, record = drive(Recall(paraphrases=True, rank=True), TASK, [[text(" R"), *table], [text(" Rome")]])
    assert record.failed == "an object has no finite log-probability"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"match": "end"}, "match cannot be 'end'. One of: start, word, anywhere."),
        ({"shots": -1}, "shots cannot be -1"),
        ({"shots": 1.5}, "shots cannot be 1.5"),
        ({"paraphrases": 1}, "paraphrases cannot be 1. Give true or false."),
        ({"boundary": True}, "no setting 'boundary'"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        create("recall", settings)
    assert message in str(caught.value)


def test_metrics_are_those_of_what_is_asked() -> None:
    plain = ["recall", "first_token_accuracy", "log_probability"]
    assert [m.name for m in Recall().metrics] == plain
    assert [m.name for m in Recall(rank=True).metrics] == [*plain, "ranked_first"]
    assert [m.name for m in Recall(paraphrases=True).metrics] == [*plain, "consistency", "all_right"]


@pytest.fixture(scope="module")
def reference(load_model: Callable[[Path], HFModel]) -> HFModel:
    from compressed_lens.lm.locate import locate_model

    return load_model(locate_model("reference"))


def test_wordings_of_the_reference_model_s_facts_one_by_one(reference: HFModel) -> None:
    task = load_task("testbed-facts", limit=24, options={"phrasing": "held-out"})
    analysis = create("recall", {"paraphrases": True, "max_new_tokens": 6})
    records = run(reference, task, analysis)
    shares = []
    for item in task.items:
        values = records["recall", item.id].values
        wordings = [item.fields["prompt"], *item.extra["paraphrases"]]
        texts = [greedy(reference, wording, 6) for wording in wordings]
        known = task.candidates[item.group]
        said = [item.answers[0] if recalled(t, item.answers) else prediction(t, known) for t in texts]
        assert values["predictions"] == said
        pairs = [said[a] == said[b] for a in range(len(said)) for b in range(a)]
        assert values["consistency"] == pytest.approx(sum(pairs) / len(pairs))
        assert values["all_right"] == all(recalled(t, item.answers) for t in texts)
        shares.append(values["consistency"])
    # Facts hidden in one wording are mostly, but not always, known in it.
    assert 0.8 < sum(shares) / len(shares) <= 1.0


def test_ranks_of_the_reference_model_with_an_example(reference: HFModel) -> None:
    task = load_task("testbed-facts")
    some = [[i for i in task.items if i.group == group][:5] for group in ("country_language", "city_food")]
    task = replace(task, items=(*some[0], *some[1]))
    records = run(reference, task, create("recall", {"rank": True, "shots": 1, "max_new_tokens": 4}))
    ranks = set()
    for item in task.items:
        values = records["recall", item.id].values
        (shot,) = examples(task, item, 1)
        prompt = f"{shot.fields['prompt']} {shot.answers[0]}\n{item.fields['prompt']}"
        own, *others = (
            continuation_log_probability(reference, prompt, name)
            for name in (item.answers[0], *(c for c in task.candidates[item.group] if c != item.answers[0]))
        )
        assert values["log_probability"] == pytest.approx(own, abs=1e-3)
        assert values["rank"] == 1 + sum(other > own for other in others)
        assert values["ranked_first"] is (values["rank"] == 1) and values["shots"] == 1
        ranks.add(values["rank"])
    # The model was never shown two facts at once, so an example harms it.
    assert len(ranks) > 1


def test_every_factual_query_is_planned_once(shared: Path) -> None:
    task = load_task("lre", path=str(shared / "data" / "lre"))
    analysis = Recall()
    asked = {
        request for item in task.items for request in next(analysis.steps(task, item)) if isinstance(request, Score)
    }
    assert len(task.items) == 9_696
    assert len(asked) == len({(i.fields["prompt"], i.answers[0]) for i in task.items}) == 9_696 - 21
