"""The testbed's own tasks: held-out reviews and pairs, one-hop facts, two-hop chains."""

from __future__ import annotations

from random import Random
from types import ModuleType

from compressed_lens.errors import StudyError
from compressed_lens.tasks.base import Content, Item, Selection, TaskSource
from compressed_lens.testbed import corpus, pairs, reviews, world

ITEMS = 400
ITEM_SEED = 7
_PHRASINGS = ("trained", "held-out")


def _labelled(generator: ModuleType) -> Content:
    rng = Random(ITEM_SEED)
    items: dict[str, Item] = {}
    while len(items) < ITEMS:
        example = corpus.draw(generator, rng, held_out=True)
        identity = " / ".join(example.fields.values())
        items.setdefault(
            identity,
            Item(
                id=f"{len(items):04d}",
                fields=example.fields,
                answers=(example.label,),
                references=(example.explanation,),
                extra={"evidence": list(example.evidence), "edited": example.edited, "target": example.target},
            ),
        )
    return Content(items=tuple(items.values()), notes="Generated: labels, evidence and edits are true by construction.")


def _reviews(_: Selection) -> Content:
    return _labelled(reviews)


def _pairs(_: Selection) -> Content:
    return _labelled(pairs)


def _facts(selection: Selection) -> Content:
    style = selection.options["phrasing"]
    if style not in _PHRASINGS:
        raise StudyError(f"The option 'phrasing' is '{style}'.", fix=f"One of: {', '.join(_PHRASINGS)}.")
    items = []
    for fact in world.facts():
        phrasing = 0 if style == "trained" else world.held_out_phrasing(fact)
        if phrasing is None:
            continue
        template = world.RELATIONS[fact.relation].completions[phrasing]
        items.append(
            Item(
                id=f"{fact.relation}/{fact.subject}",
                fields={"prompt": world.sentence(template.format(fact.subject))},
                answers=(fact.object,),
                group=fact.relation,
                extra={"subject": fact.subject, "relation": fact.relation},
            )
        )
    return Content(items=tuple(items), notes=f"Facts of the invented world, {style} phrasing.")


def _two_hop(_: Selection) -> Content:
    items = tuple(
        Item(
            id=chain.id,
            fields={"prompt": world.two_hop(world.RELATIONS[chain.second.relation].completions[0], chain)},
            answers=(chain.second.object,),
            group="held-out" if chain.held_out else "trained",
            extra={
                "subject": chain.first.subject,
                "bridge": chain.first.object,
                "first": chain.first.relation,
                "second": chain.second.relation,
            },
        )
        for chain in world.chains()
    )
    return Content(items=items, notes="Two-hop chains; the group says whether training saw the composition.")


REVIEWS = TaskSource(
    kind="classification",
    read=_reviews,
    labels=reviews.LABELS,
    instruction=reviews.INSTRUCTION,
    edit_field="review",
    targets=reviews.TARGETS,
)
PAIRS = TaskSource(
    kind="classification",
    read=_pairs,
    labels=pairs.LABELS,
    instruction=pairs.INSTRUCTION,
    edit_field="hypothesis",
    targets=pairs.TARGETS,
)
FACTS = TaskSource(kind="recall", read=_facts, options={"phrasing": "trained"})
TWOHOP = TaskSource(kind="recall", read=_two_hop)
