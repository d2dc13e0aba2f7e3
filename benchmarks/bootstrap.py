"""Bootstrap intervals of many metrics: one resampling for all against one at a time, side by side in one run.

10,000 replicates of the means of 40 metrics over 10,000 items, and of their paired differences, complete and with a
different pattern of missing values in every metric. Beside ours: the same with all counts in one array, every metric
resampled by itself with plain NumPy indexing, and `scipy.stats.bootstrap`. Those are timed on fewer replicates (and
metrics) and their time is multiplied up, which is exact but for what a call costs by itself. All are timed in turns,
so that a busy machine disturbs them alike; medians of CPU seconds are printed.

    PYTHONPATH=src:. python benchmarks/bootstrap.py [--items 10000] [--metrics 40] [--replicates 10000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import numpy as np
from benchmarks.measuring import seconds
from numpy.typing import NDArray
from scipy import stats

from compressed_lens.statistics import bootstrap_means, paired_bootstraps

Floats = NDArray[np.float64]
PART = 20
"""The slow ways run one in so many replicates."""


def indexed(values: Floats, replicates: int) -> None:
    """Percentiles of every metric by itself, by gathering the drawn values."""
    for column in values.T:
        known = column[~np.isnan(column)]
        generator = np.random.default_rng(0)
        means = [known[generator.integers(0, len(known), len(known))].mean() for _ in range(replicates)]
        np.quantile(means, [0.025, 0.975])


def counted(values: Floats, replicates: int) -> None:
    """Percentiles of all metrics from counts of all items in one array, as long as it has few replicates."""
    items = len(values)
    drawn = np.random.default_rng(0).integers(0, items, size=(replicates, items))
    drawn += np.arange(replicates)[:, None] * items
    weights = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)
    applied = ~np.isnan(values)
    means = (weights @ np.where(applied, values, 0.0)) / (weights @ applied.astype(np.float64))
    np.quantile(means, [0.025, 0.975], axis=0)


def by_scipy(values: Floats, replicates: int) -> None:
    """Percentiles of every metric by SciPy."""
    for column in values.T:
        known = column[~np.isnan(column)]
        stats.bootstrap((known,), np.mean, n_resamples=replicates, batch=100, method="percentile", rng=0)


def main() -> None:
    """Run the benchmark and print one line a way, and the ratios to ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--metrics", type=int, default=40)
    parser.add_argument("--replicates", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    whole = generator.exponential(size=(options.items, options.metrics))
    holed = np.where(generator.random(whole.shape) < 0.2, np.nan, whole)
    other = whole + generator.normal(size=whole.shape)
    replicates = options.replicates
    few, some = max(1, replicates // PART), max(1, options.metrics // 10)
    ways: dict[str, tuple[Callable[[], object], float]] = {
        "ours, means": (lambda: bootstrap_means(whole, replicates=replicates, seed=0), 1),
        "ours, means, percentile": (
            lambda: bootstrap_means(whole, replicates=replicates, method="percentile", seed=0),
            1,
        ),
        "ours, means with gaps": (lambda: bootstrap_means(holed, replicates=replicates, seed=0), 1),
        "ours, differences": (lambda: paired_bootstraps(whole, other, replicates=replicates, seed=0), 1),
        "ours, differences with gaps": (lambda: paired_bootstraps(holed, other, replicates=replicates, seed=0), 1),
        "one array of counts, percentile": (lambda: counted(holed, few), PART),
        "metric by metric, percentile": (
            lambda: indexed(holed[:, :some], few),
            replicates / few * options.metrics / some,
        ),
        "SciPy, percentile": (lambda: by_scipy(holed[:, :some], few), replicates / few * options.metrics / some),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, (work, times) in ways.items():
            taken[name].append(seconds(work) * times)
    print(f"{replicates:,} replicates of {options.metrics} metrics over {options.items:,} items")
    ours = statistics.median(taken["ours, means with gaps"])
    for name, found in taken.items():
        middle = statistics.median(found)
        print(f"{name:32s} {middle:8.2f} CPU s  {middle / ours:6.1f} x")


if __name__ == "__main__":
    main()
