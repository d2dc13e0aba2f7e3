"""Knowledge neurons and ablation: driven by hand, and end to end on the reference model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from tests.lm.inside import literal_neurons as literal

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Analysis, Record
from compressed_lens.engine import Engine, Job
from compressed_lens.errors import StudyError
from compressed_lens.knowledge.integrated_neurons import KnowledgeNeurons, draw_seed, refined, relative_change
from compressed_lens.knowledge.neuron_ablation import NeuronAblation, judged
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.inside.intervene import random_sets
from compressed_lens.lm.inspections import IntegratedNeurons, Intervene, Neuron, Neurons
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Ask, Inspect, Inspection, Prompt, Response
from compressed_lens.tasks import Task, load_task
from compressed_lens.tasks.base import Item

FACT = Item(
    id="f",
    fields={"prompt": "The capital of France is"},
    answers=("Paris", "Lutetia"),
    extra={
        "paraphrases": ["France's capital is", "The seat of the government of France is", "In France one rules from"]
    },
)
FACTS = Task(name="facts", kind="recall", items=(FACT,))
A, B, C, D = (0, 1), (0, 2), (1, 7), (2, 3)


def drive(analysis: Analysis, answers: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[list[Any], Record]:
    """Send one list of answers a step; return what was asked in each step, and the record."""
    steps = analysis.steps(FACTS, FACT)
    asked = [next(steps)]
    for number, values in enumerate(answers):
        responses: list[Response] = [Inspection(values=one) for one in values]
        try:
            asked.append(steps.send(responses))
        except StopIteration as end:
            assert number == len(answers) - 1
            json.dumps(dict(end.value.values), allow_nan=False)
            return asked, end.value
    raise AssertionError("the analysis asked again")


def found(*neurons: Neuron, total: Sequence[float] = (0.5, 0.2, 0.1)) -> dict[str, Any]:
    listed = [[*neuron, 0.5 - 0.1 * n] for n, neuron in enumerate(neurons)]
    told = {"probability": 0.8, "maximum": 0.5, "token": " Paris"}
    return {"neurons": listed, "total": list(total), "change": [0.5, 0.25, 0.09], **told}


def effect(
    before: float, after: Sequence[float], random: Sequence[Sequence[float]], kept: bool = True
) -> dict[str, Any]:
    return {
        "before": math.log(before),
        "log_probability": [math.log(value) for value in after],
        "kept": [kept for _ in after],
        "random": [[math.log(value) for value in values] for values in random],
        "random_kept": [[True, not kept] for _ in random],
        "sizes": [8, 8, 8],
    }


def test_neurons_shared_by_most_wordings() -> None:
    lists = [[A, B, C], [B, A], [A, C, D], [D, A, B]]
    assert refined(lists, 0.7) == [A, B]
    assert refined(lists, 0.75) == [A]
    assert refined(lists, 0.25) == [A, B, C, D]
    assert refined([[A, B], [D], [D, B], [D]], 0.7) == [D]
    assert refined([[A], [B], [C]], 0.5) == []


def test_relative_changes() -> None:
    assert relative_change(math.log(0.5), math.log(0.25)) == pytest.approx(-0.5)
    assert relative_change(math.log(0.2), math.log(0.6)) == pytest.approx(2.0)
    assert relative_change(-800.0, -1.0) is None


def test_knowledge_neurons_by_hand() -> None:
    analysis = KnowledgeNeurons(paraphrases=2, draws=2, path_steps=7, rule="left")
    own = [found(A, B, C, total=(0.5, 0.2, 0.19)), found(B, A), found(A, C, B)]
    full = [found(A, D), found(D, A), found(A, D)]
    effects = [effect(0.8, [0.2], [[0.8, 0.4]]), effect(0.8, [0.88], [[0.8, 0.72]])]
    asked, record = drive(analysis, [[*own, *full], effects])
    by = IntegratedNeurons(target="Paris", steps=7, rule="left")
    prompts = [Prompt(text=text) for text in (FACT.fields["prompt"], *FACT.extra["paraphrases"][:2])]
    assert asked[0][:3] == [Inspect(prompt=prompt, by=by) for prompt in prompts]
    assert asked[0][3:] == [Ask(to="full", request=request) for request in asked[0][:3]]
    seed = draw_seed(FACT)
    assert [request.prompt for request in asked[1]] == [prompts[0]] * 2
    assert [request.by for request in asked[1]] == [
        Intervene(target="Paris", sets=((A, B),), factor=factor, draws=2, seed=seed) for factor in (0.0, 2.0)
    ]
    values = record.values
    assert values["chosen"] == [list(A), list(B)]
    assert (values["coarse"], values["neurons"], values["chosen_by"], values["prompts"]) == (3, 2, "refined", 3)
    assert values["by_block"] == [2, 0, 0]
    assert (values["full_neurons"], values["full_kept"]) == (2, 0.5)
    assert values["jaccard"] == pytest.approx(1 / 3)
    assert values["completeness_error"] == pytest.approx(0.1)
    assert values["suppression"] == pytest.approx(-0.75)
    assert values["suppression_random"] == pytest.approx(-0.25)
    assert values["enhancement"] == pytest.approx(0.1)
    assert values["enhancement_random"] == pytest.approx(-0.05)
    assert values["top"] == own[0]["neurons"]


def test_without_wordings_the_coarse_neurons_are_taken() -> None:
    asked, record = drive(
        KnowledgeNeurons(paraphrases=1),
        [[found(A, C), found(B), found(C), found(C)], [effect(0.8, [0.2], [[0.8]]), effect(0.8, [0.9], [[0.8]])]],
    )
    assert record.values["chosen_by"] == "coarse"
    assert record.values["chosen"] == [list(A), list(C)]
    assert record.values["jaccard"] == 0.5
    assert asked[1][0].by.sets == ((A, C),)


def test_nothing_in_common_is_reported_and_not_ablated() -> None:
    _, record = drive(KnowledgeNeurons(paraphrases=2), [[found(A), found(B), found(C)] * 2])
    values = record.values
    assert (values["coarse"], values["neurons"], values["full_neurons"]) == (1, 0, 0)
    assert values["jaccard"] is None and values["full_kept"] is None
    assert "suppression" not in values


def test_what_matters() -> None:
    assert judged(-1.0, -2.0, [-1.0, -1.2], least=0.1) == {
        "drop_flagged": 1.0,
        "drop_random": pytest.approx(0.1),
        "difference": pytest.approx(0.9),
        "margin": pytest.approx(0.8),
        "matters": True,
    }
    assert judged(-1.0, -1.25, [-1.0, -1.2], least=0.1)["matters"] is False
    assert judged(-1.0, -1.25, [-1.0, -1.2], least=0.01)["matters"] is True
    assert judged(-1.0, -1.1, [-1.0, -1.2], least=0.0)["matters"] is False
    assert judged(-1.0, -1.0, [-1.0, -1.0], least=0.0)["matters"] is False


@pytest.mark.parametrize("by", ["log_probability", "integrated_gradients"])
def test_ablation_by_hand(by: Any) -> None:
    analysis = NeuronAblation(by=by, count=3, draws=2)

    def flags(*neurons: Neuron) -> dict[str, Any]:
        listed = [*found(*neurons)["neurons"], [2, 0, -0.1]]
        return {"token": " Paris", **({"ffn": {"neurons": listed}} if by == "log_probability" else {"neurons": listed})}

    answer = effect(0.8, [0.2, 0.7], [[0.8, 0.4], [0.72, 0.8]], kept=False)
    asked, record = drive(analysis, [[flags(C, B), flags(A, B)], [answer]])
    wanted = (
        Neurons(target="Paris", top=3)
        if by == "log_probability"
        else IntegratedNeurons(target="Paris", share=0.0, most=3)
    )
    assert asked[0][1] == Inspect(prompt=Prompt(text=FACT.fields["prompt"]), by=wanted)
    assert asked[0][0] == Ask(to="full", request=asked[0][1])
    assert asked[1][0].by == Intervene(target="Paris", sets=((A, B), (C, B)), draws=2, seed=draw_seed(FACT))
    values = record.values
    assert values["drop_flagged"] == pytest.approx(math.log(4))
    assert values["drop_random"] == pytest.approx(math.log(2) / 2)
    assert values["difference"] == pytest.approx(math.log(4) - math.log(2) / 2)
    assert values["matters"] is True and values["outcome"] == "matters"
    assert values["kept_flagged"] is False and values["kept_random"] == 1.0
    assert values["full_drop_flagged"] == pytest.approx(math.log(0.8 / 0.7))
    assert values["full_drop_random"] == pytest.approx(math.log(0.8 / 0.72) / 2)
    assert values["full_matters"] is False
    assert values["shared"] == 0.5
    assert values["by_block"] == [2, 0, 0]
    assert values["neurons"] == [[*A, 0.5], [*B, 0.4]]


def test_a_flagged_set_that_does_not_matter_is_reported_as_such() -> None:
    flags = {"ffn": {"neurons": [[*A, 0.3]]}, "token": " Paris"}
    for random, outcome in (
        ([0.8, 0.7], "no more than random neurons"),
        ([0.8, 0.82], "hardly more than random neurons"),
    ):
        _, record = drive(NeuronAblation(draws=2), [[flags, flags], [effect(0.8, [0.79] * 2, [random] * 2)]])
        assert record.values["matters"] is False
        assert record.values["outcome"] == outcome


def test_nothing_flagged() -> None:
    flags = [{"ffn": {"neurons": [[*A, score]]}, "token": " Paris"} for score in (0.3, -0.3)]
    _, record = drive(NeuronAblation(draws=2), [flags, [effect(0.8, [0.8, 0.2], [[0.8, 0.8], [0.8, 0.7]])]])
    assert record.values["outcome"] == "nothing flagged"
    assert "matters" not in record.values
    assert record.values["full_matters"] is True
    assert record.values["shared"] == 0.0


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("integrated_neurons", {"rule": "middle"}, "rule cannot be 'middle'"),
        ("integrated_neurons", {"share": 1.5}, "share must be below 1"),
        ("integrated_neurons", {"path_steps": 0}, "path_steps cannot be 0"),
        ("integrated_neurons", {"paraphrases": -1}, "paraphrases cannot be -1"),
        ("neuron_ablation", {"by": "guess"}, "by cannot be 'guess'"),
        ("neuron_ablation", {"draws": 0}, "draws cannot be 0"),
        ("neuron_ablation", {"least": -0.1}, "least cannot be -0.1"),
    ],
)
def test_settings_are_checked(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        create(name, settings)


@pytest.fixture(scope="module")
def reference(load_model: Callable[..., HFModel]) -> HFModel:
    return load_model(locate_model("reference"))


def run(model: HFModel, full: HFModel, task: Task, analysis: Analysis) -> dict[str, Record]:
    records: dict[str, Record] = {}
    jobs = [Job(key=item.id, analysis=analysis, task=task, item=item) for item in task.items]
    Engine(model, others=lambda _: full).run(jobs, lambda job, record: records.update({job.item.id: record}))
    for record in records.values():
        assert record.failed is None
        json.dumps(dict(record.values), allow_nan=False)
    return records


def test_knowledge_neurons_of_the_reference_model(reference: HFModel) -> None:
    task = load_task("testbed-facts", limit=4)
    records = run(reference, reference, task, create("integrated_neurons", {"path_steps": 10, "draws": 3}))
    effects = []
    for item in task.items:
        values: Any = records[item.id].values
        assert values["chosen_by"] == "refined"
        assert values["full_neurons"] == values["neurons"]
        if values["neurons"]:
            assert values["jaccard"] == values["full_kept"] == 1.0
            effects.append((values["suppression"], values["suppression_random"]))
            row = list(reference._reader.prompt(Prompt(text=item.fields["prompt"])))
            token = reference._reader.first(Prompt(text=item.fields["prompt"]), item.answers[0])
            chosen = [(block, index) for block, index in values["chosen"]]
            after = float(literal.intervened(reference, row, chosen, 0.0)[token].exp())
            before = float(literal.probability(reference, row, token)[0])
            assert values["suppression"] == pytest.approx((after - before) / before, abs=1e-3)
    assert effects
    assert sum(own for own, _ in effects) < sum(control for _, control in effects)


@pytest.mark.parametrize("by", ["log_probability", "integrated_gradients"])
def test_ablation_on_the_reference_model(reference: HFModel, by: Any) -> None:
    task = load_task("testbed-facts", limit=4)
    records = run(reference, reference, task, create("neuron_ablation", {"by": by, "draws": 3}))
    for item in task.items:
        values: Any = records[item.id].values
        assert values["flagged"] == 20 and values["shared"] == 1.0
        assert values["full_drop_flagged"] == pytest.approx(values["drop_flagged"], abs=1e-5)
        prompt = Prompt(text=item.fields["prompt"])
        row, token = list(reference._reader.prompt(prompt)), reference._reader.first(prompt, item.answers[0])
        own = [(block, index) for block, index, _ in values["neurons"]]
        before = float(literal.intervened(reference, row, (), 1.0)[token])
        drop = before - float(literal.intervened(reference, row, own, 0.0)[token])
        assert values["drop_flagged"] == pytest.approx(drop, abs=1e-3)
        (draws, _) = random_sets([own, own], [512] * 6, draws=3, seed=draw_seed(item))
        drops = [before - float(literal.intervened(reference, row, one, 0.0)[token]) for one in draws]
        assert values["drop_random"] == pytest.approx(sum(drops) / 3, abs=1e-3)
        assert values["matters"] == (drop - max(drops) >= 0.1)
    # The reference model's facts do rest on what is flagged.
    assert sum(bool(record.values["matters"]) for record in records.values()) >= 3
