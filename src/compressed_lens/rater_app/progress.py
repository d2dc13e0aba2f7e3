"""How far a study is, by cell code: what the admin page and `clens human status` show."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np
import polars as pl

from compressed_lens.human.design import KINDS, Kind
from compressed_lens.human.store import HumanStore, Rater
from compressed_lens.statistics.agreement import alpha_interval
from compressed_lens.statistics.interval import Interval

_INCIDENTS = 100
_TWO = 2


@dataclass(frozen=True, kw_only=True)
class RaterProgress:
    """One rater: how far, checks failed of those answered, and the median seconds of a page (None before the first)."""

    rater: Rater
    checks: int
    failed: int
    seconds: float | None

    @property
    def state(self) -> str:
        """The step, or `unopened` before the link was opened for the first time."""
        return "unopened" if self.rater.step == "consent" and self.rater.opened is None else self.rater.step


@dataclass(frozen=True, kw_only=True)
class CellProgress:
    """Ratings there are of those wanted, for one cell of the design by its code."""

    cell: str
    kind: Kind
    ratings: int
    wanted: int


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Krippendorff's alpha (ordinal) of one kind and dimension so far; None where it cannot be told yet."""

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


def progress(store: HumanStore, *, new_link: tuple[str, str] | None = None) -> Progress:
    """Return how far a study is."""
    ratings = store.ratings()
    answered = {
        str(rater): (int(checks), int(failed), float(seconds))
        for rater, checks, failed, seconds in ratings.group_by("rater")
        .agg(
            pl.col("check").sum(), (~pl.col("passed")).sum().alias("failed"), pl.col("seconds").median().alias("median")
        )
        .iter_rows()
    }
    raters = []
    for rater in store.raters():
        checks, failed, seconds = answered.get(rater.id, (0, 0, None))
        raters.append(RaterProgress(rater=rater, checks=checks, failed=failed, seconds=seconds))
    there = Counter(ratings.filter(~pl.col("check")).select("cell", "kind").iter_rows())
    cells = [
        CellProgress(cell=cell, kind=kind, ratings=there[cell, kind], wanted=wanted)
        for (cell, kind), wanted in sorted(store.wanted().items())
    ]
    return Progress(
        raters=tuple(raters),
        cells=tuple(cells),
        agreement=agreement(ratings, [dimension.name for dimension in store.questionnaire.dimensions]),
        incidents=store.incidents()[: -_INCIDENTS - 1 : -1],
        new_link=new_link,
    )


def agreement(ratings: pl.DataFrame, dimensions: list[str]) -> tuple[Agreement, ...]:
    """Return Krippendorff's alpha of each kind and dimension, over the texts with two or more ratings.

    Args:
        ratings: Frame of the store.
        dimensions: Names of what is rated.

    Source: 2601.00282, section 5.
    """
    found = []
    texts = ratings.filter(~pl.col("check"))
    for kind in KINDS:
        part = texts.filter(pl.col("kind") == kind)
        if part.is_empty():
            continue
        rows, columns = (part[name].rank("dense").to_numpy() - 1 for name in ("rater", "text"))
        values = [json.loads(one) for one in part["values"]]
        for dimension in dimensions:
            table = np.full((int(rows.max()) + 1, int(columns.max()) + 1), np.nan)
            table[rows, columns] = [value[dimension] for value in values]
            rated = int(((~np.isnan(table)).sum(axis=0) >= _TWO).sum())
            alpha = alpha_interval(table, seed=0) if rated else None
            known = alpha is not None and not np.isnan(alpha.estimate)
            found.append(Agreement(kind=kind, dimension=dimension, texts=rated, alpha=alpha if known else None))
    return tuple(found)
