"""Patchscopes and back-patching: records by hand, and the reference model against plain forwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.analyses.test_by_hand import CHAIN, CHAINS, drive, scores, text
from tests.analyses.test_end_to_end import run

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Curve, pictures_of
from compressed_lens.errors import StudyError
from compressed_lens.explanations.sources import Unusable
from compressed_lens.knowledge.matching import recalled
from compressed_lens.lm.inspections import BackPatch, Describe
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Generate, Inspect, Inspection, Prompt
from compressed_lens.multihop.back_patching import BackPatching
from compressed_lens.multihop.grid import apart, on_axis, share
from compressed_lens.multihop.patchscopes import Patchscopes
from compressed_lens.tasks import load_task
from compressed_lens.tasks.base import Item, Task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel


def other(identity: str, group: str = "", **parts: Any) -> Item:
    chain = {**CHAIN.extra["chain"], "mention": f"the {identity}", **parts}
    return Item(
        id=identity,
        fields={"prompt": f"Say the {identity} of"},
        answers=(chain["e3"],),
        group=group,
        extra={"chain": chain},
    )


def said(*rows: str) -> Inspection:
    """Return descriptions at sources 0 and 2 of four states, one text a target; "+" stands for one that succeeds."""
    texts = [[{"+": " it is FRANCE, no", "!": " Paris", "-": " Francesca"}[mark] for mark in row] for row in rows]
    return Inspection(values={"sources": [0, 2], "targets": [0, 1], "texts": texts, "states": 4})


def tried(*marks: str) -> Inspection:
    pairs = [[1, 0], [2, 0], [2, 1]]
    texts = [" Paris!" if mark == "+" else " Oslo" for mark in marks[0]]
    return Inspection(values={"pairs": pairs, "texts": texts, "states": 3})


def test_helpers() -> None:
    assert on_axis(4, [(0, False), (2, True), (0, False), (2, False)]) == [0.0, None, 1.0, None]
    assert (share([]), share([True, False])) == (None, 0.5)
    assert [apart(*pair) for pair in ((True, False), (True, True), (False, True), (True, None))] == [1, 0, -1, None]


def test_a_bridge_that_is_described_and_its_control() -> None:
    analysis = Patchscopes(stride=2, targets=(0, 1), max_new_tokens=7)
    asked, record = drive(analysis, CHAINS, [[said("--", "-+"), said("--", "--")]])
    identity = Prompt(text=analysis.identity)
    settings: dict[str, Any] = {"identity": identity, "stride": 2, "targets": (0, 1), "max_new_tokens": 7}
    entity = CHAIN.extra["chain"]["entity"]
    assert asked == [
        Inspect(prompt=Prompt(text=prompt), by=Describe(mention=mention, **settings))
        for prompt, mention in (
            (CHAIN.fields["prompt"], "the country of the Louvre"),
            (entity["prompt"], entity["mention"]),
        )
    ]
    values = record.values
    assert (values["described"], values["control"], values["difference"]) == (True, False, 1)
    assert (values["cells"], values["control_cells"]) == (0.25, 0.0)
    assert values["by_source"] == [0.0, None, 1.0, None]
    assert values["control_by_source"] == [0.0, None, 0.0, None]
    assert values["grid"] == [[0, 0], [0, 1]]
    assert values["text"] == " it is FRANCE, no"
    assert (values["answer_described"], values["answer_difference"]) == (None, None)


def test_the_answer_at_the_last_token() -> None:
    asked, record = drive(
        Patchscopes(answer=True), CHAINS, [[said("--", "--"), said("-+", "--"), said("!-", "!!"), said("-!", "--")]]
    )
    assert [a.by.mention for a in asked if isinstance(a, Inspect) and isinstance(a.by, Describe)] == [
        "the country of the Louvre", "the country of Big Ben", "", "",
    ]  # fmt: skip
    values = record.values
    assert (values["described"], values["control"], values["difference"]) == (False, True, -1)
    assert (values["answer_described"], values["answer_control"], values["answer_difference"]) == (True, True, 0)
    assert (values["answer_cells"], values["answer_control_cells"]) == (0.75, 0.25)
    assert values["text"] is None


def test_a_chain_without_another_entity_has_no_control() -> None:
    item = replace(CHAIN, extra={"chain": {**CHAIN.extra["chain"], "entity": None}})
    _, record = drive(Patchscopes(), replace(CHAINS, items=(item,)), [[said("+-", "--")]])
    assert (record.values["described"], record.values["control"], record.values["difference"]) == (True, None, None)


def test_an_identity_prompt_that_names_the_bridge_is_refused() -> None:
    with pytest.raises(Unusable, match="names the bridge"):
        next(Patchscopes(identity="France: France; red: red; x").steps(CHAINS, CHAIN))
    next(Patchscopes(identity="Francesca: Francesca; x").steps(CHAINS, CHAIN))


def test_a_prompt_that_is_right_is_not_patched() -> None:
    asked, record = drive(BackPatching(), CHAINS, [[scores(-1.0)], [text(" Paris")]])
    assert len(asked) == 2
    assert record.values["outcome"] == "right without"
    assert (record.values["composed_correct"], record.values["fixed"], record.values["difference"]) == (
        True,
        None,
        None,
    )


def test_a_chain_without_both_hops_is_left_out_where_they_are_asked_for() -> None:
    three = [scores(-1.0), scores(-1.0), scores(-1.0)]
    for answers in ((" Oslo", " Spain", " Paris"), (" Oslo", " France", " Oslo")):
        asked, record = drive(BackPatching(among="both hops"), CHAINS, [three, [text(each) for each in answers]])
        assert [r.prompt.text for r in asked if isinstance(r, Generate)] == [
            CHAIN.fields["prompt"], "The Louvre is in", "The capital of France is",
        ]  # fmt: skip
        assert (record.values["outcome"], record.values["fixed"]) == ("a hop is missing", None)


def test_a_failed_chain_and_the_states_of_another() -> None:
    far = other("far", e2="Norway", e2_aliases=[], e3="Oslo", e3_aliases=[])
    near = other("near", e2="Spain", e2_aliases=[], e3="Madrid", e3_aliases=["Villa"])
    same = other("same", e2="France", e2_aliases=[], e3="Lyon", e3_aliases=[])
    task = replace(CHAINS, items=(CHAIN, replace(far, group="else"), same, near))
    answers = [[scores(-1.0, tokens=[11])], [text(" Rome")], [tried("-++"), tried("+--")]]
    asked, record = drive(BackPatching(place="mention", stride=3), task, answers)
    own, control = (a.by for a in asked if isinstance(a, Inspect))
    assert own == BackPatch(mention="the country of the Louvre", stride=3, max_new_tokens=13)
    assert control == replace(own, donor=Prompt(text="Say the near of"), donor_mention="the near")
    values = record.values
    assert (values["fixed"], values["control_fixed"], values["difference"]) == (True, True, 0)
    assert (values["cells"], values["control_cells"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert values["by_source"] == [None, 0.0, 1.0]
    assert values["by_target"] == [1.0, 1.0, None]
    assert values["control_by_source"] == [None, 1.0, 0.0]
    assert values["grid"] == [[1, 0, 0], [2, 0, 1], [2, 1, 1]]
    assert (values["pair"], values["text"], values["outcome"]) == ([2, 0], " Paris!", "fixed")
    assert (values["composed_text"], values["donor"]) == (" Rome", "near")
    without = replace(task, items=(CHAIN, replace(far, group="else"), same))
    _, record = drive(BackPatching(), without, answers)
    assert record.values["donor"] == "far"
    _, record = drive(BackPatching(), replace(task, items=(CHAIN, same)), [*answers[:2], [tried("---")]])
    assert (record.values["outcome"], record.values["fixed"]) == ("not fixed", False)
    assert (record.values["control_fixed"], record.values["difference"], record.values["donor"]) == (None, None, None)


def test_donors_are_spread_over_the_task() -> None:
    items = tuple(other(f"n{n}", e2=f"b{n}", e2_aliases=[], e3=f"c{n}", e3_aliases=[]) for n in range(40))
    task = Task(name="many", kind="chain", items=items)
    donors = []
    for item in items:
        answers = [[scores(-1.0)], [text(" Rome")], [tried("---"), tried("---")]]
        _, record = drive(BackPatching(), replace(task, items=(item, *items)), answers)
        donors.append(record.values["donor"])
        assert record.values["donor"] != item.id
    assert len(set(donors)) > 20


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("patchscopes", {"identity": " "}, "identity is empty"),
        ("patchscopes", {"sources": "late"}, "sources cannot be 'late'. One of: all, early; or a list"),
        ("patchscopes", {"targets": []}, "targets cannot be ()"),
        ("patchscopes", {"targets": [-1]}, "targets cannot be (-1,)"),
        ("patchscopes", {"stride": 0}, "stride cannot be 0"),
        ("patchscopes", {"answer": 1}, "answer cannot be 1"),
        ("back_patching", {"place": "first"}, "place cannot be 'first'"),
        ("back_patching", {"among": "all"}, "among cannot be 'all'"),
        ("back_patching", {"match": "exact"}, "match cannot be 'exact'"),
    ],
)
def test_wrong_settings_are_one_sentence(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        create(name, settings)
    assert message in str(caught.value)


def test_settings_that_leave_no_pair() -> None:
    nothing = Inspection(values={"pairs": [], "texts": [], "states": 3})
    steps = BackPatching(stride=50).steps(CHAINS, CHAIN)
    next(steps)
    steps.send([scores(-1.0)])
    steps.send([text(" Rome")])
    with pytest.raises(Unusable, match="no pair of states"):
        steps.send([nothing])


@pytest.mark.parametrize(
    ("analysis", "curves"), [(Patchscopes(), 2), (Patchscopes(answer=True), 4), (BackPatching(), 3)]
)
def test_curves_are_of_values_that_are_there(analysis: Patchscopes | BackPatching, curves: int) -> None:
    described = [said("+-", "--"), said("--", "--")]
    answers: list[Any] = [[scores(-1.0)], [text(" Rome")], [tried("-++"), tried("+--")]]
    if isinstance(analysis, Patchscopes):
        answers = [described * 2 if analysis.answer else described]
    task = replace(CHAINS, items=(CHAIN, other("x", e2="Spain", e2_aliases=[], e3="Madrid", e3_aliases=[])))
    _, record = drive(analysis, task, answers)
    shown = pictures_of(analysis)
    assert len({curve.name for curve in shown}) == curves
    for curve in shown:
        assert isinstance(curve, Curve)
        assert isinstance(record.values[curve.value], list)


def test_on_the_reference_model(load_model: Callable[[Path], HFModel]) -> None:
    model = load_model(locate_model("reference"))
    task = load_task("testbed-twohop", options={"chains": "held-out"}, limit=24)
    patching, describing = create("back_patching"), create("patchscopes", {"answer": True, "stride": 3})
    records = run(model, task, patching, describing)
    failed = 0
    for item in task.items:
        values = records["back_patching", item.id].values
        composed = model.generate([Generate(prompt=Prompt(text=item.fields["prompt"]), max_new_tokens=10)])[0].text
        assert values["composed_correct"] == recalled(composed, item.answers)
        if values["composed_correct"]:
            continue
        failed += 1
        by = BackPatch(max_new_tokens=10)
        found = model.inspect([Inspect(prompt=Prompt(text=item.fields["prompt"]), by=by)])[0].values
        right = [pair for pair, t in zip(found["pairs"], found["texts"], strict=True) if recalled(t, item.answers)]
        assert values["fixed"] == bool(right)
        assert values["pair"] == (right[0] if right else None)
    assert failed > 2
    described = [records["patchscopes", item.id].values for item in task.items]
    # The answer comes out of states of the last token, and not of those of the prompt with another e1.
    assert sum(bool(v["answer_described"]) for v in described) > 0.7 * len(described)
    assert sum(bool(v["answer_control"]) for v in described) < 0.4 * len(described)
