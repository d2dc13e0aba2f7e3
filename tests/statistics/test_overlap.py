"""Overlap against scipy's hypergeometric distribution and against sets drawn by lot."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import hypergeom

from compressed_lens.errors import DataError
from compressed_lens.statistics.overlap import overlap


@pytest.mark.parametrize(
    ("shared", "one", "other", "everyone"), [(3, 10, 12, 50), (1, 5, 5, 5000), (40, 300, 300, 3072)]
)
def test_one_stratum_is_the_hypergeometric_test(shared: int, one: int, other: int, everyone: int) -> None:
    found = overlap([shared], [one], [other], [everyone])
    law = hypergeom(everyone, one, other)
    assert found.jaccard == pytest.approx(shared / (one + other - shared))
    assert found.p == pytest.approx(law.sf(shared - 1), rel=1e-6)
    counts = np.arange(min(one, other) + 1)
    assert found.expected == pytest.approx(float((law.pmf(counts) * counts / (one + other - counts)).sum()), rel=1e-6)


def test_strata_against_sets_drawn_by_lot() -> None:
    generator = np.random.default_rng(0)
    first, second, population = [6, 2, 0], [5, 3, 4], [10, 8, 9]
    found = overlap([4, 1, 0], first, second, population)
    drawn = []
    for _ in range(20_000):
        common = 0
        for one, other, everyone in zip(first, second, population, strict=True):
            common += int((generator.permutation(everyone)[:one] < other).sum())
        drawn.append(common)
    counts = np.array(drawn)
    assert found.p == pytest.approx(float((counts >= 5).mean()), abs=0.015)
    assert found.expected == pytest.approx(float((counts / (20 - counts)).mean()), abs=0.003)


def test_same_layers_alone_are_no_agreement() -> None:
    """Both sets lie in the first of ten layers and agree no more than chance would have it there."""
    by_layer = overlap([25] + [0] * 9, [50] + [0] * 9, [50] + [0] * 9, [100] * 10)
    plain = overlap([25], [50], [50], [1000])
    assert by_layer.p > 0.4
    assert plain.p < 1e-10


def test_equal_sets_and_empty_ones() -> None:
    assert overlap([300], [300], [300], [3072]).jaccard == 1.0
    assert overlap([300], [300], [300], [3072]).p < 1e-100
    assert overlap([5], [5], [5], [5]).p == 1.0
    assert math.isnan(overlap([0], [0], [0], [9]).jaccard)


@pytest.mark.parametrize("sizes", [([4], [3], [3], [9]), ([0], [8], [8], [10]), ([1], [11], [3], [10])])
def test_impossible_sizes(sizes: tuple[list[int], ...]) -> None:
    with pytest.raises(DataError, match="cannot share"):
        overlap(*sizes)
