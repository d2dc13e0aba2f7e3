"""The prompts of a chain of two facts, what each of them should be answered with, and where the bridge is mentioned."""

from __future__ import annotations

from dataclasses import dataclass

from compressed_lens.explanations.sources import Unusable
from compressed_lens.tasks.base import Item


@dataclass(frozen=True, kw_only=True)
class Mentioned:
    """A prompt, and the descriptive mention of an entity word for word as it stands in it."""

    prompt: str
    mention: str


@dataclass(frozen=True, kw_only=True)
class Hops:
    """A chain's prompts with their accepted answers, each answer's own name first.

    Attributes:
        first: r1(e1), answered by one of `bridge`.
        second: r2(e2), answered by one of `answers`.
        composed: r2(r1(e1)), answered by one of `answers`.
        mention: Descriptive mention of the bridge in the composed prompt.
        entity: The composed prompt with another e1, whose mention means another bridge; None where the data have none.
        relation: The same with another relation of e1.
        without_e1: The composed prompt without e1, or with nobody in its place; none where the data have none.
    """

    first: str
    second: str
    composed: str
    bridge: tuple[str, ...]
    answers: tuple[str, ...]
    mention: str
    entity: Mentioned | None
    relation: Mentioned | None
    without_e1: tuple[str, ...]


def hops(item: Item) -> Hops:
    """Return the prompts of a chain.

    Raises:
        Unusable: The item has no chain.
    """
    chain = item.extra.get("chain")
    if not chain:
        raise Unusable("the item has no chain of two facts")
    return Hops(
        first=chain["first"],
        second=chain["second"],
        composed=item.fields["prompt"],
        bridge=tuple(dict.fromkeys((chain["e2"], *chain["e2_aliases"]))),
        answers=tuple(dict.fromkeys((chain["e3"], *chain["e3_aliases"]))),
        mention=chain["mention"],
        entity=Mentioned(**chain["entity"]) if chain["entity"] else None,
        relation=Mentioned(**chain["relation"]) if chain["relation"] else None,
        without_e1=tuple(chain["without_e1"]),
    )
