"""Sign flips against full enumeration, Holm against statsmodels' definition by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from compressed_lens.errors import DataError
from compressed_lens.statistics import holm, mcnemar_p, sign_flip_p
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
    found = sign_flip_p(base[:, None], other[:, None], permutations=40_000, seed=1)
    assert found[0] == pytest.approx(mcnemar_p(9, 3), abs=0.01)


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
    monkeypatch.setattr(module, "_SIGNS_PER_CHUNK", 20 * 64)
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


def test_holm_by_hand() -> None:
    adjusted = holm([0.01, math.nan, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, math.nan, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0 and np.isnan(holm([math.nan])).all()


@pytest.mark.parametrize("call", [lambda: sign_flip_p([[1.0]], [[1.0, 2.0]], seed=0),
                                  lambda: sign_flip_p([[1.0]], [[1.0]], permutations=0, seed=0)])  # fmt: skip
def test_malformed_input_is_refused(call) -> None:
    with pytest.raises(DataError):
        call()
