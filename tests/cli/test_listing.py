"""`clens list` shows every registered name with a summary."""

from __future__ import annotations

import json

import pytest

from compressed_lens import analyses, quantization, tasks
from compressed_lens.cli.main import main
from compressed_lens.study.schema import PLACEBOS

REGISTRIES = {"variants": quantization.RECIPES, "tasks": tasks.REGISTRY, "analyses": analyses.REGISTRY}


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_name_has_a_summary_a_cost_and_a_source(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind, "--json"]) == 0
    rows = [row for row in json.loads(capsys.readouterr().out) if row["name"] != "full"]
    placebos = list(PLACEBOS) if kind == "variants" else []
    assert [row["name"] for row in rows] == [*placebos, *REGISTRIES[kind].names()]
    assert all(row["summary"] and row["cost"] and row["source"] for row in rows)


def test_every_metric_of_every_analysis_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "metrics"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split("\t") == ["name", "summary", "unit", "better", "cost", "source"]
    registry = analyses.REGISTRY
    expected = [f"{name}.{m.name}" for name in registry.names() for m in registry.get(name)().metrics]
    assert [line.split("\t")[0] for line in lines] == expected
