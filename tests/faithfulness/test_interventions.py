"""Random insertions: where words go, which words, and that nothing but item and seed decides."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from compressed_lens.errors import StudyError
from compressed_lens.explanations import prompting
from compressed_lens.explanations.parsing import words
from compressed_lens.explanations.sources import Unusable
from compressed_lens.faithfulness.interventions import insert, insertions, needs_an, slots, spread, word_lists
from compressed_lens.faithfulness.mentions import bases, mentioned
from compressed_lens.tasks import load_task
from compressed_lens.tasks.base import Item, Task
from compressed_lens.testbed.reviews import POLARITY

NLI = Task(
    name="nli",
    kind="classification",
    items=(
        Item(
            id="1",
            fields={"premise": "The boy's dog runs in a park.", "hypothesis": "An old animal is in the park."},
            answers=("entailment",),
        ),
    ),
    labels=("entailment", "neutral", "contradiction"),
    instruction="Decide.",
    edit_field="hypothesis",
)
ITEM = NLI.items[0]


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("The light was flimsy.", "The ^light was *flimsy."),
        ("We visited the hotel with my brother.", "We visited the ^hotel with my ^brother."),
        ("The boy's dog runs.", "The ^boy's ^dog runs."),
        ("It's a dog that barks.", "It's a ^dog that barks."),
        ("Two men and 3 dogs", "Two ^men and 3 ^dogs"),
        ("All the other guests", "All the other ^guests"),
        ("A lot of the very nice rooms", "A lot of the very nice rooms"),
        ("She gave it to her.", "She gave it to her."),
        ("with her, the man", "with her, the ^man"),
        ("He is a baker.", "He is a ^baker."),
        ("He is not rude.", "He is not *rude."),
        ("It isn't rude.", "It isn't *rude."),
        ("They are in the house.", "They are *in the ^house."),
        ("He will go and may have left.", "He will *go and may *have left."),
        ("She has visited it and has eaten it.", "She has *visited it and has *eaten it."),
        ("She has children and fun.", "She has children and fun."),
        ("Is he there?", "Is he there?"),
        ("the\nman", "the\nman"),
        ("A blond-haired man", "A ^blond-haired man"),
        ("Dogs bark.", "Dogs bark."),
        ("", ""),
    ],
)
def test_slots(text: str, marked: str) -> None:
    found = slots(text, field="text")
    shown = text
    for slot in reversed(found):
        shown = shown[: slot.start] + ("^" if slot.part == "adjectives" else "*") + shown[slot.start :]
    assert shown == marked
    assert [slot.position for slot in found] == sorted(slot.position for slot in found)


def test_articles_follow_the_sound() -> None:
    slot = slots("An animal", field="t")[0]
    assert insert("An animal", slot, "clean") == "A clean animal"
    assert insert("An animal", slot, "ugly") == "An ugly animal"
    slot = slots("We saw a dog.", field="t")[0]
    assert insert("We saw a dog.", slot, "honest") == "We saw an honest dog."
    assert insert("We saw a dog.", slot, "useful") == "We saw a useful dog."
    assert [w for w in "unique uniform unimportant uninteresting urban usual upset hourly hot honorable".split()
            if needs_an(w)] == ["unimportant", "uninteresting", "urban", "upset", "hourly", "honorable"]  # fmt: skip
    assert [w for w in word_lists().lists["adjectives"] if w[0] == "u" and not needs_an(w)] == [
        "unique", "useful", "useless", "usual",
    ]  # fmt: skip


def test_an_insertion_is_one_word_more() -> None:
    task = load_task("testbed-reviews", limit=10)
    for item in task.items:
        found = insertions(task, item)
        assert 0 < len(found) <= 64
        assert len({edit.item.fields["review"] for edit in found}) == len(found)
        for edit in found:
            before, after = words(item.fields["review"]), words(edit.item.fields["review"])
            assert after[: edit.position] == before[: edit.position] or {"a", "an"} & set(after)
            assert after[edit.position] == edit.word
            assert len(after) == len(before) + 1
            assert not mentioned(item.fields["review"], edit.word).found
            assert edit.item.id == item.id
            assert edit.item == replace(item, fields=edit.item.fields)


def test_only_the_edit_field_and_never_the_prompt() -> None:
    for edit in insertions(NLI, ITEM):
        assert edit.field == "hypothesis"
        assert edit.item.fields["premise"] == ITEM.fields["premise"]
        asked = prompting.classify(NLI, edit.item).messages[0].content
        plain = prompting.classify(NLI, ITEM).messages[0].content
        assert asked == plain.replace(ITEM.fields["hypothesis"], edit.item.fields["hypothesis"])
    both = insertions(NLI, ITEM, fields=("premise", "hypothesis"), positions=99)
    assert {edit.field for edit in both} == {"premise", "hypothesis"}
    with pytest.raises(Unusable, match="no field 'text'; it has premise, hypothesis"):
        insertions(NLI, ITEM, fields=("text",))


def test_item_and_seed_decide_alone() -> None:
    task = load_task("testbed-reviews", limit=8)
    shuffled = list(task.items)
    Random(3).shuffle(shuffled)
    once = {item.id: insertions(task, item, seed=5) for item in task.items}
    again = {item.id: insertions(replace(task, items=task.items[:1]), item, seed=5) for item in shuffled}
    assert once == again
    assert once != {item.id: insertions(task, item, seed=6) for item in task.items}
    twin = replace(task.items[0], id="another")
    assert [e.word for e in insertions(task, twin, seed=5)] != [e.word for e in once[task.items[0].id]]


def test_a_larger_setting_holds_the_smaller() -> None:
    task = load_task("testbed-reviews", limit=3)
    for item in task.items:
        small = insertions(task, item, positions=2, words_per_position=3)
        large = insertions(task, item, positions=3, words_per_position=5)
        assert set((e.position, e.word) for e in small) <= set((e.position, e.word) for e in large)
        assert len(small) == 6


def test_position_by_position_and_spread_over_positions() -> None:
    task = load_task("testbed-reviews", limit=3)
    found = insertions(task, task.items[0], positions=3, words_per_position=4)
    positions = [edit.position for edit in found]
    assert [p for i, p in enumerate(positions) if i == 0 or p != positions[i - 1]] == list(dict.fromkeys(positions))
    assert list(Counter(positions).values()) == [4, 4, 4]
    chosen = spread(found, 7)
    assert [found.index(edit) for edit in chosen] == [0, 4, 8, 1, 5, 9, 2]
    assert spread(found, 99) == tuple(found[p * 4 + w] for w in range(4) for p in range(3))
    assert spread((), 3) == ()


def test_the_places_are_not_always_the_first_ones() -> None:
    task = load_task("testbed-reviews", limit=60)
    first = Counter(insertions(task, item, positions=1, words_per_position=1)[0].position for item in task.items)
    assert len(first) > 5


def test_the_shipped_words() -> None:
    lists = word_lists().lists
    assert len(lists["adjectives"]) >= 250
    assert len(lists["adverbs"]) >= 100
    for part in lists.values():
        assert len(set(part)) == len(part)
        assert all(word.isalpha() and word == word.casefold() for word in part)
        assert list(part) == sorted(part)
    # The words that carry sentiment in the testbed are among them, so that insertions can change its labels.
    assert set(POLARITY) <= set(lists["adjectives"])


def test_no_form_of_a_word_of_the_text_or_of_a_label(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# mine\ndirtier\nneutral\nold\ngreen\n\n[adverbs]\noften\n")
    item = replace(ITEM, fields={"premise": "", "hypothesis": "The dirty elder dog is barking at one older man."})
    found = insertions(NLI, item, words=str(path))
    assert {edit.word for edit in found} == {"green", "often"}
    assert bases("older") & bases("old")


def test_a_file_of_words(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("green\n")
    found = insertions(NLI, ITEM, words=str(path))
    assert [edit.item.fields["hypothesis"] for edit in found] in (
        ["A green old animal is in the park.", "An old animal is in the green park."],
        ["An old animal is in the green park.", "A green old animal is in the park."],
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "holds no word"), ("[verbs]\nrun\n", r"has a list \[verbs\]"), (None, "cannot be read")],
)
def test_a_wrong_file_of_words(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StudyError, match=message):
        insertions(NLI, ITEM, words=str(path))


def test_most_hypotheses_of_real_data_have_a_slot(shared: Path) -> None:
    task = load_task("esnli", path=str(shared / "data" / "esnli_test"), limit=100)
    without = [item.fields["hypothesis"] for item in task.items if not insertions(task, item)]
    assert len(without) <= 15
