"""The invented world is consistent, large enough, and keeps what it holds out."""

from __future__ import annotations

from collections import Counter

import pytest

from compressed_lens.testbed import world


def test_enough_facts_over_enough_relations() -> None:
    facts = world.facts()
    assert len(facts) >= 1000
    assert len({f.relation for f in facts}) == len(world.RELATIONS) >= 6
    assert all(len(r.completions) >= 3 and len(r.questions) >= 2 for r in world.RELATIONS.values())


def test_every_subject_has_one_object_per_relation() -> None:
    pairs = Counter((f.relation, f.subject) for f in world.facts())
    assert max(pairs.values()) == 1


def test_every_chain_is_two_facts_that_share_the_bridge() -> None:
    facts = set(world.facts())
    for chain in world.chains():
        assert {chain.first, chain.second} <= facts
        assert chain.first.object == chain.second.subject


def test_held_out_chains_and_phrasings_are_never_trained() -> None:
    trained = {prompt for prompt, _, _ in world.training_statements()}
    for chain in world.chains():
        prompts = {
            world.two_hop(template, chain)
            for template in (
                *world.RELATIONS[chain.second.relation].completions,
                *world.RELATIONS[chain.second.relation].questions,
            )
        }
        assert bool(prompts & trained) is not chain.held_out
    for fact in world.facts():
        for i, template in enumerate(world.RELATIONS[fact.relation].completions):
            shown = world.sentence(template.format(fact.subject)) in trained
            assert shown is (i != world.held_out_phrasing(fact))


def test_a_fifth_of_the_facts_hold_out_a_phrasing() -> None:
    hidden = [world.held_out_phrasing(f) for f in world.facts()]
    assert 0 not in hidden
    assert 0.15 < sum(h is not None for h in hidden) / len(hidden) < 0.25


def test_some_of_every_composition_is_held_out() -> None:
    held_out = Counter((c.first.relation, c.second.relation) for c in world.chains() if c.held_out)
    assert set(held_out) == set(world.COMPOSITIONS)


@pytest.mark.parametrize("relation", world.RELATIONS.values(), ids=lambda r: r.name)
def test_templates_hold_one_gap(relation: world.Relation) -> None:
    for template in (*relation.completions, *relation.questions, relation.phrase):
        assert template.count("{}") == 1
