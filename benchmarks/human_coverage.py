"""How often the analysis of a human study finds what was planted, at the design of 2601.00282: 720 ratings, 48 raters.

Every simulation draws a new assignment, new raters, items and texts, and goes through the estimators of
`clens human analyze`: differences by all three methods (pooled and by model), and Krippendorff's alpha. Printed are
for each the share of 95 % intervals that hold the truth, the mean error, and the mean width; and how often a variant
without an effect is called worse or better after Holm's correction.

    PYTHONPATH=. python benchmarks/human_coverage.py [--simulations 200] [--methods linear ...]
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import numpy as np
from tests.human.population import MODELS, VARIANTS, Population, paper_design, simulate

from compressed_lens.human.analysis import MARGIN, agreement, verdicts
from compressed_lens.human.estimates import METHODS, effects
from compressed_lens.human.findings import POOLED

POPULATION = Population(effects={"gptq-4bit": -1.2, "awq-4bit": -0.6}, rater=0.9, item=1.7, text=2.6)
NULL = "gptq-8bit"


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--raters", type=int, default=48)
    parser.add_argument("--items", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    options = parser.parse_args()
    truth = {variant: POPULATION.difference(variant) for variant in VARIANTS}
    alpha = {level: POPULATION.alpha(level=level) for level in ("ordinal", "interval")}
    print(
        "true differences",
        {k: round(v, 3) for k, v in truth.items()},
        "alpha",
        {k: round(v, 3) for k, v in alpha.items()},
    )
    found: dict[tuple[str, ...], list[tuple[float, float, float, float]]] = defaultdict(list)
    false: dict[str, list[bool]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    for n in range(options.simulations):
        seed = options.seed + n
        design = paper_design(seed, items=options.items, raters=options.raters, models=MODELS)
        long = simulate(design, POPULATION, seed=seed).long
        for _, part in long.group_by(["kind", "dimension"], maintain_order=True):
            for method in options.methods:
                start = time.process_time()
                told = effects(part, method=method)
                seconds[method] += time.process_time() - start
                for one in told:
                    if one.unit == "points":
                        scope = "pooled" if one.model == POOLED else "by model"
                        found[method, scope, one.variant].append((one.estimate, one.low, one.high, truth[one.variant]))
                pooled = [one for one in told if one.model == POOLED and one.unit == "points"]
                for one, (_, verdict, _) in zip(pooled, verdicts(pooled, MARGIN), strict=True):
                    if one.variant == NULL:
                        false[method].append(verdict in {"worse", "better"})
        for row in agreement(long, seed=seed).iter_rows(named=True):
            scope = "all" if row["dimension"] == "all dimensions" else "one dimension"
            found["alpha", row["level"], scope].append((row["alpha"], row["low"], row["high"], alpha[row["level"]]))
        print(f"\r{n + 1} of {options.simulations}", end="", flush=True)
    print()
    for place, rows in sorted(found.items()):
        estimate, low, high, true = np.array(rows).T
        held = ((low <= true) & (true <= high)).mean()  # without an interval: not held
        figures = f"holds {held:6.3f}  none {np.isnan(low).mean():.3f}"
        figures += f"  error {np.nanmean(estimate - true):+.3f}  width {np.nanmean(high - low):.3f}"
        print(f"{' / '.join(place):40s} n {len(rows):5d}  {figures}")
    for method, calls in false.items():
        print(f"{method}: called worse or better without an effect {np.mean(calls):.3f} of {len(calls)}")
    print({method: f"{total / options.simulations / 4:.3f} s a fit" for method, total in seconds.items()})


if __name__ == "__main__":
    main()
