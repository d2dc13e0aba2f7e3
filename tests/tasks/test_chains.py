"""Chains of facts: every part is there, and says what it should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compressed_lens.errors import DataError
from compressed_lens.tasks import Item, Task, load_task
from compressed_lens.tasks.chains import PAIRS, WORDINGS, chosen, filled, named
from compressed_lens.testbed import world

Write = Callable[[str, list[dict[str, Any]]], Path]

COUNTS = {
    "landmark_in_country > country_capital_city": 458, "landmark_in_country > country_currency": 394,
    "landmark_in_country > country_language": 458, "landmark_in_country > country_largest_city": 508,
    "food_from_country > country_capital_city": 15, "food_from_country > country_currency": 18,
    "food_from_country > country_language": 15, "food_from_country > country_largest_city": 18,
    "product_by_company > company_ceo": 422, "product_by_company > company_hq": 27,
    "superhero_archnemesis > superhero_person": 1,
}  # fmt: skip
KEYS = {
    "e1", "e2", "e3", "e2_aliases", "e3_aliases", "first", "second", "mention", "entity", "relation", "without_e1",
    "first_relation", "second_relation",
}  # fmt: skip


@pytest.fixture(scope="module", params=["testbed", "sample", "whole"])
def task(request: pytest.FixtureRequest) -> Task:
    if request.param == "testbed":
        return load_task("testbed-twohop")
    folder = {"sample": "relations_twohop", "whole": "lre"}[request.param]
    shared: Path = request.getfixturevalue("shared")
    return load_task("relations-twohop", path=str(shared / "data" / folder))


def checked(item: Item) -> dict[str, Any]:
    """Return the parts of a chain that fit together."""
    chain: dict[str, Any] = item.extra["chain"]
    prompt = item.fields["prompt"]
    assert set(chain) == KEYS
    assert item.answers == tuple(chain["e3_aliases"])
    assert (item.answers[0], chain["e2_aliases"][0]) == (chain["e3"], chain["e2"])
    assert item.group == f"{chain['first_relation']} > {chain['second_relation']}"
    assert chain["e1"].lower() in chain["first"].lower() and chain["e2"] in chain["second"]
    assert chain["e2"] not in prompt or chain["e2"] in chain["e1"]
    assert all(prompt == prompt.strip() and "{" not in prompt for prompt in (prompt, chain["first"], chain["second"]))
    for other, mention in ((prompt, chain["mention"]), *(
        (chain[kind]["prompt"], chain[kind]["mention"]) for kind in ("entity", "relation") if chain[kind]
    )):  # fmt: skip
        start = other.rindex(mention)
        assert other.count(mention) == 1 and 0 < start + len(mention) < len(other)
        # Everything about the mention is the second relation's own statement.
        rest = other[:start].lower() + other[start + len(mention) :]
        assert rest == prompt.replace(chain["mention"], "").lower() or rest == prompt.replace(chain["mention"], "")
    assert chain["e1"] in chain["mention"] and chain["e1"] in chain["relation"]["mention"]
    assert chain["relation"]["mention"] != chain["mention"]
    assert len(chain["without_e1"]) == 2 and not any(chain["e1"] in text for text in chain["without_e1"])
    return chain


def test_every_item_has_a_whole_chain(task: Task) -> None:
    assert task.kind == "chain" and not task.rejected
    assert len({item.id for item in task.items}) == len(task.items)
    bridges: dict[tuple[str, str], set[str]] = {}
    for item in task.items:
        chain = checked(item)
        bridges.setdefault((chain["first_relation"], named(chain["e1"])), set()).add(chain["e2"])
    for item in task.items:
        chain = item.extra["chain"]
        if chain["entity"] is None:
            assert item.group.startswith("superhero")
            continue
        phrase = _phrase(chain["first_relation"])
        rival = chain["entity"]["mention"][len(phrase) - 2 :]
        assert chain["e2"] not in bridges[chain["first_relation"], rival]


def _phrase(relation: str) -> str:
    phrase = world.RELATIONS[relation].phrase if relation in world.RELATIONS else WORDINGS[relation].phrase
    assert phrase.endswith("{}")
    return phrase


def test_the_testbed_knows_the_truth_of_its_chains() -> None:
    task = load_task("testbed-twohop")
    truth = {(fact.relation, fact.subject): fact.object for fact in world.facts()}
    assert len(task.items) == 1_030
    for item in task.items:
        chain = item.extra["chain"]
        assert truth[chain["first_relation"], chain["e1"]] == chain["e2"]
        assert truth[chain["second_relation"], chain["e2"]] == chain["e3"] == item.answers[0]
        assert truth[chain["first_relation"], chain["entity"]["mention"].split(" of ", 1)[-1]] != chain["e2"]
        kind = chain["first_relation"].split("_")[0]
        phrase = chain["relation"]["mention"].replace(chain["e1"], "{}").lower()
        (other,) = (r.name for r in world.RELATIONS.values() if r.phrase == phrase)
        assert other.startswith(kind) and truth[other, chain["e1"]] != chain["e2"]


@pytest.mark.parametrize(("chains", "count"), [("all", 1_030), ("trained", 892), ("held-out", 138)])
def test_testbed_chains_by_training(chains: str, count: int) -> None:
    items = load_task("testbed-twohop", options={"chains": chains}).items
    assert len(items) == count
    assert chains == "all" or {item.extra["held_out"] for item in items} == {chains == "held-out"}


def test_testbed_facts_have_their_other_wordings() -> None:
    items = load_task("testbed-facts").items
    assert len(items) == 1_100
    item = next(i for i in items if i.group == "country_capital")
    assert item.extra["paraphrases"] == [
        f"The government of {item.extra['subject']} sits in",
        f"The capital city of {item.extra['subject']} is called",
    ]
    assert all(len(i.extra["paraphrases"]) == 2 and i.fields["prompt"] not in i.extra["paraphrases"] for i in items)


def test_the_sample_is_part_of_the_whole(shared: Path) -> None:
    sample = load_task("relations-twohop", path=str(shared / "data" / "relations_twohop"))
    whole = load_task("relations-twohop", path=str(shared / "data" / "lre"))
    assert (len(sample.items), len(whole.items)) == (300, 2_334)
    assert Counter(item.group for item in whole.items) == COUNTS
    assert {item.id.split("#")[0] for item in sample.items} <= {item.id for item in whole.items}
    assert "1 first entities have several bridges" in sample.notes


def test_relations_in_good_english(shared: Path) -> None:
    task = load_task("relations-twohop", path=str(shared / "data" / "relations_twohop"))
    prompts = {item.id: item.fields["prompt"] for item in task.items}
    assert prompts["landmark_in_country>country_largest_city/IJmuiden/Netherlands"] == (
        "The largest city in the country that is home to IJmuiden is"
    )
    parts = {item.id: item.extra["chain"] for item in task.items}
    assert parts["landmark_in_country>country_largest_city/IJmuiden/Netherlands"]["second"] == (
        "The largest city in the Netherlands is"
    )
    ipod = parts["product_by_company>company_ceo/iPod/Apple"]
    assert (ipod["first"], ipod["mention"]) == (
        "The iPod was created by the company",
        "the company that created the iPod",
    )
    assert parts["product_by_company>company_ceo/iOS 5/Apple"]["first"] == "iOS 5 was created by the company"
    assert parts["landmark_in_country>country_capital_city/Piedecuesta/Colombia"]["e3"] == "Bogotá"


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        ("Netherlands", "the Netherlands"), ("Spain", "Spain"), ("The Legend of Zelda", "The Legend of Zelda"),
        ("Indus River", "the Indus River"), ("Autonomous University of Madrid", "the Autonomous University of Madrid"),
        ("Kyoto University", "Kyoto University"), ("Shire of Wambo", "the Shire of Wambo"), ("Gdansk, Poland",) * 2,
    ],
)  # fmt: skip
def test_articles(entity: str, expected: str) -> None:
    assert named(entity) == expected


def test_wordings_place_their_subject_once() -> None:
    for relation, wording in WORDINGS.items():
        assert all(text.count("{}") == 1 for text in (wording.statement, *wording.others))
        assert bool(wording.phrase) == bool(wording.others) == (relation in PAIRS)
    assert filled("{} is", "the man") == ("The man is", "The man")
    assert filled("{} is", "iPod") == ("iPod is", "iPod")
    assert filled("the end of {} is", "{x}") == ("The end of {x} is", "{x}")


def test_a_choice_depends_on_nothing_but_the_item_and_what_there_is() -> None:
    options = [f"option {n}" for n in range(20)]
    picked = {chosen(f"item {n}", "entity", options) for n in range(40)}
    assert len(picked) > 10
    assert chosen("item", "entity", options) == chosen("item", "entity", list(options))
    assert chosen("item", "entity", []) is None


def test_bad_rows_are_rejected_with_their_reason(write: Write) -> None:
    good = {"r1": "product_by_company", "r2": "company_hq", "e1": "Xbox", "e2": "Microsoft", "e3": "Redmond"}
    rows = [good, {**good, "e3": " "}, {**good, "r1": "company_hq"}, {**good, "r2": "company_founder"}, good]
    task = load_task("relations-twohop", path=str(write("c.csv", rows)))
    assert [item.id for item in task.items] == [f"product_by_company>company_hq/Xbox/Microsoft{n}" for n in ("", "#2")]
    assert task.rejected == (
        ("c.csv:3", "empty e3"),
        ("c.csv:4", "no wording for 'company_hq' as r1"),
        ("c.csv:5", "no wording for 'company_founder' as r2"),
    )
    with pytest.raises(DataError, match="no column 'e3'"):
        load_task("relations-twohop", path=str(write("d.csv", [{k: v for k, v in good.items() if k != "e3"}])))
