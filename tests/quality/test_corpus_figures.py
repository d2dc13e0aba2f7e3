"""Median and corpus perplexity in the tables: the numbers, their paired intervals, and metrics of a run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import asdict
from itertools import product

import pytest

from compressed_lens.analyses.base import declared_metrics
from compressed_lens.comparison.measures import Figure, figures
from compressed_lens.comparison.series import Measure, Outcome, Series
from compressed_lens.lm.protocol import Traced
from compressed_lens.quality.perplexity import Perplexity, likelihood
from compressed_lens.runner.results import metric_summary

Text = tuple[float, ...]
TEXTS: dict[str, tuple[Text | None, ...]] = {
    "full": ((-1.0, -2.0), (-3.0,), (-0.5,) * 10, None, (-2.0, -2.5, -1.0), (-1.5,)),
    "rtn-3bit": ((-1.5, -2.5), (-9.0,), (-0.75,) * 10, (-1.0,), None, (-2.0,)),
}
MEASURES = tuple(Measure(**asdict(metric)) for metric in declared_metrics(Perplexity()))


def outcome(values: Text | None) -> Outcome:
    if values is None:
        return Outcome(values={"unscored": True}, failed=None)
    return Outcome(values={"unscored": False, **likelihood(Traced(log_probabilities=values))}, failed=None)


def corpus(texts: list[Text]) -> float:
    return math.exp(-sum(map(sum, texts)) / sum(map(len, texts)))


def perplexities(texts: list[Text]) -> list[float]:
    return [math.exp(-sum(text) / len(text)) for text in texts]


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], Figure]:
    series = Series(
        model="m",
        task="t",
        analysis="perplexity",
        method="perplexity",
        settings={},
        measures=MEASURES,
        rows=tuple((str(i), 0) for i in range(6)),
        groups=("",) * 6,
        outcomes={name: tuple(outcome(text) for text in texts) for name, texts in TEXTS.items()},
        planned=dict.fromkeys(TEXTS, 6),
    )
    return {(figure.measure.name, figure.variant): figure for figure in figures([series], {})}


@pytest.mark.parametrize("variant", list(TEXTS))
def test_own_figures(variant: str, found: dict[tuple[str, str], Figure]) -> None:
    texts = [text for text in TEXTS[variant] if text is not None]
    assert found["perplexity", variant].own.estimate == pytest.approx(statistics.mean(perplexities(texts)))
    assert found["median_perplexity", variant].own.estimate == pytest.approx(statistics.median(perplexities(texts)))
    assert found["corpus_perplexity", variant].own.estimate == pytest.approx(corpus(texts))
    assert found["unscored", variant].own.estimate == pytest.approx(1 / 6)
    for name in ("median_perplexity", "corpus_perplexity"):
        own = found[name, variant].own
        assert own.n == 5
        assert own.low <= own.estimate <= own.high


def test_paired_figures_rest_on_texts_scored_under_both(found: dict[tuple[str, str], Figure]) -> None:
    both = [(a, b) for a, b in zip(*TEXTS.values(), strict=True) if a is not None and b is not None]
    before, after = ([pair[side] for pair in both] for side in (0, 1))
    summaries: dict[str, Callable[[list[Text]], float]] = {
        "median_perplexity": lambda texts: statistics.median(perplexities(texts)),
        "corpus_perplexity": corpus,
    }
    for name, summarized in summaries.items():
        difference = summarized(after) - summarized(before)
        figure = found[name, "rtn-3bit"]
        assert figure.paired is not None
        assert figure.paired.estimate == pytest.approx(difference)
        method = "percentile" if name == "median_perplexity" else "studentized"
        assert (figure.paired.n, figure.paired.dropped, figure.paired.method) == (4, 2, method)
        assert figure.paired.low <= difference <= figure.paired.high
        reached = 0
        for swaps in product((0, 1), repeat=4):
            sides = [(pair[swap], pair[1 - swap]) for pair, swap in zip(both, swaps, strict=True)]
            other = summarized([b for _, b in sides]) - summarized([a for a, _ in sides])
            reached += abs(other) >= abs(difference) * (1 - 1e-9)
        assert figure.p == pytest.approx(reached / 16, abs=0.02)
        assert figure.flips is None


def test_metrics_of_a_run_are_the_same_statistics() -> None:
    texts = [text for text in TEXTS["full"] if text is not None]
    outcomes = [(outcome(text).values, False) for text in TEXTS["full"]] + [({}, True)]
    found = {metric.name: metric_summary(asdict(metric), outcomes) for metric in Perplexity.metrics}
    assert found["perplexity"] == pytest.approx(statistics.mean(perplexities(texts)))
    assert found["median_perplexity"] == pytest.approx(statistics.median(perplexities(texts)))
    assert found["corpus_perplexity"] == pytest.approx(corpus(texts))
    assert found["unscored"] == pytest.approx(1 / 6)
    assert metric_summary(asdict(Perplexity.metrics[2]), [({}, True)]) is None
