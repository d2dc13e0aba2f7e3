"""What a claim is: a published statement, what follows of it from published cells, and what our own run shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from compressed_lens.claims.own import OwnFigure, OwnRun
    from compressed_lens.claims.published import Published

Mark = Literal["A", "B", "C", "D", "U"]
Author = Literal["the paper", "us"]
Follows = Literal["follows", "does not follow", "cannot be computed"]

MARKS: Mapping[Mark, str] = {
    "A": "read in the paper",
    "B": "two readings agree, or one was checked against data or code",
    "C": "one note only",
    "D": "inferred by arithmetic, or from code of the same group",
    "U": "unknown",
}


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A source of claims.

    Attributes:
        key: Short name in ids and tables.
    """

    key: str
    arxiv: str
    title: str
    licence: str


SELF_EXPLANATIONS = Paper(
    key="SE",
    arxiv="2601.00282v1",
    title="quantized models' self-explanations: quality, faithfulness, human and judge ratings",
    licence="CC BY 4.0",
)
FACTUAL_KNOWLEDGE = Paper(
    key="FKR",
    arxiv="2505.13963v3",
    title="quantized models' factual knowledge recall and latent multi-hop reasoning",
    licence="numbers given as facts",
)
FIRST_VERSION = Paper(
    key="CL-v1",
    arxiv="2505.13963v1",
    title="the first version, which held the analyses of both",
    licence="numbers given as facts",
)
PAPERS = (SELF_EXPLANATIONS, FACTUAL_KNOWLEDGE, FIRST_VERSION)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One number that a recomputation rests on or gives beside its value.

    Attributes:
        low: Lower end of its 95 % interval, or of what the rounding of the cells allows; None where there is none.
        high: Upper end.
    """

    name: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Recomputed:
    """What the published cells give.

    Attributes:
        follows: Whether the statement follows from them.
        why: In one to three sentences.
        value: The number to hold against the stated one; None where there is none.
        low: Lower end of the interval of `value`; None where there is none.
        high: Upper end.
        parts: Further numbers, most important first.
    """

    follows: Follows
    why: str
    value: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    parts: tuple[Part, ...] = ()


Recompute = Callable[["Published"], Recomputed]
Own = Callable[["OwnRun"], "tuple[OwnFigure, ...]"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One published statement.

    Attributes:
        id: Name on the command line, such as "se-quality-rank".
        section: Where we have the statement from: a section of the paper, or of our reading of it.
        statement: In our words, with the published number.
        mark: How sure the reading is (`MARKS`).
        formula: What is computed, and when the statement is taken to follow.
        stated: The published number; None where there is none.
        unit: Of `stated`.
        uses: Names of the published tables it is computed from.
        recompute: From the published tables.
        own: The same question asked of a run; None where a run cannot answer it.
    """

    id: str
    paper: Paper
    section: str
    statement: str
    mark: Mark
    formula: str
    stated: float | None
    unit: str
    uses: tuple[str, ...]
    recompute: Recompute
    own: Own | None

    @property
    def by(self) -> Author:
        """Who states it: what is inferred (mark D) is our reading of the cells, checked here so that it stays right."""
        return "us" if self.mark == "D" else "the paper"


def claim(
    *,
    id: str,  # noqa: A002 - the word that users type
    paper: Paper,
    section: str,
    statement: str,
    mark: Mark,
    formula: str,
    uses: tuple[str, ...],
    stated: float | None = None,
    unit: str = "",
    own: Own | None = None,
) -> Callable[[Recompute], Claim]:
    """Make a claim of the function of the published tables below it; the arguments are described at `Claim`."""

    def made(recompute: Recompute) -> Claim:
        return Claim(
            id=id,
            paper=paper,
            section=section,
            statement=statement,
            mark=mark,
            formula=formula,
            stated=stated,
            unit=unit,
            uses=uses,
            recompute=recompute,
            own=own,
        )

    return made


def unpublished(
    *,
    id: str,  # noqa: A002
    paper: Paper,
    section: str,
    statement: str,
    mark: Mark,
    why: str,
    stated: float | None = None,
    unit: str = "",
    own: Own | None = None,
) -> Claim:
    """Make a claim that no published cell we have can check; `why` says what is missing."""
    outcome = Recomputed(follows="cannot be computed", why=why)
    made = claim(
        id=id,
        paper=paper,
        section=section,
        statement=statement,
        mark=mark,
        formula="none",
        uses=(),
        stated=stated,
        unit=unit,
        own=own,
    )
    return made(lambda _: outcome)
