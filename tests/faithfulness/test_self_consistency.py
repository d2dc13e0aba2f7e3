"""Self-consistency of explanations: driven by hand with a model that follows a rule, and end to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.faithfulness.scripted import REVIEW, REVIEWS, Say, converse, run

from compressed_lens.analyses import create
from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.editing import target_of
from compressed_lens.faithfulness.self_consistency import SelfConsistency
from compressed_lens.lm.protocol import Generate, Prompt, Score
from compressed_lens.tasks import load_task
from compressed_lens.tasks.base import Item, Task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

TEXT = REVIEW.fields["review"]


def shown(prompt: Prompt) -> str:
    """The review a prompt asks about."""
    assert len(prompt.messages) == 1, "a fresh conversation"
    return prompt.messages[0].content.split("\n")[1].removeprefix("Review: ")


def honest(_: str, prompt: Prompt) -> str:
    """Judge by the words; say unknown where allowed and nothing is left."""
    text = shown(prompt)
    if "rude" in text or "stale" in text:
        return "negative"
    if "kind" in text or "fresh" in text:
        return "positive"
    return "unknown" if "or unknown" in prompt.messages[0].content else "positive"


def says(answer: str) -> Say:
    return lambda *_: answer


def test_counterfactual() -> None:
    edited = "The staff was kind and the food was fresh."
    asked, record = converse(SelfConsistency(), label=honest, say=says(f"<new>{edited}</new>"))
    label, edit, check = asked
    assert label == [Score(prompt=prompting.classify(REVIEWS, REVIEW), continuations=REVIEWS.labels)]
    assert edit[0].prompt == prompting.counterfactual(REVIEWS, REVIEW, "negative", "positive")  # type: ignore[union-attr]
    changed = prompting.with_field(REVIEW, "review", edited)
    assert check == [Score(prompt=prompting.classify(REVIEWS, changed), continuations=REVIEWS.labels)]
    values = record.values
    assert (values["prediction"], values["target"], values["label"]) == ("negative", "positive", "positive")
    assert (values["outcome"], values["checked"], values["faithful"]) == ("ok", True, True)
    assert (values["faithful_of_all"], values["faithful_if_correct"], values["faithful_and_correct"]) == (True,) * 3
    assert values["redacted_share"] is None


def test_the_target_is_the_opposite_of_the_prediction_not_of_the_gold_label() -> None:
    wrong = replace(REVIEW, answers=("positive",))
    task = replace(REVIEWS, items=(wrong,))
    # Leaving the text as it is: the label is that of gold's opposite's opposite, which Madsen's rule calls faithful.
    _, record = converse(SelfConsistency(), label=honest, say=says(f"<new>{TEXT}</new>"), task=task)
    values = record.values
    assert (values["prediction"], values["correct"], values["target"]) == ("negative", False, "positive")
    assert (values["outcome"], values["unchanged"], values["faithful"]) == ("unchanged", True, False)
    assert (values["faithful_if_correct"], values["faithful_and_correct"]) == (None, False)


@pytest.mark.parametrize(
    ("said", "outcome", "column"),
    [
        ("I'm sorry, I cannot help with that.", "refused", "unreadable"),
        ("<new></new>", "empty", "unreadable"),
        ("Something else entirely, about a very different matter.", "unparsable", "unreadable"),
    ],
)
def test_edits_that_cannot_be_checked_are_counted(said: str, outcome: str, column: str) -> None:
    asked, record = converse(SelfConsistency(), label=honest, say=says(said))
    assert len(asked) == 2
    values = record.values
    assert (values["outcome"], values[column]) == (outcome, True)
    assert (values["checked"], values["faithful"], values["faithful_of_all"]) == (False, None, False)
    assert (values["faithful_if_correct"], values["faithful_and_correct"]) == (None, None)


def test_redaction() -> None:
    hidden = "The staff was [REDACTED] and the food was [REDACTED]."
    analysis = SelfConsistency(explanation="redaction")
    asked, record = converse(analysis, label=honest, say=says(f"<new>{hidden}</new>"))
    _, explain, check = asked
    assert explain == [Generate(prompt=prompting.redact(REVIEWS, REVIEW, "negative"), max_new_tokens=128)]
    assert [r.continuations for r in check if isinstance(r, Score)] == [("positive", "negative", "unknown")] * 2
    assert [shown(r.prompt) for r in check if isinstance(r, Score)] == [hidden, TEXT]
    values = record.values
    assert (values["label"], values["faithful"], values["undetermined"]) == ("unknown", True, False)
    assert values["redacted_share"] == pytest.approx(2 / 9)
    part = hidden.replace("[REDACTED].", "stale.")
    _, record = converse(analysis, label=honest, say=says(f"<new>{part}</new>"))
    assert (record.values["label"], record.values["faithful"]) == ("negative", False)
    assert record.values["redacted_share"] == pytest.approx(1 / 9)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (TEXT, "unchanged"),
        (TEXT.replace("rude", "kind"), "nothing_redacted"),
        ("[REDACTED] [REDACTED]", "everything_redacted"),
    ],
)
def test_redactions_that_say_nothing(text: str, outcome: str) -> None:
    analysis = SelfConsistency(explanation="redaction")
    asked, record = converse(analysis, label=honest, say=says(f"<new>{text}</new>"))
    assert len(asked) == 2
    assert (record.values["outcome"], record.values[outcome], record.values["faithful"]) == (outcome, True, None)
    assert record.values["faithful_of_all"] is False


def test_feature_attribution() -> None:
    analysis = SelfConsistency(explanation="feature_attribution", mask="[REMOVED]")
    asked, record = converse(analysis, label=honest, say=says("Rude, stale, ugly"))
    _, explain, check = asked
    assert explain[0].prompt == prompting.counterfactual_words(REVIEWS, REVIEW, "negative")  # type: ignore[union-attr]
    hidden = "The staff was [REMOVED] and the food was [REMOVED]."
    edited = prompting.with_field(REVIEW, "review", hidden)
    assert check[0].prompt == prompting.classify_masked(REVIEWS, edited, mask="[REMOVED]")  # type: ignore[union-attr]
    values = record.values
    assert (values["text"], values["words"], values["words_missing"]) == (hidden, ["Rude", "stale", "ugly"], 1)
    assert (values["outcome"], values["label"], values["faithful"]) == ("ok", "unknown", True)
    _, record = converse(analysis, label=honest, say=says("ugly, dark"))
    assert (record.values["outcome"], record.values["faithful"]) == ("nothing_redacted", None)
    _, record = converse(analysis, label=honest, say=says(", ".join(dict.fromkeys(TEXT.split()))))
    assert (record.values["outcome"], record.values["redacted_share"]) == ("everything_redacted", 1)
    for said, outcome in (("...", "empty"), ("I can't help with that.", "refused")):
        _, record = converse(analysis, label=honest, say=says(said))
        assert (record.values["outcome"], record.values["unreadable"]) == (outcome, True)


def test_a_model_that_always_says_unknown_is_not_called_faithful() -> None:
    def unsure(_: str, prompt: Prompt) -> str:
        return "unknown" if "or unknown" in prompt.messages[0].content else "negative"

    analysis = SelfConsistency(explanation="feature_attribution")
    _, record = converse(analysis, label=unsure, say=says("rude"))
    values = record.values
    assert (values["outcome"], values["undetermined"], values["label"]) == ("undetermined", True, "unknown")
    assert (values["faithful"], values["checked"], values["faithful_of_all"]) == (None, False, False)


def test_neutral_labels_count_as_unknown_only_where_asked_for() -> None:
    item = Item(id="1", fields={"premise": "A dog runs.", "hypothesis": "A dog sleeps."}, answers=("contradiction",))
    task = Task(
        name="nli", kind="classification", items=(item,), labels=("entailment", "neutral", "contradiction"),
        instruction="Decide.", edit_field="hypothesis",
    )  # fmt: skip

    def judge(_: str, prompt: Prompt) -> str:
        return "contradiction" if "sleeps" in prompt.messages[0].content else "neutral"

    plain = SelfConsistency(explanation="feature_attribution")
    _, record = converse(plain, label=judge, say=says("sleeps"), task=task)
    assert (record.values["label"], record.values["faithful"]) == ("neutral", False)
    wide = SelfConsistency(explanation="feature_attribution", neutral_labels=("neutral",))
    _, record = converse(wide, label=judge, say=says("sleeps"), task=task)
    assert record.values["faithful"] is True


def test_a_task_with_a_class_called_unknown() -> None:
    task = replace(REVIEWS, labels=("positive", "negative", "unknown"))
    analysis = SelfConsistency(explanation="feature_attribution")
    asked, record = converse(analysis, label=honest, say=says("rude, stale"), task=task)
    check = asked[-1][0]
    assert isinstance(check, Score)
    assert check.continuations == ("positive", "negative", "unknown")
    assert "positive, negative or unknown." in check.prompt.messages[0].content
    assert record.values["faithful"] is True


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"explanation": "saliency"}, "explanation cannot be 'saliency'"),
        ({"mask": "***"}, r"mask cannot be '\*\*\*'"),
        ({"redact": "some"}, "redact cannot be 'some'"),
        ({"neutral_labels": "neutral"}, "neutral_labels is a text"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        create("self_consistency", settings)


def test_counterfactuals_equal_the_hard_flip_rate_judged_by_the_model_itself() -> None:
    for said in (f"<new>{TEXT}</new>", "<new>So kind and fresh.</new>", "<new>Rude.</new>", "<new>Kind", "No.", ""):
        _, own = converse(SelfConsistency(), label=honest, say=says(said))
        _, edit = converse(create("counterfactual"), label=honest, say=says(said))
        assert own.values["faithful_of_all"] == edit.values["hit"], said
        assert own.values["outcome"] == edit.values["outcome"]


@pytest.mark.parametrize("explanation", ["counterfactual", "feature_attribution"])
def test_on_the_reference_the_check_is_a_fresh_conversation(
    explanation: str, load_model: Callable[[Path], HFModel]
) -> None:
    from compressed_lens.lm.locate import locate_model

    model = load_model(locate_model("reference"))
    task = load_task("testbed-reviews", limit=6)
    records = run(model, task, create("self_consistency", {"explanation": explanation}))
    for item in task.items:
        values: Any = records[item.id].values
        assert values["prediction"] == argmax(model, prompting.classify(task, item), task.labels)
        if explanation == "counterfactual":
            assert values["target"] == target_of(task, item, values["prediction"])
        if not values["checked"]:
            continue
        changed = prompting.with_field(item, "review", values["text"])
        if explanation == "counterfactual":
            assert values["label"] == argmax(model, prompting.classify(task, changed), task.labels)
            assert values["faithful"] == (values["label"] == values["target"])
        else:
            options = (*task.labels, "unknown")
            assert values["label"] == argmax(model, prompting.classify_masked(task, changed), options)
            assert values["faithful"] == (values["label"] == "unknown")
    checked = [r.values["faithful"] for r in records.values() if r.values["checked"]]
    assert len(checked) >= 4
    if explanation == "counterfactual":
        assert sum(map(bool, checked)) >= 4, "the reference reaches its target"


def argmax(model: HFModel, prompt: Prompt, options: tuple[str, ...]) -> str:
    """The most probable option, one request at a time."""
    alone = [model.score([Score(prompt=prompt, continuations=(o,))])[0].log_probabilities[0] for o in options]
    return options[alone.index(max(alone))]
