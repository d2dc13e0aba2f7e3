"""What is drawn from a run, what cannot be, and that nothing shown tells whose text it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.human.paper_run import HOSTILE, MODELS, VARIANTS, Record, build_run

from compressed_lens.errors import StudyError
from compressed_lens.human.design import Sample
from compressed_lens.human.hints import Hints
from compressed_lens.human.texts import LONGEST, Text, draw
from compressed_lens.runner.results import load_run
from compressed_lens.store import Store


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the paper's grid."""
    return build_run(tmp_path_factory.mktemp("paper") / "run")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A run of one model, three variants and eight items."""
    return build_run(tmp_path / "run", models=1, variants=VARIANTS[:3], items=8)


def change(folder: Path, analysis: str, variant: str, item: int, alter: Callable[[dict[str, Any]], None]) -> None:
    """Change the values of one record of the first model."""
    with Store.open(folder, write=True) as store:
        rows = store.records_frame((MODELS[0], "esnli", analysis)).rows(named=True)
        row = next(
            row for row in rows if row["variant"] == variant and row["item"].startswith(f"{4705552 + 37 * item}.")
        )
        values = json.loads(row["values"])
        alter(values)
        with store._connection:
            store._connection.execute("DELETE FROM records WHERE cell = ? AND item = ?", (row["cell"], row["item"]))
        store.write_record(row["cell"], row["item"], 0, Record(values))


def reasons(folder: Path, sample: Sample) -> set[tuple[str, str, str]]:
    """Return (kind, variant, reason) of what a draw leaves out."""
    _, left_out = draw(load_run(folder), sample)
    return {(row.kind, row.variant, row.reason) for row in left_out}


def test_the_paper_s_design_draws_the_same_items_under_every_variant(paper: Path) -> None:
    texts, left_out = draw(load_run(paper), Sample())
    assert len(texts) == 3 * 4 * (15 + 15)
    by_kind = {kind: {t.item for t in texts if t.shown.kind == kind} for kind in ("explanation", "counterfactual")}
    assert [len(items) for items in by_kind.values()] == [15, 15]
    assert not by_kind["explanation"] & by_kind["counterfactual"]
    cells = Counter((t.model, t.variant, t.shown.kind) for t in texts)
    assert set(cells.values()) == {15}
    assert len(cells) == 24 == len({t.cell for t in texts})
    assert {len({t.cell for t in texts if (t.model, t.variant, t.shown.kind) == cell}) for cell in cells} == {1}
    drawn = {(t.shown.kind, t.item) for t in texts}
    assert not drawn & {(row.kind, row.item) for row in left_out}


def test_what_is_shown_is_what_the_record_and_the_item_hold(paper: Path) -> None:
    run = load_run(paper)
    texts, _ = draw(run, Sample())
    values = {
        (row["model"], row["variant"], row["analysis"], row["item"]): json.loads(row["values"])
        for row in run.records.iter_rows(named=True)
    }
    contents = {item: json.loads(content) for item, content in run.items.select("item", "content").iter_rows()}
    for text in texts:
        record, shown = values[text.model, text.variant, text.analysis, text.item], text.shown
        assert dict(shown.fields) == contents[text.item]["fields"]
        assert [name for name, _ in shown.fields] == ["premise", "hypothesis"], "in the order that models saw"
        assert shown.instruction.startswith("Decide whether")
        if shown.kind == "explanation":
            assert (shown.text, shown.label, shown.edited) == (record["explanation"], record["prediction"], "")
        else:
            assert (shown.text, shown.label, shown.edited) == (record["edited"], record["target"], "hypothesis")


def test_ids_and_codes_tell_nothing(paper: Path) -> None:
    texts, _ = draw(load_run(paper), Sample())
    assert [t.id for t in texts] == [f"t{n:03d}" for n in range(1, 361)]
    assert {t.cell for t in texts} == {f"C{n:02d}" for n in range(1, 25)}
    # Were the ids in the order of the grid, one variant would hold the first thirty.
    assert len({(t.model, t.variant) for t in texts[:30]}) > 6
    first = [t.variant for t in sorted({t.cell: t for t in texts}.values(), key=lambda t: t.cell)[:6]]
    assert len(set(first)) > 1


def test_the_seed_decides_what_is_drawn(paper: Path) -> None:
    run = load_run(paper)

    def items(**sample: Any) -> set[tuple[str, str]]:
        return {(t.shown.kind, t.item) for t in draw(run, Sample(**sample))[0]}

    assert draw(run, Sample(seed=4)) == draw(run, Sample(seed=4))
    assert items(seed=4) != items(seed=5)
    # Fewer variants and models draw the same items, unless one of them stood in the way.
    assert items(seed=4, models=MODELS[:2], variants=("gptq-8bit", "gptq-4bit", "awq-4bit")) == items(seed=4)
    few = {"models": MODELS[:1], "variants": VARIANTS[1:2], "items": 15}
    drawn = {item for seed in range(25) for item in items(seed=seed, **few)}
    assert len(drawn) == 79, "every item has its chance as either kind, but for the one without an explanation"


def test_kinds_share_items_where_they_need_not_be_apart(paper: Path) -> None:
    texts, _ = draw(load_run(paper), Sample(separate_items=False))
    by_kind = {kind: {t.item for t in texts if t.shown.kind == kind} for kind in ("explanation", "counterfactual")}
    assert len(by_kind["explanation"] & by_kind["counterfactual"]) >= 13, "all but those that only one kind has"


def test_a_text_that_cannot_be_rated_takes_its_item_away_and_says_why(small: Path) -> None:
    sample = Sample(items=2, separate_items=False)
    assert reasons(small, sample) == {
        ("explanation", "gptq-4bit", "failed: the prompt is longer than the model reads"),
        ("explanation", "gptq-8bit", "no text with a word in it (empty)"),
        ("counterfactual", "gptq-8bit", "no text with a word in it (empty)"),
    }
    change(small, "nle", "full", 0, lambda values: values.update(prediction=None))
    change(small, "nle", "full", 1, lambda values: values.update(explanation="word " * LONGEST))
    change(small, "nle", "full", 2, lambda values: values.update(explanation=f"Yours, {MODELS[0].lower()}"))
    change(small, "nle", "gptq-4bit", 4, lambda values: values.update(explanation="As a GPTQ model I say so."))
    change(small, "counterfactual", "full", 0, lambda values: values.update(original="something else"))
    found = reasons(small, sample)
    assert ("explanation", "full", "no answer was found, so there is nothing that the text explains") in found
    assert ("explanation", "full", "the text is longer than 6,000 characters") in found
    assert ("explanation", "full", "it tells 'qwen2.5-7b-instruct'") in found
    assert ("explanation", "gptq-4bit", "it tells 'GPTQ'") in found, found
    assert ("counterfactual", "full", "the field that was edited cannot be told") in found


def test_too_few_items_are_one_sentence_with_the_counts_and_a_way_out(small: Path) -> None:
    run = load_run(small)
    with pytest.raises(StudyError, match="Of the 8 items of esnli, 6 have a text .* 7 are wanted") as told:
        draw(run, Sample(items=7, kinds=("explanation",)))
    assert "6 items or fewer" in told.value.fix
    assert "which alone lacks 1" in told.value.fix
    with pytest.raises(StudyError, match="8 have a text to rate .explanation or counterfactual. .* 10 are wanted"):
        draw(run, Sample(items=5))
    # Six items have an explanation, seven an edit: four of each, none twice, is just possible.
    for seed in range(10):
        texts, _ = draw(run, Sample(items=4, seed=seed))
        assert len({t.item for t in texts}) == 8


def test_refused_and_unavailable_variants_are_never_rated(small: Path) -> None:
    with Store.open(small, write=True) as store:
        store.put_variant(MODELS[0], "gptq-4bit", position=1, status="refused", reason="It repeats itself.")
        store.put_variant(MODELS[0], "gptq-8bit", position=2, status="marked", reason="It is odd.", build="b")
    texts, left_out = draw(load_run(small), Sample(items=2))
    assert {t.variant for t in texts} == {"full", "gptq-8bit"}
    assert ("gptq-4bit", "refused: It repeats itself.") in {(row.variant, row.reason) for row in left_out}
    with pytest.raises(StudyError, match="'gptq-4bit' of .* was not scored"):
        draw(load_run(small), Sample(items=2, variants=("gptq-4bit",)))


def test_placebos_are_rated_only_where_they_are_named(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run", models=1, variants=("full", "gptq-4bit", "placebo-eager"), items=10)
    with Store.open(folder, write=True) as store:
        recipe = {"placebo": {"attention": "eager"}}
        store.put_build("p", fingerprint="f", recipe=recipe, audit=None, integrity={"passed": True, "findings": []},
                        bytes_on_disk=1, memory_bytes=1, loaded={})  # fmt: skip
        store.put_variant(MODELS[0], "placebo-eager", position=2, status="passed", build="p")
    assert {t.variant for t in draw(load_run(folder), Sample(items=2))[0]} == {"full", "gptq-4bit"}
    named = Sample(items=2, variants=("placebo-eager",))
    assert {t.variant for t in draw(load_run(folder), named)[0]} == {"full", "placebo-eager"}


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ({"models": ("Qwen2.5-7B",)}, "no model 'Qwen2.5-7B'. Did you mean 'Qwen2.5-7B-Instruct'"),
        ({"variants": ("gptq4bit",)}, "no variant 'gptq4bit'. Did you mean 'gptq-4bit'"),
        ({"tasks": ("snli",)}, "no task 'snli'. Did you mean 'esnli'"),
        ({"analyses": {"explanation": "nlee"}}, "no analysis 'nlee'. Did you mean 'nle'"),
        ({"analyses": {"explanation": "rating"}}, "'rating' has no explanation to rate: its method is rating"),
    ],
)
def test_names_that_the_run_has_not(paper: Path, sample: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError) as told:
        draw(load_run(paper), Sample(**sample))
    assert said in str(told.value)


def test_control_characters_are_visible_and_markup_stays_as_it_is(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "run", models=1, items=40, hostile=True)
    texts, _ = draw(load_run(folder), Sample(items=18))
    shown = [t.shown.text for t in texts]
    assert any(text.startswith("<script>document") for text in shown)
    assert any("\u241b[31m red, bell \u2407, NUL \u2400" in text for text in shown)
    assert any(text.startswith("[U+202E]gnp.exe [U+2066] right") for text in shown)
    assert not any(bad in text for text in shown for bad in "\x00\x07\x1b\x85\u202e\u2066")
    assert HOSTILE[5] in shown


def test_words_that_give_nothing_away_are_no_hints(small: Path) -> None:
    hints = Hints.of(load_run(small))

    def found(text: str) -> str:
        item = draw(load_run(small), Sample(items=2))[0][0].shown
        return hints.found(item.model_copy(update={"text": text}))

    assert found("The full premise says so, by reference to a llama, at 4 bit.") == ""
    assert found("I am Qwen, made by somebody.") == "Qwen"
    assert found("gptq 4bit") == "gptq 4bit"
    assert found("GPTQ_8BIT wrote this") == "GPTQ_8BIT"
    assert found("This was quantized with gptq") == "gptq"


def test_nothing_shown_names_a_model_or_variant(paper: Path) -> None:
    texts, _ = draw(load_run(paper), Sample())
    read = "\n".join(_read(text) for text in texts).lower()
    assert not [name for name in (*MODELS, *VARIANTS[1:], "qwen", "gptq", "awq") if name.lower() in read]


def _read(text: Text) -> str:
    return text.shown.model_dump_json()


def test_who_knows_the_design_but_not_the_run_cannot_work_out_the_codes(small: Path, tmp_path: Path) -> None:
    other = build_run(tmp_path / "other", models=1, variants=VARIANTS[:3], items=8)
    sample = Sample(items=2)
    codes = {t.id: (t.variant, t.item) for t in draw(load_run(small), sample)[0]}
    assert {t.id: (t.variant, t.item) for t in draw(load_run(other), sample)[0]} == codes, (
        "the same run, the same codes"
    )
    drawn = next(t for t in draw(load_run(small), sample)[0] if t.variant == "full" and t.shown.kind == "explanation")
    item = next(n for n in range(8) if drawn.item.startswith(f"{4705552 + 37 * n}."))
    change(other, "nle", "full", item, lambda values: values.update(explanation="Some other words."))
    assert {t.id: (t.variant, t.item) for t in draw(load_run(other), sample)[0]} != codes
