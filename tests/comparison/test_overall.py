"""Uses over tasks and models: equal weight for every unit of a level, and who is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.comparison.conftest import make, measure
from tests.comparison.test_verdicts import variant

from compressed_lens.comparison import figures
from compressed_lens.comparison.overall import overall, overall_frame
from compressed_lens.comparison.series import Series

RIGHT = measure("right", family="task")
ERRORS = measure("errors", "lower", family="task", unit="points")
RNG = np.random.default_rng(0)


def series(task: str, lost: int, n: int, model: str = "m") -> Series:
    full = [True] * n
    return replace(make({"full": full, "q": [k >= lost for k in range(n)]}, of=RIGHT, model=model), task=task)


def test_tasks_count_alike_however_many_items_they_have() -> None:
    both = [series("small", 5, 50), series("large", 0, 500)]
    (found,) = overall(both, figures(both, [variant("q")]))
    assert found.gain.estimate == pytest.approx((-5 / 50 / 0.02 + 0) / 2)
    assert (found.top, found.measures, found.gain.units[0], found.gain.n) == ("tasks", 2, 2, 550)
    assert found.gain.low < found.gain.estimate < found.gain.high and found.gain.caution
    frame = overall_frame([found])
    assert frame["gain"].item() == found.gain.estimate and frame["top_units"].item() == 2


def test_models_are_the_top_level_and_lower_is_better_is_turned() -> None:
    given = [float(value) for value in RNG.poisson(3.0, 60)]
    more = [value + 1 for value in given]
    one = [replace(make({"full": given, "q": more}, of=ERRORS, model=model), task="t") for model in ("a", "b", "c")]
    told = [variant("q", model=model) for model in ("a", "b", "c")]
    (found,) = overall(one, figures(one, told))
    margin = 0.2 * np.std(given, ddof=1)
    assert found.top == "models" and found.gain.estimate == pytest.approx(-1 / margin)


def test_repeats_of_an_item_are_no_further_items() -> None:
    values = {"full": [True] * 60, "q": [k >= 6 for k in range(60)]}
    twice = {name: [value for value in told for _ in range(2)] for name, told in values.items()}
    found = []
    for outcomes, repeats in ((values, 1), (twice, 2)):
        both = [replace(make(outcomes, of=RIGHT, repeats=repeats), task=task) for task in ("t", "u")]
        found += overall(both, figures(both, [variant("q")]))
    ends = [(one.gain.estimate, one.gain.low, one.gain.high) for one in found]
    assert ends[1] == pytest.approx(ends[0], rel=0.05) and ends[1][0] == pytest.approx(ends[0][0])
    assert [one.gain.n for one in found] == [120, 120]


def test_one_task_of_one_model_is_no_sample_and_failed_variants_and_placebos_are_left_out() -> None:
    single = [series("t", 3, 50)]
    assert overall(single, figures(single, [variant("q")])) == ()
    both = [series("small", 5, 50), series("large", 0, 500)]
    assert overall(both, figures(both, [variant("q", status="marked")])) == ()
    assert overall(both, figures(both, [variant("q", placebo=True)])) == ()
