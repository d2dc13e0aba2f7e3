"""The prompts of a chain of two facts, and what each of them should be answered with."""

from __future__ import annotations

from dataclasses import dataclass

from compressed_lens.explanations.sources import Unusable
from compressed_lens.tasks.base import Item


@dataclass(frozen=True, kw_only=True)
class Hops:
    """A chain's prompts with their accepted answers, each answer's own name first.

    Attributes:
        first: r1(e1), answered by one of `bridge`.
        second: r2(e2), answered by one of `answers`.
        composed: r2(r1(e1)), answered by one of `answers`.
        without_e1: The composed prompt without e1, or with nobody in its place; none where the data have none.
    """

    first: str
    second: str
    composed: str
    bridge: tuple[str, ...]
    answers: tuple[str, ...]
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
        without_e1=tuple(chain["without_e1"]),
    )
