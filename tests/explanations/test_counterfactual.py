"""The analysis `counterfactual`: its values by hand, its counts, and the reference model end to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.explanations.answers import conversation, drive, sure, text

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Record, Value
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.counterfactual import Counterfactual
from compressed_lens.explanations.extraction import EDIT_OUTCOMES
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Ask, Request, Response, Score
from compressed_lens.tasks import load_task
from compressed_lens.tasks.base import Item, Task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

LABELS = ("good", "bad", "mixed")
ITEM = Item(id="1", fields={"text": "The film is good and the cast is funny."}, answers=("good",))
TASK = Task(
    name="t", kind="classification", items=(ITEM,), labels=LABELS, instruction="Decide.", targets={"good": "bad"}
)
CLASSES = [name for name in EDIT_OUTCOMES if name != "ok"]


def outcome(said: str, *, label: str = "bad", finished: bool = True, **settings: Any) -> Mapping[str, Value]:
    """Values when the model, which calls the item good, answers `said` and then calls the edit `label`."""

    def reply(request: Request | Ask) -> Response:
        if not isinstance(request, Score):
            return text(said, finished=finished)
        return sure(LABELS, "good" if f"Text: {ITEM.fields['text']}\n" in conversation(request) else label)

    record, _ = drive(Counterfactual(**settings).steps(TASK, ITEM), reply)
    assert record.failed is None
    return record.values


def test_a_valid_edit_that_flips() -> None:
    values = outcome("<new>The film is bad and the cast is dull.</new>")
    assert (values["prediction"], values["target"], values["edited_label"]) == ("good", "bad", "bad")
    assert values["edited"] == "The film is bad and the cast is dull."
    assert values["distance"] == pytest.approx(2 / 10)
    assert (values["words_changed"], values["length_ratio"]) == (2, 1.0)
    assert [values[k] for k in ("flipped", "hit", "valid", "valid_flip", "hit_if_valid", "usable")] == [True] * 6


@pytest.mark.parametrize(
    ("said", "label", "flipped", "hit", "valid", "if_valid"),
    [
        ("<new>The film is bad and the cast is dull.</new>", "mixed", True, False, True, False),
        ("<new>The film is bad and the cast is dull.</new>", "good", False, False, True, False),
        ("<new>I hated it from its first to its last scene.</new>", "bad", True, True, False, None),
        ("<new>The film is good and the cast is funny. I hated it.</new>", "bad", True, True, False, None),
        ("<new>The film.</new>", "bad", True, True, False, None),
        ("I cannot help with that.", "bad", False, False, False, None),
        ("<new></new>", "bad", False, False, False, None),
    ],
)  # fmt: skip
def test_flips_and_validity(
    said: str, label: str, *, flipped: bool, hit: bool, valid: bool, if_valid: bool | None
) -> None:
    values = outcome(said, label=label)
    found = [values[k] for k in ("flipped", "hit", "valid", "valid_flip", "hit_if_valid")]
    assert found == [flipped, hit, valid, hit and valid, if_valid]


def test_bounds_are_settings() -> None:
    said = "<new>I hated it from its first to its last scene.</new>"
    assert outcome(said)["valid"] is False
    assert outcome(said, max_distance=1.2)["valid"] is True
    assert outcome(said, max_distance=1.2, max_length=1.0)["valid"] is False
    assert outcome("<new>The film is bad.</new>", max_distance=0.7)["valid"] is True
    assert outcome("<new>The film is bad.</new>", max_distance=0.7, min_length=0.6)["valid"] is False


def test_without_a_text_nothing_is_measured_and_nothing_more_is_asked() -> None:
    values = outcome("No idea.")
    assert [values[k] for k in ("edited", "distance", "words_changed", "length_ratio", "edited_label")] == [None] * 5
    assert values["outcome"] == "unparsable"


def test_every_answer_has_one_class() -> None:
    answers = [
        "",
        "No idea.",
        "I'm sorry, I can't help.",
        "<new>bad bad bad bad bad bad bad</new>",
        f"<new>{ITEM.fields['text']}</new>",
        f"<new>{ITEM.fields['text']} Not.</new>",
        "<new>The film is bad",
        "<new>The film is bad and the cast is funny.</new>",
    ]
    seen = set()
    for said in answers:
        for finished in (True, False):
            values = outcome(said, finished=finished)
            counted = ["ok"] * bool(values["usable"]) + [name for name in CLASSES if values[name]]
            assert counted == [values["outcome"]]
            seen.update(counted)
    assert seen == set(EDIT_OUTCOMES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "fizle"}, "method cannot be 'fizle'. One of: fizle-naive"),
        ({"target": "gold"}, "target cannot be 'gold'"),
        ({"field": 1}, "field cannot be 1"),
        ({"attribution": "lime"}, "attribution cannot be 'lime'"),
        ({"demonstrations": 0}, "demonstrations cannot be 0"),
        ({"max_distance": -1}, "max_distance cannot be -1"),
        ({"min_length": 3.0}, "min_length (3.0) is above max_length (2.0)"),
    ],
)
@pytest.mark.parametrize("name", ["counterfactual", "flip_rate"])
def test_wrong_settings(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        create(name, settings)
    assert message in str(caught.value)


@pytest.mark.parametrize("method", ["fizle-naive", "fizle-guided", "zerocf", "fitcf"])
def test_the_reference_model(load_model: Callable[[Path], HFModel], method: str) -> None:
    model = load_model(locate_model("reference"))
    task = load_task("testbed-reviews", limit=6)
    analysis = create("counterfactual", {"method": method, "demonstrations": 1, "pool": 3})
    records: dict[str, Record] = {}
    jobs = [Job(key=item.id, analysis=analysis, task=task, item=item) for item in task.items]
    Engine(model).run(jobs, lambda job, record: records.update({job.item.id: record}))
    assert len(records) == len(task.items)
    for item in task.items:
        record = records[item.id]
        assert record.failed is None
        values = record.values
        assert sum(bool(values[name]) for name in ("usable", *CLASSES)) == 1
        assert values["target"] == task.targets[str(values["prediction"])]
        edited = values["edited"]
        if isinstance(edited, str) and edited:
            plain = Score(
                prompt=prompting.classify(task, prompting.with_field(item, task.edit_field, edited)),
                continuations=task.labels,
            )
            scores = model.score([plain])[0].log_probabilities
            assert values["edited_label"] == task.labels[scores.index(max(scores))]
        assert values["valid_flip"] == (values["valid"] and values["edited_label"] == values["target"])
    if method in {"fizle-naive", "fizle-guided"}:  # what it was trained for
        assert sum(bool(record.values["valid_flip"]) for record in records.values()) >= 5
    if method == "fitcf":
        assert all(record.values["demonstrations"] == 1 for record in records.values())
