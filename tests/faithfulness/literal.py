"""CC-SHAP's partition recursion read off its description, one evaluation a call: the oracle of `owen.within_budget`."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from compressed_lens.faithfulness.partition import Cluster

Vector = NDArray[np.float64]


def partition_values(
    tree: Cluster, value: Callable[[int], Vector], *, max_evals: int, step: int = 10, seed: int = 0
) -> tuple[Vector, list[list[int]]]:
    """Return Owen values [pieces, targets] and the sets evaluated at each step; every evaluation calls `value` once."""
    random = np.random.default_rng(seed)
    empty, full = value(0), value(tree.bits)
    steps = [[0, tree.bits]]
    evals = 2
    shares = np.zeros((tree.size, len(full)))
    queue: list[tuple[float, float, int, tuple[int, Vector, Vector, Cluster, float]]] = []
    serial = 0

    def push(m00: int, f00: Vector, f11: Vector, cluster: Cluster, weight: float) -> None:
        nonlocal serial
        priority = -np.abs(f11 - f00).max() * weight
        heapq.heappush(queue, (float(priority), random.standard_normal(), serial, (m00, f00, f11, cluster, weight)))
        serial += 1

    push(0, empty, full, tree, 1.0)
    while queue:
        batch = []
        while queue and len(batch) + 2 <= step and evals + len(batch) + 2 <= max_evals:
            m00, f00, f11, cluster, weight = heapq.heappop(queue)[3]
            if not cluster.children:
                shares[cluster.pieces[0]] += (f11 - f00) * weight
                continue
            left, right = cluster.children
            batch += [
                (m00, f00, f11, cluster, weight, m00 | left.bits),
                (m00, f00, f11, cluster, weight, m00 | right.bits),
            ]
        if not batch:
            break
        steps.append([row[-1] for row in batch])
        found = [value(mask) for mask in steps[-1]]
        evals += len(batch)
        for (m00, f00, f11, cluster, weight, m10), (*_, m01), f10, f01 in zip(
            batch[::2], batch[1::2], found[::2], found[1::2], strict=True
        ):
            left, right = cluster.children
            push(m00, f00, f10, left, weight / 2)
            push(m10, f10, f11, right, weight / 2)
            push(m01, f01, f11, left, weight / 2)
            push(m00, f00, f01, right, weight / 2)
    for *_, (_, f00, f11, cluster, weight) in queue:
        for piece in cluster.pieces:
            shares[piece] += (f11 - f00) * weight / cluster.size
    return shares, steps
