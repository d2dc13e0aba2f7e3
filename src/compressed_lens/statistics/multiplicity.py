"""Corrections for many tests: of p values alone, and over shared sign flips.

Every correction is over one family: the values it is given. Say which they are wherever the result is shown. NaN marks
a test that could not be made: it stays NaN and does not count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down correction: p values that keep the chance of any false finding in the family below alpha.

    Args:
        p: The family's p values, shape [m]; NaN stays NaN and does not count.

    Returns:
        Adjusted p values, shape [m], at most 1. Valid under any dependence.

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65.
    """
    values, known, order = _sorted(p)
    stepped = values[order] * np.arange(len(order), 0, -1)
    return _placed(values, order, np.maximum.accumulate(stepped) if len(known) else stepped)


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Benjamini and Hochberg's step-up correction: it keeps the share of false ones among the findings below alpha.

    Args:
        p: The family's p values, shape [m]; NaN stays NaN and does not count.

    Returns:
        Adjusted p values, shape [m], at most 1. Valid for independent or positively dependent tests.

    Source: Benjamini and Hochberg 1995, JRSS B 57:289.
    """
    return _step_up(p, 1.0)


def benjamini_yekutieli(p: ArrayLike) -> Floats:
    """`benjamini_hochberg` for tests that depend on each other in any way: stricter by 1 + 1/2 + ... + 1/m.

    Source: Benjamini and Yekutieli 2001, Annals of Statistics 29:1165.
    """
    count = int((~np.isnan(np.asarray(p, dtype=np.float64))).sum())
    return _step_up(p, float((1 / np.arange(1, count + 1)).sum()))


def _step_up(p: ArrayLike, factor: float) -> Floats:
    values, known, order = _sorted(p)
    stepped = values[order] * factor * len(known) / np.arange(1, len(order) + 1)
    return _placed(values, order, np.minimum.accumulate(stepped[::-1])[::-1])


def _sorted(p: ArrayLike) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
    values = np.asarray(p, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    return values, known, known[np.argsort(values[known], kind="stable")]


def _placed(values: Floats, order: NDArray[np.intp], adjusted: Floats) -> Floats:
    placed = np.full(values.shape, np.nan)
    placed[order] = np.minimum(1.0, adjusted)
    return placed
