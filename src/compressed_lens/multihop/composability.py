"""Latent composability without shortcuts: the composed answer where it can only come from both facts (SOCRATES)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

from compressed_lens.analyses.base import Metric, Record, Steps
from compressed_lens.analyses.settings import at_least_one, one_of
from compressed_lens.knowledge.matching import first_place, normalized
from compressed_lens.knowledge.recall import ASKS, Ask, asking
from compressed_lens.lm.protocol import Generate, Generation
from compressed_lens.multihop.hops import hops
from compressed_lens.tasks.base import Item, Task, TaskKind


def named_at(said: str, answers: Sequence[str]) -> int | None:
    """Return where the first accepted answer stands, as whole words, in the normalized text; None where none does."""
    return first_place(normalized(said), [normalized(answer) for answer in answers])


def multiple_choice(said: str) -> bool:
    """Return whether a text lists options: A, B and C, or 1, 2 and 3, with full stops or brackets."""
    return any(all(mark + end in said for mark in marks) for marks in ("ABC", "123") for end in ".)")


@dataclass(frozen=True, kw_only=True)
class Composability:
    """Of the chains whose facts are both known and whose answer cannot be guessed, how many are composed.

    A chain counts when both single facts are right, the composed answer is not **guessable** (right, and right as well
    from a prompt without e1) and not **unusable** (right, but in a list of options, or after the bridge entity was
    written, so that the reasoning was not latent). Among those, `composed` is the share of right answers (Yang et al.
    2024, arXiv 2411.16679, section 4).

    An answer is right when an accepted name stands in the text as whole words, both in lower case and without accents,
    articles and punctuation.

    Values: `composed`: True or False, None for a chain that does not count; `hops_right`, `composed_right` (usable or
    not), `guessable` (None where the data have no prompt without e1), `unusable`; `outcome`; the texts `first_text`,
    `second_text`, `composed_text`, `without_e1_texts`.

    Attributes:
        ask: "continue": plain text to be continued, no chat template. "chat": a user's turn.
        max_new_tokens: Longest continuation, in tokens; the authors take 32 for base models, 96 for instructed ones.
    """

    name: ClassVar[str] = "composability"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("chain",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="composability",
            value="composed",
            direction="higher",
            unit="rate",
            summary="Share composed of the chains whose facts are known, not guessable and usable",
        ),
        Metric(
            name="counted",
            value="counted",
            direction="neither",
            unit="rate",
            summary="Share of chains that composability is measured on",
        ),
        Metric(
            name="hop_missing",
            value="hop_missing",
            direction="lower",
            unit="rate",
            summary="Share left out because a single fact is not known",
        ),
        Metric(
            name="guessable",
            value="guessable",
            direction="neither",
            unit="rate",
            summary="Share left out because the answer comes without the first entity as well",
        ),
        Metric(
            name="unusable",
            value="unusable",
            direction="neither",
            unit="rate",
            summary="Share left out because the bridge entity is written first, or options are listed",
        ),
    )

    ask: Ask = "continue"
    max_new_tokens: int = 32

    def __post_init__(self) -> None:
        one_of("ask", self.ask, ASKS)
        at_least_one("max_new_tokens", self.max_new_tokens)

    def steps(self, task: Task, item: Item) -> Steps:
        """Ask for all continuations at once."""
        chain = hops(item)
        asked = (chain.first, chain.second, chain.composed, *chain.without_e1)
        answers = yield [Generate(prompt=asking(self.ask, text), max_new_tokens=self.max_new_tokens) for text in asked]
        first, second, composed, *blind = (answer.text for answer in cast(list[Generation], answers))
        known = all(
            named_at(said, names) is not None and not multiple_choice(said)
            for said, names in ((first, chain.bridge), (second, chain.answers))
        )
        place, aloud = named_at(composed, chain.answers), named_at(composed, chain.bridge)
        right = place is not None
        unusable = place is not None and (multiple_choice(composed) or (aloud is not None and aloud < place))
        guessed = any(named_at(said, chain.answers) is not None for said in blind)
        guessable = right and not unusable and guessed
        counted = known and not guessable and not unusable
        return Record(
            values={
                "composed": right if counted else None,
                "counted": counted,
                "hop_missing": not known,
                "hops_right": known,
                "composed_right": right,
                "guessable": guessable if blind else None,
                "unusable": unusable,
                "outcome": _outcome(known, right, guessable, unusable),
                "first_text": first,
                "second_text": second,
                "composed_text": composed,
                "without_e1_texts": list(blind),
            }
        )


def _outcome(known: bool, right: bool, guessable: bool, unusable: bool) -> str:
    if not known:
        return "a hop is missing"
    if unusable:
        return "unusable"
    if guessable:
        return "guessable"
    return "composed" if right else "not composed"
