"""What the admin page shows: how far the raters are, and how well they agree so far; everything by cell code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compressed_lens.human.design import Kind
from compressed_lens.statistics.interval import Interval

if TYPE_CHECKING:
    from compressed_lens.human.store import Rater


@dataclass(frozen=True, kw_only=True)
class RaterProgress:
    """One rater: how far, checks failed of those answered, and the median seconds of a page (None before the first)."""

    rater: Rater
    checks: int
    failed: int
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class CellProgress:
    """Ratings there are of those wanted, for one cell of the design."""

    cell: str
    kind: Kind
    ratings: int
    wanted: int


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Krippendorff's alpha (ordinal) of one kind and dimension so far; None where no text has two ratings."""

    kind: Kind
    dimension: str
    texts: int
    alpha: Interval | None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Everything the admin page shows.

    Attributes:
        raters: In order.
        cells: By code.
        agreement: By kind and dimension; `texts` counts those with two or more ratings.
        incidents: (seconds since 1970, what, detail), the newest first; the last 100.
        new_link: Rater and personal link that was just made; shown this once.
    """

    raters: tuple[RaterProgress, ...]
    cells: tuple[CellProgress, ...]
    agreement: tuple[Agreement, ...]
    incidents: tuple[tuple[float, str, str], ...]
    new_link: tuple[str, str] | None = None
