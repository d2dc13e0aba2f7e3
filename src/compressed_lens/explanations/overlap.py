"""Word overlap of an explanation with reference explanations: ROUGE-L (Lin 2004), our own implementation."""

from __future__ import annotations

from collections.abc import Sequence

from compressed_lens.explanations.parsing import words


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest common subsequence (in order, gaps allowed)."""
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], diagonal + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def rouge_l(candidate: str, reference: str) -> float:
    """Return ROUGE-L F1 over lower-case words without stemming: 0 (nothing in common) to 1 (the same words)."""
    said, wanted = words(candidate), words(reference)
    common = common_subsequence(said, wanted)
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def reference_overlap(candidate: str, references: Sequence[str]) -> float | None:
    """Return the highest ROUGE-L F1 with any reference; None when there is no reference."""
    return max((rouge_l(candidate, reference) for reference in references), default=None)
