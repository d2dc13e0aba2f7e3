"""Rating studies to simulate: models x variants x items, every text with two raters, no rater with an item twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

MODELS, VARIANTS = 3, 4
THRESHOLDS = np.array([-6.9, -4.3, -1.6, 2.1])
"""With the deviations below: ratings of 1 to 5 with a standard deviation of 1.0 and an alpha of 0.60."""
DEVIATIONS = {"rater": 1.0, "item": 1.8, "text": 2.4}
BY_MODEL = np.array([0.0, 0.5, -0.5])


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """Who rates what; `fixed` has a column for each model but the first, then one for each variant but the first."""

    rater: Codes
    item: Codes
    text: Codes
    model: Codes
    variant: Codes
    fixed: Floats

    @property
    def groups(self) -> list[Codes]:
        return [self.rater, self.item, self.text]

    def rated(self, by_variant: Floats, generator: np.random.Generator) -> Codes:
        """Draw ratings from the cumulative-link mixed model."""
        latent = BY_MODEL[self.model] + by_variant[self.variant] + generator.logistic(size=len(self.text))
        for labels, deviation in zip(self.groups, DEVIATIONS.values(), strict=True):
            latent += deviation * generator.normal(size=labels.max() + 1)[labels]
        return 1 + (latent[:, None] > THRESHOLDS).sum(axis=1)


def study(items: int, raters: int, generator: np.random.Generator) -> Ratings:
    """Assign texts to raters at random, equally many to each."""
    cells = np.array([(m, v, i) for i in range(items) for m in range(MODELS) for v in range(VARIANTS)])
    pairs = None
    while pairs is None:
        pairs = _assign(cells[:, 2], raters, generator)
    text, rater = pairs.T
    model, variant, item = cells[text].T
    columns = [model == m for m in range(1, MODELS)] + [variant == v for v in range(1, VARIANTS)]
    return Ratings(
        rater=rater, item=item, text=text, model=model, variant=variant, fixed=np.stack(columns, axis=1).astype(float)
    )


def _assign(item: Codes, raters: int, generator: np.random.Generator) -> Codes | None:
    room = np.full(raters, 2 * len(item) // raters)
    room[: 2 * len(item) % raters] += 1
    seen = np.zeros((raters, item.max() + 1), dtype=bool)
    pairs = []
    for text in generator.permutation(len(item)):
        free = np.flatnonzero((room > 0) & ~seen[:, item[text]])
        if len(free) < 2:
            return None
        for rater in free[np.argsort(-room[free] + generator.random(len(free)))[:2]]:
            pairs.append((text, rater))
            room[rater] -= 1
            seen[rater, item[text]] = True
    return np.array(pairs)


def expected_points(latent: float) -> float:
    """Return the mean rating of all raters, items and texts, by a fine grid over their summed normal."""
    spread = np.sqrt(sum(deviation**2 for deviation in DEVIATIONS.values()))
    z = np.linspace(-9, 9, 20_001)
    weights = np.exp(-z * z / 2)
    above = 1 / (1 + np.exp(THRESHOLDS[:, None] - latent - spread * z))
    return float(1 + (above * weights).sum() / weights.sum())


def points_of(effect: float) -> float:
    """Return what an effect in log-odds is in points, averaged over the models."""
    return float(np.mean([expected_points(base + effect) - expected_points(base) for base in BY_MODEL]))


def effect_of(points: float) -> float:
    """Return the effect in log-odds that is so many points."""
    return float(brentq(lambda effect: points_of(effect) - points, -6, 6))
