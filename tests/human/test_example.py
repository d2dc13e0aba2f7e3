"""The design file in examples/ makes a study."""

from __future__ import annotations

from pathlib import Path

from tests.human.paper_run import build_run

from compressed_lens.human.plan import blind, plan
from compressed_lens.human.reading import read_design
from compressed_lens.runner import load_run


def test_the_example_draws_a_study_with_its_own_dimension(tmp_path: Path) -> None:
    design = read_design(Path("examples/human-study.yaml"))
    assert [dimension.name for dimension in design.questionnaire.dimensions] == ["trustworthiness", "completeness"]
    assert design.questionnaire.languages == ("en",)
    made = plan(load_run(build_run(tmp_path / "run", models=1, items=24)), design)
    assert made.ratings == 1 * 4 * 20 * 3  # models x variants x items x ratings of each text
    assert {text.shown.kind for text in made.texts} == {"explanation"}
    checks = [page.expected for pages in blind(made).pages.values() for page in pages if page.text is None]
    assert len(checks) == len(made.pages)
    assert all(expected is not None and set(expected) == {"trustworthiness", "completeness"} for expected in checks)
