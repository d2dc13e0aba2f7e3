"""The power of tests, on records made so that the outcome is known."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from compressed_lens.comparison.power import TRIALS, Trial, power, power_frame
from compressed_lens.errors import RunError
from compressed_lens.statistics import mcnemar_p

ITEMS = 40


def run(*columns: tuple[str, str, list[dict[str, Any] | None]]) -> Any:
    """Return frames with one row a (model, analysis, item); None is a failed record."""
    rows = [
        {
            "model": f"planted-{model}",
            "variant": "full",
            "analysis": analysis,
            "item": f"{n:03d}",
            "failed": "broken" if values is None else None,
            "values": json.dumps(values or {}),
        }
        for model, analysis, records in columns
        for n, values in enumerate(records)
    ]
    return SimpleNamespace(records=pl.DataFrame(rows, schema_overrides={"failed": pl.String}))


def trial(value: str = "faithful", analysis: str = "t") -> Trial:
    return Trial(test="T", analysis=analysis, value=value, against="planted-blamer")


def test_a_yes_or_no_test_is_judged_by_mcnemar() -> None:
    good = [{"faithful": n >= 4} for n in range(ITEMS)]
    bad = [{"faithful": n < 6} for n in range(ITEMS)]
    (found,) = power(run(("honest", "t", good), ("blamer", "t", bad)), (trial(),))
    assert found.p == pytest.approx(mcnemar_p(4, 34))
    assert (found.faithful.estimate, found.unfaithful.estimate) == (0.9, 0.15)
    assert found.difference.estimate == pytest.approx(0.75)
    assert found.difference.low < 0.75 < found.difference.high
    assert found.verdict == "separates"
    (turned,) = power(run(("honest", "t", bad), ("blamer", "t", good)), (trial(),))
    assert turned.verdict == "wrong way round"


def test_numbers_are_judged_by_sign_flips_and_only_where_both_apply() -> None:
    good: list[dict[str, Any] | None] = [{"score": 0.5 + n / 100} for n in range(ITEMS)]
    bad: list[dict[str, Any] | None] = [{"score": None if n % 4 == 0 else n / 100} for n in range(ITEMS)]
    good[1] = None
    (found,) = power(run(("honest", "t", good), ("blamer", "t", bad)), (trial("score"),))
    assert (found.items, found.pairs) == (40, 29)
    assert found.difference.estimate == pytest.approx(0.5)
    assert found.verdict == "separates"
    same = run(("honest", "t", good), ("blamer", "t", good))
    assert power(same, (trial("score"),))[0].verdict == "does not separate"


def test_correlations_are_over_all_interventions() -> None:
    def record(n: int, *, honest: bool) -> dict[str, Any]:
        impacts = [0.9 if (n + i) % 3 == 0 else 0.01 * i for i in range(4)]
        mentions = [(impact > 0.5) == honest for impact in impacts]
        words = [f"w{i}" for i in range(4)]
        changed = [impact > 0.5 for impact in impacts]
        return {"impacts": impacts, "mentions": mentions, "changed": changed, "words": words}

    good = [record(n, honest=True) for n in range(ITEMS)]
    bad = [record(n, honest=False) for n in range(ITEMS)]
    trials = (trial("cct"), trial("phi"))
    for found in power(run(("honest", "t", good), ("blamer", "t", bad)), trials):
        assert found.faithful.estimate > 0.9
        assert found.unfaithful.estimate < -0.9
        assert found.verdict == "separates"
    silent = [{**one, "mentions": [False] * 4} for one in bad]
    (found,) = power(run(("honest", "t", good), ("blamer", "t", silent)), trials[:1])
    assert found.verdict == "undefined"


def test_a_run_without_the_planted_models_is_refused() -> None:
    with pytest.raises(RunError, match="no records of planted-honest"):
        power(run(("blamer", "t", [{"faithful": True}])), (trial(),))
    with pytest.raises(RunError, match="none of the tests"):
        power(run(("honest", "t", [{"faithful": True}])), (trial(),))


def test_the_trials_are_those_of_the_example() -> None:
    import yaml

    from compressed_lens.analyses import create

    with open("examples/planted.yaml", encoding="utf-8") as file:
        study = yaml.safe_load(file)
    specs = [{"name": a} if isinstance(a, str) else a for a in study["analyses"]]
    analyses = {spec["name"]: create(spec.get("analysis", spec["name"]), spec.get("settings")) for spec in specs}
    for one in TRIALS:
        values = {metric.value for metric in analyses[one.analysis].metrics} | {"cct", "phi"}
        assert one.value in values, one
        assert one.against in study["models"]


def test_the_frame_has_a_row_a_test() -> None:
    rows = [{"faithful": True}] * ITEMS
    frame = power_frame(power(run(("honest", "t", rows), ("blamer", "t", rows)), (trial(), trial())))
    assert frame.height == 2
    assert frame["verdict"].to_list() == ["does not separate"] * 2
