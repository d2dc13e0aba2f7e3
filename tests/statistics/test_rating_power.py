"""The error of a contrast against simulation and closed forms; power and the smallest detectable difference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from tests.statistics.rating_designs import study

from compressed_lens.errors import DataError
from compressed_lens.statistics import (
    contrast_error,
    contrast_power,
    detectable_contrast,
    krippendorff_alpha,
    rating_spread,
)


def test_error_is_the_spread_of_simulated_estimates() -> None:
    """Generalized least squares by dense algebra, on 4,000 draws of all effects."""
    generator = np.random.default_rng(0)
    planned = study(6, 36, generator)
    spread = rating_spread(1.0, 0.6)
    n = len(planned.text)
    weights = np.array([0, 0, 0, 1.0, -1.0])
    error = contrast_error(planned.fixed, planned.groups, spread.deviations, spread.residual, weights)
    v = spread.residual**2 * np.eye(n)
    values = spread.residual * generator.normal(size=(4000, n))
    for group, deviation in zip(planned.groups, spread.deviations, strict=True):
        v += deviation**2 * (group[:, None] == group)
        values += deviation * generator.standard_exponential((4000, group.max() + 1))[:, group]
    x = np.column_stack([np.ones(n), planned.fixed])
    inverse = np.linalg.inv(v)
    covariance = np.linalg.inv(x.T @ inverse @ x)
    full = np.insert(weights, 0, 0)
    assert error == pytest.approx(math.sqrt(full @ covariance @ full), rel=1e-9)
    estimates = values @ (inverse @ x @ covariance @ full)
    assert estimates.std() == pytest.approx(error, rel=0.04)
    assert estimates.mean() == pytest.approx(0, abs=4 * error / math.sqrt(4000))


def test_paired_ratings_have_the_error_of_their_differences() -> None:
    item, other = np.repeat(np.arange(20), 2), np.tile([0.0, 1.0], 20)
    error = contrast_error(other[:, None], [item], [3.0], 0.7, [1])
    assert error == pytest.approx(0.7 * math.sqrt(2 / 20), rel=1e-6)
    assert contrast_error(other[:, None], [], [], 0.7, [1]) == pytest.approx(0.7 * math.sqrt(2 / 20))


def test_what_an_assignment_cannot_tell_has_an_infinite_error() -> None:
    fixed = np.column_stack([np.tile([0.0, 1.0], 5), np.tile([1.0, 0.0], 5)])
    assert contrast_error(fixed, [], [], 1.0, [1, 0]) == math.inf
    assert contrast_error(fixed, [], [], 1.0, [1, -1]) < math.inf
    assert detectable_contrast(math.inf) == math.inf


@pytest.mark.parametrize("freedom", [4, 14, 30, math.inf])
def test_power_is_that_of_simulated_tests(freedom: float) -> None:
    generator = np.random.default_rng(1)
    draws = 0.5 + 0.2 * generator.normal(size=20_000)
    errors = 0.2 * (np.sqrt(generator.chisquare(freedom, 20_000) / freedom) if math.isfinite(freedom) else 1.0)
    quantile = stats.t.ppf(0.975, freedom) if math.isfinite(freedom) else stats.norm.ppf(0.975)
    share = float((np.abs(draws) > quantile * errors).mean())
    assert contrast_power(0.5, 0.2, freedom=freedom) == pytest.approx(share, abs=0.012)
    assert contrast_power(-0.5, 0.2, freedom=freedom) == contrast_power(0.5, 0.2, freedom=freedom)
    assert contrast_power(0.0, 0.2, freedom=freedom) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(("freedom", "errors"), [(math.inf, 2.8016), (29, 2.898), (14, 3.013), (3, 4.256)])
def test_the_smallest_difference_has_the_power_asked_for(freedom: float, errors: float) -> None:
    found = detectable_contrast(0.2, freedom=freedom)
    assert contrast_power(found, 0.2, freedom=freedom) == pytest.approx(0.8, abs=1e-9)
    assert found / 0.2 == pytest.approx(errors, abs=2e-3)
    assert detectable_contrast(0.2, freedom=freedom, power=0.9, confidence=0.99) > found


def test_assumed_agreement_is_what_the_ratings_have() -> None:
    """2,000 texts of 500 items by 400 raters: their spread and alpha are those that were assumed."""
    generator = np.random.default_rng(2)
    spread = rating_spread(1.2, 0.64, severity=0.4, item=0.3)
    item = np.repeat(np.arange(500), 4)
    text = spread.item * generator.normal(size=500)[item] + spread.text * generator.normal(size=2000)
    raters = spread.rater * generator.normal(size=400)
    rated = np.full((400, 2000), np.nan)
    for column in range(2000):
        two = generator.choice(400, 2, replace=False)
        rated[two, column] = text[column] + raters[two] + spread.residual * generator.normal(size=2)
    assert np.nanstd(rated) == pytest.approx(1.2, rel=0.04)
    assert krippendorff_alpha(rated, level="interval") == pytest.approx(0.64, abs=0.04)
    assert spread.rater**2 / (spread.rater**2 + spread.residual**2) == pytest.approx(0.4)
    assert spread.item**2 / (spread.item**2 + spread.text**2) == pytest.approx(0.3)


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match="impossible"):
        rating_spread(1.0, 1.2)
    with pytest.raises(DataError, match="impossible"):
        rating_spread(0.0, 0.5)
    with pytest.raises(DataError, match="do not belong to 1 groupings"):
        contrast_error([[0], [1]], [[0, 1]], [1.0, 2.0], 1.0, [1])
    with pytest.raises(DataError, match="do not belong"):
        contrast_error([[0], [1]], [], [], 0.0, [1])
    with pytest.raises(DataError, match="impossible"):
        contrast_power(1.0, 0.0)
    with pytest.raises(DataError, match="out of range"):
        detectable_contrast(1.0, power=0.04)
