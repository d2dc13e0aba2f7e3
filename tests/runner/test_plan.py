"""Plans: what would run, what is done, and what is missing, without torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from compressed_lens.lm.locate import locate_model
from compressed_lens.runner import Run, plan
from compressed_lens.runner.plan import weights
from compressed_lens.runner.speed import estimate, remember
from compressed_lens.study.load import to_yaml
from compressed_lens.study.schema import Study

MakeStudy = Callable[..., Study]


def test_a_plan_counts_what_is_done(first: Run, make_study: MakeStudy) -> None:
    planned = plan(make_study(variants=["rtn-8bit", "rtn-4bit"]), out=first.folder)
    assert [(c.variant, c.analysis, c.items, c.done) for c in planned.cells] == [
        ("full", "accuracy", 4, 4),
        ("full", "nle", 4, 4),
        ("rtn-8bit", "accuracy", 4, 4),
        ("rtn-8bit", "nle", 4, 4),
        ("rtn-4bit", "accuracy", 4, 0),
        ("rtn-4bit", "nle", 4, 0),
    ]
    assert [v.made for v in planned.variants] == ["as it is", "cached", "to quantize"]
    assert [c.tokens > 0 for c in planned.cells] == [False] * 4 + [True] * 2
    assert planned.measured
    assert planned.missing == ()


def test_a_plan_writes_nothing(make_study: MakeStudy, tmp_path: Path) -> None:
    planned = plan(make_study(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert all(cell.done == 0 for cell in planned.cells)


def test_tokens_bound_what_a_run_takes(first: Run, make_study: MakeStudy, tmp_path: Path) -> None:
    import json

    planned = plan(make_study(), out=tmp_path / "run")
    spent = json.loads(first.variants["speed"][0])["planned_tokens"]
    expected = sum(c.tokens for c in planned.cells if c.variant == "full")
    assert spent / 3 < expected < spent * 3


def test_every_step_of_an_analysis_that_looks_inside_is_counted(make_study: MakeStudy, tmp_path: Path) -> None:
    reference = {"name": "reference", "path": str(locate_model("reference"))}
    names = ("recall", "patchscopes", "back_patching", "entity_recall")

    def tokens(*analyses: object) -> list[int]:
        study = make_study(model=reference, variants=["full"], tasks=["testbed-twohop"], analyses=list(analyses))
        return [cell.tokens for cell in plan(study, out=tmp_path / "run").cells]

    recall, describing, patching, lens = tokens(*names)
    # A grid of 7 x 6 states and its control, and 21 pairs and theirs, each with 10 tokens more.
    assert describing / recall > 5
    assert 1.5 < describing / patching < 3
    assert lens < recall * 3
    (coarse,) = tokens({"name": "patchscopes", "settings": {"stride": 3}})
    assert describing / 9 < coarse < describing / 3


def test_weights_are_counted_without_reading_them(tiny_llama_folder: Path) -> None:
    from safetensors.torch import load_file

    tensors = load_file(tiny_llama_folder / "model.safetensors")
    parameters, size = weights(tiny_llama_folder)
    assert parameters == sum(t.numel() for t in tensors.values())
    assert size == (tiny_llama_folder / "model.safetensors").stat().st_size


def test_what_is_missing_is_said(make_study: MakeStudy, tmp_path: Path) -> None:
    variants = [{"name": "a", "checkpoint": "./absent"}, {"name": "b", "checkpoint": "org/on-the-hub"}]
    planned = plan(make_study(variants=variants), out=tmp_path / "run")
    assert [v.made for v in planned.variants] == ["as it is", "missing", "to fetch"]
    assert len(planned.missing) == 1
    assert "absent" in planned.missing[0]


def test_a_gpu_that_is_not_there_is_noted(make_study: MakeStudy, tmp_path: Path) -> None:
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    planned = plan(make_study(device="cuda"), out=tmp_path / "run")
    assert any("GPU" in note for note in planned.notes)


def test_time_is_scaled_from_the_measurement_nearest_in_size(tmp_path: Path) -> None:
    assert estimate(tmp_path, device="cpu", parameters=10**9, tokens=10)[1] is False
    remember(tmp_path, device="cpu", parameters=10**6, tokens=1000, seconds=2.0)
    remember(tmp_path, device="cpu", parameters=10**9, tokens=100, seconds=50.0)
    assert estimate(tmp_path, device="cpu", parameters=2 * 10**6, tokens=500) == (pytest.approx(2.0), True)
    assert estimate(tmp_path, device="cpu", parameters=5 * 10**8, tokens=100) == (pytest.approx(25.0), True)
    (tmp_path / "speed.json").write_text("damaged", encoding="utf-8")
    assert estimate(tmp_path, device="cpu", parameters=10**6, tokens=10)[1] is False


def test_a_plan_imports_no_torch(make_study: MakeStudy, first: Run, tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(to_yaml(make_study()), encoding="utf-8")
    code = (
        "import sys, compressed_lens as c; study = c.load_study(sys.argv[1]); "
        "c.plan(study, out=sys.argv[2]); c.load_run(sys.argv[2]).metrics(); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(study), str(first.folder)], check=False)
    assert done.returncode == 0


def test_public_names_can_be_imported() -> None:
    import compressed_lens

    for name in compressed_lens.__all__:
        assert getattr(compressed_lens, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = compressed_lens.nonsense
