"""The Schur form against the dense matrix it stands for."""

from __future__ import annotations

import numpy as np
import pytest

from compressed_lens.errors import DataError
from compressed_lens.statistics.random_intercepts import RandomIntercepts

SIZES = [(), (1,), (20,), (5, 20), (20, 5), (7, 5, 20), (20, 7, 5, 3), (6, 6, 6)]
DEVIATIONS = np.array([0.8, 0.5, 1.1, 0.3])


@pytest.mark.parametrize("sizes", SIZES)
def test_schur_is_dense(sizes: tuple[int, ...]) -> None:
    generator = np.random.default_rng(1)
    groups = [generator.integers(0, size, 60) for size in sizes]
    deviations = DEVIATIONS[: len(sizes)]
    intercepts = RandomIntercepts([np.array([f"level {code}" for code in group]) for group in groups], 60)
    dense = np.zeros((60, intercepts.size))
    for group, part, deviation in zip(groups, intercepts.parts, deviations, strict=False):
        # Labels sort as text, which is another order than that of the numbers.
        names = sorted({f"level {code}" for code in group})
        for row, code in enumerate(group):
            dense[row, part.start + names.index(f"level {code}")] = deviation
    weights = generator.random(60)
    matrix = dense.T @ (weights[:, None] * dense) + np.eye(intercepts.size)
    inverse = np.linalg.inv(matrix)
    factor = intercepts.factor(weights, deviations)
    effects = generator.normal(size=intercepts.size)
    right = generator.normal(size=(intercepts.size, 3))
    rows = generator.normal(size=(60, 2))
    assert intercepts.levels == tuple(len(np.unique(group)) for group in groups)
    assert factor.log_determinant == pytest.approx(np.linalg.slogdet(matrix)[1], abs=1e-12)
    for found, expected in (
        (factor.solve(right), inverse @ right),
        (factor.solve(right[:, 0]), inverse @ right[:, 0]),
        (factor.diagonal(), np.diag(inverse)),
        (factor.leverage(), np.diag(dense @ inverse @ dense.T)),
        (intercepts.spread(effects, deviations), dense @ effects),
        (intercepts.gather(rows, deviations), dense.T @ rows),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_grouping_of_another_length_is_refused() -> None:
    with pytest.raises(DataError, match="does not belong to 4 ratings"):
        RandomIntercepts([np.arange(3)], 4)
