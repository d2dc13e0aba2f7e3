"""How many items it takes: detectable differences, needed items, and items that would decide an open question."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from compressed_lens.errors import DataError
from compressed_lens.statistics.equivalence import FEWEST_PAIRS, fewest_pairs
from compressed_lens.statistics.interval import NORMAL, normal_quantile, paired_rate_variance

POWER = 0.8
ALPHA = 0.05
"""What verdicts call significant, and what needed items are computed for."""

_MANY_CHANGES = 100_000
_TAIL = 9
_LARGEST = 10**15


def detectable(sd: float, n: int, *, power: float = POWER, alpha: float = ALPHA) -> float:
    """Return the smallest true mean difference that `n` pairs show with probability `power`.

    Args:
        sd: Standard deviation of the paired differences; for a rate the root of the share of items that change.
        n: Independent pairs.
        power: Probability of showing it.
        alpha: Level of the two-sided test.

    Returns:
        About 2.8 sd / √n, in the unit of `sd`. Normal approximation: below 20 pairs some 5 % too small.

    Source: Cohen 1988, chapter 2.
    """
    if n < 1 or sd < 0:
        raise DataError(f"{n} pairs with a spread of {sd} are impossible.", fix="Pass n >= 1 and sd >= 0.")
    return _sum_of_quantiles(power, alpha) * sd / math.sqrt(n)


def items_for(difference: float, sd: float, *, power: float = POWER, alpha: float = ALPHA) -> int:
    """Return how many pairs show a true mean difference with probability `power`.

    Args:
        difference: The true difference, not zero.
        sd: As for `detectable`.
        power: As for `detectable`.
        alpha: As for `detectable`.
    """
    if difference == 0 or sd < 0:
        raise DataError("No number of items shows a difference of zero.", fix="Name the difference that would matter.")
    return max(1, math.ceil((_sum_of_quantiles(power, alpha) * sd / difference) ** 2))


def items_for_rates(lost: float, gained: float, *, power: float = POWER, alpha: float = ALPHA) -> int:
    """Return how many items McNemar's exact test needs to show that more are lost than gained, or fewer.

    Args:
        lost: True share of items that go from 1 to 0.
        gained: True share that go from 0 to 1; another one than `lost`.
        power: As for `detectable`.
        alpha: As for `detectable`.

    Returns:
        A little more than 7.85 (lost + gained) / (lost - gained)².

    Source: exact power summed over the number of changed items; Miettinen 1968, Biometrics 24:339 (approximation).
    """
    _check_rates(lost, gained)
    if lost == gained:
        raise DataError("No number of items shows a difference of zero.", fix="Pass two different shares.")
    return _smallest(lambda n: mcnemar_power(lost, gained, n, alpha=alpha) >= power)


def mcnemar_power(lost: float, gained: float, n: int, *, alpha: float = ALPHA) -> float:
    """Return the probability that McNemar's exact two-sided test over `n` items is below `alpha`.

    Args:
        lost: True share of items that go from 1 to 0.
        gained: True share that go from 0 to 1.
        n: Items, unchanged ones included.
        alpha: Level.
    """
    _check_rates(lost, gained)
    return sum(_mcnemar_sides(lost, gained, n, alpha))


def items_for_margin(
    margin: float, sd: float, *, rate: bool, difference: float = 0.0, power: float = POWER, alpha: float = ALPHA
) -> int:
    """Return how many pairs show equivalence within ±margin with probability `power`.

    Args:
        margin: The largest difference that does not matter, above zero.
        sd: Standard deviation of the paired differences; for a rate the root of the share of items that change.
        rate: Whether the measure is a yes or no.
        difference: True difference, closer to zero than the margin.
        power: Probability that the whole interval lies within the margin.
        alpha: 1 - the confidence of the interval, such as 0.05: two one-sided tests at half of it.

    Returns:
        About ((1.96 + 1.28) sd / margin)² where there is no difference; at least `FEWEST_PAIRS`, or `FEWEST_ALIKE`
        where nothing differs.

    Source: Chow, Shao and Wang 2008, section 3.1; for rates Nam 1997, Biometrics 53:1422.
    """
    if not abs(difference) < margin or sd < 0:
        raise DataError(
            f"A true difference of {difference} is never shown to lie within ±{margin}.", fix="Use a larger margin."
        )
    truth = _Truth(difference, sd, rate)
    z = normal_quantile(1 - alpha)

    def enough(n: int) -> bool:
        return truth.clears(margin, n, z) + truth.mirrored().clears(margin, n, z) - 1 >= power

    return max(FEWEST_PAIRS if rate else fewest_pairs(sd, margin), _smallest(enough))


def items_to_decide(
    difference: float,
    sd: float,
    margin: float | None,
    *,
    pairs: int,
    rate: bool,
    direction: str,
    tests: int = 1,
    floor: float = 0.0,
) -> int | None:
    """Return how many pairs in all would decide a comparison with 80 % probability, were the truth as estimated.

    Decided is what gets another verdict than "undecided" (docs/design/evidence.md): the 95 % interval leaves out a
    loss of the margin or more, or a difference is shown: for a rate by McNemar's exact test, else by the interval.

    Args:
        difference: Estimated mean paired difference, variant minus full precision.
        sd: Estimated standard deviation of the paired differences. With clusters, that of the clusters' means.
        margin: The loss that would matter, above zero; None where there is none: only a difference can then be shown.
        pairs: Independent pairs (clusters) the estimates rest on.
        rate: Whether the measure is a yes or no; sd² + difference² is then the share of items that change.
        direction: Whether "higher" or "lower" is better; without meaning where there is no margin.
        tests: Tests that share a correction: a difference then counts as shown at 5 % / tests.
        floor: Noise floor; a difference up to it is never shown.

    Returns:
        More than `pairs`, which did not decide, and at least as many as `items_for_margin` returns at the least; None
        where no number would (no difference and no margin; a difference of at most the floor that is not within the
        margin) and where nothing was estimated.
    """
    if pairs < 1 or math.isnan(difference) or math.isnan(sd):
        return None
    signed = -difference if direction == "lower" else difference
    if rate:
        # No fewer items change than the difference alone needs.
        sd = math.sqrt(max(sd * sd, abs(signed) - signed * signed, 0.0))
    truth = _Truth(signed, sd, rate)
    alpha = ALPHA / max(1, tests)
    z = normal_quantile(1 - ALPHA)

    def chance(n: int) -> float:
        lower = truth.shows_loss(n, alpha, floor)
        upper = truth.mirrored().shows_loss(n, alpha, floor) if margin is None else truth.clears(margin, n, z)
        # The two exclude each other until they leave no room between them.
        return lower + upper

    if chance(_LARGEST) < POWER:
        return None
    fewest = FEWEST_PAIRS if rate or margin is None else fewest_pairs(sd, margin)
    return _smallest(lambda n: chance(n) >= POWER, at_least=max(fewest, pairs + 1))


class _Truth:
    """A true difference (negative is a loss) and the spread around it."""

    def __init__(self, difference: float, sd: float, rate: bool) -> None:
        self.difference, self.sd, self.rate = difference, sd, rate
        changed = min(1.0, sd * sd + difference * difference)
        self.lost, self.gained = max(0.0, (changed - difference) / 2), max(0.0, (changed + difference) / 2)

    def mirrored(self) -> _Truth:
        """Return the same with gains for losses."""
        return _Truth(-self.difference, self.sd, self.rate)

    def clears(self, margin: float, n: int, z: float) -> float:
        """Return the probability that the interval of n pairs lies above -margin."""
        spread = self.sd
        if self.rate:
            spread = math.sqrt(max(0.0, paired_rate_variance(self.lost, self.gained, max(-margin, -1.0))))
        return _share_above((self.difference + margin) * math.sqrt(n) - z * spread, self.sd)

    def shows_loss(self, n: int, alpha: float, floor: float) -> float:
        """Return the probability that n pairs show a loss, at `alpha` and beyond the floor."""
        root = math.sqrt(n)
        beyond = _share_above((-self.difference - floor) * root, self.sd) if floor > 0 else 1.0
        if self.rate:
            return min(beyond, _mcnemar_sides(self.lost, self.gained, n, alpha)[0])
        return min(beyond, _share_above(-self.difference * root - normal_quantile(1 - alpha) * self.sd, self.sd))


def _share_above(mean: float, sd: float) -> float:
    """Return P(X > 0) for X normal."""
    if sd > 0:
        return NORMAL.cdf(mean / sd)
    return 1.0 if mean > 0 else 0.0


def _mcnemar_sides(lost: float, gained: float, n: int, alpha: float) -> tuple[float, float]:
    """Return the probabilities that McNemar's exact test is below alpha with more lost, and with more gained."""
    changed = lost + gained
    expected, difference = n * changed, lost - gained
    if expected > _MANY_CHANGES:
        root, z = math.sqrt(n), normal_quantile(1 - alpha) * math.sqrt(changed)
        sd = math.sqrt(max(0.0, changed - difference * difference))
        return _share_above(difference * root - z, sd), _share_above(-difference * root - z, sd)
    from scipy.special import bdtr, gammaln, xlog1py, xlogy

    reach = _TAIL * math.sqrt(expected * (1 - min(1.0, changed))) + _TAIL
    counts = np.arange(max(0, math.floor(expected - reach)), min(n, math.ceil(expected + reach)) + 1)
    choices = gammaln(n + 1.0) - gammaln(counts + 1) - gammaln(n - counts + 1)
    weights = np.exp(choices + xlogy(counts, changed) + xlog1py(n - counts, -min(1.0, changed)))
    fewer = _critical(counts, alpha)
    possible = fewer >= 0

    def rejected(share: float) -> float:
        return float((weights * np.where(possible, bdtr(np.maximum(fewer, 0), counts, share), 0.0)).sum())

    if not changed:
        return 0.0, 0.0
    return rejected(gained / changed), rejected(lost / changed)


def _critical(counts: NDArray[np.int64], alpha: float) -> NDArray[np.int64]:
    """Return for each number of changes, ascending, the most there may be in one direction with p < alpha; or -1."""
    return _critical_below(1 << int(counts[-1]).bit_length(), alpha)[counts]


@lru_cache(maxsize=64)
def _critical_below(size: int, alpha: float) -> NDArray[np.int64]:
    """Return the same for 0, 1, ..., size - 1 changes; a search for a number of items asks for it again and again."""
    from scipy.special import bdtr

    counts = np.arange(size)
    start = np.ceil(counts / 2 - NORMAL.inv_cdf(1 - alpha / 2) * np.sqrt(counts) / 2) + 2
    fewer = np.minimum(counts // 2, start.astype(np.int64))

    def too_many() -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (fewer >= 0) & (2 * bdtr(np.maximum(fewer, 0), counts, 0.5) >= alpha)
        return found

    while (above := too_many()).any():
        fewer = fewer - above
    return fewer


def _smallest(enough: Callable[[int], bool], *, at_least: int = 1) -> int:
    """Return the smallest number from `at_least` on that is enough; what is enough stays enough beyond it."""
    low, high = at_least - 1, at_least
    while not enough(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _sum_of_quantiles(power: float, alpha: float) -> float:
    if not (0 < power < 1 and 0 < alpha < 1):
        raise DataError(f"A power of {power} at {alpha} is out of range.", fix="Use for example 0.8 and 0.05.")
    return normal_quantile(1 - alpha) + NORMAL.inv_cdf(power)


def _check_rates(lost: float, gained: float) -> None:
    if min(lost, gained) < 0 or lost + gained > 1:
        raise DataError(f"Shares of {lost} lost and {gained} gained are impossible.", fix="Pass shares, together <= 1.")
