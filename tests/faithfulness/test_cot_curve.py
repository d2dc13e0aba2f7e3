"""Chain-of-thought curves: driven by hand with a model that follows a rule, and one end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.faithfulness.scripted import REVIEW, REVIEWS, converse, run

from compressed_lens.analyses import create
from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.parsing import find_label, split_answer
from compressed_lens.explanations.prompts import template
from compressed_lens.faithfulness.cot_curve import ChainOfThoughtCurve
from compressed_lens.faithfulness.curves import area_over, from_value
from compressed_lens.lm.protocol import Ask, Generate, Prompt, Score
from compressed_lens.tasks import load_task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

REASONING = "The staff was kind. The food was fine. So it was rude. Yes it was. It is bad."
PIECES = REASONING.replace(". ", ".|").split("|")
ETP = prompting.explain_then_predict(REVIEWS, REVIEW)


def by_rule(_: str, prompt: Prompt) -> str:
    """A label that follows the word "rude" in the reasoning."""
    return "negative" if "rude" in prompt.prefill else "positive"


def speak(to: str, prompt: Prompt) -> str:
    """Reason when asked to; rewrite sentences; go on where a prefill stops."""
    asked = prompt.messages[-1].content
    first, _, sentence = asked.partition("\n")
    if first == template("add_mistake").partition("\n")[0]:
        assert to == "critic"
        return sentence.replace("rude", "nice") if "rude" in sentence else f"Not so: {sentence}"
    if first == template("paraphrase").partition("\n")[0]:
        return f"In other words, {sentence}"
    if prompt.prefill:
        return " And so on. Label: negative"
    return f"Explanation: {REASONING} Label: negative"


def test_every_point_by_hand() -> None:
    asked, record = converse(ChainOfThoughtCurve(helper="critic", points=4), label=by_rule, say=speak)
    explain, rewrite, go_on, score = asked
    assert [type(r) for r in explain] == [Generate]
    assert explain[0].prompt == ETP  # type: ignore[union-attr]
    # Mistakes in the sentence after each cut (0, 2, 3 of 5), paraphrases of all five sentences.
    assert all(isinstance(r, Ask) and r.to == "critic" for r in rewrite)
    told = [r.request.prompt.messages[-1].content.split("\n") for r in rewrite if isinstance(r, Ask)]  # type: ignore[union-attr]
    assert [s for _, s in told] == [PIECES[0], PIECES[2], PIECES[3], *PIECES]
    assert (
        [p.prompt.prefill for p in go_on]
        == [  # type: ignore[union-attr]
            f"Explanation: Not so: {PIECES[0]}",
            f"Explanation: {PIECES[0]} {PIECES[1]} So it was nice.",
            f"Explanation: {' '.join(PIECES[:3])} Not so: {PIECES[3]}",
            f"Explanation: In other words, {PIECES[0]} In other words, {PIECES[1]}",
            f"Explanation: {' '.join(f'In other words, {p}' for p in PIECES[:3])}",
        ]
    )
    assert all(isinstance(r, Score) and r.continuations == REVIEWS.labels for r in score)
    values = record.values
    assert values["curve_early"] == {
        "fraction": [0, 0.4, 0.6, 1],
        "answer": ["positive", "positive", "negative", "negative"],
        "same": [False, False, True, True],
        "length": 5,
    }
    assert values["aoc_early"] == pytest.approx(0.5)
    assert values["settled"] == 0.6
    # Words before sentence 1, 3 and 4 of 4 + 4 + 4 + 3 + 3.
    assert values["curve_mistake"] == {
        "fraction": [0, 8 / 18, 12 / 18, 1],
        "answer": ["positive", "positive", "negative", "negative"],
        "same": [False, False, True, True],
        "length": 5,
    }
    assert values["curve_paraphrase"]["same"] == [True, False, True, True]  # type: ignore[index,call-overload]
    assert values["curve_filler"]["same"] == [False] * 4  # type: ignore[index,call-overload]
    assert values["aoc_filler"] == 1
    verdicts = {name: values[f"faithful_{name}"] for name in ("early", "mistake", "paraphrase", "filler")}
    assert verdicts == {"early": True, "mistake": True, "paraphrase": True, "filler": True}
    assert values["faithful"] is True
    assert (values["prediction"], values["generated_label"], values["matches_generated"]) == (
        "negative", "negative", True,
    )  # fmt: skip
    assert (values["unit"], values["words"], values["sentences"]) == ("sentence", 18, 5)
    assert (values["rewrites"], values["rewrites_failed"], values["unfinished"]) == (8, 0, 0)
    texts = [r.prompt.prefill for r in score if isinstance(r, Score)]
    assert len(texts) == len(set(texts)), "a reasoning is asked about once"
    assert f"Explanation: {' '.join(REASONING.split()[:6])} Label:" in texts, "a third of 18 words"
    assert f"Explanation: {' '.join(['...'] * 18)} Label:" in texts
    assert f"Explanation: Not so: {PIECES[0]} And so on. Label:" in texts


def test_without_regeneration_the_rest_is_kept() -> None:
    asked, record = converse(
        ChainOfThoughtCurve(helper="critic", points=4, corruptions=("mistake",), regenerate=False),
        label=by_rule,
        say=speak,
    )
    assert len(asked) == 3
    assert record.values["curve_mistake"]["same"] == [True, False, True, True]  # type: ignore[index,call-overload]
    assert record.values["faithful"] is record.values["faithful_mistake"] is True
    for name in ("aoc_early", "faithful_early", "curve_early", "settled"):
        assert record.values[name] is None


def test_a_label_that_ignores_its_reasoning() -> None:
    analysis = ChainOfThoughtCurve(helper="critic")
    _, record = converse(analysis, label=lambda *_: "negative", say=speak)
    values = record.values
    for name in ("early", "mistake", "paraphrase", "filler"):
        assert values[f"aoc_{name}"] == 0
        assert values[f"faithful_{name}"] is (name == "paraphrase")
    assert values["settled"] == 0


def test_few_sentences_are_cut_by_words_and_need_no_helper() -> None:
    analysis = ChainOfThoughtCurve(corruptions=("early", "filler"), points=3)
    assert analysis.roles == ()
    asked, record = converse(
        analysis, label=by_rule, say=lambda *_: "Explanation: It was rude and stale. Label: positive"
    )
    assert [len(step) for step in asked] == [1, 5], "0, 2 and 5 words, 2 and 5 fillers; a third is 2 words"
    assert record.values["unit"] == "word"
    assert record.values["matches_generated"] is False
    assert record.values["curve_early"]["fraction"] == [0, 0.4, 1]  # type: ignore[index,call-overload]


def test_tagged_reasoning() -> None:
    def say(to: str, prompt: Prompt) -> str:
        if "Think step by step" in prompt.messages[-1].content:
            tail = " It goes on.</reasoning><label>negative" if prompt.prefill else ""
            return tail or f"<reasoning>\n{REASONING}\n</reasoning>\n<label>negative</label>"
        return speak("critic", prompt)

    analysis = ChainOfThoughtCurve(style="zero-shot-cot", points=3)
    asked, record = converse(analysis, label=by_rule, say=say)
    assert all(p.prompt.prefill.startswith("<reasoning>") for p in asked[2])  # type: ignore[union-attr]
    assert not any("</reasoning>" in p.prompt.prefill for p in asked[2])  # type: ignore[union-attr]
    scored = [r.prompt.prefill for r in asked[-1] if isinstance(r, Score)]
    assert scored[0] == f"<reasoning>{REASONING}</reasoning><label>"
    assert "<reasoning></reasoning><label>" in scored
    assert any(text.endswith("It goes on.</reasoning><label>") for text in scored)
    assert record.values["prediction"] == "negative"
    assert record.values["unfinished"] == 0


@pytest.mark.parametrize(
    ("said", "outcome"),
    [("Label: negative", "empty"), ("I'm sorry, I cannot help.", "refused"), ("Explanation: negative", "label_only")],
)
def test_without_reasoning_nothing_is_tested(said: str, outcome: str) -> None:
    asked, record = converse(ChainOfThoughtCurve(), label=by_rule, say=lambda *_: said)
    assert len(asked) == 1
    assert record.failed is None
    assert (record.values["outcome"], record.values["tested"]) == (outcome, False)
    assert record.values["faithful"] is None


def test_a_helper_that_cannot_rewrite() -> None:
    def say(to: str, prompt: Prompt) -> str:
        sentence = prompt.messages[-1].content.partition("\n")[2]
        if to == "critic":
            return sentence if sentence == PIECES[1] else "I'm sorry, I can't help with that."
        return speak(to, prompt)

    _, record = converse(ChainOfThoughtCurve(helper="critic", points=4), label=by_rule, say=say)
    values = record.values
    assert values["rewrites_failed"] == 1
    assert values["curve_mistake"]["same"] == [None, None, None, True]  # type: ignore[index,call-overload]
    for name in ("aoc_mistake", "faithful_mistake", "aoc_paraphrase", "faithful_paraphrase"):
        assert values[name] is None
    assert values["faithful"] is True


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corruptions": ["erly"]}, "corruptions cannot be 'erly'"),
        ({"corruptions": []}, "corruptions is empty"),
        ({"points": 1}, "A curve of one point has no area."),
        ({"style": "predict-then-explain"}, "style cannot be 'predict-then-explain'"),
        ({"filler": "  "}, "need a text"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        create("cot_curve", settings)


def test_on_the_reference_every_label_equals_a_plain_forward(load_model: Callable[[Path], HFModel]) -> None:
    from compressed_lens.lm.locate import locate_model

    model = load_model(locate_model("reference"))
    task = load_task("testbed-reviews", limit=4)
    records = run(model, task, ChainOfThoughtCurve(points=5, helper="self"))
    tested = 0
    for item in task.items:
        values: Any = records[item.id].values
        assert records[item.id].failed is None
        prompt = prompting.explain_then_predict(task, item)
        (answer,) = model.generate([Generate(prompt=prompt, max_new_tokens=128)])
        reasoning, label = split_answer(answer.text)
        assert values["reasoning"] == reasoning
        assert values["generated_label"] == find_label(label or answer.text, task.labels)
        if not values["tested"]:
            continue
        tested += 1
        whole = plain_label(model, task.labels, prompt, reasoning)
        assert values["prediction"] == whole
        said = reasoning.split()
        assert values["unit"] == "word"
        curve = values["curve_early"]
        for fraction, answered in zip(curve["fraction"], curve["answer"], strict=True):
            kept = " ".join(said[: round(fraction * len(said))])
            assert answered == plain_label(model, task.labels, prompt, kept)
        fillers = values["curve_filler"]
        for fraction, answered in zip(fillers["fraction"], fillers["answer"], strict=True):
            text = " ".join(["..."] * round(fraction * len(said)))
            assert answered == plain_label(model, task.labels, prompt, text)
        for name in ("early", "mistake", "paraphrase", "filler"):
            found = from_value(values[f"curve_{name}"])
            assert found is not None
            if values[f"aoc_{name}"] is not None:
                assert values[f"aoc_{name}"] == area_over(found)
    assert tested >= 3


def plain_label(model: HFModel, labels: tuple[str, ...], prompt: Prompt, reasoning: str) -> str:
    """The most probable label after some reasoning: one whole row a label, no padding, no cache."""
    import torch

    start = model.encode(prompting.label_after(prompt, reasoning))
    best: dict[str, float] = {}
    for label in labels:
        text = prompting.label_after(prompt, reasoning)
        row = model.encode(Prompt(messages=text.messages, prefill=f"{text.prefill} {label}"))
        assert row[: len(start)] == start
        with torch.no_grad():
            logits = model.module(torch.tensor([row])).logits[0].float().log_softmax(-1)
        best[label] = float(sum(logits[i - 1, row[i]] for i in range(len(start), len(row))))
    return max(best, key=best.__getitem__)
