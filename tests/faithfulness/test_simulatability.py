"""Simulatability: driven by hand with a simulator that follows a rule, and end to end with the model as its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.faithfulness.scripted import REVIEW, REVIEWS, converse, run

from compressed_lens.analyses import create
from compressed_lens.analyses.base import roles_of
from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.faithfulness.interventions import insertions
from compressed_lens.faithfulness.simulatability import Guesses, Simulatability, generality, las
from compressed_lens.lm.protocol import Ask, Prompt, Score
from compressed_lens.tasks import load_task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

TEXT = REVIEW.fields["review"]
EDIT = "The staff was kind and the food was fresh."
INSERTED = [i.item.fields["review"] for i in insertions(REVIEWS, REVIEW, words_per_position=1, positions=2, seed=0)]
WHY = "They were rude and nothing was fresh."


def speak(_: str, prompt: Prompt) -> str:
    return f"<new>{EDIT}</new>" if "between <new>" in prompt.messages[-1].content else WHY


def answers(to: str, prompt: Prompt) -> str:
    """The model goes by "rude"; the simulator goes by the explanation and is lost without one."""
    content = prompt.messages[-1].content
    if to == "self":
        return "negative" if "rude" in content else "positive"
    if "explained" not in content:
        return "unknown"
    read = content.partition("Now it reads this:")[2] or content
    return "negative" if "rude" in read else "positive"


def test_by_hand() -> None:
    assert len(INSERTED) == 2
    asked, record = converse(Simulatability(simulator="critic", insertions=2), label=answers, say=speak)
    _, _, edit, last = asked
    assert edit[0].prompt == prompting.counterfactual(REVIEWS, REVIEW, "negative", "positive")  # type: ignore[union-attr]
    assert len(last) == 3 + 3 * 3
    assert [r.to if isinstance(r, Ask) else "self" for r in last] == ["critic"] * 3 + ["self", "critic", "critic"] * 3
    edited = prompting.with_field(REVIEW, "review", EDIT)
    assert last[3] == Score(prompt=prompting.classify(REVIEWS, edited), continuations=REVIEWS.labels)
    options = ("positive", "negative", "unknown")
    told = prompting.simulate(REVIEWS, REVIEW, "negative", WHY, edited)
    assert last[4] == Ask(to="critic", request=Score(prompt=told, continuations=options))
    alone = prompting.simulate_alone(REVIEWS, edited)
    assert last[5] == Ask(to="critic", request=Score(prompt=alone, continuations=options))
    explained, plain, leak = (r.request.prompt.messages[0].content for r in last[:3] if isinstance(r, Ask))  # type: ignore[union-attr]
    assert TEXT in explained and WHY in explained and "It answered" not in explained
    assert TEXT in plain and WHY not in plain
    assert WHY in leak and f"Review: {TEXT}" not in leak
    values: Any = record.values
    assert [i["kind"] for i in values["inputs"]] == ["edit", "insertion", "insertion"]
    assert [i["text"] for i in values["inputs"]] == [EDIT, *INSERTED]
    assert [i["answer"] for i in values["inputs"]] == ["positive", "negative", "negative"]
    assert [i["guess"] for i in values["inputs"]] == ["positive", "negative", "negative"]
    assert (values["precision"], values["answered_share"], values["share_right"]) == (1, 1, 1)
    assert (values["precision_alone"], values["answered_share_alone"], values["gain"]) == (None, 0, None)
    assert (values["simulated"], values["faithful"], values["tested"]) == (True, True, True)
    # The simulator knows the label from input and explanation, not from the input; the explanation alone tells too.
    assert (values["leaking"], values["las_gain"]) == (True, 1)
    assert (values["las_gain_leaking"], values["las_gain_not_leaking"]) == (1, None)
    assert values["generality"] == pytest.approx(brute_generality([EDIT, *INSERTED]))


def test_one_wrong_guess_and_one_unanswered() -> None:
    def label(to: str, prompt: Prompt) -> str:
        content = prompt.messages[-1].content
        if to == "self":
            return answers(to, prompt)
        if "Now it reads this:" not in content:
            return "negative"
        return "unknown" if INSERTED[0] in content else "negative"

    _, record = converse(Simulatability(simulator="critic", insertions=2), label=label, say=speak)
    values = record.values
    # With: edit wrong, first insertion unanswered, second right. Without: all "negative".
    assert values["answered_share"] == pytest.approx(2 / 3)
    assert values["precision"] == pytest.approx(1 / 2)
    assert values["share_right"] == pytest.approx(1 / 3)
    assert values["precision_alone"] == pytest.approx(2 / 3)
    assert values["gain"] == pytest.approx(1 / 2 - 2 / 3)
    assert (values["simulated"], values["leaking"], values["las_gain"]) == (False, True, 0)


def test_nothing_answered_is_not_simulated() -> None:
    def label(to: str, prompt: Prompt) -> str:
        return answers(to, prompt) if to == "self" else "unknown"

    _, record = converse(Simulatability(simulator="critic", insertions=2), label=label, say=speak)
    values = record.values
    assert (values["answered_share"], values["precision"], values["gain"]) == (0, None, None)
    assert (values["simulated"], values["share_right"], values["tested"]) == (False, 0, True)
    assert (values["leaking"], values["las_gain_leaking"], values["las_gain_not_leaking"]) == (False, None, 0)


def test_unusable_edits_and_explanations() -> None:
    analysis = Simulatability(simulator="critic", insertions=2)
    same = f"<new>{TEXT}</new>"
    _, record = converse(analysis, label=answers, say=lambda to, p: same if "<new>" in p.messages[-1].content else WHY)
    assert (record.values["edit_outcome"], record.values["edit_usable"]) == ("unchanged", False)
    assert record.values["input_count"] == 2
    asked, record = converse(analysis, label=answers, say=lambda *_: "")
    assert len(asked) == 2
    assert (record.values["outcome"], record.values["tested"], record.values["faithful"]) == ("empty", False, None)
    none = replace(analysis, insertions=0)
    _, record = converse(none, label=answers, say=lambda to, p: same if "<new>" in p.messages[-1].content else WHY)
    assert (record.values["input_count"], record.values["tested"], record.values["faithful"]) == (0, False, None)
    assert record.values["leaking"] is True


def test_a_class_called_unknown_counts_as_no_answer() -> None:
    task = replace(REVIEWS, labels=("positive", "negative", "unknown"))
    asked, _ = converse(Simulatability(simulator="critic", insertions=1), label=answers, say=speak, task=task)
    guess = asked[-1][4]
    assert isinstance(guess, Ask) and isinstance(guess.request, Score)
    assert guess.request.continuations == ("positive", "negative", "unknown")
    assert "One label: positive, negative or unknown." in guess.request.prompt.messages[0].content


def test_precision() -> None:
    guesses = Guesses(answers=("a", "b", "a", "b"), guesses=("a", "a", "unknown", "b"))
    assert (guesses.answered, guesses.right, guesses.precision) == (3, 2, 2 / 3)
    assert Guesses(answers=("a",), guesses=("unknown",)).precision is None
    assert Guesses(answers=("unknown",), guesses=("unknown",)).right == 0


def brute_generality(texts: list[str]) -> float:
    similarities = []
    for a, b in combinations(texts, 2):
        one, two = (Counter(t.lower().replace(".", "").split()) for t in (a, b))
        both = set(one) | set(two)
        similarities.append(sum(min(one[w], two[w]) for w in both) / sum(max(one[w], two[w]) for w in both))
    return 1 - sum(similarities) / len(similarities)


def test_generality() -> None:
    texts = ["a red dog runs", "a red dog sleeps", "two cats", "a dog and a dog"]
    assert generality(texts) == pytest.approx(brute_generality(texts))
    assert generality(["a b", "a b"]) == 0
    assert generality(["a b", "c d"]) == 1
    assert generality(["a"]) is None
    assert generality(["...", "!"]) == 1


def test_las() -> None:
    assert las([(True, 1), (True, 0), (False, -1), (False, 0), (False, 0), (False, 0)]) == pytest.approx(
        (0.5 + -0.25) / 2
    )
    assert las([(True, 1)]) is None
    assert las([]) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"simulator": ""}, "simulator is empty"),
        ({"insertions": -1}, "insertions cannot be -1"),
        ({"insertions": 2.5}, "insertions cannot be 2.5"),
        ({"method": "fizle"}, "method cannot be 'fizle'"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        create("simulatability", settings)


def test_on_the_reference_with_itself_as_simulator(load_model: Callable[[Path], HFModel]) -> None:
    from compressed_lens.lm.locate import locate_model

    model = load_model(locate_model("reference"))
    task = load_task("testbed-reviews", limit=2)
    analysis = create("simulatability", {"simulator": "twin", "insertions": 2})
    assert roles_of(analysis) == ("twin",)
    records = run(model, task, analysis, others=lambda name: {"twin": model}[name])
    for item in task.items:
        values: Any = records[item.id].values
        assert records[item.id].failed is None
        assert values["tested"]
        for one in values["inputs"]:
            edited = prompting.with_field(item, "review", one["text"])
            told = prompting.simulate(task, item, values["prediction"], values["explanation"], edited)
            options = (*task.labels, "unknown")
            assert one["answer"] == argmax(model, prompting.classify(task, edited), task.labels)
            assert one["guess"] == argmax(model, told, options)
            assert one["guess_alone"] == argmax(model, prompting.simulate_alone(task, edited), options)
        right = [i["guess"] == i["answer"] for i in values["inputs"] if i["guess"] != "unknown"]
        assert values["precision"] == (sum(right) / len(right) if right else None)
        assert values["faithful"] == (bool(right) and all(right))


def argmax(model: HFModel, prompt: Prompt, options: tuple[str, ...]) -> str:
    """The most probable option, one request at a time."""
    alone = [model.score([Score(prompt=prompt, continuations=(o,))])[0].log_probabilities[0] for o in options]
    return options[alone.index(max(alone))]
