"""The three analyses driven by hand: what they ask, and what record scripted responses give."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest

from compressed_lens.analyses import REGISTRY, create
from compressed_lens.analyses.accuracy import Accuracy
from compressed_lens.analyses.base import Analysis, Record
from compressed_lens.errors import StudyError
from compressed_lens.explanations.nle import NaturalLanguageExplanation
from compressed_lens.explanations.sources import Unusable
from compressed_lens.knowledge.recall import Recall
from compressed_lens.lm.made_up import made_up
from compressed_lens.lm.protocol import (
    Ask,
    Attribute,
    Embed,
    Embedding,
    Generate,
    Generation,
    Inspect,
    Message,
    Read,
    Request,
    Response,
    Score,
    Scores,
    Trace,
    Traced,
)
from compressed_lens.tasks.base import Item, Task

ITEM = Item(
    id="1",
    fields={"premise": "A dog runs.", "hypothesis": "An animal moves."},
    answers=("entailment",),
    references=("A dog is an animal.", "Running is moving."),
    extra={"evidence": ["dog", "animal"]},
)
NLI = Task(
    name="nli",
    kind="classification",
    items=(ITEM,),
    labels=("entailment", "neutral", "contradiction"),
    instruction="Decide.",
    edit_field="hypothesis",
)
FACT = Item(
    id="f",
    fields={"prompt": "The capital of France is"},
    answers=("Paris", "Lutetia"),
    group="capital",
    extra={"subject": "France"},
)
OTHERS = tuple(
    Item(
        id=subject,
        fields={"prompt": f"The capital of {subject} is"},
        answers=(city,),
        group="capital",
        extra={"subject": subject},
    )
    for subject, city in zip(
        "Italy Switzerland Norway Spain Greece Austria Poland Finland".split(),
        "Rome Bern Oslo Madrid Athens Vienna Warsaw Helsinki".split(),
        strict=True,
    )
)
FACTS = Task(
    name="facts", kind="recall", items=(FACT, *OTHERS), candidates={"capital": ("Rome", "Paris", "Lutetia", "Bern")}
)
CHAIN = Item(
    id="c",
    fields={"prompt": "The capital of the country of the Louvre is"},
    answers=("Paris",),
    extra={
        "chain": {
            "e1": "the Louvre", "e2": "France", "e3": "Paris", "e2_aliases": ["France"], "e3_aliases": ["Paris"],
            "first": "The Louvre is in", "second": "The capital of France is", "mention": "the country of the Louvre",
            "entity": {"prompt": "The capital of the country of Big Ben is", "mention": "the country of Big Ben"},
            "relation": {"prompt": "The capital of the rival of the Louvre is", "mention": "the rival of the Louvre"},
            "without_e1": ["The capital of a certain country is"],
            "first_relation": "in", "second_relation": "capital",
        }
    },
)  # fmt: skip
CHAINS = Task(name="chains", kind="chain", items=(CHAIN,), candidates={"": ("Paris", "Rome")})


def drive(analysis: Analysis, task: Task, answers: Sequence[Sequence[Response]]) -> tuple[list[Request], Record]:
    """Send one list of responses a step; return everything asked and the record."""
    steps = analysis.steps(task, task.items[0])
    asked = list(next(steps))
    for responses in answers[:-1]:
        asked += steps.send(list(responses))
    with pytest.raises(StopIteration) as end:
        steps.send(list(answers[-1]))
    record = end.value.value
    assert isinstance(record, Record)
    json.dumps(dict(record.values), allow_nan=False)
    return asked, record


def scores(*values: float, tokens: Sequence[int] | None = None) -> Scores:
    return Scores(log_probabilities=values, tokens=tuple(tokens or [1] * len(values)), greedy=(False,) * len(values))


def text(said: str, *, finished: bool = True) -> Generation:
    return Generation(text=said, tokens=len(said.split()), finished=finished)


def test_accuracy_by_score() -> None:
    asked, record = drive(Accuracy(), NLI, [[scores(math.log(0.2), math.log(0.1), math.log(0.1))]])
    assert isinstance(asked[0], Score)
    assert asked[0].continuations == NLI.labels
    assert "Premise: A dog runs." in asked[0].prompt.messages[0].content
    values = record.values
    assert values["prediction"] == "entailment"
    assert values["correct"] is True
    assert values["unparsed"] is False
    assert values["probabilities"] == pytest.approx({"entailment": 0.5, "neutral": 0.25, "contradiction": 0.25})
    assert values["gold_probability"] == pytest.approx(0.5)
    assert values["margin"] == pytest.approx(math.log(2))


def test_accuracy_normalised_by_length_can_differ() -> None:
    given = scores(-4.0, -3.0, -9.0, tokens=[4, 1, 2])
    _, by_sum = drive(Accuracy(), NLI, [[given]])
    _, by_mean = drive(Accuracy(normalize="mean"), NLI, [[given]])
    assert (by_sum.values["prediction"], by_mean.values["prediction"]) == ("neutral", "entailment")
    assert by_mean.values["log_probabilities"] == {"entailment": -1.0, "neutral": -3.0, "contradiction": -4.5}
    assert by_sum.values["margin"] == -1.0


def test_accuracy_of_equal_and_extreme_scores() -> None:
    _, tied = drive(Accuracy(), NLI, [[scores(-2.0, -2.0, -2.0)]])
    assert tied.values["prediction"] == "entailment"
    _, far = drive(Accuracy(), NLI, [[scores(-5000.0, -1.0, -5000.0)]])
    assert far.values["gold_probability"] == 0.0
    assert far.values["prediction"] == "neutral"


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_a_broken_score_fails_the_item(bad: float) -> None:
    _, record = drive(Accuracy(), NLI, [[scores(-1.0, bad, -2.0)]])
    assert record.failed == "a label has no finite log-probability"
    # Where the label is only a step on the way, the generator ends with an error, which the engine records.
    steps = NaturalLanguageExplanation().steps(NLI, ITEM)
    next(steps)
    with pytest.raises(Unusable, match="no finite log-probability"):
        steps.send([scores(-1.0, bad, -2.0)])


@pytest.mark.parametrize(
    ("answer", "prediction", "correct", "unparsed"),
    [
        ("Entailment.", "entailment", True, False),
        ("It is neutral", "neutral", False, False),
        ("Hard to say.", None, False, True),
        ("", None, False, True),
    ],
)
def test_accuracy_by_generation(answer: str, prediction: str | None, correct: bool, unparsed: bool) -> None:
    asked, record = drive(Accuracy(mode="generate", max_new_tokens=7), NLI, [[text(answer)]])
    assert isinstance(asked[0], Generate)
    assert asked[0].max_new_tokens == 7
    assert record.failed is None
    found = {key: record.values[key] for key in ("prediction", "correct", "unparsed", "answer")}
    assert found == {"prediction": prediction, "correct": correct, "unparsed": unparsed, "answer": answer}


def test_choices_of_the_item_go_before_labels_of_the_task() -> None:
    item = Item(id="q", fields={"question": "Where?"}, answers=("at sea",), choices=("at home", "at sea"))
    task = Task(name="q", kind="classification", items=(item,), instruction="Answer.")
    asked, record = drive(Accuracy(), task, [[scores(-3.0, -1.0)]])
    assert isinstance(asked[0], Score)
    assert asked[0].continuations == ("at home", "at sea")
    assert record.values["prediction"] == "at sea"


def test_nle_explains_its_own_label() -> None:
    wrong = scores(-2.0, -1.0, -3.0)
    asked, record = drive(NaturalLanguageExplanation(), NLI, [[wrong], [text('"A dog is an animal."')]])
    assert isinstance(asked[0], Score)
    assert isinstance(asked[1], Generate)
    turns = asked[1].prompt.messages
    assert [m.role for m in turns] == ["user", "assistant", "user"]
    assert turns[0] == asked[0].prompt.messages[0]
    assert turns[1].content == "neutral"
    assert turns[2].content == "Explain in one sentence why the label is neutral."
    values = record.values
    assert (values["prediction"], values["gold"], values["correct"]) == ("neutral", "entailment", False)
    assert values["explanation"] == "A dog is an animal."
    assert (values["outcome"], values["usable"], values["empty"]) == ("ok", True, False)
    assert values["words"] == 5
    assert values["reference_overlap"] == 1.0
    assert (values["names_evidence"], values["names_any_evidence"]) == (True, True)
    assert values["confidence"] == pytest.approx(math.exp(-1) / (math.exp(-1) + math.exp(-2) + math.exp(-3)))


def test_nle_explain_then_predict() -> None:
    analysis = NaturalLanguageExplanation(style="explain-then-predict", max_new_tokens=99)
    asked, record = drive(analysis, NLI, [[text("Explanation: A dog moves. Label: Entailment")]])
    assert len(asked) == 1
    assert isinstance(asked[0], Generate)
    assert asked[0].max_new_tokens == 99
    assert "First explain in one sentence" in asked[0].prompt.messages[0].content
    values = record.values
    assert (values["prediction"], values["correct"], values["unparsed"]) == ("entailment", True, False)
    assert values["explanation"] == "A dog moves."
    assert (values["names_evidence"], values["names_any_evidence"]) == (False, True)
    assert values["confidence"] is None
    _, lost = drive(analysis, NLI, [[text("Explanation: A dog moves. Label: dog")]])
    assert (lost.values["prediction"], lost.values["correct"], lost.values["unparsed"]) == (None, False, True)


@pytest.mark.parametrize(
    ("said", "finished", "outcome"),
    [
        ("", True, "empty"),
        ("neutral", True, "label_only"),
        ("dog dog dog dog dog dog dog", False, "repetitive"),
        ("An animal moves.", True, "copied"),
        ("I'm sorry, I can't help with that.", True, "refused"),
        ("A dog is", False, "truncated"),
    ],
)
def test_nle_names_what_went_wrong(said: str, finished: bool, outcome: str) -> None:
    _, record = drive(NaturalLanguageExplanation(), NLI, [[scores(-1.0, -2.0, -3.0)], [text(said, finished=finished)]])
    assert record.failed is None
    assert record.values["outcome"] == outcome
    assert record.values["usable"] is False
    classes = ("empty", "refused", "label_only", "repetitive", "copied", "truncated")
    assert [name for name in classes if record.values[name]] == [outcome]


def test_nle_without_references_or_evidence() -> None:
    item = Item(id="1", fields=ITEM.fields, answers=ITEM.answers)
    task = Task(name="nli", kind="classification", items=(item,), labels=NLI.labels)
    _, record = drive(NaturalLanguageExplanation(), task, [[scores(-1.0, -2.0, -3.0)], [text("So it is.")]])
    for key in ("reference_overlap", "names_evidence", "names_any_evidence"):
        assert record.values[key] is None


def test_recall() -> None:
    asked, record = drive(Recall(), FACTS, [[text(" Par"), scores(-2.5, tokens=[2])], [text(" Paris, of course")]])
    first, score, generate = asked
    assert isinstance(generate, Generate)
    assert isinstance(first, Generate)
    assert isinstance(score, Score)
    assert generate.prompt.text == first.prompt.text == score.prompt.text == "The capital of France is"
    assert (generate.max_new_tokens, first.max_new_tokens) == (32, 1)
    assert score.continuations == ("Paris",)
    assert record.values == {
        "continuation": " Paris, of course", "object": "Paris", "correct": True, "first_token": " Par",
        "first_token_correct": True, "log_probability": -2.5, "object_tokens": 2, "rank": None, "ranked_first": None,
        "candidates": None, "shots": 0, "predictions": None, "consistency": None, "all_right": None,
    }  # fmt: skip


def test_recall_makes_room_for_a_long_object() -> None:
    asked, record = drive(Recall(max_new_tokens=4), FACTS, [[text("P"), scores(-2.5, tokens=[7])], [text("Paris")]])
    assert isinstance(asked[2], Generate)
    assert asked[2].max_new_tokens == 9
    assert record.values["correct"] is True


def test_recall_accepts_every_alias_and_can_miss() -> None:
    _, alias = drive(Recall(), FACTS, [[text(" l"), scores(-9.0)], [text(" lutetia")]])
    assert alias.values["correct"] is True
    _, missed = drive(Recall(), FACTS, [[text(" Rome"), scores(-9.0)], [text(" Rome")]])
    assert (missed.values["correct"], missed.values["first_token_correct"]) == (False, False)


def test_recall_word_and_chat() -> None:
    responses = [[text("P"), scores(-1.0)], [text("Parisian")]]
    asked, record = drive(Recall(match="word", ask="chat"), FACTS, responses)
    assert record.values["correct"] is False
    assert all(r.prompt.messages == (Message(role="user", content="The capital of France is"),) for r in asked)


@pytest.mark.parametrize(("own", "rank"), [(-1.0, 1), (-2.0, 1), (-2.5, 2), (-9.0, 3)])
def test_recall_ranks_among_the_other_objects_of_the_relation(own: float, rank: int) -> None:
    asked, record = drive(Recall(rank=True), FACTS, [[text("x"), scores(own, -2.0, -3.0)], [text("x")]])
    assert isinstance(asked[1], Score)
    assert asked[1].continuations == ("Paris", "Rome", "Bern")
    assert record.values["rank"] == rank
    assert record.values["ranked_first"] is (rank == 1)
    assert record.values["candidates"] == 3


def test_recall_without_a_finite_score_fails_and_keeps_the_text() -> None:
    _, record = drive(Recall(), FACTS, [[text("!"), scores(math.nan)], [text("!!!!")]])
    assert record.failed == "an object has no finite log-probability"
    assert record.values["continuation"] == "!!!!"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("acuracy", {}, "Unknown analysis 'acuracy'. Did you mean 'accuracy'?"),
        ("accuracy", {"mod": "score"}, "no setting 'mod'. Did you mean 'mode'?"),
        ("accuracy", {"mode": "guess"}, "mode cannot be 'guess'. One of: score, generate."),
        ("accuracy", {"normalize": True}, "normalize cannot be True"),
        (
            "nle",
            {"style": "cot"},
            "style cannot be 'cot'. One of: predict-then-explain, explain-then-predict, zero-shot-cot.",
        ),
        ("nle", {"max_new_tokens": 0}, "max_new_tokens cannot be 0"),
        ("recall", {"ask": "shout"}, "ask cannot be 'shout'"),
        ("recall", {"rank": "yes"}, "rank cannot be 'yes'. Give true or false."),
        ("recall", {"max_new_tokens": 2.5}, "max_new_tokens cannot be 2.5"),
    ],
)
def test_wrong_settings_are_one_sentence(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        create(name, settings)
    assert message in str(caught.value)


def fitting(request: Request | Ask) -> Response:
    """Return some response of the right kind."""
    asked = request.request if isinstance(request, Ask) else request
    match asked:
        case Score():
            return scores(*(-1.0 - i for i in range(len(asked.continuations))))
        case Generate():
            return text(" It says so in the text, without a doubt.")
        case Trace():
            odds = tuple(float(-1 - n % 3) + 0.01 * len(str(asked.prompt)) for n in range(4))
            return Traced(log_probabilities=(-1.0,) * len(odds), log_odds=odds)
        case Read():
            return Traced(log_probabilities=(-1.0, -2.0))
        case Embed():
            return Embedding(vector=(1.0, float(len(asked.text))))
        case Attribute() | Inspect():
            return made_up(asked)


@pytest.mark.parametrize("name", REGISTRY.names())
def test_every_analysis_keeps_its_contract(name: str) -> None:
    entry = REGISTRY.entries[name]
    assert entry.summary and entry.cost and entry.source
    analysis = create(name)
    assert isinstance(analysis, Analysis)
    assert analysis == REGISTRY.get(name)()
    assert analysis.name == name
    assert len({m.name for m in analysis.metrics}) == len(analysis.metrics)
    task = next(t for t in (NLI, FACTS, CHAINS) if t.kind in analysis.kinds)
    steps = analysis.steps(task, task.items[0])
    asked = next(steps)
    while True:
        try:
            asked = steps.send([fitting(r) for r in asked])
        except StopIteration as end:
            record = end.value
            break
    numeric = {k for k, v in record.values.items() if v is None or isinstance(v, bool | int | float)}
    assert {m.value for m in analysis.metrics} <= numeric
    assert all(m.direction in {"higher", "lower", "neither"} and m.unit and m.summary for m in analysis.metrics)
