"""Saturation, hop tables and the bottleneck against SciPy and plain counting."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.comparison.conftest import FAILED, MISSING, make, measure

from compressed_lens.analyses.base import Mosaic
from compressed_lens.comparison import (
    Saturation,
    Transition,
    bottlenecks,
    bottlenecks_frame,
    figures,
    hop_tables,
    hop_tables_frame,
    saturations,
    saturations_frame,
    transitions,
    transitions_frame,
)
from compressed_lens.comparison.mosaic import COMBINATIONS
from compressed_lens.comparison.series import Outcome, Series
from compressed_lens.statistics import cohen_kappa, correlation

RECALL = measure("correct", family="knowledge", on_failure=0.0)


def grouped(full: list[float], loss: list[float], n: int = 40, direction: str = "higher") -> Series:
    """Return items of as many relations as there are shares: `full` right at first, `loss` of all lost."""
    sides: dict[str, list[Any]] = {"full": [], "q": []}
    for share, lost in zip(full, loss, strict=True):
        right = round(share * n)
        kept = right - round(lost * n)
        sides["full"] += [True] * right + [False] * (n - right)
        sides["q"] += [True] * kept + [False] * (n - kept)
    if direction == "lower":
        sides = {name: [not value for value in values] for name, values in sides.items()}
    one = make(sides, of=measure("correct", direction, family="knowledge"))
    return Series(**{**vars(one), "groups": tuple(f"r{k // n:02d}" for k in range(n * len(full)))})


FULL = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.05, 0.0]
LOSS = [0.0, 0.025, 0.075, 0.05, 0.2, 0.15, 0.0, -0.1]


def only(one: Series) -> Saturation:
    (found,) = saturations([one], {("m", "q"): "passed"})
    return found


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_saturation_is_the_rank_correlation_without_floor_relations(direction: str) -> None:
    found = only(grouped(FULL, LOSS, direction=direction))
    assert [(p.group, p.pairs) for p in found.points] == [(f"r{k:02d}", 40) for k in range(8)]
    assert [p.full for p in found.points] == pytest.approx(FULL)
    assert [p.loss for p in found.points] == pytest.approx(LOSS)
    assert found.left_out == ("r06", "r07") and found.correlation.n == 6
    assert found.correlation.estimate == pytest.approx(stats.spearmanr(FULL[:6], LOSS[:6]).statistic)
    assert found.correlation.estimate < -0.8 and found.correlation.high < 0 and found.correlation.kind == "spearman"
    frame = saturations_frame([found])
    assert frame.height == 8 and frame.filter(frame["floor"])["group"].to_list() == ["r06", "r07"]
    lower = saturations([grouped(FULL, LOSS)], {}, floor=0.0)[0]
    assert lower.left_out == () and lower.correlation.estimate == pytest.approx(stats.spearmanr(FULL, LOSS).statistic)


def test_saturation_that_is_undefined_says_why() -> None:
    same = only(grouped([0.9, 0.8, 0.7], [0.0, 0.0, 0.0]))
    assert math.isnan(same.correlation.estimate) and same.correlation.constant == "second"
    floor = only(grouped([0.9, 0.0, 0.0], [0.1, 0.0, 0.0]))
    assert floor.correlation.constant == "few" and saturations_frame([floor])["undefined"][0] == "few"
    assert not saturations([make({"full": [True, False], "q": [True, True]})], {}), "one group is none"
    numbers = make({"full": [0.2, 0.4], "q": [0.2, 0.3]}, of=measure("p", unit="nats"))
    assert not saturations([Series(**{**vars(numbers), "groups": ("a", "b")})], {})


def test_a_bootstrap_that_never_varies_is_no_interval() -> None:
    one = only(grouped([1.0, 0.9, 0.8, 0.7, 0.6], [0.0, 0.025, 0.05, 0.1, 0.2]))
    assert one.correlation.estimate == pytest.approx(-1) and math.isnan(one.correlation.low)
    assert one.correlation.method == "none" and saturations_frame([one])["low"].to_list() == [None] * 5


def chains(outcomes: dict[str, list[tuple[Any, ...]]], groups: tuple[str, ...] | None = None) -> Series:
    """Return a two-hop series: each outcome is the three values, FAILED or MISSING."""
    names = ("first_correct", "second_correct", "composed_correct")
    n = len(next(iter(outcomes.values())))

    def outcome(value: Any) -> Outcome | None:
        if value is MISSING:
            return None
        if value is FAILED:
            return Outcome(values={}, failed="no mention")
        return Outcome(values=dict(zip(names, value, strict=True)), failed=None)

    return Series(
        model="m", task="chains", analysis="two_hop", method="two_hop", settings={},
        measures=tuple(measure(name, family="knowledge", on_failure=0.0) for name in names),
        rows=tuple((f"i{k}", 0) for k in range(n)), groups=groups or ("",) * n,
        outcomes={name: tuple(map(outcome, values)) for name, values in outcomes.items()},
        planned=dict.fromkeys(outcomes, n + 1), pictures=(Mosaic(name="hops", summary=""),),
    )  # fmt: skip


def test_hop_tables_count_every_item() -> None:
    every = list(itertools.product((True, False), repeat=3))
    values = [combination for k, combination in enumerate(every) for _ in range(k + 1)]
    values += [(True, None, False), FAILED, MISSING]
    (table,) = hop_tables([chains({"q": values})], {("m", "q"): "failed"})
    assert tuple(every) == COMBINATIONS and table.counts == tuple(range(1, 9)) and table.gate == "failed"
    assert (table.not_applicable, table.failed, table.unrecorded, table.items) == (1, 1, 2, 40)
    assert table.composed == 1 / 3 and table.without_hops == (3 + 5 + 7) / 33
    frame = hop_tables_frame([table])
    for row, combination in zip(frame.iter_rows(named=True), every, strict=True):
        assert (row["first"], row["second"], row["third"]) == combination
        assert row["count"] == sum(value == combination for value in values)
    (empty,) = hop_tables([chains({"q": [FAILED, FAILED]})], {})
    assert empty.total == 0 and math.isnan(empty.composed) and math.isnan(empty.without_hops)


def test_bottleneck_over_groups_items_and_variants() -> None:
    generator = np.random.default_rng(5)
    groups = tuple(f"g{k % 12:02d}" for k in range(600))
    full = [(True, True, generator.random() < 0.8) for _ in groups]
    hurt = np.linspace(0, 0.6, 12)
    outcomes: dict[str, list[Any]] = {"full": full}
    for name, scale in (("a", 1.0), ("b", 0.5), ("c", 0.25)):
        first = [bool(generator.random() > scale * hurt[k % 12]) for k in range(600)]
        second = [bool(generator.random() > 0.05) for _ in range(600)]
        third = [bool(f and right) for f, (*_, right) in zip(first, full, strict=True)]
        outcomes[name] = list(zip(first, second, third, strict=True))
    found = bottlenecks([chains(outcomes, groups)], {})
    frame = bottlenecks_frame(found)
    assert frame.height == 2 * (3 * 2 + 1)
    groups_a = next(b for b in found if (b.level, b.variant, b.first[1]) == ("groups", "a", "first_correct"))
    table = np.array([[full[k][h] - outcomes["a"][k][h] for h in range(3)] for k in range(600)])
    by_group = table.reshape(50, 12, 3).mean(axis=0)
    assert groups_a.correlation.estimate == pytest.approx(stats.spearmanr(by_group[:, 0], by_group[:, 2]).statistic)
    assert groups_a.correlation.estimate > 0.8 and groups_a.correlation.low > 0.4
    assert [p.first for p in groups_a.points] == pytest.approx(by_group[:, 0].tolist())
    items = next(b for b in found if (b.level, b.variant, b.first[1]) == ("items", "a", "first_correct"))
    could = np.array([a and c for a, _, c in full])
    lost_first, lost_third = (table[could, h] == 1 for h in (0, 2))
    assert items.correlation.n == could.sum() and items.correlation.kind == "phi"
    assert items.correlation.estimate == pytest.approx(np.corrcoef(lost_first, lost_third)[0, 1])
    assert items.lost == (lost_first.sum(), (lost_first & lost_third).sum())
    assert items.kept == ((~lost_first).sum(), (~lost_first & lost_third).sum())
    second = next(b for b in found if (b.level, b.variant, b.first[1]) == ("items", "a", "second_correct"))
    assert abs(second.correlation.estimate) < 0.1
    (over,) = [b for b in found if b.level == "variants" and b.first[1] == "first_correct"]
    assert over.correlation.n == 3 and over.correlation.estimate == pytest.approx(1)
    gated = bottlenecks([chains(outcomes, groups)], {("m", "c"): "failed"})
    yardstick = bottlenecks([chains(outcomes, groups)], {}, placebos={("m", "c")})
    assert not [b for b in yardstick if b.level == "variants"]
    assert not [b for b in gated if b.level == "variants"], "two cells are no correlation, and a failed one is none"


def test_bottleneck_with_a_measure_that_is_no_yes_or_no() -> None:
    generator = np.random.default_rng(1)
    values = [(True, True, True)] * 30
    lost = [(True, True, bool(k % 3)) for k in range(30)]
    hops = chains({"full": values, "q": lost})
    recall = generator.normal(size=30)
    drop = np.array([1.0 if not k % 3 else 0.0 for k in range(30)]) + generator.normal(scale=0.3, size=30)
    entity = make(
        {"full": recall.tolist(), "q": (recall - drop).tolist()},
        of=measure("entity_recall", unit="nats"), analysis="entity_recall",
    )  # fmt: skip
    entity = Series(**{**vars(entity), "task": "chains"})
    found = [b for b in bottlenecks([hops, entity], {}) if b.first == ("entity_recall", "entity_recall")]
    (one,) = found
    assert one.level == "items" and one.lost is None and one.correlation.kind == "spearman"
    losses = [not third for *_, third in lost]
    assert one.correlation.estimate == pytest.approx(stats.spearmanr(drop, losses).statistic)


def test_bottleneck_that_is_undefined_says_why() -> None:
    kept = [(True, True, True)] * 4
    (items,) = [b for b in bottlenecks([chains({"full": kept, "q": kept})], {}) if b.first[1] == "first_correct"]
    assert items.correlation.constant == "both" and bottlenecks_frame([items])["undefined"][0] == "both"


def test_published_cells_do_not_single_out_the_first_hop(shared: Path) -> None:
    with (shared / "data/published/twohopfact.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    full = {row["model"]: row for row in rows if row["precision"] == "full"}
    losses = {
        column: [float(full[r["model"]][column]) - float(r[column]) for r in rows if r["precision"] != "full"]
        for column in ("r1_e1", "r2_e2", "r2_r1_e1")
    }
    first, second = (correlation(losses[hop], losses["r2_r1_e1"], seed=1) for hop in ("r1_e1", "r2_e2"))
    assert first.n == 8 and first.estimate == pytest.approx(0.805, abs=0.001)
    assert second.estimate == pytest.approx(1.0), "the second hop's loss orders the cells as well as can be"


def transition(counts: tuple[int, int, int, int]) -> Transition:
    sides = ((True, True), (True, False), (False, True), (False, False))
    pairs = [side for side, count in zip(sides, counts, strict=True) for _ in range(count)]
    one = make({"full": [a for a, _ in pairs], "q": [b for _, b in pairs]}, of=RECALL)
    (found,) = transitions([one], figures([one], {}))
    return found


def test_forgetting_regaining_churn_and_kappa() -> None:
    t = transition((50, 10, 4, 36))
    assert (t.forgetting, t.regaining, t.churn) == (10 / 60, 4 / 40, 0.14)
    full, q = [1] * 60 + [0] * 40, [1] * 50 + [0] * 10 + [1] * 4 + [0] * 36
    assert t.kappa == pytest.approx(cohen_kappa(full, q))
    row = transitions_frame([t]).row(0, named=True)
    assert row["agreement"] == pytest.approx(0.86) and row["kappa"] == t.kappa
    all_right = transition((5, 0, 0, 0))
    assert all_right.forgetting == 0 and math.isnan(all_right.regaining) and math.isnan(all_right.kappa)
    assert transitions_frame([all_right])["kappa"].to_list() == [None]
    assert transition((5, 1, 0, 0)).kappa == 0
