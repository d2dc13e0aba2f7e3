"""CC-SHAP and the same-text comparison: by hand, and on the real reference model against one mask a call."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from tests.faithfulness.literal import partition_values
from tests.faithfulness.test_owen import brute_force

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Record, roles_of
from compressed_lens.engine.engine import Engine, Job
from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.sources import Explained, Unusable
from compressed_lens.faithfulness.cc_shap import CCShap
from compressed_lens.faithfulness.contributions import Contributions, Target, ask_contributions
from compressed_lens.faithfulness.masking import Pieces, pieces_of
from compressed_lens.faithfulness.same_text import SameText
from compressed_lens.lm.protocol import Ask, Generate, Generation, Prompt, Score, Scores, Trace, Traced
from compressed_lens.tasks import Task, load_task
from compressed_lens.tasks.base import Item

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

SHORT = Item(id="s", fields={"review": "The lamp was not stale, but noisy."}, answers=("negative",))
CLOSE = 1e-5


@pytest.fixture(scope="module")
def reference(load_model: Callable[[Path], HFModel]) -> HFModel:
    from compressed_lens.lm.locate import locate_model

    return load_model(locate_model("reference"))


@pytest.fixture(scope="module")
def reviews() -> Task:
    return load_task("testbed-reviews", limit=8)


def run(model: HFModel, task: Task, analysis: Any, others: Callable[[str], Any] | None = None) -> list[Record]:
    records: dict[str, Record] = {}
    jobs = [Job(key=i.id, analysis=analysis, task=task, item=i) for i in task.items]
    Engine(model, others=others).run(jobs, lambda job, record: records.update({job.item.id: record}))
    return [records[i.id] for i in task.items]


def targets(model: HFModel, task: Task, item: Item) -> list[Target]:
    """The label "negative" and what the model says for it."""
    prompt = prompting.explain(task, item, "negative")
    answer = model.generate([Generate(prompt=prompt, max_new_tokens=16)])[0]
    told = Explained(
        prediction="negative", probabilities={}, text=answer.text.strip(), outcome="ok", prompt=prompt, answer=answer
    )
    return [CCShap().label_target(task, "negative"), CCShap().text_target(task, told)]


def contributions(
    model: HFModel, pieces: Pieces, asked: list[Target], settings: CCShap
) -> tuple[list[Contributions], int]:
    """Return the contributions, and how many lists of requests they took."""
    steps = ask_contributions(pieces, asked, settings.explore)
    requests, lists = next(steps), 0
    while True:
        lists += 1
        try:
            requests = steps.send(list(model.trace(cast(list[Trace], requests))))
        except StopIteration as end:
            return end.value, lists


def test_the_replay_is_the_literal_recursion_on_a_real_model(reference: HFModel, reviews: Task) -> None:
    settings = CCShap(max_evals=200, seed=3)
    item = reviews.items[1]
    pieces, asked = pieces_of(item), targets(reference, reviews, item)

    def alone(target: Target, mask: int) -> Any:
        odds = reference.trace([cast(Trace, target.request(pieces.show(mask)))])[0].log_odds
        return np.array(odds[:1] if target.first else odds)

    found, lists = contributions(reference, pieces, asked, settings)
    steps = 0
    for target, own in zip(asked, found, strict=True):
        literal, taken = partition_values(
            pieces.tree,
            lambda mask, t=target: alone(t, mask),
            max_evals=200,
            seed=3,  # type: ignore[misc]
        )
        np.testing.assert_allclose(own.values, literal, atol=CLOSE)
        steps += len(taken)
        ends = alone(target, pieces.tree.bits) - alone(target, 0)
        np.testing.assert_allclose(own.values.sum(axis=0), ends, atol=CLOSE)
    assert lists <= steps / 4


def test_exact_values_are_those_of_all_orders_on_a_real_model(reference: HFModel, reviews: Task) -> None:
    pieces, asked = pieces_of(SHORT), targets(reference, reviews, SHORT)
    assert len(pieces.pieces) == 7
    masks = range(pieces.tree.bits + 1)
    for target in asked:
        answers = reference.trace([cast(Trace, target.request(pieces.show(mask))) for mask in masks])
        known = [np.array(answer.log_odds[:1] if target.first else answer.log_odds) for answer in answers]
        steps = ask_contributions(pieces, [target], CCShap(mode="exact").explore)
        by_mask = {cast(Trace, target.request(pieces.show(mask))).prompt: answers[mask] for mask in masks}
        requests = next(steps)
        with pytest.raises(StopIteration) as end:
            steps.send([by_mask[cast(Trace, request).prompt] for request in requests])
        (own,) = end.value.value
        np.testing.assert_allclose(own.values, brute_force(pieces.tree, known.__getitem__), atol=1e-9)


def test_cc_shap_of_the_reference_model(reference: HFModel, reviews: Task) -> None:
    task = replace(reviews, items=(*reviews.items[3:5], SHORT))
    records = run(reference, task, create("cc_shap", {"mode": "exact", "floor": 1}))
    carrying, other = [], []
    for item, record in zip(task.items, records, strict=True):
        values = record.values
        assert record.failed is None
        assert -1 <= cast(float, values["cc_shap"]) <= 1
        assert values["positive"] is (cast(float, values["cc_shap"]) > 0)
        assert values["pieces"] == item.fields["review"].split()
        shares = np.array(values["prediction_shares"])
        assert np.abs(shares).sum() == pytest.approx(100)
        for piece, share in zip(cast(list[str], values["pieces"]), np.abs(shares), strict=True):
            evidence = item.extra.get("evidence", ("stale", "noisy"))
            (carrying if any(word in piece for word in evidence) else other).append(share)
    # The words that carry the label by construction move it more than the rest.
    assert np.mean(carrying) > 1.5 * np.mean(other)
    budget = run(reference, task, create("cc_shap", {"max_evals": 10**4, "floor": 1}))
    for one, other in zip(records, budget, strict=True):
        np.testing.assert_allclose(
            cast(list[float], one.values["explanation_shares"]),
            cast(list[float], other.values["explanation_shares"]),
            atol=1e-2,
        )


@pytest.mark.parametrize("style", ["explain-then-predict", "zero-shot-cot"])
def test_other_styles_run(reference: HFModel, reviews: Task, style: str) -> None:
    task = replace(reviews, items=(SHORT,))
    (record,) = run(reference, task, create("cc_shap", {"style": style, "max_evals": 40, "max_new_tokens": 24}))
    assert record.failed is None
    assert record.values["undefined"] is (record.values["cc_shap"] is None)


def told(said: str, text: str) -> Explained:
    return Explained(
        prediction="negative",
        probabilities={},
        text=text,
        outcome="ok",
        prompt=Prompt(text="unused"),
        answer=Generation(text=said, tokens=1, finished=True),
    )


@pytest.mark.parametrize(
    ("options", "said", "prefill", "continuation"),
    [
        (("predict-then-explain", False), " It is stale.", "", "It is stale."),
        (("predict-then-explain", False), 'Explanation: "It is stale."', 'Explanation: "', "It is stale."),
        (("explain-then-predict", False), "Explanation: It is stale. Label: negative", "Explanation:", "It is stale."),
        (
            ("explain-then-predict", True),
            "Explanation: It is stale. Label: negative\n",
            "Explanation:",
            "It is stale. Label: negative",
        ),
        (
            ("zero-shot-cot", True),
            "<reasoning>It is stale.</reasoning><label>negative</label>",
            "<reasoning>",
            "It is stale.</reasoning><label>negative</label>",
        ),
        (("zero-shot-cot", False), "<reasoning>\nIt  is stale.</reasoning>", "", "It is stale."),
    ],
)
def test_which_part_of_an_answer_is_explained(
    reviews: Task, options: tuple[str, bool], said: str, prefill: str, continuation: str
) -> None:
    style, include = options
    settings = cast(CCShap, create("cc_shap", {"style": style, "include_label": include}))
    request = settings.text_target(reviews, told(said, "It is stale.")).request(pieces_of(SHORT).show(1))
    assert isinstance(request, Trace)
    assert (request.prompt.prefill, request.continuation) == (prefill, continuation)
    assert "Review: The ..." in request.prompt.messages[0].content
    assert "stale" not in "".join(m.content for m in request.prompt.messages)
    assert not request.keep


def test_an_answer_without_words_is_an_outcome(reviews: Task) -> None:
    steps = CCShap().steps(reviews, SHORT)
    next(steps)
    scores = Scores(log_probabilities=(-2.0, -1.0), tokens=(1, 1), greedy=(False, True))
    steps.send([scores])
    steps.send([Generation(text=" ", tokens=1, finished=True)])
    with pytest.raises(StopIteration) as end:
        steps.send([scores])
    values = end.value.value.values
    assert (values["outcome"], values["undefined"], values["cc_shap"], values["positive"]) == (
        "empty",
        True,
        None,
        None,
    )


def test_identical_contributions_give_one(reviews: Task) -> None:
    steps = CCShap(mode="exact").steps(reviews, SHORT)
    scores = Scores(log_probabilities=(-2.0, -1.0), tokens=(1, 1), greedy=(False, True))
    next(steps)
    steps.send([scores])
    steps.send([Generation(text="It is stale.", tokens=4, finished=True)])
    asked = steps.send([scores])
    lengths = [len(cast(Trace, request).prompt.messages[0].content) for request in asked]
    with pytest.raises(StopIteration) as end:
        steps.send([Traced(log_probabilities=(-1.0, -1.0), log_odds=(float(n), 2.0 * n)) for n in lengths])
    values = end.value.value.values
    assert values["cc_shap"] == pytest.approx(1)
    assert (values["undefined"], values["weak_tokens"], values["explained_tokens"]) == (False, 0, 2)


def test_the_same_model_reads_the_same(reference: HFModel, reviews: Task) -> None:
    task = replace(reviews, items=(SHORT,))
    analysis = create("same_text", {"max_evals": 60})
    assert roles_of(analysis) == ("full",)
    (record,) = run(reference, task, analysis, others=lambda name: {"full": reference}[name])
    values = record.values
    assert (values["same_text"], values["same_label"]) == (True, True)
    assert (values["difference"], values["cc_shap_difference"]) == (0, 0)
    assert values["explanation_cosine"] == pytest.approx(1)
    assert values["prediction_cosine"] == pytest.approx(1)


def test_a_damaged_model_relies_on_other_words(reference: HFModel, reviews: Task) -> None:
    import torch

    from compressed_lens.lm.hf import HFModel

    module = copy.deepcopy(reference.module)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(weight.std() * torch.randn_like(weight))
    damaged = HFModel(module, reference.tokenizer, weights="damaged")
    task = replace(reviews, items=(SHORT,))
    (record,) = run(damaged, task, create("same_text", {"max_evals": 40}), others=lambda _: reference)
    (nle,) = run(reference, task, create("nle"))
    values = record.values
    assert record.failed is None
    assert values["explanation"] == nle.values["explanation"]
    assert values["same_text"] is False
    assert cast(float, values["difference"]) < 0
    assert -1 <= cast(float, values["explanation_cosine"]) < 0.999


def test_full_precision_is_asked_once_for_all_variants(reviews: Task) -> None:
    steps = SameText(mode="exact").steps(reviews, SHORT)
    scores = Scores(log_probabilities=(-2.0, -1.0), tokens=(1, 1), greedy=(False, True))
    said = Generation(text="It is stale.", tokens=4, finished=True)
    asked = [next(steps)]
    for answers in ([scores], [said], [scores], [scores]):
        asked.append(steps.send(list(answers)))
    assert [type(r.request if isinstance(r, Ask) else r) for step in asked[:4] for r in step] == [
        Score,
        Generate,
        Score,
        Score,
    ]
    read, full, again = asked[4]
    assert isinstance(read, Trace) and not read.keep and isinstance(again, Generate)
    assert isinstance(full, Ask) and isinstance(full.request, Trace) and full.request.keep
    assert full.request == replace(read, keep=True)
    probes = steps.send([Traced(log_probabilities=(-1.0,), log_odds=(0.0,))] * 2 + [said])
    to_full = [p.request for p in probes if isinstance(p, Ask)]
    assert 2 * len(to_full) == len(probes)
    assert all(isinstance(p, Trace) and p.keep for p in to_full)


def test_no_explanation_of_full_precision_fails_the_item(reviews: Task) -> None:
    steps = SameText().steps(reviews, SHORT)
    scores = Scores(log_probabilities=(-2.0, -1.0), tokens=(1, 1), greedy=(False, True))
    next(steps)
    steps.send([scores])
    steps.send([Generation(text="", tokens=1, finished=True)])
    steps.send([scores])
    with pytest.raises(Unusable, match="no explanation"):
        steps.send([scores])


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "fast"},
        {"max_evals": 1},
        {"look_ahead": 0},
        {"style": "haiku"},
        {"floor": -1},
        {"label_tokens": "last"},
        {"include_label": True},
        {"include_label": "yes", "style": "zero-shot-cot"},
    ],
)
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    for name in ("cc_shap", "same_text"):
        with pytest.raises(StudyError):
            create(name, settings)
