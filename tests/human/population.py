"""A planted population of raters: what they answer is drawn, and what is true of them is integrated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MODELS = ("small", "middle", "large")
VARIANTS = ("full", "gptq-4bit", "gptq-8bit", "awq-4bit")
KINDS = {"explanation": "nle", "counterfactual": "counterfactual"}
DIMENSIONS = ("trustworthiness", "coherence")
TEXTS = ("text", "kind", "model", "variant", "task", "analysis", "item")
POINTS = np.arange(1, 6)
_NODES = 81


@dataclass(frozen=True, kw_only=True)
class Population:
    """Raters with a cumulative logit: P(rating <= k) = logistic(thresholds[k] - effect - item - text - rater).

    Attributes:
        effects: Latent shift of each variant; those not named have none.
        rater: Standard deviation of the raters' severity, in logits.
        item: The same of items.
        text: The same of texts (what an item does not tell).
        thresholds: The four places where one point passes into the next.
        careless: Share of raters who choose at random, in texts and in attention checks.
    """

    effects: Mapping[str, float] = field(default_factory=dict)
    rater: float = 0.9
    item: float = 1.7
    text: float = 2.6
    thresholds: tuple[float, float, float, float] = (-3.4, -1.6, 0.2, 2.4)
    careless: float = 0.0

    def shares(self, latent: Floats) -> Floats:
        """Return the probability of each point, shape [..., 5], at latent values without the rater's severity."""
        below = 1 / (1 + np.exp(latent[..., None] - np.array(self.thresholds)))
        ends = np.concatenate([np.zeros((*latent.shape, 1)), below, np.ones((*latent.shape, 1))], axis=-1)
        return np.diff(ends, axis=-1)

    def _over_raters(self, units: Floats) -> Floats:
        """Return the probability of each point at the latent value of a text, over all raters."""
        nodes, weights = _normal()
        return np.asarray((self.shares(units[..., None] + self.rater * nodes) * weights[:, None]).sum(axis=-2))

    def mean(self, variant: str) -> float:
        """Return the mean rating of a variant over all raters, items and texts."""
        nodes, weights = _normal()
        spread = np.hypot(self.item, self.text)
        shares = self._over_raters(self.effects.get(variant, 0.0) + spread * nodes)
        return float(weights @ shares @ POINTS)

    def difference(self, variant: str) -> float:
        """Return a variant's mean rating less that of full precision, in points."""
        return self.mean(variant) - self.mean("full")

    def alpha(self, variants: tuple[str, ...] = VARIANTS, *, level: Literal["ordinal", "interval"]) -> float:
        """Return Krippendorff's alpha of endlessly many texts of these variants, each with two raters of its own."""
        nodes, weights = _normal()
        spread = np.hypot(self.item, self.text)
        pairs = np.zeros((5, 5))
        for variant in variants:
            shares = self._over_raters(self.effects.get(variant, 0.0) + spread * nodes)
            pairs += (shares * weights[:, None]).T @ shares / len(variants)
        alone = pairs.sum(axis=0)
        places = POINTS if level == "interval" else alone.cumsum() - alone / 2
        apart = (places[:, None] - places) ** 2
        return float(1 - (pairs * apart).sum() / (np.outer(alone, alone) * apart).sum())


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What raters of a population answered: the frames of `HumanRatings`, and who was careless."""

    long: pl.DataFrame
    checks: pl.DataFrame
    careless: frozenset[str]


def paper_design(seed: int = 0, *, items: int = 15, raters: int = 48, models: tuple[str, ...] = MODELS) -> pl.DataFrame:
    """Return who rates which text, every text twice. Defaults: the 720 ratings of 2601.00282.

    Args:
        seed: Of the draw.
        items: Of each kind; even numbers keep loads equal.
        raters: Number of raters, twice the texts of an item or more.
        models: Models, each with all of `VARIANTS`.
    """
    rows = [
        (f"{item}-{model}-{variant}", kind, model, variant, "e-snli", analysis, item)
        for kind, analysis in KINDS.items()
        for item in (f"{kind[0]}{n:02d}" for n in range(items))
        for model in models
        for variant in VARIANTS
    ]
    return assigned(pl.DataFrame(rows, schema=list(TEXTS), orient="row"), raters=raters, seed=seed)


def assigned(texts: pl.DataFrame, *, raters: int, seed: int, ratings: int = 2) -> pl.DataFrame:
    """Return (rater, position) for every text, item by item to whom has least: no rater an item twice."""
    generator = np.random.default_rng(seed)
    loads, parts = np.zeros(raters), []
    for _, own in texts.group_by(["kind", "item"], maintain_order=True):
        copies = pl.concat([own] * ratings)
        chosen = np.lexsort((generator.random(raters), loads))[: len(copies)]
        loads[chosen] += 1
        parts.append(copies.with_columns(rater=pl.Series(f"R{n + 1:02d}" for n in generator.permutation(chosen))))
    frame = pl.concat(parts)
    frame = frame.with_columns(order=pl.Series(generator.random(len(frame))))
    position = pl.col("order").rank("ordinal").over("rater").cast(pl.Int64)
    return frame.with_columns(position=position).drop("order").sort("rater", "position")


def simulate(
    design: pl.DataFrame, population: Population, *, seed: int, dimensions: tuple[str, ...] = DIMENSIONS
) -> Simulated:
    """Draw what the raters of a design answer; dimensions are drawn apart, with the same careless raters."""
    generator = np.random.default_rng(seed)
    raters = design["rater"].unique(maintain_order=True).to_list()
    careless = frozenset(
        raters[n] for n in generator.choice(len(raters), round(population.careless * len(raters)), replace=False)
    )
    random = design["rater"].is_in(list(careless)).to_numpy()
    seconds = generator.lognormal(np.where(random, 1.2, 3.3), 0.4)
    parts = []
    for dimension in dimensions:
        latent = np.array([population.effects.get(variant, 0.0) for variant in design["variant"]])
        for column, spread in (("rater", population.rater), ("item", population.item), ("text", population.text)):
            _, code = np.unique(design[column].to_numpy(), return_inverse=True)
            latent = latent + generator.normal(0, spread, code.max() + 1)[code]
        shares = population.shares(latent)
        shares[random] = 1 / len(POINTS)
        rating = 1 + (generator.random(len(design))[:, None] > shares.cumsum(axis=1)[:, :-1]).sum(axis=1)
        parts.append(design.with_columns(dimension=pl.lit(dimension), rating=rating, seconds=seconds))
    long = pl.concat(parts).with_columns(revisions=pl.lit(0), language=pl.lit("en"))
    rows = [(rater, 1, int(rater in careless and generator.random() < _CAUGHT), True) for rater in raters]
    checks = pl.DataFrame(rows, schema=["rater", "checks", "failed", "finished"], orient="row")
    return Simulated(long=long, checks=checks, careless=careless)


_CAUGHT = 1 - 1 / len(POINTS) ** 2
"""Chance that random points on two dimensions are not those that an attention check asks for."""


def _normal() -> tuple[Floats, Floats]:
    """Return places and weights that integrate over a standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return nodes, np.asarray(weights / weights.sum())
