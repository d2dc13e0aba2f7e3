"""What a run is held to: names of quantizers, settings that count, and verdicts on outcomes written by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.comparison.conftest import make, measure

from compressed_lens.claims.claim import FACTUAL_KNOWLEDGE, SELF_EXPLANATIONS
from compressed_lens.claims.ledger import find
from compressed_lens.claims.own import (
    EDIT_TEST,
    EIGHT_BIT,
    FLIPS,
    OwnFigure,
    OwnRun,
    Target,
    figure,
    inside,
    paper_name,
    shown,
    sides,
)
from compressed_lens.claims.own_changes import change, kept, within
from compressed_lens.claims.own_knowledge import counted, hop_losses, same_answers, saturation
from compressed_lens.claims.own_ranks import first_in, leaders
from compressed_lens.comparison.series import Measure, Series, Variant

RECIPES = {
    "full": {},
    "bnb-4bit": {"method": "bitsandbytes", "bits": 4, "recipe": "bnb-4bit"},
    "bnb-8bit": {"method": "bitsandbytes", "bits": 8, "recipe": "bnb-8bit"},
    "gptq-4bit": {"method": "gptq", "bits": 4, "recipe": "gptq-4bit"},
    "gptq-8bit": {"method": "gptq", "bits": 8, "recipe": "gptq-8bit"},
    "awq-4bit": {"method": "awq", "bits": 4, "recipe": "awq-4bit"},
    "rtn-3bit": {"method": "rtn", "bits": 3, "recipe": "rtn-3bit"},
}


def variant(name: str, model: str = "m", size: float = 7.6e9, **more: Any) -> Variant:
    told: dict[str, Any] = {
        "status": "passed", "reason": "", "fingerprint": "", "recipe": RECIPES.get(name, {}), "audit": {},
        "findings": (), "bytes_on_disk": None, "memory_bytes": None, "speed": {}, "loaded": {"parameters": size},
        **more,
    }  # fmt: skip
    return Variant(model=model, name=name, **told)


def series(
    outcomes: Mapping[str, Sequence[Any]],
    *,
    method: str = "edit_test",
    task: str = "esnli",
    of: Measure | None = None,
    model: str = "m",
    settings: Mapping[str, Any] | None = None,
    groups: int = 1,
) -> Series:
    one = make(outcomes, of=of or measure(), model=model, analysis=method)
    n = len(one.rows)
    told = {"task": task, "settings": settings or {}, "groups": tuple(f"g{k * groups // n:02d}" for k in range(n))}
    return Series(**{**vars(one), **told})


def run_of(*members: Series, size: float = 7.6e9, names: Sequence[str] = tuple(RECIPES)) -> OwnRun:
    models = dict.fromkeys(one.model for one in members)
    return OwnRun(
        name="r", series=members, variants=tuple(variant(name, model, size) for model in models for name in names),
        sources={}, paths={},
    )  # fmt: skip


def flipped(n: int, lost: int, gained: int = 0, good: int | None = None) -> dict[str, list[bool]]:
    """Return n items of which `good` (half) are right at first, and how many of them change under awq."""
    right = n // 2 if good is None else good
    full = [True] * right + [False] * (n - right)
    return {"full": full, "awq-4bit": [False] * lost + full[lost : n - gained] + [True] * gained}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("bnb-4bit", "bib4"), ("bnb-8bit", "bib8"), ("gptq-4bit", "gptq4"), ("gptq-8bit", "gptq8"), ("awq-4bit", "awq"),
     ("rtn-3bit", None), ("full", None)],
)  # fmt: skip
def test_names_of_the_papers(name: str, expected: str | None) -> None:
    assert paper_name(variant(name)) == expected


def test_names_of_checkpoints_placebos_and_odd_widths() -> None:
    found = {"method": "gptq", "bits_per_weight": 4.13}
    assert paper_name(variant("mine", recipe={"checkpoint": "x"}, audit=found)) == "gptq4"
    assert paper_name(variant("mine", recipe={"method": "gptq", "bits": 3})) is None
    assert paper_name(variant("mine", recipe={"method": "awq", "bits": 8})) is None
    assert paper_name(variant("mine", recipe={"placebo": "float32"}, audit=found)) is None


def test_variants_that_failed_the_gate_or_have_no_records_do_not_count() -> None:
    one = series(flipped(40, 5))
    variants = (variant("full"), variant("awq-4bit", status="marked"))
    failed = OwnRun(name="r", series=(one,), variants=variants, sources={}, paths={})
    assert failed.quantized("m") == {} and run_of(one).recorded(one) == {"awq-4bit": "awq"}
    assert run_of(one).recorded(one, EIGHT_BIT) == {}


def verdicts(figures: tuple[OwnFigure, ...]) -> list[tuple[str, str]]:
    return [(one.shows, one.verdict) for one in figures]


@pytest.mark.parametrize(
    ("lost", "gained", "size", "task", "expected"),
    [
        (60, 10, 7.6e9, "esnli", ("as stated", "reproduced")),
        (10, 60, 7.6e9, "esnli", ("the contrary", "not reproduced")),
        (12, 10, 7.6e9, "esnli", ("neither", "undecided")),
        (60, 10, 4e6, "esnli", ("as stated", "not comparable")),
        (60, 10, 7.6e9, "testbed-reviews", ("as stated", "not comparable")),
    ],
)
def test_a_fall_is_reproduced_only_where_the_interval_shows_it_in_the_papers_setting(
    lost: int, gained: int, size: float, task: str, expected: tuple[str, str]
) -> None:
    run = run_of(series(flipped(400, lost, gained), task=task), size=size)
    (found,) = change(SELF_EXPLANATIONS, EDIT_TEST, expected="negative")(run)
    assert (found.shows, found.verdict) == expected
    assert found.value == pytest.approx((gained - lost) / 400) and found.n == 400 and found.quantizers == ("awq",)
    assert found.low < found.value < found.high
    assert ("paper's setting" in found.why) == (expected[1] == "not comparable")


def test_the_mean_is_over_the_quantizers_of_the_papers_item_by_item() -> None:
    generator = np.random.default_rng(0)
    outcomes = {name: [bool(v) for v in generator.random(300) < share] for name, share in
                (("full", 0.8), ("awq-4bit", 0.6), ("bnb-4bit", 0.7), ("rtn-3bit", 0.0))}  # fmt: skip
    run = run_of(series(outcomes))
    (found,) = change(SELF_EXPLANATIONS, EDIT_TEST, expected="negative")(run)
    differences = (np.array(outcomes["awq-4bit"], float) + outcomes["bnb-4bit"]) / 2 - np.array(outcomes["full"])
    assert found.quantizers == ("awq", "bib4") and found.value == pytest.approx(differences.mean())
    draws = [differences[generator.integers(0, 300, 300)].mean() for _ in range(4000)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.01)
    (alone,) = change(SELF_EXPLANATIONS, EDIT_TEST, expected="negative", among=("bib4",))(run)
    assert alone.quantizers == ("bib4",) and alone.value != found.value


def test_few_changed_items_are_no_evidence() -> None:
    outcomes = {**flipped(200, 4), "bnb-4bit": flipped(200, 4)["full"]}
    (found,) = change(SELF_EXPLANATIONS, EDIT_TEST, expected="negative")(run_of(series(outcomes)))
    assert found.verdict == "undecided" and "Only 4 items changed" in found.why


def test_other_ways_of_a_method_are_left_out() -> None:
    flips = measure("flip_rate_hard")
    run = run_of(
        series(flipped(100, 30), method="counterfactual", of=flips, settings={"method": "zerocf"}),
        series(flipped(100, 20), method="counterfactual", of=flips, settings={"method": "fizle-naive"}),
    )
    (found,) = change(SELF_EXPLANATIONS, FLIPS, expected="negative")(run)
    assert found.value == pytest.approx(-0.2)
    (none,) = change(SELF_EXPLANATIONS, EDIT_TEST, expected="negative")(run)
    assert none.what == "" and none.verdict == "not comparable" and "edit_test.faithful" in none.why


@pytest.mark.parametrize(
    ("n", "lost", "expected"),
    [(4000, 0, "reproduced"), (100, 0, "undecided"), (4000, 400, "not reproduced"), (4000, 30, "undecided")],
)
def test_within_a_point_takes_the_whole_interval(n: int, lost: int, expected: str) -> None:
    outcomes = flipped(n, lost)
    outcomes["bnb-8bit"] = outcomes.pop("awq-4bit")
    one = series(outcomes, method="recall", task="lre", of=measure("recall"))
    own = within(FACTUAL_KNOWLEDGE, Target("recall", "recall"), margin=0.01, among=EIGHT_BIT)
    assert [found.verdict for found in own(run_of(one))] == [expected]


def test_status_kept_counts_items() -> None:
    own = kept(SELF_EXPLANATIONS, EDIT_TEST)
    (found,) = own(run_of(series(flipped(400, 60, 10))))
    assert found.verdict == "reproduced" and "330 of 400 items keep their status, 60 lost, 10 gained" in found.why
    assert found.value == pytest.approx(-50 / 400)
    (most,) = own(run_of(series(flipped(400, 200, 100))))
    assert most.verdict == "not reproduced", "most items changed, though more are lost than gained"


def test_barriers_name_what_differs() -> None:
    run = run_of(series(flipped(10, 1), task="mine"), size=4.04e6)
    (one,) = run.series
    told = run.barriers(SELF_EXPLANATIONS, one, 10, about="Qwen2.5-7B")
    assert len(told) == 4 and "4.04 million" in told[2] and "mine is none of the paper's data" in told[1]
    known = OwnRun(name="r", series=(one,), variants=run.variants, sources={"mine": "esnli"},
                   paths={"m": "hub/Qwen/Qwen2.5-7B-Instruct"})  # fmt: skip
    assert len(known.barriers(SELF_EXPLANATIONS, one, 100, about="Qwen2.5-7B")) == 1
    assert "about Qwen2.5-72B" in known.barriers(SELF_EXPLANATIONS, one, 100, about="Qwen2.5-72B")[0]
    unknown = OwnRun(name="r", series=(one,), variants=(), sources={"mine": "esnli"}, paths={})
    assert unknown.barriers(SELF_EXPLANATIONS, one, 100) == ("the size of the model is not recorded",)


def test_what_intervals_show() -> None:
    nan = math.nan
    assert [sides(*ends, "negative") for ends in ((-2, -1), (1, 2), (-1, 1), (0, 0), (nan, nan))] == [
        "as stated", "the contrary", "neither", "neither", "nothing"]  # fmt: skip
    assert [inside(*ends, 1) for ends in ((-0.5, 0.5), (1, 2), (-3, -1), (-2, 0), (nan, nan))] == [
        "as stated", "the contrary", "the contrary", "neither", "nothing"]  # fmt: skip
    run = run_of(series(flipped(40, 5)))
    (told,) = shown(run, "x", 1.0, unit="", n=1, why="Because.")
    assert told.verdict == "not comparable" and told.shows == "nothing"
    found = figure(run, "x", (1.0, nan, nan), n=1, unit="", shows="nothing", quantizers=["awq", "awq"], remark="So.")
    assert found.verdict == "not comparable" and found.quantizers == ("awq",) and found.why.endswith("So.")


def ranked(good: str, rows: int) -> OwnRun:
    """Return a run in which `good` is the better of two quantizers in every measure."""
    better, worse = [True] * 40 + [False] * 10, [True] * 30 + [False] * 20
    outcomes = {"full": [True] * 50, "awq-4bit": worse, "gptq-4bit": worse, good: better}
    members = [series(outcomes, method=f"a{k}", of=measure(f"q{k}", family="quality")) for k in range(rows)]
    return run_of(*members)


def test_first_place_needs_the_critical_difference() -> None:
    own = first_in("quality", "awq")
    assert verdicts(own(ranked("awq-4bit", 12))) == [("as stated", "reproduced")]
    assert verdicts(own(ranked("gptq-4bit", 12))) == [("the contrary", "not reproduced")]
    (few,) = own(ranked("awq-4bit", 2))
    assert few.verdict == "undecided" and few.value == 1.0 and "awq 1.00, gptq4 2.00" in few.why
    assert "too few rows to tell any two apart" in few.why
    (none,) = first_in("task", "gptq8")(ranked("awq-4bit", 2))
    assert none.what == "" and "Needs gptq8" in none.why


def test_leaders_of_the_families() -> None:
    better, worse = [True] * 20, [True] * 17 + [False] * 3
    sides_of = {"task": (worse, better), "quality": (better, worse), "faithfulness": (better, worse)}
    members = [
        series({"full": better, "awq-4bit": awq, "bnb-4bit": bib}, method=family, of=measure(family, family=family))
        for family, (awq, bib) in sides_of.items()
    ]
    (found,) = leaders(run_of(*members))
    assert found.value == 2 and "task bib4, quality awq, faithfulness awq" in found.what
    (none,) = leaders(run_of(*members[:2]))
    assert "measures of faithfulness" in none.why


def test_counts_of_the_data_hold_for_any_model() -> None:
    one = series({"full": [True] * 52}, method="recall", task="lre", of=measure("recall"), groups=26)
    (found,) = counted("recall", "lre", items=52, groups=26)(run_of(one, size=4e6))
    assert found.verdict == "reproduced" and found.value == 52
    (part,) = counted("recall", "lre", items=9_696, groups=26)(run_of(one))
    assert part.verdict == "not comparable" and "a part of the data" in part.why
    (other,) = counted("recall", "lre", items=52, groups=26)(run_of(series(flipped(40, 5))))
    assert other.what == ""


def relations(losses: Sequence[float]) -> Series:
    """Return 10 relations of 40 facts, known from 95 % down to 50 %, that lose these shares of their facts."""
    sides_of: dict[str, list[bool]] = {"full": [], "awq-4bit": []}
    for k, lost in enumerate(losses):
        right = 38 - 2 * k
        sides_of["full"] += [True] * right + [False] * (40 - right)
        sides_of["awq-4bit"] += [True] * (right - round(40 * lost)) + [False] * (40 - right + round(40 * lost))
    return series(sides_of, method="recall", task="lre", of=measure("recall", family="knowledge"), groups=10)


def test_saturation_is_read_from_the_sign_of_the_correlation() -> None:
    more = [0.0, 0.05, 0.025, 0.1, 0.075, 0.15, 0.125, 0.2, 0.175, 0.25]
    (found,) = saturation(run_of(relations(more)))
    assert found.verdict == "reproduced" and found.value < -0.9 and found.n == 10
    (back,) = saturation(run_of(relations(more[::-1])))
    assert back.verdict == "not reproduced"
    (none,) = saturation(run_of(relations([0.1] * 10)))
    assert none.verdict == "not comparable" and math.isnan(none.low)


def hops(first: Sequence[bool], second: Sequence[bool], both: Mapping[str, Sequence[bool]]) -> Series:
    n = len(first)
    values = {"first_hop": "first_correct", "second_hop": "second_correct", "two_hop": "composed_correct"}
    names = tuple(values.values())
    one = series({"full": [True] * n}, method="two_hop", task="twohopfact", of=measure("first_hop"))
    outcome = next(o for o in one.outcomes["full"] if o is not None)
    outcomes = {"full": tuple(type(outcome)(values=dict.fromkeys(names, True), failed=None) for _ in range(n))}
    for name, last in both.items():
        outcomes[name] = tuple(
            type(outcome)(values=dict(zip(names, told, strict=True)), failed=None)
            for told in zip(first, second, last, strict=True)
        )
    measures = tuple(replace(measure(name, family="knowledge"), value=value) for name, value in values.items())
    return Series(**{**vars(one), "measures": measures, "outcomes": outcomes, "planned": dict.fromkeys(outcomes, n)})


def test_the_first_hop_is_held_against_the_second() -> None:
    first, second = [False] * 60 + [True] * 140, [True] * 180 + [False] * 20
    (found,) = hop_losses(run_of(hops(first, second, {"awq-4bit": first})))
    assert found.verdict == "reproduced" and found.value == pytest.approx(0.3 - 0.1)
    assert "30.0 and 10.0 points" in found.why
    (back,) = hop_losses(run_of(hops(second, first, {"awq-4bit": first})))
    assert back.verdict == "not reproduced"


def test_equality_of_widths_takes_an_interval_within_a_point() -> None:
    n = 1000
    same = [True] * n
    (equal,) = same_answers(run_of(hops(same, same, {"bnb-4bit": same, "bnb-8bit": same})))
    assert equal.verdict == "reproduced" and "differ on 0 items" in equal.why
    worse = [False] * 60 + [True] * (n - 60)
    (apart,) = same_answers(run_of(hops(same, same, {"bnb-4bit": worse, "bnb-8bit": same})))
    assert apart.verdict == "not reproduced" and apart.value == pytest.approx(0.06)
    (none,) = same_answers(run_of(hops(same, same, {"bnb-4bit": same})))
    assert none.what == ""


def test_larger_quantized_and_size_trends() -> None:
    small = series(flipped(400, 160, good=240), model="small")
    large = series(flipped(400, 8, good=320), model="large")
    variants = tuple(
        variant(name, model, size) for model, size in (("small", 7.6e9), ("large", 7.2e10)) for name in RECIPES
    )
    run = OwnRun(name="r", series=(small, large), variants=variants, sources={}, paths={})
    (choice,) = find("se-larger-quantized-nle").own(run)  # type: ignore[misc]
    assert choice.verdict == "reproduced" and choice.value == pytest.approx((312 - 240) / 400)
    (trend,) = find("se-larger-keep-it").own(run)  # type: ignore[misc]
    assert trend.verdict == "reproduced" and trend.value == pytest.approx((8 - 160) / 400 / math.log10(7.2e10 / 7.6e9))
