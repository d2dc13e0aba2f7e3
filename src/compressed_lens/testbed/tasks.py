"""The testbed's own tasks: held-out reviews and pairs, one-hop facts, two-hop chains."""

from __future__ import annotations

from random import Random
from types import ModuleType

from compressed_lens.errors import StudyError
from compressed_lens.tasks.base import Content, Item, Selection, TaskSource
from compressed_lens.tasks.chains import chain as build_chain
from compressed_lens.tasks.chains import chosen
from compressed_lens.testbed import corpus, pairs, reviews, world

ITEMS = 400
ITEM_SEED = 7
_PHRASINGS = ("trained", "held-out")
_CHAINS = ("all", "trained", "held-out")


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
        prompts = [world.sentence(t.format(fact.subject)) for t in world.RELATIONS[fact.relation].completions]
        items.append(
            Item(
                id=f"{fact.relation}/{fact.subject}",
                fields={"prompt": prompts[phrasing]},
                answers=(fact.object,),
                group=fact.relation,
                extra={
                    "subject": fact.subject,
                    "object": fact.object,
                    "relation": fact.relation,
                    "paraphrases": [prompt for prompt in prompts if prompt != prompts[phrasing]],
                },
            )
        )
    return Content(items=tuple(items), notes=f"Facts of the invented world, {style} phrasing.")


def _two_hop(selection: Selection) -> Content:
    wanted = selection.options["chains"]
    if wanted not in _CHAINS:
        raise StudyError(f"The option 'chains' is '{wanted}'.", fix=f"One of: {', '.join(_CHAINS)}.")
    items = tuple(
        _chain_item(chain) for chain in world.chains() if wanted == "all" or chain.held_out == (wanted == "held-out")
    )
    return Content(items=items, notes=f"Two-hop chains of the invented world ({wanted}).")


def _chain_item(chain: world.Chain) -> Item:
    first, second = (world.RELATIONS[fact.relation] for fact in (chain.first, chain.second))
    e1, e2, e3 = chain.first.subject, chain.first.object, chain.second.object
    rivals = [f.subject for f in world.facts() if f.relation == first.name and f.object != e2]
    rival = chosen(chain.id, "entity", rivals)
    kind, bridge = (name.partition("_")[0] for name in (first.name, second.name))
    other = chosen(
        chain.id,
        "relation",
        [r.phrase for r in world.RELATIONS.values() if r.name.startswith(f"{kind}_") and r is not first],
    )
    prompt, parts = build_chain(
        entities=(e1, e2, e3),
        relations=(first.name, second.name),
        aliases=((e2,), (e3,)),
        first=world.sentence(first.completions[0].format(e1)),
        second=world.sentence(second.completions[0].format(e2)),
        statement=second.completions[0],
        phrase=first.phrase.format(e1),
        entity=None if rival is None else first.phrase.format(rival),
        relation=None if other is None else other.format(e1),
        without_e1=(first.phrase.format(f"a certain {kind}"), f"a certain {bridge}"),
    )
    return Item(
        id=chain.id,
        fields={"prompt": prompt},
        answers=(e3,),
        group=f"{first.name} > {second.name}",
        extra={"subject": e1, "object": e3, "held_out": chain.held_out, "chain": parts},
    )


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
TWOHOP = TaskSource(kind="chain", read=_two_hop, options={"chains": "all"})
