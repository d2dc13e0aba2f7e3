"""The analysis `rating`: by hand with scripted answers, and end to end with real judges."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.judging.planted import write_judge

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Analysis, Record
from compressed_lens.engine import Engine, Job, MemoryCache
from compressed_lens.errors import StudyError
from compressed_lens.judging.rating import Rating
from compressed_lens.judging.ratings import expected_rating, parse_rating
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Ask, Generate, Generation, Response, Score, Scores
from compressed_lens.tasks import Item, Task, load_task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

ITEM = Item(id="1", fields={"text": "A fine film."}, answers=("positive",))
TASK = Task(
    name="r", kind="classification", items=(ITEM,), labels=("positive", "negative"), instruction="Decide.",
    targets={"positive": "negative", "negative": "positive"},
)  # fmt: skip


def scores(*values: float) -> Scores:
    return Scores(log_probabilities=values, tokens=(1,) * len(values), greedy=(False,) * len(values))


def text(said: str) -> Generation:
    return Generation(text=said, tokens=3, finished=True)


def drive(analysis: Analysis, *answers: list[Response]) -> tuple[list[list[Any]], Record]:
    """Send one list of responses a step; return what was asked in each, and the record."""
    steps = analysis.steps(TASK, ITEM)
    asked = [list(next(steps))]
    try:
        for responses in answers:
            asked.append(list(steps.send(responses)))
    except StopIteration as end:
        json.dumps(dict(end.value.values), allow_nan=False)
        return asked, end.value
    raise AssertionError("the analysis asked again")


LABEL, WHY = scores(math.log(0.9), math.log(0.1)), text("The word fine\nis praise.")
LOW, HIGH = scores(*map(math.log, (0.5, 0.25, 0.05, 0.05, 0.05))), scores(*map(math.log, (1e-9, 1e-9, 1e-9, 0.5, 0.5)))


def test_expected_ratings_of_two_judges() -> None:
    analysis = Rating(judges=("a", "b"))
    asked, record = drive(analysis, [LABEL], [WHY], [LOW, HIGH, HIGH, HIGH])
    judged = asked[-1]
    assert [(one.to, one.request.prompt.messages[0].content.splitlines()[-2].split()[2]) for one in judged] == [
        ("a", "trustworthiness"), ("a", "coherence"), ("b", "trustworthiness"), ("b", "coherence"),
    ]  # fmt: skip
    assert all(isinstance(one, Ask) and isinstance(one.request, Score) for one in judged)
    prompt = judged[0].request.prompt.messages
    assert len(prompt) == 1
    assert "Label: positive\nexplanation: The word fine is praise.\nRate" in prompt[0].content
    values = record.values
    low = (0.5 + 2 * 0.25 + 0.05 * 12) / 0.9
    assert values["trustworthiness:a"] == pytest.approx(low)
    assert values["trustworthiness:b"] == pytest.approx(4.5)
    assert values["trustworthiness"] == pytest.approx((low + 4.5) / 2)
    assert values["spread:trustworthiness"] == pytest.approx(4.5 - low)
    assert values["spread:coherence"] == pytest.approx(0)
    assert values["mass:a"] == pytest.approx(0.95)
    assert values["unparsed"] == 0
    declared = [metric.value for metric in analysis.metrics]
    assert set(declared) <= set(values)
    assert len(set(declared)) == len(declared)
    assert [metric.name for metric in analysis.metrics if metric.primary] == ["trustworthiness", "coherence"]


def test_a_judge_that_would_write_something_else_gives_no_rating() -> None:
    stray = scores(*[math.log(1e-4)] * 5)
    broken = scores(*[-math.inf] * 5)
    _, record = drive(Rating(judges=("a", "b")), [LABEL], [WHY], [stray, HIGH, broken, HIGH])
    values = record.values
    assert values["trustworthiness:a"] is None
    assert values["trustworthiness:b"] is None
    assert values["trustworthiness"] is None
    assert values["spread:trustworthiness"] is None
    assert values["coherence"] == pytest.approx(4.5)
    assert (values["unparsed"], values["unparsed:a"], values["unparsed:b"]) == (0.5, 0.5, 0.5)
    assert values["mass:b"] == pytest.approx(0.5)
    _, record = drive(Rating(judges=("a",), least_mass=0), [LABEL], [WHY], [stray, HIGH])
    assert record.values["trustworthiness:a"] == pytest.approx(3.0)


def test_parsed_ratings() -> None:
    analysis = Rating(judges=("a", "self"), mode="parsed", dimensions=("coherence",))
    asked, record = drive(analysis, [LABEL], [WHY], [text("4"), text("I cannot say")])
    first, second = asked[-1]
    assert isinstance(first, Ask)
    assert isinstance(second, Generate)
    assert second == replace(first.request) == Generate(prompt=second.prompt, max_new_tokens=16)
    assert record.values["coherence:a"] == 4
    assert record.values["coherence:self"] is None
    assert record.values["coherence"] is None
    assert record.values["unparsed:self"] == 1
    assert record.values["answers"] == {"coherence:a": "4", "coherence:self": "I cannot say"}
    assert {metric.value for metric in analysis.metrics} <= set(record.values)


def test_an_edit_is_rated_for_the_label_it_was_to_reach() -> None:
    asked, record = drive(
        Rating(judges=("a",), of="counterfactual"), [LABEL], [text("<new>A dull film.</new>")], [HIGH, LOW]
    )
    assert "Label: negative\nedited text: A dull film.\n" in asked[-1][0].request.prompt.messages[0].content
    assert (record.values["target"], record.values["text"], record.values["outcome"]) == (
        "negative",
        "A dull film.",
        "ok",
    )
    assert record.values["rated"] is True


@pytest.mark.parametrize(
    ("analysis", "said", "outcome"),
    [
        (Rating(), "  ", "empty"),
        (Rating(of="counterfactual"), "<new></new>", "empty"),
        (Rating(style="explain-then-predict"), "It is fine.", "ok"),
    ],
)
def test_without_a_text_or_a_label_nobody_is_asked(analysis: Rating, said: str, outcome: str) -> None:
    answers: list[list[Response]] = (
        [[text(said)]] if analysis.style == "explain-then-predict" else [[LABEL], [text(said)]]
    )
    asked, record = drive(analysis, *answers)
    assert len(asked) == len(answers)
    assert record.values["rated"] is False
    assert record.values["outcome"] == outcome
    assert "trustworthiness" not in record.values
    assert record.failed is None


@pytest.mark.parametrize(
    ("answer", "rating"),
    [
        ("4", 4),
        (" 5.", 5),
        ("**3**", 3),
        ("4/5", 4),
        ("Rating: 2 out of 5, for 3 reasons", 2),
        ("I would rate it 4 of 5.", 4),
        ("On a scale from 1 to 5, I give 3.", 3),
        ("The score is 2. It says 3 things.", 2),
        ("3\n\nThe explanation names 2 words.", 3),
        ("4.0", 4),
        ("Four.", 4),
        ("<think>Maybe 2, or 3?</think>\n4", 4),
        ("Maybe 2, or 3?</think> 4", 4),
        ("The rating is 4. So my score: 4", 4),
        ("", None),
        ("<think>It is 4", None),
        ("6", None),
        ("0", None),
        ("10/10", None),
        ("4/10", None),
        ("3.5", None),
        ("-4", None),
        ("3-4", None),
        ("3 or 4", None),
        ("1, 2, 3, 4 or 5", None),
        ("The rating is 4, or the rating is 2", None),
        ("between 3 and 4", None),
        ("good", None),
        ("This one is coherent.", None),
        ("2nd", None),
        ("4a", None),
    ],
)
def test_reading_a_rating(answer: str, rating: int | None) -> None:
    assert parse_rating(answer) == rating


def test_expected_rating_needs_numbers() -> None:
    assert expected_rating(scores(math.nan, -1, -1, -1, -1)) is None
    found = expected_rating(scores(*[math.log(0.1)] * 5))
    assert found is not None
    assert (found.rating, found.mass) == (pytest.approx(3), pytest.approx(0.5))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"judges": []}, "judges cannot be"),
        ({"judges": "full"}, "judges cannot be 'full'"),
        ({"judges": ["a", "a"]}, "twice"),
        ({"judges": ["a:b"]}, "judges cannot be"),
        ({"dimensions": ["beauty"]}, "dimensions cannot be 'beauty'"),
        ({"of": "essay"}, "of cannot be"),
        ({"mode": "guess"}, "mode cannot be"),
        ({"least_mass": -1}, "least_mass cannot be"),
        ({"judge_tokens": 0}, "judge_tokens cannot be"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(StudyError, match=told):
        create("rating", settings)


def test_real_judges_rate_a_real_model_and_equal_texts_once(
    load_model: Callable[[Path], HFModel], tmp_path_factory: pytest.TempPathFactory
) -> None:
    task = load_task("testbed-reviews", limit=6)
    studied = load_model(locate_model("reference"))
    judges = {f"j{n}": load_model(write_judge(tmp_path_factory.mktemp("j") / str(n), seed=n)) for n in (0, 1)}
    analysis = Rating(judges=("j0", "j1"), max_new_tokens=24)
    assert analysis.roles == ("j0", "j1")

    def run(cache: MemoryCache) -> tuple[dict[str, Record], int]:
        engine, records = Engine(studied, cache=cache, others=judges.__getitem__), {}
        jobs = [Job(key=i.id, analysis=analysis, task=task, item=i) for i in task.items]
        ledger = engine.run(jobs, lambda job, record: records.update({job.item.id: record}))
        return records, ledger.executed_requests

    cache = MemoryCache()
    records, asked = run(cache)
    assert asked > 0
    for record in records.values():
        assert record.failed is None
        for dimension in ("trustworthiness", "coherence"):
            own = [record.values[f"{dimension}:{judge}"] for judge in judges]
            assert all(1 <= rating <= 5 for rating in own)  # type: ignore[operator]
            assert record.values[dimension] == pytest.approx(sum(own) / 2)  # type: ignore[arg-type]
            assert record.values[f"spread:{dimension}"] == pytest.approx(abs(own[0] - own[1]))  # type: ignore[operator]
        shares = record.values["probabilities"]["coherence:j0"]  # type: ignore[index, call-overload]
        assert sum(shares) == pytest.approx(1)
    assert len({record.values["coherence"] for record in records.values()}) > 3
    again, asked = run(cache)
    assert asked == 0
    assert again == records
