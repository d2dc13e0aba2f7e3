"""The analyses of quality driven by hand: whom they ask what, and what record scripted responses give."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Analysis, Record, roles_of
from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.sources import Unusable
from compressed_lens.lm.protocol import (
    Ask,
    Embed,
    Embedding,
    Generate,
    Generation,
    Read,
    Request,
    Response,
    Score,
    Scores,
    Trace,
    Traced,
)
from compressed_lens.quality.bartscore import BartScore
from compressed_lens.quality.perplexity import Perplexity
from compressed_lens.quality.similarity import Similarity, cosine
from compressed_lens.quality.tigerscore import TigerScore
from compressed_lens.tasks.base import Item, Task

ITEM = Item(
    id="1",
    fields={"premise": "A dog runs.", "hypothesis": "An animal moves."},
    answers=("entailment",),
    references=("A dog is an animal.", "Running is moving."),
)
BARE = replace(ITEM, references=())
NLI = Task(
    name="nli",
    kind="classification",
    items=(ITEM,),
    labels=("entailment", "neutral", "contradiction"),
    instruction="Decide.",
    edit_field="hypothesis",
    targets={"entailment": "contradiction", "contradiction": "entailment", "neutral": "contradiction"},
)
LABEL: list[Response] = [Scores(log_probabilities=(-1.0, -2.0, -3.0), tokens=(1, 1, 1), greedy=(True, False, False))]
WHY = "Dogs are animals."


def drive(
    analysis: Analysis, answers: Sequence[Sequence[Response]], item: Item = ITEM
) -> tuple[list[list[Request | Ask]], Record]:
    """Send one list of responses a step; return what was asked at each step and the record."""
    steps = analysis.steps(NLI, item)
    asked = [list(next(steps))]
    for responses in answers[:-1]:
        asked.append(list(steps.send(list(responses))))
    with pytest.raises(StopIteration) as end:
        steps.send(list(answers[-1]))
    record = end.value.value
    assert isinstance(record, Record)
    json.dumps(dict(record.values), allow_nan=False)
    return asked, record


def said(text: str, *, finished: bool = True) -> list[Response]:
    return [Generation(text=text, tokens=5, finished=finished)]


def traced(*values: float) -> Traced:
    return Traced(log_probabilities=values, log_odds=values)


BART: list[Response] = [traced(-1.0, -3.0), traced(-4.0), traced(-2.0, -2.0, -2.0), traced(-6.0), traced(-1.0, -2.0)]


def test_bartscore_asks_every_direction_at_once() -> None:
    analysis = BartScore(scorer="bart")
    assert roles_of(analysis) == ("bart",)
    asked, record = drive(analysis, [LABEL, said(WHY), BART])
    assert [type(a) for a in asked[0] + asked[1]] == [Score, Generate]
    pairs = []
    for ask in asked[2]:
        assert isinstance(ask, Ask)
        assert ask.to == "bart"
        assert isinstance(ask.request, Trace)
        pairs.append((ask.request.prompt.text, ask.request.continuation))
    shown = prompting.shown(ITEM)
    assert pairs == [(shown, WHY), *((r, WHY) for r in ITEM.references), *((WHY, r) for r in ITEM.references)]
    values = record.values
    assert values["source_to_text"] == -2.0
    assert values["reference_to_text"] == -3.0
    assert values["text_to_reference"] == pytest.approx((-6.0 - 1.5) / 2)
    assert values["bartscore"] == pytest.approx((-3.0 - 3.75) / 2)
    assert values["bartscore_sum"] == pytest.approx(-6.75)
    assert (values["references"], values["unscored"], values["outcome"]) == (2, False, "ok")


def test_bartscore_of_the_closest_reference() -> None:
    _, record = drive(BartScore(references="max"), [LABEL, said(WHY), BART])
    found = {name: record.values[name] for name in ("reference_to_text", "text_to_reference", "bartscore_sum")}
    assert found == {"reference_to_text": -2.0, "text_to_reference": -1.5, "bartscore_sum": -3.5}


def test_bartscore_without_references_has_one_direction() -> None:
    asked, record = drive(BartScore(), [LABEL, said(WHY), BART[:1]], BARE)
    assert len(asked[2]) == 1
    found = [record.values[name] for name in ("source_to_text", "reference_to_text", "bartscore", "references")]
    assert found == [-2.0, None, None, 0]


@pytest.mark.parametrize("bad", [(), (-1.0, -math.inf), (math.nan,)])
def test_a_score_that_is_no_number_fails_the_item(bad: tuple[float, ...]) -> None:
    steps = BartScore().steps(NLI, BARE)
    next(steps)
    steps.send(LABEL)
    steps.send(said(WHY))
    with pytest.raises(Unusable, match="no finite log-probability"):
        steps.send([traced(*bad)])


@pytest.mark.parametrize(
    ("answer", "finished", "outcome"),
    [("", True, "empty"), ("entailment", True, "label_only"), ("I'm sorry, I can't help with that.", True, "refused"),
     ("An animal", False, "truncated"), ("An animal moves.", True, "copied")],
)  # fmt: skip
@pytest.mark.parametrize("name", ["bartscore", "tigerscore", "perplexity", "similarity"])
def test_faulty_explanations_are_counted_and_not_scored(name: str, answer: str, finished: bool, outcome: str) -> None:
    settings = {"of": "explanation"} if name in {"perplexity", "similarity"} else {}
    asked, record = drive(create(name, settings), [LABEL, said(answer, finished=finished)])
    assert len(asked) == 2
    values = record.values
    assert record.failed is None
    assert (values["unscored"], values["outcome"], values[outcome]) == (True, outcome, True)
    assert sum(values[k] is True for k in ("empty", "label_only", "refused", "truncated", "copied")) == 1
    assert all(values.get(metric.value) is None for metric in create(name).metrics if metric.value != "unscored")


def test_any_text_with_a_word_can_be_scored() -> None:
    analysis = BartScore(which="any")
    _, record = drive(analysis, [LABEL, said("An animal", finished=False), BART])
    assert (record.values["unscored"], record.values["truncated"]) == (False, True)
    assert record.values["source_to_text"] == -2.0
    asked, record = drive(analysis, [LABEL, said(" ... ")])
    assert record.values["unscored"] is True


def test_perplexity_of_an_edit() -> None:
    asked, record = drive(
        Perplexity(), [LABEL, said("<new>An animal sleeps.</new>"), [Traced(log_probabilities=(-1.0, -2.0, -6.0))]]
    )
    assert asked[2] == [Ask(to="full", request=Read(text="An animal sleeps."))]
    values = record.values
    assert (values["nll"], values["tokens"], values["nll_per_token"]) == (9.0, 3, 3.0)
    assert values["perplexity"] == pytest.approx(math.exp(3.0))
    assert values["text"] == "An animal sleeps."


def test_perplexity_by_the_variant_itself_is_no_other_role() -> None:
    analysis = Perplexity(scorer="self", of="explanation")
    assert roles_of(analysis) == ()
    asked, _ = drive(analysis, [LABEL, said(WHY), [Traced(log_probabilities=(-1.0,))]])
    assert asked[2] == [Read(text=WHY)]


@pytest.mark.parametrize("bad", [(), (-math.inf,), (-800.0,), (math.nan, -1.0)])
def test_a_perplexity_that_is_no_number_fails_the_item(bad: tuple[float, ...]) -> None:
    steps = Perplexity(of="explanation").steps(NLI, ITEM)
    next(steps)
    steps.send(LABEL)
    steps.send(said(WHY))
    with pytest.raises(Unusable, match="The scorer"):
        steps.send([Traced(log_probabilities=bad)])


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [("<new>An animal moves.</new>", "unchanged"), ("<new></new>", "empty"), ("I cannot help with that.", "refused")],
)
@pytest.mark.parametrize("name", ["perplexity", "similarity"])
def test_faulty_edits_are_counted_and_not_scored(name: str, answer: str, outcome: str) -> None:
    asked, record = drive(create(name), [LABEL, said(answer)])
    assert len(asked) == 2
    assert (record.values["unscored"], record.values["outcome"], record.values[outcome]) == (True, outcome, True)


def test_similarity_of_an_edit_to_its_original() -> None:
    vectors = [Embedding(vector=(1.0, 0.0)), Embedding(vector=(1.0, 1.0))]
    asked, record = drive(Similarity(scorer="encoder"), [LABEL, said("<new>An animal sleeps.</new>"), vectors])
    texts = ("An animal sleeps.", "An animal moves.")
    assert asked[2] == [Ask(to="encoder", request=Embed(text=text)) for text in texts]
    assert record.values["similarity"] == pytest.approx(math.sqrt(0.5))


def test_similarity_of_an_explanation_to_the_closest_reference() -> None:
    vectors = [Embedding(vector=v) for v in ((1.0, 2.0), (-2.0, 1.0), (2.0, 4.0))]
    asked, record = drive(Similarity(of="explanation"), [LABEL, said(WHY), vectors])
    assert [ask.request for ask in asked[2] if isinstance(ask, Ask)] == [Embed(text=t) for t in (WHY, *ITEM.references)]
    assert record.values["similarity"] == pytest.approx(1.0)
    _, record = drive(Similarity(of="explanation"), [LABEL, said(WHY)], BARE)
    assert (record.values["similarity"], record.values["unscored"]) == (None, False)


def test_cosine() -> None:
    assert cosine((3.0, 4.0), (3.0, 4.0)) == 1.0
    assert cosine((1.0, 0.0), (-2.0, 0.0)) == -1.0
    assert cosine((1e200, 0.0), (0.0, 1e-200)) == 0.0
    for bad in ((0.0, 0.0), (math.nan, 1.0), (math.inf, 1.0)):
        with pytest.raises(Unusable, match="embedding"):
            cosine(bad, (1.0, 1.0))


LISTED = "The model-generated output contains 1 errors, with a total score reduction of 4.5.\nScore reduction 1: 4.5"


def test_tigerscore_keeps_fractions() -> None:
    asked, record = drive(TigerScore(), [LABEL, said(WHY), said(LISTED)])
    (ask,) = asked[2]
    assert isinstance(ask, Ask)
    assert isinstance(ask.request, Generate)
    assert (ask.to, ask.request.max_new_tokens, ask.request.temperature) == ("tigerscore", 512, 0.0)
    text = ask.request.prompt.text
    assert text is not None
    assert "Instruction:\nDecide. Explain in one sentence why the label is entailment.\nPremise: A dog runs." in text
    assert f"Model-generated Output:\n{WHY}\n" in text
    assert text.endswith("Your evaluation output:")
    values = record.values
    assert (values["tigerscore"], values["errors"], values["unparsed"]) == (-4.5, 1, False)
    assert (values["total_differs"], values["broken_off"], values["out_of_range"]) == (False, False, False)
    assert values["listed"] == [{"location": "", "aspect": "", "explanation": "", "severity": "", "reduction": 4.5}]


def test_tigerscore_of_a_text_without_error_is_zero() -> None:
    _, record = drive(TigerScore(), [LABEL, said(WHY), said("The model-generated output contains no errors.")])
    assert str(record.values["tigerscore"]) == "0.0"
    assert (record.values["errors"], record.values["unparsed"]) == (0, False)


def test_tigerscore_counts_answers_it_does_not_understand() -> None:
    _, record = drive(TigerScore(), [LABEL, said(WHY), said("A fine explanation.")])
    assert record.failed is None
    assert record.values.get("tigerscore") is None
    assert (record.values["unparsed"], record.values["unscored"]) == (True, False)
    _, cut = drive(TigerScore(), [LABEL, said(WHY), said("It contains 2 errors.\nError location 1: x")])
    assert (cut.values["tigerscore"], cut.values["unparsed"], cut.values["broken_off"]) == (None, True, True)


def test_tigerscore_marks_what_is_odd_and_changes_nothing() -> None:
    odd = LISTED.replace("1: 4.5", "1: 7")
    _, record = drive(TigerScore(), [LABEL, said(WHY), said(odd)])
    assert (record.values["tigerscore"], record.values["total_differs"], record.values["out_of_range"]) == (
        -7.0,
        True,
        True,
    )


def test_tigerscore_in_ones_own_words() -> None:
    analysis = TigerScore(template="{output} {{x}} {instruction}", ask="chat", style="explain-then-predict")
    asked, _ = drive(analysis, [said("Explanation: Dogs are {input} animals. Label: ?"), said(LISTED)])
    (ask,) = asked[1]
    assert isinstance(ask, Ask)
    assert isinstance(ask.request, Generate)
    assert [m.content for m in ask.request.prompt.messages] == ["Dogs are {input} animals. {x} Decide."]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("bartscore", {"scorer": ""}, "scorer"),
        ("bartscore", {"references": "min"}, "references"),
        ("bartscore", {"style": "poem"}, "style"),
        ("perplexity", {"of": "label"}, "of"),
        ("perplexity", {"method": "guess"}, "method"),
        ("similarity", {"which": "some"}, "which"),
        ("similarity", {"text_tokens": 0}, "text_tokens"),
        ("tigerscore", {"template": "no gap"}, "template"),
        ("tigerscore", {"template": "{output} {other}"}, "template"),
        ("tigerscore", {"template": "{output"}, "template"),
        ("tigerscore", {"ask": "aloud"}, "ask"),
        ("tigerscore", {"max_new_tokens": 0}, "max_new_tokens"),
    ],
)
def test_settings_are_checked(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        create(name, settings)
