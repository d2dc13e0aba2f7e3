"""Sign flips against full enumeration, exact ones against counting with whole numbers."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from compressed_lens.errors import DataError
from compressed_lens.statistics import exact_sign_flip_p, mcnemar_p, sign_flip_p
from compressed_lens.statistics import permutation as module


def enumerated(differences: np.ndarray) -> float:
    totals = [abs(sum(s * d for s, d in zip(signs, differences.tolist(), strict=True)))
              for signs in itertools.product((-1, 1), repeat=len(differences))]  # fmt: skip
    return float(np.mean([t >= abs(differences.sum()) - 1e-9 for t in totals]))


def test_sign_flips_approach_full_enumeration() -> None:
    generator = np.random.default_rng(3)
    base, other = generator.normal(size=(12, 3)), generator.normal(size=(12, 3)) + [0.0, 0.5, 1.5]
    found = sign_flip_p(base, other, permutations=40_000, seed=1)
    for column in range(3):
        assert found[column] == pytest.approx(enumerated((other - base)[:, column]), abs=0.01)


def test_for_outcomes_of_0_and_1_it_is_mcnemars_test() -> None:
    base = np.repeat([1.0, 0.0, 1.0, 0.0], [9, 3, 40, 20])
    other = np.repeat([0.0, 1.0, 1.0, 0.0], [9, 3, 40, 20])
    found = sign_flip_p(base[:, None], other[:, None], permutations=10, seed=1)
    assert found[0] == pytest.approx(mcnemar_p(9, 3), abs=1e-12)


def test_clusters_flip_together_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    once = generator.normal(0.6, 1.0, size=(20, 1))
    zeros = np.zeros_like(once)
    alone = sign_flip_p(zeros, once, permutations=2000, seed=2)
    repeated = np.repeat(once, 3, axis=0)
    clustered = sign_flip_p(
        np.zeros_like(repeated), repeated, clusters=np.repeat(np.arange(20), 3), permutations=2000, seed=2
    )
    np.testing.assert_array_equal(alone, clustered)
    monkeypatch.setattr(module, "_SIGNS_PER_CHUNK", 20 * 63)
    np.testing.assert_array_equal(alone, sign_flip_p(zeros, once, permutations=2000, seed=2))


def test_nothing_to_compare_and_no_difference() -> None:
    base = np.array([[1.0, math.nan, 0.0], [2.0, math.nan, 1.0], [3.0, math.nan, math.nan]])
    found = sign_flip_p(base, base, permutations=100, seed=0)
    assert found[0] == 1 and math.isnan(found[1]) and found[2] == 1


def test_false_alarms_stay_at_their_rate() -> None:
    generator = np.random.default_rng(8)
    base = generator.normal(size=(40, 600))
    other = base + generator.exponential(size=base.shape) * generator.choice([-1, 1], size=base.shape)
    found = sign_flip_p(base, other, permutations=1000, seed=4)
    assert 0.03 <= (found < 0.05).mean() <= 0.075


def counted(differences: list[int]) -> Fraction:
    """The exact p by convolution of counts, in whole numbers."""
    ways = Counter({0: 1})
    for d in differences:
        step: Counter[int] = Counter()
        for total, count in ways.items():
            step[total + d] += count
            step[total - d] += count
        ways = step
    observed = abs(sum(differences))
    return Fraction(sum(c for t, c in ways.items() if abs(t) >= observed), sum(ways.values()))


@pytest.mark.parametrize("seed", range(6))
def test_whole_numbers_are_exact(seed: int) -> None:
    generator = np.random.default_rng(seed)
    differences = generator.integers(-4, 5, size=generator.integers(2, 120)) + generator.integers(0, 2)
    expected = float(counted(differences.tolist()))
    found = exact_sign_flip_p(differences)
    assert found == pytest.approx(expected, abs=1e-11)
    if len(differences) <= 14:
        assert found == pytest.approx(enumerated(differences.astype(float)), abs=1e-11)
    column = differences.astype(float)[:, None]
    for seeds in (0, 1):
        assert sign_flip_p(np.zeros_like(column), column, permutations=10, seed=seeds)[0] == found


def test_exact_p_is_never_zero_and_mcnemars_for_one_size() -> None:
    assert exact_sign_flip_p([1, 2] * 300) == 2.0**-599
    assert exact_sign_flip_p([3] * 9 + [-3] * 2) == mcnemar_p(9, 2)
    assert exact_sign_flip_p([2, -2, 1, -1]) == 1.0 and exact_sign_flip_p([0, 0]) == 1.0


def test_what_is_not_whole_or_too_large_is_flipped_at_random() -> None:
    assert exact_sign_flip_p([0.5, 1.0]) is None
    assert exact_sign_flip_p([150_000, 60_000]) is None
    assert exact_sign_flip_p(np.arange(600)) is None
    halves = np.array([[0.5], [1.0], [1.5], [2.0], [-0.5]])
    found = sign_flip_p(np.zeros_like(halves), halves, permutations=20_000, seed=3)[0]
    assert found == pytest.approx(float(exact_sign_flip_p(2 * halves[:, 0]) or 0), abs=0.015)


def test_a_column_has_the_same_p_whatever_stands_beside_it() -> None:
    generator = np.random.default_rng(2)
    ratings, times = generator.integers(1, 6, size=(60, 2)).astype(float), generator.normal(size=(60, 2))
    base, other = np.column_stack([ratings[:, 0], times[:, 0]]), np.column_stack([ratings[:, 1], times[:, 1]])
    together = sign_flip_p(base, other, permutations=500, seed=4)
    alone = [sign_flip_p(base[:, [k]], other[:, [k]], permutations=500, seed=4)[0] for k in range(2)]
    assert together.tolist() == alone


@pytest.mark.parametrize("call", [lambda: sign_flip_p([[1.0]], [[1.0, 2.0]], seed=0),
                                  lambda: sign_flip_p([[1.0]], [[1.0]], permutations=0, seed=0)])  # fmt: skip
def test_malformed_input_is_refused(call) -> None:
    with pytest.raises(DataError):
        call()
