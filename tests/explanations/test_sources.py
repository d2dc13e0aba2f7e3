"""Parts of generators: tagged answers however broken, several parts side by side, classes that add up."""

from __future__ import annotations

import pytest
from tests.explanations.answers import conversation, drive, sure, text

from compressed_lens.explanations.nle import NaturalLanguageExplanation
from compressed_lens.explanations.parsing import OUTCOMES
from compressed_lens.explanations.sources import Asking, Unusable, ask_label, split_tagged, together
from compressed_lens.lm.protocol import Ask, Request, Response, Score
from compressed_lens.tasks.base import Item, Task

ITEM = Item(id="1", fields={"text": "A dog runs."}, answers=("good",))
TASK = Task(name="t", kind="classification", items=(ITEM,), labels=("good", "bad"), instruction="Decide.")


@pytest.mark.parametrize(
    ("answer", "reasoning", "label"),
    [
        ("<reasoning>It runs.</reasoning><label>good</label>", "It runs.", "good"),
        ("<reasoning>\nIt\nruns.\n</reasoning>\n<label>\ngood\n</label>", "It runs.", "good"),
        ("<reasoning>It runs.</reasoning><label>good", "It runs.", "good"),
        ("<reasoning>It runs.<label>good</label>", "It runs.", "good"),
        ("<reasoning>It runs.\n<label>good", "It runs.", "good"),
        ("<reasoning>It runs.</reasoning>", "It runs.", None),
        ("<reasoning>It runs", "It runs", None),
        ("It runs. <label>good</label>", "It runs.", "good"),
        ("It runs.</reasoning><label>good</label>", "It runs.", "good"),
        ("<REASONING>It runs.</Reasoning> <Label>good</LABEL>", "It runs.", "good"),
        ("<reasoning>a < b holds.</reasoning><label>good</label>", "a < b holds.", "good"),
        ("<reasoning></reasoning><label>good</label>", "", "good"),
        ("It is good.", "It is good.", None),
        ("<label>good</label>", "", "good"),
        ("<label></label>", "", ""),
        ("", "", None),
    ],
)  # fmt: skip
def test_tagged_answers(answer: str, reasoning: str, label: str | None) -> None:
    assert split_tagged(answer) == (reasoning, label)


@pytest.mark.parametrize("style", ["predict-then-explain", "explain-then-predict", "zero-shot-cot"])
def test_the_classes_of_explanations_add_up(style: str) -> None:
    said = ["", "good", "It is a dog.", "no no no no no no no no", "A dog runs.", "I'm sorry, I can't help.", "<label>"]
    said += [f"<reasoning>{s}</reasoning><label>good</label>" for s in said]
    said += [f"Explanation: {s} Label: bad" for s in said[:7]]
    classes = [name for name in OUTCOMES if name != "ok"]
    seen = set()
    for answer in said:
        for finished in (True, False):
            given = text(answer, finished=finished)

            def reply(request: Request | Ask, given: Response = given) -> Response:
                return sure(TASK.labels, "good") if isinstance(request, Score) else given

            analysis = NaturalLanguageExplanation(style=style)  # type: ignore[arg-type]
            record, _ = drive(analysis.steps(TASK, ITEM), reply)
            counted = ["ok"] * bool(record.values["usable"]) + [name for name in classes if record.values[name]]
            assert counted == [record.values["outcome"]]
            seen.add(counted[0])
    assert seen == set(OUTCOMES)


def part(name: str, steps: int) -> Asking[str]:
    said = ""
    for step in range(steps):
        answers = yield [Ask(to=f"{name}{step}", request=Score(prompt=None, continuations=())) for _ in range(step + 1)]  # type: ignore[arg-type]
        assert len(answers) == step + 1
        said += str(answers[-1])
    return said


def test_parts_side_by_side_ask_in_one_list_and_get_their_own_answers() -> None:
    found, asked = drive(
        together([part("a", 2), part("b", 0), part("c", 3)]),
        lambda request: request.to,  # type: ignore[union-attr, return-value, arg-type]
    )
    assert found == ["a0a1", "", "c0c1c2"]
    names = [[request.to for request in step if isinstance(request, Ask)] for step in asked]
    assert names == [["a0", "c0"], ["a1", "a1", "c1", "c1"], ["c2", "c2", "c2"]]
    assert drive(together([]), lambda request: text("")) == ([], [])


def test_a_part_that_fails_ends_all() -> None:
    def failing() -> Asking[str]:
        yield []
        raise Unusable("no")

    with pytest.raises(Unusable):
        drive(together([part("a", 3), failing()]), lambda request: text("x"))


def test_whom_to_ask() -> None:
    choice, asked = drive(ask_label(TASK, ITEM, to="full"), lambda request: sure(TASK.labels, "bad"))
    assert choice.prediction == "bad"
    assert [r.to for r in asked[0] if isinstance(r, Ask)] == ["full"]
    assert "A dog runs." in conversation(asked[0][0])
