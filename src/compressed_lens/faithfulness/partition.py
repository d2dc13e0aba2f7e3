"""Clusters of neighbouring pieces of a text: the tree along which credit is shared out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A piece (no children), or several clusters taken together.

    Attributes:
        bits: Set of its pieces: bit j is piece j.
        children: Its parts, disjoint and together all of it; none for a single piece.
    """

    bits: int
    children: tuple[Cluster, ...] = ()

    @property
    def pieces(self) -> tuple[int, ...]:
        """Numbers of its pieces, in order."""
        return tuple(j for j in range(self.bits.bit_length()) if self.bits >> j & 1)

    @property
    def size(self) -> int:
        """Number of its pieces."""
        return self.bits.bit_count()


def flat(pieces: int) -> Cluster:
    """Return the tree without structure, every piece a child of the root: its Owen values are Shapley values."""
    leaves = tuple(Cluster(bits=1 << j) for j in range(pieces))
    return leaves[0] if pieces == 1 else Cluster(bits=(1 << pieces) - 1, children=leaves)


def agglomerate(gaps: Sequence[int]) -> Cluster:
    """Return the binary tree that greedy joining of neighbours gives.

    Again and again the two neighbouring clusters with the weakest gap between them are joined; among equally weak
    gaps the pair with the fewest pieces, and among those the leftmost. So nothing is joined across a strong gap before
    both sides are complete, and clusters of one strength stay balanced, which keeps the number of evaluations low.

    Args:
        gaps: Strength of the gap after each piece but the last; 0 is the weakest.
    """
    clusters = [Cluster(bits=1 << j) for j in range(len(gaps) + 1)]
    left = list(gaps)
    while left:
        sizes = [cluster.size for cluster in clusters]
        at = min(range(len(left)), key=lambda i: (left[i], sizes[i] + sizes[i + 1], i))
        pair = (clusters[at], clusters[at + 1])
        clusters[at : at + 2] = [Cluster(bits=pair[0].bits | pair[1].bits, children=pair)]
        del left[at]
    return clusters[0]
