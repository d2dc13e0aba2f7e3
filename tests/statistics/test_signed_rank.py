"""The signed-rank test against SciPy and enumeration, its shift against all pairwise means."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from scipy import stats

from compressed_lens.errors import DataError
from compressed_lens.statistics import SignedRank, signed_rank


def of(differences: np.ndarray) -> SignedRank:
    return signed_rank(np.zeros(len(differences)), differences)


def means(differences: np.ndarray) -> np.ndarray:
    return np.sort([(a + b) / 2 for a, b in itertools.combinations_with_replacement(differences.tolist(), 2)])


@pytest.mark.parametrize("n", [1, 4, 13, 25, 60])
def test_without_ties_it_is_scipys_exact_test(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.4, 1.0, size=n)
    found = of(differences)
    assert found.method == "exact" and found.zeros == 0
    assert found.p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue, abs=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_with_ties_and_zeros_all_sign_patterns_count(seed: int) -> None:
    differences = np.random.default_rng(seed).integers(-2, 4, size=11).astype(float)
    ranks = stats.rankdata(np.abs(differences))
    signed = ranks * np.sign(differences)
    patterns = np.array(list(itertools.product((-1, 1), repeat=11))) @ np.abs(signed)
    expected = (np.abs(patterns) >= abs(signed.sum()) - 1e-9).mean()
    found = of(differences)
    assert found.p == pytest.approx(expected, abs=1e-10)
    up, down = signed[signed > 0].sum(), -signed[signed < 0].sum()
    assert found.rank_biserial == pytest.approx((up - down) / (up + down))
    assert found.zeros == (differences == 0).sum()


@pytest.mark.parametrize("kind", ["normal", "ratings"])
def test_many_pairs_are_scipys_approximation_with_pratts_zeros(kind: str) -> None:
    generator = np.random.default_rng(9)
    differences = generator.normal(0.1, 1, 300) if kind == "normal" else generator.integers(-2, 4, 300).astype(float)
    expected = stats.wilcoxon(differences, zero_method="pratt", method="asymptotic")
    found = of(differences)
    assert found.method == "normal" and found.p == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 20, 61, 150])
@pytest.mark.parametrize("kind", ["normal", "ratings"])
def test_shift_and_its_bounds_are_pairwise_means(n: int, kind: str) -> None:
    generator = np.random.default_rng(n)
    differences = generator.normal(size=n) if kind == "normal" else generator.integers(-3, 4, size=n).astype(float)
    found, every = of(differences), means(differences)
    assert found.shift == pytest.approx(np.median(every), abs=1e-12)
    if n < 6:
        assert math.isnan(found.low) and math.isnan(found.high)
        return
    assert np.abs(every - found.low).min() < 1e-12 and np.abs(every - found.high).min() < 1e-12
    assert found.low <= found.shift <= found.high


@pytest.mark.parametrize("n", [8, 15, 25, 200])
def test_the_bounds_are_where_the_test_turns(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.3, 1.0, size=n)
    found = of(differences)
    for bound, inside in ((found.low, 1), (found.high, -1)):
        assert stats.wilcoxon(differences - bound - inside * 1e-9).pvalue > 0.05 - 0.002 * (n > 60)
        assert stats.wilcoxon(differences - bound + inside * 1e-9).pvalue <= 0.05 + 0.002 * (n > 60)


def test_bounds_hold_the_true_shift_in_95_percent() -> None:
    generator = np.random.default_rng(3)
    for n in (20, 80):
        held = [f.low <= 0.5 <= f.high for f in (of(0.5 + generator.standard_t(3, size=n)) for _ in range(600))]
        assert 0.93 <= np.mean(held) <= 0.975


def test_ten_thousand_pairs_take_no_time() -> None:
    differences = np.random.default_rng(1).normal(0.02, 1.0, size=10_000)
    start = time.process_time()
    found = of(differences)
    assert time.process_time() - start < 1.5
    assert found.shift == pytest.approx(differences.mean(), abs=0.01)


def test_edges() -> None:
    same = of(np.zeros(12))
    assert (same.p, same.rank_biserial, same.shift, same.low, same.high, same.zeros) == (1.0, 0.0, 0.0, 0.0, 0.0, 12)
    nothing = signed_rank([math.nan], [1.0])
    assert nothing.n == 0 and nothing.dropped == 1 and math.isnan(nothing.p) and math.isnan(nothing.shift)
    rose = of(np.arange(1.0, 8.0))
    assert rose.rank_biserial == 1.0 and rose.p == pytest.approx(2 / 2**7)


@pytest.mark.parametrize("call", [lambda: signed_rank([1.0], [1.0, 2.0]), lambda: signed_rank([math.inf], [1.0])])
def test_malformed_input_is_refused(call) -> None:
    with pytest.raises(DataError):
        call()
