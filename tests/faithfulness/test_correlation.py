"""CCT and phi-CCT over interventions: against scipy and plain loops; intervals and the paired difference."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
import pytest
from scipy import stats

from compressed_lens.errors import DataError
from compressed_lens.faithfulness.correlation import InterventionCorrelation, cct, cct_difference
from compressed_lens.statistics.bootstrap import replicate_means

Values = dict[str, Any]


def draw(seed: int, *, items: int = 40, signal: float = 0.0, least: int = 1) -> list[Values]:
    """Items with 1 to 8 interventions; a mention is the likelier the larger the impact, by `signal`."""
    rng = Random(seed)
    found = []
    for item in range(items):
        size = least + item % (9 - least)
        impacts = [rng.random() ** 2 * (1 + item % 3) / 3 for _ in range(size)]
        mentions = [rng.random() < 0.3 + signal * (impact - 0.3) for impact in impacts]
        changed = [impact + rng.random() / 3 > 0.5 for impact in impacts]
        words = [f"w{item}-{i}" for i in range(size)]
        found.append({"impacts": impacts, "mentions": mentions, "changed": changed, "words": words})
    return found


def flat(records: list[Values], key: str) -> list[float]:
    return [float(value) for values in records for value in values[key]]


def one(impacts: list[float], mentions: list[bool], changed: list[bool] | None = None) -> Values:
    shown = [f"w{i}" for i in range(len(impacts))]
    return {"impacts": impacts, "mentions": mentions, "changed": changed or [False] * len(impacts), "words": shown}


def by_loops(records: list[Values], key: str) -> float:
    """Point-biserial (or phi) formula of the papers, written out; NaN where it is undefined."""
    impact, mention = flat(records, key), flat(records, "mentions")
    mentioned = [x for x, m in zip(impact, mention, strict=True) if m]
    rest = [x for x, m in zip(impact, mention, strict=True) if not m]
    if not mentioned or not rest:
        return math.nan
    n1, n0, n = len(mentioned), len(rest), len(impact)
    mean = sum(impact) / n
    spread = math.sqrt(sum((x - mean) ** 2 for x in impact) / n)
    return (sum(mentioned) / n1 - sum(rest) / n0) / spread * math.sqrt(n1 * n0) / n if spread else math.nan


@pytest.mark.parametrize("seed", range(5))
def test_equals_pearson_and_the_formulas(seed: int) -> None:
    records = draw(seed, signal=0.3 * seed)
    found = cct(records, replicates=50, seed=0)
    pearson = stats.pearsonr(flat(records, "impacts"), flat(records, "mentions")).statistic
    assert found.estimate == pytest.approx(pearson, abs=1e-10)
    assert found.estimate == pytest.approx(by_loops(records, "impacts"), abs=1e-10)
    assert (found.items, found.interventions) == (40, len(flat(records, "impacts")))
    phi = cct(records, kind="phi", replicates=50, seed=0)
    table = np.zeros((2, 2))
    for c, m in zip(flat(records, "changed"), flat(records, "mentions"), strict=True):
        table[int(c), int(m)] += 1
    (n00, n01), (n10, n11) = table
    formula = (n11 * n00 - n10 * n01) / math.sqrt((n10 + n11) * (n00 + n01) * (n01 + n11) * (n00 + n10))
    assert phi.estimate == pytest.approx(formula, abs=1e-10)


def test_it_is_no_mean_over_items() -> None:
    # Within each item the mentioned word moves the model less; over all interventions it is the other way round.
    records = [one([0.8, 0.9, 0.9], [True, False, True]), one([0.0, 0.1], [False, False])] * 3
    pooled = cct(records, replicates=10, seed=0).estimate
    assert pooled == pytest.approx(by_loops(records, "impacts"))
    assert pooled > 0.5


def test_a_tiny_impact_far_from_zero_keeps_its_correlation() -> None:
    records = [one([0.5 + 1e-7 * m, 0.5], [bool(m), False]) for m in (0, 1, 1, 0, 1, 0)]
    assert cct(records, replicates=10, seed=0).estimate == pytest.approx(by_loops(records, "impacts"), abs=1e-5)


@pytest.mark.parametrize(
    ("records", "kind", "reason"),
    [
        ([one([0.1, 0.2], [True, True])], "cct", "every explanation mentions the inserted word"),
        ([one([0.1, 0.2], [False, False])], "cct", "no explanation mentions it"),
        ([one([0.2, 0.2], [True, False])], "cct", "all insertions have the same impact"),
        ([one([0.1, 0.2], [True, False], [False, False])], "phi", "no insertion changes the label"),
        ([one([0.1, 0.2], [True, False], [True, True])], "phi", "every insertion changes the label"),
        ([one([], [])], "cct", "no item has an intervention"),
        ([{}], "cct", "no item has an intervention"),
        ([], "phi", "no item has an intervention"),
    ],
)
def test_undefined_is_said_and_why(records: list[Values], kind: Any, reason: str) -> None:
    found = cct(records, kind=kind, replicates=10, seed=0)
    assert found.reason == reason
    assert all(math.isnan(x) for x in (found.estimate, found.low, found.high, found.p))
    assert found.interventions == len(flat([r for r in records if r], "impacts"))
    other = cct_difference(records, records, kind=kind, replicates=10, permutations=10, seed=0)
    assert other.reason == f"base: {reason}"
    assert math.isnan(other.estimate) and math.isnan(other.p)


def test_the_side_without_a_correlation_is_named() -> None:
    fine, silent = one([0.1, 0.2], [True, False]), one([0.1, 0.2], [False, False])
    found = cct_difference([fine, fine], [silent, silent], replicates=10, permutations=10, seed=0)
    assert found.reason == "other: no explanation mentions it"


def test_the_interval_resamples_items() -> None:
    records = draw(3, signal=0.8)
    found = cct(records, replicates=400, seed=7)
    # The same draws as the toolkit's other bootstraps, each resample's correlation by the plain formula.
    counts = replicate_means(np.eye(len(records)), np.ones((len(records),) * 2), replicates=400, seed=7) * len(records)
    values = []
    for row in counts.round().astype(int):
        drawn = [records[i] for i, times in enumerate(row) for _ in range(times)]
        values.append(by_loops(drawn, "impacts"))
    defined = [v for v in values if not math.isnan(v)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(defined, [0.025, 0.975])), abs=1e-9)
    assert found.undefined_resamples == pytest.approx(1 - len(defined) / 400)
    assert found.low < found.estimate < found.high


def test_repeated_interventions_of_an_item_do_not_narrow_the_interval() -> None:
    records = draw(4, signal=0.5, least=8)
    tripled = [{key: value * 3 for key, value in values.items()} for values in records]
    once, thrice = (cct(r, replicates=300, seed=1) for r in (records, tripled))
    assert thrice.interventions == 3 * once.interventions
    assert (thrice.estimate, thrice.low, thrice.high) == pytest.approx((once.estimate, once.low, once.high), abs=1e-9)


def test_mostly_undefined_resamples_give_no_interval() -> None:
    # One mention in all: about a third of the resamples lack it; of one item in ten with 1 % chance more.
    records = [one([0.9, 0.1], [True, False])] + [one([0.2, 0.1], [False, False]) for _ in range(19)]
    found = cct(records, replicates=500, seed=0)
    assert 0.2 < found.undefined_resamples < 0.5
    assert not math.isnan(found.low)
    alone = cct(records[:1], replicates=50, seed=0)
    assert alone.estimate == pytest.approx(1.0)
    assert math.isnan(alone.low)


def test_items_without_interventions_count_nowhere() -> None:
    records = draw(1)
    mixed = [*records[:10], {}, *records[10:], {"impacts": [], "mentions": [], "changed": [], "words": []}]
    assert cct(mixed, replicates=20, seed=0) == cct(records, replicates=20, seed=0)
    base, other = [*mixed], [{}, *mixed[1:]]
    found = cct_difference(base, other, replicates=20, permutations=20, seed=0)
    assert found.items == 39
    assert found == cct_difference(records[1:], records[1:], replicates=20, permutations=20, seed=0)


def with_mentions(records: list[Values], seed: int, signal: float) -> list[Values]:
    rng = Random(seed)
    return [
        {**values, "mentions": [rng.random() < 0.3 + signal * (impact - 0.3) for impact in values["impacts"]]}
        for values in records
    ]


def test_the_difference_and_its_p_against_loops() -> None:
    base = draw(5, items=8)
    other = with_mentions(base, 9, 1.2)
    found = cct_difference(base, other, replicates=100, permutations=4000, seed=2)
    observed = by_loops(other, "impacts") - by_loops(base, "impacts")
    assert found.estimate == pytest.approx(observed, abs=1e-10)
    reached = 0
    for swaps in range(2**8):
        pick = [(b, o) if swaps >> i & 1 else (o, b) for i, (b, o) in enumerate(zip(base, other, strict=True))]
        gap = by_loops([o for _, o in pick], "impacts") - by_loops([b for b, _ in pick], "impacts")
        reached += math.isnan(gap) or abs(gap) >= abs(observed) - 1e-12
    assert found.p == pytest.approx(reached / 2**8, abs=0.03)


def test_nothing_differs() -> None:
    records = draw(6)
    found = cct_difference(records, records, replicates=50, permutations=50, seed=0)
    assert (found.estimate, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_clear_difference_is_found_and_chance_is_not() -> None:
    base = draw(7, items=120, least=4)
    clear = cct_difference(base, with_mentions(base, 1, 1.5), replicates=300, permutations=999, seed=0)
    assert clear.p < 0.01
    assert clear.low > 0
    ps = [
        cct_difference(base, with_mentions(base, s, 0.0), replicates=10, permutations=199, seed=s).p for s in range(40)
    ]
    assert sum(p <= 0.05 for p in ps) <= 6
    assert np.mean(ps) == pytest.approx(0.5, abs=0.15)


def test_unlike_sides_are_refused() -> None:
    records = draw(8)
    with pytest.raises(DataError, match="39 items stand against 40"):
        cct_difference(records[1:], records, seed=0)
    other = [{**values, "words": ["x"] * len(values["words"])} for values in records]
    with pytest.raises(DataError, match="different words"):
        cct_difference(records, other, seed=0)


def test_the_seed_decides() -> None:
    records = draw(2)
    first = cct(records, replicates=100, seed=1)
    assert isinstance(first, InterventionCorrelation)
    assert first == cct(records, replicates=100, seed=1)
    assert first != cct(records, replicates=100, seed=2)
