"""Corrections against statsmodels, and the largest statistic against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from compressed_lens.statistics import (
    benjamini_hochberg,
    benjamini_yekutieli,
    holm,
    max_statistic_p,
    sign_flip_p,
)

CORRECTIONS = [(holm, "holm"), (benjamini_hochberg, "fdr_bh"), (benjamini_yekutieli, "fdr_by")]


@pytest.mark.parametrize(("correct", "name"), CORRECTIONS)
def test_as_in_statsmodels_with_gaps(correct, name: str) -> None:
    generator = np.random.default_rng(6)
    for size in (1, 2, 9, 60):
        p = generator.beta(0.4, 2.0, size=size)
        p[generator.random(size) < 0.2] = p[0]
        expected = multipletests(p, method=name)[1]
        np.testing.assert_allclose(correct(p), expected, atol=1e-12)
        gaps = np.insert(p, [0, size // 2, size], math.nan)
        found = correct(gaps)
        np.testing.assert_allclose(found[~np.isnan(gaps)], expected, atol=1e-12)
        assert (np.isnan(found) == np.isnan(gaps)).all()


@pytest.mark.parametrize(("correct", "name"), CORRECTIONS)
def test_nothing_to_correct(correct, name: str) -> None:
    assert correct([]).size == 0 and np.isnan(correct([math.nan])).all()
    assert correct([0.9, 0.8]).max() <= 1.0


def test_holm_by_hand() -> None:
    adjusted = holm([0.01, math.nan, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, math.nan, 0.06, 0.06, 0.02])


def test_largest_statistic_approaches_full_enumeration() -> None:
    differences = np.random.default_rng(1).normal([0.0, 0.6, 1.2], 1.0, size=(10, 3))
    scaled = differences / np.sqrt((differences**2).sum(axis=0))
    observed = np.abs(scaled.sum(axis=0))
    largest = [np.abs(np.array(signs) @ scaled).max() for signs in itertools.product((-1, 1), repeat=10)]
    expected = (np.array(largest)[:, None] >= observed - 1e-9).mean(axis=0)
    found = max_statistic_p(np.zeros_like(differences), differences, permutations=40_000, seed=2)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_columns_that_are_one_measure_cost_nothing() -> None:
    column = np.random.default_rng(3).normal(0.35, 1.0, size=(50, 1))
    copies = np.repeat(column, 20, axis=1) * np.arange(1, 21)
    alone = sign_flip_p(np.zeros_like(column), column, permutations=2000, seed=5)[0]
    together = max_statistic_p(np.zeros_like(copies), copies, permutations=2000, seed=5)
    np.testing.assert_array_equal(together, np.full(20, alone))
    assert holm(np.full(20, alone)).min() > 5 * alone


def test_false_findings_of_the_whole_family_stay_at_their_rate() -> None:
    generator = np.random.default_rng(4)
    found = 0
    for _ in range(300):
        shared = generator.normal(size=(30, 1))
        other = shared + generator.exponential(size=(30, 8)) * generator.choice([-1, 1], size=(30, 8))
        found += bool((max_statistic_p(np.zeros_like(other), other, permutations=300, seed=7) <= 0.05).any())
    assert found / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_clusters_missing_pairs_and_no_difference() -> None:
    generator = np.random.default_rng(8)
    once = generator.normal(0.5, 1.0, size=(15, 2))
    alone = max_statistic_p(np.zeros_like(once), once, permutations=500, seed=1)
    tripled = np.repeat(once, 3, axis=0)
    clusters = np.repeat(np.arange(15), 3)
    clustered = max_statistic_p(np.zeros_like(tripled), tripled, clusters=clusters, permutations=500, seed=1)
    np.testing.assert_array_equal(alone, clustered)
    edges = np.column_stack([once, np.zeros(15), np.full(15, math.nan)])
    found = max_statistic_p(np.zeros_like(edges), edges, permutations=500, seed=1)
    np.testing.assert_array_equal(found[:2], alone)
    assert found[2] == 1.0 and math.isnan(found[3])
