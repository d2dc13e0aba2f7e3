"""ROUGE-L against hand-worked values and a brute-force oracle."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressed_lens.explanations.overlap import common_subsequence, reference_overlap, rouge_l

small = st.lists(st.sampled_from("abc"), max_size=8)


@given(a=small, b=small)
def test_common_subsequence_is_the_longest(a: list[str], b: list[str]) -> None:
    def subsequences(x: list[str]) -> set[tuple[str, ...]]:
        return {tuple(x[i] for i in chosen) for n in range(len(x) + 1) for chosen in combinations(range(len(x)), n)}

    assert common_subsequence(a, b) == max(map(len, subsequences(a) & subsequences(b)))


@pytest.mark.parametrize(
    ("candidate", "reference", "value"),
    [
        ("The man sleeps.", "the man sleeps", 1.0),
        # Longest common subsequence "police the gunman" or "the gunman": precision 3/4, recall 3/4 (Lin 2004).
        ("police kill the gunman", "police killed the gunman", 3 / 4),
        ("the gunman kill police", "police killed the gunman", 2 / 4),
        # 2 common words of 2 and 4: F1 = 2 * 2 / 6.
        ("a dog", "a big brown dog", 2 / 3),
        ("cat", "dog", 0.0),
        ("", "dog", 0.0),
        ("", "", 0.0),
    ],
)
def test_rouge_l(candidate: str, reference: str, value: float) -> None:
    assert rouge_l(candidate, reference) == pytest.approx(value)


@given(a=st.text("ab ", max_size=20), b=st.text("ab ", max_size=20))
def test_rouge_l_is_symmetric_and_bounded(a: str, b: str) -> None:
    assert 0 <= rouge_l(a, b) == rouge_l(b, a) <= 1


def test_the_closest_reference_counts() -> None:
    assert reference_overlap("a dog", ["a cat", "a dog"]) == 1.0
    assert reference_overlap("a dog", []) is None
