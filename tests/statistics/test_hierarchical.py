"""Hierarchical resampling against literal loops, exact variances and random effects."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from compressed_lens.errors import DataError
from compressed_lens.statistics import hierarchical as module
from compressed_lens.statistics.hierarchical import HierarchicalInterval, _Unit, hierarchical_interval

Tree = dict[str, dict[str, list[float]]]


def uneven(generator: np.random.Generator, models: int = 4) -> Tree:
    tree: Tree = {}
    for m in range(models):
        effect = generator.normal()
        tree[f"m{m}"] = {
            f"t{t}": (effect + generator.normal() + generator.normal(size=3 + t)).tolist() for t in range(2 + m % 2)
        }
    return tree


def flat(tree: Tree) -> tuple[list[float], list[str], list[str]]:
    rows = [(v, model, task) for model, tasks in tree.items() for task, found in tasks.items() for v in found]
    values, models, tasks = (list(column) for column in zip(*rows, strict=True))
    return values, models, tasks


def by_hand(tree: Tree, replicates: int, generator: np.random.Generator) -> np.ndarray:
    result = []
    for _ in range(replicates):
        of_models = []
        for _model in tree:
            tasks = tree[generator.choice(list(tree))]
            of_tasks = []
            for _task in tasks:
                items = tasks[generator.choice(list(tasks))]
                of_tasks.append(np.mean([items[generator.integers(len(items))] for _ in items]))
            of_models.append(np.mean(of_tasks))
        result.append(np.mean(of_models))
    return np.array(result)


def variance(parts: list[float] | list[tuple[float, float]]) -> tuple[float, float]:
    """Mean and exact variance of a resample of parts, which are values or (mean, variance) of their own resamples."""
    pairs = [part if isinstance(part, tuple) else (part, 0.0) for part in parts]
    means = np.array([mean for mean, _ in pairs])
    return float(means.mean()), (float(means.var()) + float(np.mean([own for _, own in pairs]))) / len(pairs)


def test_resamples_are_those_of_literal_loops() -> None:
    tree = uneven(np.random.default_rng(2))
    values, models, tasks = flat(tree)
    codes = [np.unique(labels, return_inverse=True)[1] for labels in (models, tasks)]
    drawn = _Unit(np.array(values), codes).resampled(20_000, np.random.default_rng(0))
    looped = by_hand(tree, 1500, np.random.default_rng(1))
    assert stats.ks_2samp(drawn, looped).pvalue > 0.01
    mean, exact = variance([variance([variance(items) for items in of.values()]) for of in tree.values()])
    assert drawn.mean() == pytest.approx(mean, abs=4 * math.sqrt(exact / 20_000))
    assert drawn.var() == pytest.approx(exact, rel=0.05)


def test_every_unit_counts_alike_within_the_one_above() -> None:
    values = [1.0, 1.0, 1.0, 1.0, 3.0, 8.0, math.nan]
    found = hierarchical_interval(values, [list("aaaaabb"), list("xxxxyxx")], replicates=500, seed=0)
    assert found.estimate == pytest.approx(((1 + 3) / 2 + 8) / 2)
    assert (found.n, found.dropped, found.units) == (6, 1, (2, 3))


def test_few_units_at_the_top_get_students_interval_and_a_caution() -> None:
    generator = np.random.default_rng(0)
    tree = uneven(generator, models=3)
    values, models, tasks = flat(tree)
    found = hierarchical_interval(values, [models, tasks], seed=0)
    means = [np.mean([np.mean(items) for items in of.values()]) for of in tree.values()]
    t = stats.t.interval(0.95, 2, np.mean(means), np.std(means, ddof=1) / math.sqrt(3))
    assert (found.low, found.high) == pytest.approx(t) and "Only 3" in found.caution
    assert found.method == "hierarchical"
    single = hierarchical_interval(values, [["m"] * len(values), tasks], seed=0)
    assert single.method == "none" and math.isnan(single.low) and "no interval" in single.caution
    many = hierarchical_interval(values * 5, [[f"{k}{m}" for k in range(5) for m in models]], seed=0)
    assert not many.caution and many.units == (15,)
    nothing = hierarchical_interval([math.nan], [["m"]], seed=0)
    assert nothing.n == 0 and math.isnan(nothing.estimate) and nothing.units == (0,)


def test_chunks_and_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    values, *levels = flat(uneven(np.random.default_rng(5), models=12))
    first = hierarchical_interval(values, levels, replicates=3000, seed=1)
    assert first == hierarchical_interval(values, levels, replicates=3000, seed=1)
    monkeypatch.setattr(module, "_CELLS_PER_CHUNK", 50)
    other = hierarchical_interval(values, levels, replicates=3000, seed=1)
    assert (other.low, other.high) == pytest.approx((first.low, first.high), abs=0.1 * (first.high - first.low))


def drawn(generator: np.random.Generator, models: int, of_models: float, of_tasks: float) -> HierarchicalInterval:
    """Models x 3 tasks x 12 items with normal effects of each, around zero."""
    model, task = (np.repeat(np.arange(models), 36), np.repeat(np.arange(3 * models), 12))
    values = of_models * generator.normal(size=models)[model] + of_tasks * generator.normal(size=3 * models)[task]
    return hierarchical_interval(values + generator.normal(size=model.size), [model, task], replicates=300, seed=0)


@pytest.mark.parametrize(("models", "effect"), [(2, 1.0), (3, 1.0), (6, 1.0), (15, 1.0), (15, 0.0)])
def test_other_models_are_covered(models: int, effect: float) -> None:
    found = [drawn(np.random.default_rng((models, trial)), models, effect, effect / 2) for trial in range(300)]
    share = np.mean([one.low <= 0 <= one.high for one in found])
    # 300 simulations: two standard errors are 2.5 points. Without effects of models it is known to be too wide.
    assert 0.925 <= share <= (0.98 if effect else 1.0)


def test_percentiles_of_three_models_would_not_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "student_quantile", lambda confidence, freedom: 0.0)
    found = [drawn(np.random.default_rng((3, trial)), 3, 1.0, 0.5) for trial in range(300)]
    assert np.mean([one.low <= 0 <= one.high for one in found]) < 0.85


def test_malformed_input_is_refused() -> None:
    for values, levels, match in (
        ([1.0], [], "without levels"),
        ([1.0, 2.0], [["a"]], "shapes"),
        ([math.inf], [["a"]], "infinity"),
    ):
        with pytest.raises(DataError, match=match):
            hierarchical_interval(values, levels, seed=0)
    with pytest.raises(DataError, match="replicates"):
        hierarchical_interval([1.0], [["a"]], replicates=0, seed=0)
