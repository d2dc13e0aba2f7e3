"""What the three intervals of a rating study cover, in brief; docs/statistics.md has 1,000 simulations of each size."""

from __future__ import annotations

import numpy as np
from scipy import stats
from tests.statistics.rating_designs import effect_of, study

from compressed_lens.statistics import WaldInterval, crossed_difference, linear_mixed, ordinal_mixed

SAMPLES = 30
ITEMS, RATERS = 10, 24


def test_intervals_hold_the_truth() -> None:
    """Effects of 0 and -0.5 points; fewer than chance would leave in one of 1,000 runs at 93 % is a failure."""
    generator = np.random.default_rng(11)
    effects = np.array([0, 0, 0, effect_of(-0.5)])
    held: dict[str, list[bool]] = {"odds": [], "points": [], "linear": [], "clustered": []}
    off: dict[str, list[float]] = {name: [] for name in held}
    for _ in range(SAMPLES):
        planned = study(ITEMS, RATERS, generator)
        ratings = planned.rated(effects, generator)
        ordinal = ordinal_mixed(ratings, planned.fixed, planned.groups)
        linear = linear_mixed(ratings, planned.fixed, planned.groups)
        assert ordinal.converged and linear.converged
        for variant, points in ((1, 0.0), (3, -0.5)):
            weights = np.eye(5)[1 + variant]
            base = planned.fixed * [1, 1, 0, 0, 0]
            kept = np.isin(planned.variant, [0, variant])
            told: dict[str, tuple[WaldInterval, float]] = {
                "odds": (ordinal.contrast(weights), effects[variant]),
                "points": (ordinal.points_difference(base + weights, base), points),
                "linear": (linear.contrast(weights), points),
                "clustered": (
                    crossed_difference(
                        ratings[kept], planned.rater[kept], planned.item[kept], planned.variant[kept] == variant
                    ),
                    points,
                ),
            }
            for name, (interval, truth) in told.items():
                held[name].append(interval.low <= truth <= interval.high)
                off[name].append((interval.estimate - truth) / interval.error)
    fewest = stats.binom.ppf(0.001, 2 * SAMPLES, 0.93)
    for name, found in held.items():
        assert sum(found) >= fewest, (name, sum(found))
        assert abs(np.mean(off[name])) < 3.3 / np.sqrt(SAMPLES), name
        assert 0.7 < np.std(off[name]) < 1.3, name
