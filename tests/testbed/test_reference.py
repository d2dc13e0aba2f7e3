"""The shipped weights reach their targets on held-out items, by the world's own truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Generate, Prompt
from compressed_lens.quantization import prepare
from compressed_lens.tasks import load_task
from compressed_lens.testbed.evaluate import Figure, evaluate

LIMIT_BYTES = 16 * 2**20


@pytest.fixture(scope="module")
def figures() -> list[Figure]:
    return evaluate(HFModel.load(locate_model("reference")))


def test_every_target_is_met(figures: list[Figure]) -> None:
    missed = [f"{f.name}: {f.rate:.3f} of {f.n}, target {f.target}" for f in figures if not f.met]
    assert missed == []


def test_every_promised_figure_is_measured(figures: list[Figure]) -> None:
    names = " | ".join(f.name for f in figures)
    for promised in ("label accuracy", "names all true evidence", "flips the true label", "one-hop", "held-out comp"):
        assert promised in names
    assert all(f.n >= 100 for f in figures)


def test_the_weights_are_small_and_safe() -> None:
    folder = locate_model("reference")
    assert sum(p.stat().st_size for p in folder.iterdir() if p.suffix == ".safetensors") <= LIMIT_BYTES
    assert not [p for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pkl", ".py")]


def test_it_degrades_with_bits_as_large_models_do(tmp_path: Path) -> None:
    task = load_task("testbed-facts", limit=200)
    asked = [Generate(prompt=Prompt(text=i.fields["prompt"]), max_new_tokens=4) for i in task.items]

    def recall(folder: Path) -> float:
        answers = HFModel.load(folder).generate(asked)
        right = [a.text.strip().startswith(i.answers[0]) for a, i in zip(answers, task.items, strict=True)]
        return sum(right) / len(right)

    base = locate_model("reference")
    kept = {bits: recall(prepare(base, f"rtn-{bits}bit", cache_dir=tmp_path).folder) for bits in (8, 3, 2)}
    full = recall(base)
    assert kept[8] >= full - 0.01
    assert full - 0.6 < kept[3] < full - 0.05
    assert kept[2] < 0.1
