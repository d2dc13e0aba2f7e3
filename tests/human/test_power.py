"""The precision of a planned study, against the textbook formula and the analysis of simulated ratings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from tests.human.paper_run import build_run

from compressed_lens.human.design import Design, Sample
from compressed_lens.human.estimates import effects
from compressed_lens.human.plan import Plan, plan
from compressed_lens.human.power import Assumed, precision
from compressed_lens.human.reading import default_design
from compressed_lens.runner.results import Run, load_run
from compressed_lens.statistics import rating_spread

ALPHA = {"explanation": 0.71, "counterfactual": 0.64}


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load_run(build_run(tmp_path_factory.mktemp("paper") / "run"))


def made(run: Run, **sample: object) -> Plan:
    return plan(run, Design(sample=Sample.model_validate(sample), questionnaire=default_design().questionnaire))


def rows(of: Plan, kind: str) -> list[tuple[str, str, str, str, str]]:
    """Return (rater, item, text, model, variant) of every planned rating of a kind."""
    texts = {text.id: text for text in of.texts}
    return [
        (rater, text.item, text.id, text.model, text.variant)
        for rater, pages in of.pages.items()
        for page in pages
        if page.text is not None and (text := texts[page.text]).shown.kind == kind
    ]


def dummies(labels: list[str]) -> NDArray[np.float64]:
    return np.array([[label == level for level in sorted(set(labels))] for label in labels], dtype=float)


@pytest.mark.parametrize("kind", ["explanation", "counterfactual"])
def test_the_error_is_that_of_generalized_least_squares_by_the_textbook(paper: Run, kind: str) -> None:
    planned = made(paper, models=["Qwen2.5-7B-Instruct", "Qwen2.5-72B-Instruct"], items=6, per_rater=9)
    spread = rating_spread(1.0, ALPHA[kind], severity=0.3, item=0.5)
    found = {row["variant"]: row for row in precision(planned).filter(kind=kind).iter_rows(named=True)}
    assert set(found) == {"gptq-4bit", "gptq-8bit", "awq-4bit"}
    for variant, row in found.items():
        own = [one for one in rows(planned, kind) if one[4] in {variant, "full"}]
        covariance = spread.residual**2 * np.eye(len(own))
        for place, deviation in enumerate(spread.deviations):
            columns = dummies([one[place] for one in own])
            covariance += deviation**2 * columns @ columns.T
        cells = sorted({one[3:] for one in own})
        fixed = np.array([[one[3:] == cell for cell in cells] for one in own], dtype=float)
        inverse = np.linalg.inv(fixed.T @ np.linalg.inv(covariance) @ fixed)
        weights = np.array([{variant: 0.5, "full": -0.5}.get(cell[1], 0.0) for cell in cells])
        assert row["error"] == pytest.approx(np.sqrt(weights @ inverse @ weights), rel=1e-8)
        assert (row["ratings"], row["items"]) == (2 * 6 * 2, 6)


def test_the_analysis_of_simulated_ratings_has_the_power_that_was_told(paper: Run) -> None:
    planned = made(paper, models=["Qwen2.5-7B-Instruct"], items=8, per_rater=12)
    columns = ("rater", "item", "text", "model", "variant")
    own = pl.DataFrame(rows(planned, "explanation"), schema=columns, orient="row").with_columns(task=pl.lit("esnli"))
    own = own.filter(pl.col("variant").is_in(["full", "gptq-4bit"]))
    spread = rating_spread(1.0, ALPHA["explanation"], severity=0.3, item=0.5)
    (row,) = precision(planned).filter(kind="explanation", variant="gptq-4bit").iter_rows(named=True)
    rng = np.random.default_rng(1)
    trials, estimates, shown = 150, [], 0
    for _ in range(trials):
        ratings = row["detectable"] * (own["variant"] == "gptq-4bit").to_numpy() + rng.normal(
            0, spread.residual, len(own)
        )
        for group, deviation in zip(columns, spread.deviations, strict=False):
            of_group = dummies(own[group].to_list())
            ratings = ratings + of_group @ rng.normal(0, deviation, of_group.shape[1])
        (found,) = effects(own.with_columns(rating=pl.Series(ratings)))
        estimates.append(found.estimate)
        shown += found.excludes_zero
    assert np.std(estimates) == pytest.approx(row["error"], rel=0.2)
    assert abs(shown / trials - 0.8) < 3 * np.sqrt(0.8 * 0.2 / trials)


def test_the_items_that_are_told_are_those_it_takes(paper: Run) -> None:
    models = ["Qwen2.5-7B-Instruct", "Qwen2.5-72B-Instruct"]
    needed = max(precision(made(paper, models=models, kinds=["explanation"], items=8))["items 0.5"])
    assert 8 < needed < 34
    planned = [made(paper, models=models, kinds=["explanation"], items=needed + more, per_rater=8) for more in (-3, 3)]
    fewer, enough = (precision(one)["power 0.5"].to_list() for one in planned)
    assert max(fewer) < 0.8 < min(enough)


def test_the_paper_s_design_shows_less_than_half_a_point(paper: Run) -> None:
    found = precision(made(paper))
    assert Counter(found["kind"]) == {"explanation": 3, "counterfactual": 3}
    assert found["ratings"].to_list() == [90] * 6
    assert all(0.39 < value < 0.43 for value in found["detectable"])
    assert all(0.5 < value < 0.6 for value in found["power 0.3"])
    assert all(0.9 < value < 0.96 for value in found["power 0.5"])
    assert all(26 <= value <= 30 for value in found["items 0.3"])


def test_more_ratings_and_more_items_show_more(paper: Run) -> None:
    def worst(assumed: Assumed | None = None, **sample: object) -> float:
        planned = made(paper, models=["Qwen2.5-7B-Instruct"], **sample)
        return max(float(value) for value in precision(planned, assumed=assumed)["detectable"])

    base = worst(items=8)
    assert worst(items=16) < base
    assert worst(items=8, ratings=4) < base
    assert worst(items=16) < worst(items=8, ratings=4), "twice the items show more than twice the raters"
    assert worst(Assumed(sd=0.5), items=8) == pytest.approx(base / 2)


def test_one_item_shows_nothing(paper: Run) -> None:
    found = precision(made(paper, items=1, same_item=True))
    assert found["detectable"].null_count() == len(found) == 6


def test_models_without_a_variant_are_left_out_of_its_figure(tmp_path: Path) -> None:
    only_full = load_run(build_run(tmp_path / "run", models=1, variants=("full",), items=12))
    assert precision(made(only_full, items=4)).is_empty()
