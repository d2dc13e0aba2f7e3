"""Label flips under three judges: cells, decomposition, validity, and a generator that rewrites instead of editing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.explanations.answers import conversation, drive, sure, text

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Record, Value, roles_of
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.errors import StudyError
from compressed_lens.explanations.edits import relative_to_original
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Ask, Generate, Generation, Prompt, Request, Response, Score, Scores
from compressed_lens.quality.flip_rate import KINDS, FlipRate, effects
from compressed_lens.tasks import load_task
from compressed_lens.tasks.base import Item, Task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

LABELS = ("good", "bad", "mixed")
ORIGINAL = "The film is good and the cast is funny."
OWN, FULL, LONG = (
    "The film is bad and the cast is dull.",
    "The film is weak and the cast is funny.",
    "I hated every minute.",
)
ITEM = Item(id="1", fields={"text": ORIGINAL}, answers=("good",))
TASK = Task(
    name="t",
    kind="classification",
    items=(ITEM,),
    labels=LABELS,
    instruction="Decide.",
    targets={"good": "bad", "bad": "good"},
)


def values_of(
    labels: Mapping[tuple[str, str], str], edits: Mapping[str, str], *, judge: str = ""
) -> tuple[Mapping[str, Value], list[list[Request | Ask]]]:
    """Drive the analysis; `labels` gives the label of (model, text), `edits` the edit of each generator."""

    def reply(request: Request | Ask) -> Response:
        who, inner = (request.to, request.request) if isinstance(request, Ask) else ("self", request)
        if isinstance(inner, Generate):
            return text(edits[who])
        shown = conversation(inner).splitlines()[1].removeprefix("Text: ")
        return sure(LABELS, labels[who, shown])

    record, asked = drive(FlipRate(judge=judge).steps(TASK, ITEM), reply)
    assert record.failed is None
    return record.values, asked


ALL_GOOD = {(who, ORIGINAL): "good" for who in ("self", "full", "other")}


def test_every_cell_by_hand() -> None:
    labels = ALL_GOOD | {
        ("self", OWN): "bad", ("full", OWN): "good", ("other", OWN): "mixed",
        ("self", FULL): "good", ("full", FULL): "mixed", ("other", FULL): "bad",
    }  # fmt: skip
    values, asked = values_of(labels, {"self": f"<new>{OWN}</new>", "full": f"<new>{FULL}</new>"}, judge="other")
    cells = ("self_self", "self_full", "full_full", "self_independent", "full_independent")
    assert [values[f"soft_{cell}"] for cell in cells] == [True, False, True, True, True]
    assert [values[f"hard_{cell}"] for cell in cells] == [True, False, False, False, True]
    assert [values[f"valid_hard_{cell}"] for cell in cells] == [True, False, False, False, True]
    assert [values[f"soft_{part}"] for part in ("difference", "generation_effect", "judging_effect")] == [0, -1, 1]
    assert [values[f"hard_{part}"] for part in ("difference", "generation_effect", "judging_effect")] == [1, 0, 1]
    # One list for the labels of all texts, the originals included: three texts, three judges.
    last = asked[-1]
    assert [r.to if isinstance(r, Ask) else "self" for r in last] == ["self"] * 3 + ["full"] * 3 + ["other"] * 3
    assert [len(step) for step in asked] == [2, 2, 9]


def test_a_rewrite_flips_and_is_not_valid() -> None:
    labels = ALL_GOOD | {(who, t): "bad" for who in ("self", "full") for t in (LONG, FULL)}
    values, _ = values_of(labels, {"self": f"<new>{LONG}</new>", "full": f"<new>{FULL}</new>"})
    assert (values["soft_self_full"], values["hard_self_full"]) == (True, True)
    assert (values["valid_soft_self_full"], values["valid_hard_self_full"]) == (False, False)
    assert values["valid_hard_full_full"] is True
    assert values["valid_hard_generation_effect"] == values["valid_hard_difference"] == -1
    assert values["hard_difference"] == 0


def test_each_generator_edits_towards_the_target_of_its_own_label() -> None:
    labels = {
        ("self", ORIGINAL): "bad", ("full", ORIGINAL): "good",
        **{(who, t): "good" for who in ("self", "full") for t in (OWN, FULL)},
    }  # fmt: skip
    values, _ = values_of(labels, {"self": f"<new>{OWN}</new>", "full": f"<new>{FULL}</new>"})
    assert (values["target_self"], values["target_full"]) == ("good", "bad")
    assert values["hard_self_self"] is True
    # Full precision calls the edit good, the target; but it called the original so already: no flip.
    assert values["label_self_full"] == "good"
    assert (values["soft_self_full"], values["hard_self_full"]) == (False, False)


def test_no_text_is_no_flip_and_no_judge_is_no_cell() -> None:
    labels = ALL_GOOD | {(who, FULL): "bad" for who in ("self", "full")}
    values, asked = values_of(labels, {"self": "I cannot help with that.", "full": f"<new>{FULL}</new>"})
    assert values["outcome_self"] == "refused"
    assert not any(values[f"{kind}_self_{judge}"] for kind in KINDS for judge in ("self", "full"))
    assert values["label_self_full"] is None
    assert values["hard_full_full"] is True
    assert all(values[f"{kind}_{who}_independent"] is None for kind in KINDS for who in ("self", "full"))
    assert len(asked[-1]) == 4


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_the_decomposition_is_an_identity(*, own: bool, crossed: bool, full: bool) -> None:
    parts = effects(own, crossed, full)
    assert parts["difference"] == parts["generation_effect"] + parts["judging_effect"] == int(own) - int(full)


def test_roles() -> None:
    assert roles_of(FlipRate()) == ("full",)
    assert roles_of(FlipRate(judge="other")) == ("full", "other")
    for judge in ("self", "full"):
        with pytest.raises(StudyError, match="judge cannot be"):
            create("flip_rate", {"judge": judge})


class Rewriter:
    """The reference model, but for edits: it writes another review of the target label, the least alike, instead."""

    def __init__(self, model: HFModel, task: Task) -> None:
        self._model = model
        self._texts = {
            label: [i.fields[task.edit_field] for i in task.items if label in i.answers] for label in task.labels
        }
        self.fingerprint = "rewriter"

    def encode(self, prompt: Prompt) -> list[int]:
        return self._model.encode(prompt)

    def score(self, requests: Sequence[Score], *, batch_tokens: int = 8192) -> list[Scores]:
        return self._model.score(requests, batch_tokens=batch_tokens)

    def generate(self, requests: Sequence[Generate], *, batch_tokens: int = 8192) -> list[Generation]:
        answers = []
        for request in requests:
            told = request.prompt.messages[-1].content
            target = told.split("so that the label becomes ")[1].split(".")[0]
            original = told.splitlines()[1]
            other = max(self._texts[target], key=lambda candidate: relative_to_original(original, candidate))
            answers.append(text(f"<new>{other}</new>"))
        return answers


def run(model: Any, full: Any, task: Task, name: str) -> list[Mapping[str, Value]]:
    records: list[Record] = []
    jobs = [Job(key=item.id, analysis=create(name), task=task, item=item) for item in task.items]
    Engine(model, others=lambda role: {"full": full}[role]).run(jobs, lambda job, record: records.append(record))
    assert len(records) == len(task.items)
    assert all(record.failed is None for record in records)
    return [record.values for record in records]


def mean(records: Sequence[Mapping[str, Value]], name: str) -> float:
    return fmean(float(cast(float, values[name])) for values in records)


def test_a_rewriting_generator_is_caught_by_the_validity_gate(load_model: Callable[[Path], HFModel]) -> None:
    full = load_model(locate_model("reference"))
    task = load_task("testbed-reviews", limit=30)
    records = run(Rewriter(full, task), full, task, "flip_rate")
    for judge in ("self", "full"):
        assert mean(records, f"soft_self_{judge}") >= 0.8
        assert mean(records, f"hard_self_{judge}") >= 0.8
        assert mean(records, f"valid_hard_self_{judge}") <= 0.05
    assert mean(records, "valid_hard_full_full") >= 0.8
    assert mean(records, "valid_hard_generation_effect") <= -0.75
    assert mean(records, "usable_self") == 1.0
    assert mean(records, "valid_self") <= 0.05
    for kind in KINDS:
        parts = [mean(records, f"{kind}_{part}") for part in ("difference", "generation_effect", "judging_effect")]
        assert parts[0] == pytest.approx(parts[1] + parts[2], abs=1e-12)
        assert parts[0] == pytest.approx(mean(records, f"{kind}_self_self") - mean(records, f"{kind}_full_full"))
        assert mean(records, f"{kind}_self_full") <= mean(records, f"{kind.replace('hard', 'soft')}_self_full")
    alone = run(Rewriter(full, task), full, task, "counterfactual")
    assert mean(alone, "hit") >= 0.8
    assert mean(alone, "valid_flip") <= 0.05
    assert [values["hit"] for values in alone] == [values["hard_self_self"] for values in records]
