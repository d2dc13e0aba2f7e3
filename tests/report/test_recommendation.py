"""The recommendation says what the verdicts say, in as few sentences as it takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.comparison.conftest import measure
from tests.comparison.test_verdicts import make, variant

from compressed_lens.comparison import figures, use_verdicts
from compressed_lens.comparison.series import Variant
from compressed_lens.report.headline import anchor_of
from compressed_lens.report.recommendation import recommendation

MEASURES = [measure("right", family="task"), measure("known", family="knowledge")]
N = 300


def told(lost: dict[str, tuple[int, int]], variants: list[Variant], *, moved: bool = False) -> list[tuple[str, str]]:
    """Return (sentence, anchor) for variants that lost so many labels and facts of 300, in every model."""
    series = []
    for model in dict.fromkeys(one.model for one in variants):
        columns = {"full": {m.name: np.ones(N, dtype=bool) for m in MEASURES}}
        for name, counts in lost.items():
            columns[name] = {m.name: np.arange(N) >= count for m, count in zip(MEASURES, counts, strict=True)}
        series.append(make(columns, MEASURES, model=model))
    found = figures(series, variants)
    said = recommendation(use_verdicts(found, variants), found, variants, margins_moved=moved)
    anchors = {"verdicts", "noise-floor", "integrity", *map(anchor_of, found)}
    assert {sentence.anchor for sentence in said} <= anchors
    return [(sentence.text, sentence.anchor) for sentence in said]


def sized(name: str, size: int, **more: object) -> Variant:
    return replace(variant(name, **more), bytes_on_disk=size)  # type: ignore[arg-type]


def test_the_smallest_that_keeps_everything_is_named_first() -> None:
    lost = {"a": (0, 0), "b": (0, 0), "c": (60, 0), "p": (1, 0)}
    variants = [sized("full", 100), sized("a", 60), sized("b", 30), sized("c", 20), sized("p", 100, placebo=True)]
    first, worse, floor = told(lost, variants)
    assert first[0].startswith("b can take the place of full precision, at 30 % of its size on disk")
    assert first[0].endswith("So can a.") and first[1] == "verdicts"
    assert worse[0] == (
        "c is worse in task performance (above all right on t, −20.0 points [−24.8, −15.4], n = 300); "
        "keeps factual knowledge."
    )
    assert worse[1] == "m-m--t--a--right"
    assert floor == (
        "Numerics alone (p) moved 1 confirmatory measure of 2, most of all right on t (−0.3 points [−1.9, +0.9], "
        "n = 300). A difference within that is not called a loss.",
        "noise-floor",
    )


def test_open_variants_share_a_sentence() -> None:
    first, still, _ = told({"a": (3, 3), "b": (3, 0)}, [variant("full"), variant("a"), variant("b")])
    assert first[0] == "No variant is shown to be as good as full precision in every use that was measured."
    assert still[0].startswith(
        "a and b are shown to be worse in nothing; still undecided: task performance (all) and factual knowledge (a);"
    )
    assert "times the items would decide" in still[0]
    alone = told({"a": (3, 3)}, [variant("full"), variant("a")])[1]
    assert alone[0].startswith("Under a task performance and factual knowledge stay undecided")


def test_what_cannot_be_compared_is_said() -> None:
    variants = [
        variant("full"),
        variant("a", status="marked"),
        replace(variant("b"), status="unavailable", reason="No."),
    ]
    texts = [text for text, _ in told({"a": (0, 0)}, variants, moved=True)]
    assert texts[0].startswith("a failed the integrity gate") and texts[1] == "b could not be measured: No."
    assert texts[2].startswith("No placebo variant was run") and "set after records could be seen" in texts[3]
    broken = told({"a": (0, 0)}, [variant("full", status="marked"), variant("a")])
    assert broken[0] == (
        "Full precision of m itself failed the integrity gate: nothing compared with it is sound.",
        "integrity",
    )


def test_several_models_are_told_apart() -> None:
    variants = [variant(name, model=model) for model in ("one", "two") for name in ("full", "a")]
    texts = [text for text, _ in told({"a": (100, 100)}, variants)]
    assert [text.split(":")[0] for text in texts] == ["For one"] * 3 + ["For two"] * 3
    assert "a is worse in every use that was measured" in texts[1]
