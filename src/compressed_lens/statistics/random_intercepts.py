"""Crossed random intercepts: the matrix that mixed models solve with, factored by eliminating the largest grouping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compressed_lens.errors import DataError

Array = NDArray[np.float64]


class RandomIntercepts:
    """Groupings of the same rows, any number of them, nested or crossed.

    Row i has the effect sum_g deviation_g u[level of i in g], u standard normal. Write S for the matrix of that sum
    [rows, levels]. Effects u are ordered by grouping, the one with most levels last.

    Attributes:
        groupings: How many there are.
        levels: Number of levels of each, in the order given.
        parts: Where the effects of each are in u.
    """

    def __init__(self, groups: Sequence[ArrayLike], count: int) -> None:
        """Take one label a row for every grouping.

        Raises:
            DataError: A grouping has another number of rows than `count`.
        """
        labels = [np.asarray(group) for group in groups]
        for group in labels:
            if group.shape != (count,):
                raise DataError(
                    f"A grouping of shape {group.shape} does not belong to {count} ratings.",
                    fix="Pass one label for each rating.",
                )
        self.groupings = len(labels)
        # Without any, one level of deviation 0 stands in, so that nothing below has to ask.
        codes = [np.unique(group, return_inverse=True)[1] for group in labels] or [np.zeros(count, dtype=np.intp)]
        sizes = [int(code.max()) + 1 for code in codes]
        self.levels = tuple(sizes[: self.groupings])
        self._order = sorted(range(len(codes)), key=lambda g: sizes[g])
        starts = dict(zip(self._order, np.cumsum([0, *(sizes[g] for g in self._order)]).tolist(), strict=False))
        self.parts = tuple(slice(starts[g], starts[g] + sizes[g]) for g in range(len(codes)))
        self.size = sum(sizes)
        large = self._order[-1]
        self._small = self._order[:-1]
        self._counts = (count, sizes[large], self.size - sizes[large])
        self._inner = codes[large]
        self._columns = [codes[g] + starts[g] for g in self._small]
        self._places = [codes[g] + starts[g] for g in range(len(codes))]
        rest = self._counts[2]
        self._cross = [self._inner * rest + column for column in self._columns]
        self._pairs = [
            (a, b, self._columns[a] * rest + self._columns[b]) for b in range(len(self._small)) for a in range(b + 1)
        ]

    def _all(self, deviations: Array) -> Array:
        return deviations if self.groupings else np.zeros(1)

    def spread(self, effects: Array, deviations: Array) -> Array:
        """Return S u, [rows]."""
        total = np.zeros(self._counts[0])
        for deviation, place in zip(self._all(deviations), self._places, strict=True):
            total += deviation * effects[place]
        return total

    def of(self, grouping: int, effects: Array) -> Array:
        """Return u at the level that each row has in one grouping, [rows]."""
        values: Array = effects[self._places[grouping]]
        return values

    def gather(self, values: Array, deviations: Array) -> Array:
        """Return S' v for v of [rows] or [rows, m]: [levels] or [levels, m]."""
        if values.ndim > 1:
            columns = [self.gather(column, deviations) for column in values.T]
            return np.stack(columns, axis=1) if columns else np.zeros((self.size, 0))
        total = np.zeros(self.size)
        for deviation, place in zip(self._all(deviations), self._places, strict=True):
            total += deviation * np.bincount(place, values, self.size)
        return total

    def factor(self, weights: Array, deviations: Array) -> Factor:
        """Return the factored H = S' diag(weights) S + I for weights [rows] >= 0."""
        scales = self._all(deviations)
        scale, others = scales[self._order[-1]], scales[self._small]
        _, large, rest = self._counts
        inner = 1 + scale * scale * np.bincount(self._inner, weights, large)
        cross = np.zeros(large * rest)
        for other, place in zip(others, self._cross, strict=True):
            cross += scale * other * np.bincount(place, weights, large * rest)
        square = np.zeros((rest, rest))
        for a, b, place in self._pairs:
            block = others[a] * others[b] * np.bincount(place, weights, rest * rest).reshape(rest, rest)
            square += block if a == b else block + block.T
        square[np.diag_indices(rest)] += 1
        return Factor(
            inner=inner,
            cross=cross.reshape(large, rest),
            square=square,
            level=self._inner,
            columns=self._columns,
            scale=float(scale),
            others=others,
        )


class Factor:
    """H = [[C, B'], [B, diag(d)]], solved through the Schur complement C - B' diag(1/d) B of the largest grouping.

    H is at least the identity, so neither part can be singular.

    Attributes:
        log_determinant: log |H|.
    """

    def __init__(
        self,
        *,
        inner: Array,
        cross: Array,
        square: Array,
        level: NDArray[np.intp],
        columns: Sequence[NDArray[np.intp]],
        scale: float,
        others: Array,
    ) -> None:
        self._inner, self._cross = inner, cross
        self._level, self._columns, self._scale, self._others = level, columns, scale, others
        lower = np.linalg.cholesky(square - cross.T @ (cross / inner[:, None]))
        self.log_determinant = float(np.log(inner).sum() + 2 * np.log(np.diag(lower)).sum())
        root = np.linalg.inv(lower)
        self._inverse: Array = root.T @ root

    def solve(self, right: Array) -> Array:
        """Return H^-1 right for [levels] or [levels, m]."""
        rest = len(self._inverse)
        inner = self._inner if right.ndim == 1 else self._inner[:, None]
        first = self._inverse @ (right[:rest] - self._cross.T @ (right[rest:] / inner))
        return np.concatenate([first, (right[rest:] - self._cross @ first) / inner])

    def diagonal(self) -> Array:
        """Return the diagonal of H^-1, [levels]."""
        inner = 1 / self._inner
        added = np.einsum("tr,tr->t", self._cross @ self._inverse, self._cross)
        return np.concatenate([np.diag(self._inverse), inner + added * inner * inner])

    def leverage(self) -> Array:
        """Return the diagonal of S H^-1 S', [rows]: how much the effects leave open of each row's sum."""
        solved = self._cross @ self._inverse
        own = self._scale / self._inner
        added = np.einsum("tr,tr->t", solved, self._cross)
        total: Array = (self._scale * own + own * own * added)[self._level]
        for a, first in enumerate(self._columns):
            total -= 2 * self._others[a] * own[self._level] * solved[self._level, first]
            for b, second in enumerate(self._columns):
                total += self._others[a] * self._others[b] * self._inverse[first, second]
        return total
