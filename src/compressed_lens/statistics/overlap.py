"""Overlap of two sets drawn from the same population, against sets drawn by lot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressed_lens.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How much two sets have in common.

    Attributes:
        jaccard: Common members over members of either, in 0..1; NaN where both are empty.
        expected: Mean of the same over random sets of the same sizes in each stratum.
        p: Probability that random sets have at least as many members in common; in 0..1.
    """

    jaccard: float
    expected: float
    p: float


def overlap(shared: Sequence[int], first: Sequence[int], second: Sequence[int], population: Sequence[int]) -> Overlap:
    """Compare two sets with random ones that have as many members in every stratum (exactly, no permutations drawn).

    The number of common members of two random sets is hypergeometric in a stratum; strata add up. With one stratum it
    is the plain test; with one a layer, sets that favour the same layers are not taken for sets that agree.

    Args:
        shared: Common members in each stratum.
        first: Members of one set in each.
        second: Members of the other set in each.
        population: Members there are in each.

    Raises:
        DataError: Sizes that no two sets can have.
    """
    strata = list(zip(shared, first, second, population, strict=True))
    for common, one, other, everyone in strata:
        if not (max(0, one + other - everyone) <= common <= min(one, other) and max(one, other) <= everyone):
            raise DataError(
                f"Sets of {one} and {other} out of {everyone} cannot share {common}.", fix="Count each stratum alone."
            )
    chances = np.ones(1)
    for _, one, other, everyone in strata:
        chances = np.convolve(chances, _hypergeometric(one, other, everyone))
    common, members = sum(shared), sum(first) + sum(second)
    if not members:
        return Overlap(jaccard=math.nan, expected=math.nan, p=1.0)
    counts = np.arange(len(chances))
    return Overlap(
        jaccard=common / (members - common),
        expected=float((chances * counts / (members - counts)).sum()),
        p=float(min(1.0, chances[common:].sum())),
    )


def _hypergeometric(one: int, other: int, everyone: int) -> NDArray[np.float64]:
    """Return the probability of every number of common members, from none on."""
    found: NDArray[np.float64] = np.zeros(min(one, other) + 1)
    for common in range(max(0, one + other - everyone), len(found)):
        found[common] = math.exp(
            _log_choose(one, common) + _log_choose(everyone - one, other - common) - _log_choose(everyone, other)
        )
    found /= found.sum()
    return found


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
