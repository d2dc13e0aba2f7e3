"""Flips between two variants on the same items, and McNemar's exact test of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from compressed_lens.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Flips:
    """How two-valued outcomes of the same items changed.

    Attributes:
        lost: Items that were 1 under the reference and are 0 now.
        gained: Items that were 0 and are 1.
        both: Items that are 1 under both.
        neither: Items that are 0 under both.
        dropped: Items that do not apply (NaN) on at least one side.
    """

    lost: int
    gained: int
    both: int
    neither: int
    dropped: int

    @property
    def n(self) -> int:
        """Pairs that apply on both sides."""
        return self.lost + self.gained + self.both + self.neither

    @property
    def rate(self) -> float:
        """Share of pairs that changed, in 0..1 (NaN without pairs); a difference of rates hides it."""
        return (self.lost + self.gained) / self.n if self.n else float("nan")


def flips(base: ArrayLike, other: ArrayLike) -> Flips:
    """Count how the outcomes of `base` (0, 1 or NaN; shape [n]) changed in `other`.

    Raises:
        DataError: Shapes differ, or a value is not 0, 1 or NaN.

    Source: Dutta et al. 2024, arXiv 2407.09141.
    """
    first, second = np.asarray(base, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(
            f"Outcomes have shapes {first.shape} and {second.shape}.", fix="Pass the same items in the same order."
        )
    for values in (first, second):
        if not ((values == 0) | (values == 1) | np.isnan(values)).all():
            raise DataError("Flips are counted between outcomes of 0 and 1 only.", fix="Threshold the values first.")
    return Flips(
        lost=int(((first == 1) & (second == 0)).sum()),
        gained=int(((first == 0) & (second == 1)).sum()),
        both=int(((first == 1) & (second == 1)).sum()),
        neither=int(((first == 0) & (second == 0)).sum()),
        dropped=int((np.isnan(first) | np.isnan(second)).sum()),
    )


def mcnemar_p(lost: int, gained: int) -> float:
    """Exact two-sided p of McNemar's test: are changes in one direction more frequent than in the other?

    Args:
        lost: Pairs that went from 1 to 0.
        gained: Pairs that went from 0 to 1.

    Returns:
        2 · P(X <= min(lost, gained)) for X ~ Binomial(lost + gained, 1/2), at most 1; 1 when nothing changed.

    Source: McNemar 1947, Psychometrika 12:153; exact binomial form.
    """
    if min(lost, gained) < 0:
        raise DataError(f"{lost} lost and {gained} gained is impossible.", fix="Pass counts.")
    n, fewer = lost + gained, min(lost, gained)
    log_factorials = np.concatenate([[0.0], np.log(np.arange(1, n + 1)).cumsum()])
    log_choices = log_factorials[n] - log_factorials[: fewer + 1] - log_factorials[n - fewer :][::-1]
    return min(1.0, 2 * float(np.exp(log_choices - n * np.log(2)).sum()))
