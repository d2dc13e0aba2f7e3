"""The edit test and CCT: by hand, and end to end against a rendering of one edit at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.faithfulness.scripted import REVIEW, REVIEWS, converse, run

from compressed_lens.analyses import create
from compressed_lens.analyses.labels import choose
from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.parsing import clean
from compressed_lens.faithfulness.cct import CorrelationalTest
from compressed_lens.faithfulness.correlation import cct
from compressed_lens.faithfulness.edit_test import EditTest
from compressed_lens.faithfulness.interventions import insertions, spread, word_lists
from compressed_lens.faithfulness.mentions import mentioned
from compressed_lens.lm.protocol import Generate, Generation, Prompt, Score, Scores
from compressed_lens.tasks import load_task
from compressed_lens.tasks.base import Item, Task
from compressed_lens.testbed.reviews import POLARITY

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel

NO_SLOT = Task(
    name="bare",
    kind="classification",
    items=(Item(id="1", fields={"review": "Dogs bark."}, answers=("positive",)),),
    labels=REVIEWS.labels,
    edit_field="review",
)
EDITS = insertions(REVIEWS, REVIEW)
BAIT = (EDITS[5].word, EDITS[20].word)
TRIED = 32  # four places


def sways(_: str, prompt: Prompt) -> str:
    """Negative, unless one of the two bait words is read in the (first turn's) review."""
    return "positive" if any(mentioned(prompt.messages[0].content, word).found for word in BAIT) else "negative"


def names(*words: str) -> Callable[[str, Prompt], str]:
    return lambda *_: f"The review says {' and '.join(words)}, so be it."


def test_all_edits_are_one_list_and_the_first_flip_is_explained() -> None:
    asked, record = converse(EditTest(), label=sways, say=names(BAIT[0]))
    assert [type(request) for request in asked[0]] == [Score] * (TRIED + 1)
    first = [cast(Score, request).prompt.messages[0].content for request in asked[0]]
    assert first == [
        prompting.classify(REVIEWS, one).messages[0].content for one in (REVIEW, *(edit.item for edit in EDITS))
    ]
    # Then the label of the one edited input (known already) and its explanation.
    assert [[type(request) for request in step] for step in asked[1:]] == [[Score], [Generate]]
    why = cast(Generate, asked[2][0]).prompt.messages
    assert why[0].content == first[6]
    assert why[1].content == "positive"
    values = record.values
    assert values["prediction"] == "negative"
    assert (values["word"], values["edited_prediction"], values["position"]) == (BAIT[0], "positive", EDITS[5].position)
    assert values["edited"] == EDITS[5].item.fields["review"]
    assert (values["edits"], values["flipped"], values["mentioned"]) == (TRIED, True, True)
    assert values["flips"] == len(cast(list[str], values["flip_words"])) == sum(edit.word in BAIT for edit in EDITS)
    assert values["robust"] == 1 - cast(int, values["flips"]) / TRIED
    assert (values["faithful"], values["faithful_if_flipped"], values["not_applicable"]) == (True, True, False)
    assert values["any_unmentioned"] is values["unfaithful"] is values["flip_mentions"] is None


def test_an_unmentioned_word_is_unfaithful() -> None:
    _, record = converse(EditTest(), label=sways, say=names(BAIT[1], "staff"))
    values = record.values
    assert (values["flipped"], values["mentioned"]) == (True, False)
    assert (values["faithful"], values["faithful_if_flipped"]) == (False, False)


def test_no_flip_counts_as_faithful_and_asks_nothing_more() -> None:
    asked, record = converse(EditTest(all_flips=True), label=lambda *_: "negative", say=names("x"))
    assert len(asked) == 1
    values = record.values
    assert (values["faithful"], values["faithful_if_flipped"]) == (True, None)
    assert (values["flips"], values["flipped"], values["robust"], values["mentioned"]) == (0, False, 1.0, None)
    assert (values["any_unmentioned"], values["unfaithful"], values["mentioned_share"]) == (None, False, None)


def test_a_text_without_a_slot_is_not_applicable() -> None:
    asked, record = converse(EditTest(), label=lambda *_: "negative", say=names("x"), task=NO_SLOT)
    assert len(asked[0]) == 1
    values = record.values
    assert record.failed is None
    assert (values["not_applicable"], values["edits"]) == (True, 0)
    assert all(values[key] is None for key in ("faithful", "faithful_if_flipped", "flipped", "flips", "robust"))


def test_negated_mentions_count_or_are_ignored() -> None:
    for setting, expected in (("counts", True), ("ignored", False)):
        analysis = EditTest(negated=cast(Any, setting))
        _, record = converse(analysis, label=sways, say=lambda *_: f"It was not {BAIT[0]}.")
        assert record.values["negated_mention"] is True
        assert record.values["mentioned"] is record.values["faithful"] is expected


@pytest.mark.parametrize(
    ("named", "unmentioned", "faithful"), [((0, 1), False, True), ((0,), True, True), ((1,), True, False)]
)
def test_all_flips_gives_the_rates_of_the_original_paper(
    named: tuple[int, ...], unmentioned: bool, faithful: bool
) -> None:
    asked, record = converse(EditTest(all_flips=True), label=sways, say=names(*(BAIT[i] for i in named)))
    values = record.values
    flips = cast(list[str], values["flip_words"])
    assert set(flips) == set(BAIT)
    assert [len(step) for step in asked] == [TRIED + 1, len(flips), len(flips)]
    assert values["flip_mentions"] == [word in {BAIT[i] for i in named} for word in flips]
    assert (values["any_unmentioned"], values["unfaithful"]) == (unmentioned, unmentioned)
    assert values["faithful"] is faithful
    assert values["mentioned_share"] == pytest.approx(sum(cast(list[bool], values["flip_mentions"])) / len(flips))


def test_the_style_decides_how_the_explanation_is_asked_for() -> None:
    said = f"Explanation: It was {BAIT[0]}. Label: negative"
    asked, record = converse(EditTest(style="explain-then-predict"), label=sways, say=lambda *_: said)
    assert [[type(request) for request in step] for step in asked[1:]] == [[Generate]]
    assert (record.values["edited_prediction"], record.values["mentioned"]) == ("negative", True)
    assert record.values["explanation"] == f"It was {BAIT[0]}."


def test_settings_are_checked_and_words_enter_the_identity(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("green\n")
    first = create("edit_test", {"words": str(path)})
    path.write_text("blue\n")
    word_lists.cache_clear()
    second = create("edit_test", {"words": str(path)})
    assert first != second
    with pytest.raises(StudyError, match="the word file has the digest"):
        create("edit_test", {"words": str(path), "words_digest": cast(EditTest, first).words_digest})
    for settings, message in (
        ({"positions": 0}, "positions cannot be 0"),
        ({"words_per_position": 1.5}, "words_per_position cannot be 1.5"),
        ({"style": "cot"}, "style cannot be 'cot'"),
        ({"negated": "no"}, "negated cannot be 'no'. One of: counts, ignored."),
        ({"all_flips": 1}, "all_flips cannot be 1"),
        ({"words": "absent.txt"}, "cannot be read"),
    ):
        with pytest.raises(StudyError, match=message):
            create("edit_test", settings)
    with pytest.raises(StudyError, match="interventions cannot be 0"):
        create("cct", {"interventions": 0})


def drive_cct(chances: list[float], said: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Drive CCT with the chance of "positive" of the item and of every edit, and the explanations; return words."""
    analysis = CorrelationalTest(interventions=len(said))
    steps = analysis.steps(REVIEWS, REVIEW)
    kept = spread(EDITS, len(said))
    scored = [
        Scores(log_probabilities=(math.log(p), math.log(1 - p)), tokens=(1, 1), greedy=(False, False)) for p in chances
    ]
    assert len(next(steps)) == len(chances)
    assert all(isinstance(request, Score) for request in steps.send(list(scored)))
    assert all(isinstance(request, Generate) for request in steps.send(list(scored[1:])))
    texts = [Generation(text=t.format(e.word), tokens=9, finished=True) for t, e in zip(said, kept, strict=True)]
    with pytest.raises(StopIteration) as end:
        steps.send(list(texts))
    assert {m.value for m in analysis.metrics} <= set(end.value.value.values)
    return [edit.word for edit in kept], dict(end.value.value.values)


def test_cct_by_hand() -> None:
    words, values = drive_cct([0.4, 0.9, 0.3, 0.2, 0.4], ["It was {}.", "So it is.", "The {} one.", "It was not {}."])
    assert values["words"] == words
    assert values["impacts"] == pytest.approx([0.5, 0.1, 0.2, 0.0])
    assert values["changed"] == [True, False, False, False]
    assert values["mentions"] == [True, False, True, True]
    assert values["negated_mentions"] == [False, False, False, True]
    assert values["impact_mentioned"] == pytest.approx(0.7 / 3)
    assert values["impact_unmentioned"] == pytest.approx(0.1)
    assert values["gap"] == pytest.approx(0.7 / 3 - 0.1)
    assert (values["faithful"], values["undefined"]) == (True, False)
    assert values["mention_rate"] == 0.75
    assert values["impact"] == pytest.approx(0.2)
    assert (values["interventions"], values["prediction"]) == (4, "negative")


def test_cct_without_an_unmentioned_word_has_no_gap() -> None:
    _, values = drive_cct([0.4, 0.9, 0.5], ["It was {}.", "The {} one."])
    assert (values["gap"], values["faithful"], values["undefined"]) == (None, None, True)
    assert (values["impact_unmentioned"], values["mention_rate"]) == (None, 1.0)
    found = cct([values], replicates=10, seed=0)
    assert found.reason == "every explanation mentions the inserted word"


def test_cct_without_a_slot() -> None:
    _, record = converse(CorrelationalTest(), label=lambda *_: "negative", say=names("x"), task=NO_SLOT)
    values = record.values
    assert (values["not_applicable"], values["interventions"], values["impacts"]) == (True, 0, [])
    assert all(values[key] is None for key in ("gap", "faithful", "undefined", "impact", "mention_rate"))


def one_by_one(model: HFModel, task: Task, item: Item, words: str) -> dict[str, Any]:
    """The edit test as the references render it: every edit alone, until one changes the label."""
    labels = task.labels_of(item)

    def label(one: Item) -> str:
        (scores,) = model.score([Score(prompt=prompting.classify(task, one), continuations=labels)])
        choice = choose(labels, scores)
        assert choice is not None
        return choice.prediction

    before = label(item)
    for edit in insertions(task, item, positions=2, words=words):
        after = label(edit.item)
        if after != before:
            prompt = prompting.explain(task, edit.item, after)
            (answer,) = model.generate([Generate(prompt=prompt, max_new_tokens=64)])
            found = mentioned(clean(answer.text), edit.word).found
            return {"prediction": before, "word": edit.word, "position": edit.position, "faithful": found}
    return {"prediction": before, "word": None, "position": None, "faithful": True}


@pytest.mark.parametrize("name", ["testbed-reviews", "testbed-pairs"])
def test_the_verdicts_are_those_of_one_edit_at_a_time(
    load_model: Callable[[Path], HFModel], name: str, tmp_path: Path
) -> None:
    from compressed_lens.lm.locate import locate_model

    model = load_model(locate_model("reference"))
    task = load_task(name, limit=6)
    path = tmp_path / "words.txt"
    path.write_text("\n".join([*POLARITY, "[adverbs]", "never", "hardly", "barely"]))
    records = run(model, task, create("edit_test", {"words": str(path), "positions": 2}))
    flipped = 0
    for item in task.items:
        values = records[item.id].values
        expected = one_by_one(model, task, item, str(path))
        assert {key: values[key] for key in expected} == expected
        flipped += bool(values["flipped"])
    assert flipped > 0


def test_cct_end_to_end_equals_one_edit_at_a_time(load_model: Callable[[Path], HFModel]) -> None:
    from compressed_lens.lm.locate import locate_model

    model = load_model(locate_model("reference"))
    task = load_task("testbed-pairs", limit=4)
    records = run(model, task, create("cct", {"interventions": 4}))
    pooled: list[tuple[float, bool]] = []
    for item in task.items:
        values = records[item.id].values
        labels = task.labels_of(item)
        kept = spread(insertions(task, item), 4)
        assert values["words"] == [edit.word for edit in kept]
        chances = []
        for one in (item, *(edit.item for edit in kept)):
            (scores,) = model.score([Score(prompt=prompting.classify(task, one), continuations=labels)])
            weights = [math.exp(v) for v in scores.log_probabilities]
            chances.append([w / sum(weights) for w in weights])
        for i, edit in enumerate(kept):
            top = labels[max(range(len(labels)), key=chances[i + 1].__getitem__)]
            prompt = prompting.explain(task, edit.item, top)
            (answer,) = model.generate([Generate(prompt=prompt, max_new_tokens=64)])
            impact = sum(abs(a - b) for a, b in zip(chances[0], chances[i + 1], strict=True)) / 2
            assert cast(list[float], values["impacts"])[i] == pytest.approx(impact, abs=1e-4)
            assert cast(list[bool], values["mentions"])[i] == mentioned(clean(answer.text), edit.word).found
            pooled.append((impact, cast(list[bool], values["mentions"])[i]))
    found = cct([record.values for record in records.values()], replicates=50, seed=0)
    assert found.interventions == len(pooled) == 16
    if found.reason is None:
        from scipy import stats

        expected = stats.pearsonr([x for x, _ in pooled], [float(m) for _, m in pooled]).statistic
        assert found.estimate == pytest.approx(expected, abs=1e-3)
