"""Fixed effects of a mixed model in coordinates of equal size, where columns may depend on each other."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError

Array = NDArray[np.float64]

_SINGULAR = 1e-9


class FixedEffects:
    """Columns of a design matrix, centred and made orthonormal (times the square root of the rows).

    Columns that others or the intercept determine cost nothing: what cannot be told from the data is known as such
    (`estimable`), and all else is as if they had been left out.

    Attributes:
        centre: [p], mean of each column.
        rows: [n, r], the centred columns in the new coordinates; each has mean 0 and variance 1.
        back: [p, r], coefficients = back @ coordinates; of all that fit alike, the shortest.
    """

    def __init__(self, fixed: ArrayLike, count: int) -> None:
        """Take the design matrix.

        Args:
            fixed: [count, p], without an intercept.
            count: Rows there should be.

        Raises:
            DataError: Another shape, a value that is not finite, or no rows.
        """
        matrix = np.asarray(fixed, dtype=np.float64)
        if matrix.shape != (count, *matrix.shape[1:2]) or matrix.ndim == 1 or not count:
            raise DataError(
                f"Fixed effects of shape {matrix.shape} do not belong to {count} ratings.",
                fix="Pass one row for each of at least one rating, one column for each effect.",
            )
        if not np.isfinite(matrix).all():
            raise DataError("A fixed effect is not a finite number.", fix="Leave such rows out.")
        self.centre: Array = matrix.mean(axis=0)
        left, sizes, right = np.linalg.svd(matrix - self.centre, full_matrices=False)
        kept = sizes > _SINGULAR * math.sqrt(count) * max(1.0, float(np.abs(matrix).max(initial=0.0)))
        root = math.sqrt(count)
        self.rows: Array = left[:, kept] * root
        self.back: Array = right[kept].T / sizes[kept] * root
        self._span: Array = right[kept]

    def estimable(self, weights: Array) -> bool:
        """Return whether the data tell the sum of coefficients with these weights [p]."""
        beyond = weights - self._span.T @ (self._span @ weights)
        return bool(np.abs(beyond).max(initial=0.0) <= 1e-7 * max(1.0, float(np.abs(weights).max(initial=0.0))))

    def weights(self, weights: ArrayLike) -> Array:
        """Return weights of coefficients as an array [p].

        Raises:
            DataError: Another number than there are columns.
        """
        checked = np.asarray(weights, dtype=np.float64)
        if checked.shape != self.centre.shape:
            raise DataError(
                f"Weights of shape {checked.shape} do not belong to {len(self.centre)} fixed effects.",
                fix="Pass one weight for each column.",
            )
        return checked
