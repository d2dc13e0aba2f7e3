"""Each data set in every form its authors publish it, on files the tests write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compressed_lens.errors import DataError, StudyError
from compressed_lens.tasks import load_task

Write = Callable[[str, list[dict[str, Any]]], Path]


@pytest.mark.parametrize("name", ["agnews_test.parquet", "data.csv", "x.jsonl", "x.json", "x.tsv"])
def test_agnews_hub_form_counts_from_zero(write: Write, name: str) -> None:
    path = write(name, [{"text": f"Story {n}.", "label": n} for n in (0, 1, 2, 3)])
    task = load_task("agnews", path=str(path))
    assert [i.answers[0] for i in task.items] == ["World", "Sports", "Business", "Sci/Tech"]
    assert [i.fields for i in task.items] == [{"text": f"Story {n}."} for n in range(4)]
    assert task.targets == {"World": "Business", "Business": "Sports", "Sports": "World", "Sci/Tech": "Sports"}


def test_agnews_authors_form_counts_from_one(write: Write) -> None:
    rows = [{"Class Index": n, "Title": f"T{n}", "Description": "told."} for n in (1, 2, 3)]
    task = load_task("agnews", path=str(write("test.csv", rows)))
    assert [i.answers[0] for i in task.items] == ["World", "Sports", "Business"]
    assert task.items[0].fields == {"text": "T1 told."}


def test_agnews_numbering_is_told_by_the_numbers(write: Write) -> None:
    rows = [{"label": n, "text": f"Story {n}."} for n in (4, 1)]
    task = load_task("agnews", path=str(write("four.csv", rows)))
    assert [i.answers[0] for i in task.items] == ["Sci/Tech", "World"]
    mixed = write("mixed.csv", [{"label": n, "text": "a"} for n in (0, 4)])
    with pytest.raises(DataError, match="0 to 4"):
        load_task("agnews", path=str(mixed))


def test_healthfc_takes_the_gold_sentences(write: Write) -> None:
    rows = [
        {"en_claim": "Does it help?", "en_explanation": "It does not.", "label": 2,
         "en_sentences": "['First.', 'Second.', 'Third.']", "en_ids": "[0, 2]"},
        {"en_claim": "Is it safe?", "en_explanation": "", "label": 1, "en_sentences": "['One.']", "en_ids": "[4]"},
        {"en_claim": "Old?", "en_explanation": "", "label": 0, "en_sentences": "['One.', 'Two.']", "en_ids": "[1]"},
    ]  # fmt: skip
    task = load_task("healthfc", path=str(write("healthFC_annotated.csv", rows)))
    assert [i.fields["evidence"] for i in task.items] == ["First. Third.", "Two."]
    assert [i.answers[0] for i in task.items] == ["refuted", "supported"]
    assert task.items[0].references == ("It does not.",)
    assert task.rejected == (("healthFC_annotated.csv:3", "evidence ids ['4'] do not fit 1 sentences"),)


def test_healthfc_hub_form(write: Write) -> None:
    rows = [{"en_claim": "Does it help?", "en_top_sentences": "It may. It may not.", "en_explanation": "e", "label": 1}]
    task = load_task("healthfc", path=str(write("data.parquet", rows)))
    assert task.items[0].fields == {"claim": "Does it help?", "evidence": "It may. It may not."}
    assert task.items[0].answers == ("not enough information",)


def test_esnli_authors_form(write: Write) -> None:
    rows = [
        {"pairID": "p1", "gold_label": "neutral", "Sentence1": "A.", "Sentence2": "B.", "Explanation_1": "x",
         "Explanation_2": "", "Explanation_3": "z"},
        {"pairID": "p2", "gold_label": "-", "Sentence1": "A.", "Sentence2": "B.", "Explanation_1": "x",
         "Explanation_2": "y", "Explanation_3": "z"},
        {"pairID": "p3", "gold_label": "entailment", "Sentence1": "", "Sentence2": "B.", "Explanation_1": "x",
         "Explanation_2": "y", "Explanation_3": "z"},
        {"pairID": "p1", "gold_label": "entailment", "Sentence1": "C.", "Sentence2": "D.", "Explanation_1": "x",
         "Explanation_2": "y", "Explanation_3": "z"},
    ]  # fmt: skip
    task = load_task("esnli", path=str(write("esnli_test.csv", rows)))
    assert [i.id for i in task.items] == ["p1"]
    assert task.items[0].references == ("x", "z")
    assert task.rejected == (
        ("esnli_test.csv:3", "unknown label '-'"),
        ("esnli_test.csv:4", "empty premise"),
        ("p1", "duplicate id; the first row with it is kept"),
    )


def test_esnli_hub_form_and_split(write: Write, tmp_path: Path) -> None:
    for split, label in (("test", 0), ("validation", 2), ("train", 1)):
        write(f"hub/plain_text/{split}/0000.parquet", [{"premise": "a", "hypothesis": "b", "label": label}])
    labels = {s: load_task("esnli", path=str(tmp_path / "hub"), split=s).items[0].answers[0] for s in ("dev", "train")}
    assert labels == {"dev": "contradiction", "train": "neutral"}
    assert load_task("esnli", path=str(tmp_path / "hub")).items[0].answers == ("entailment",)
    with pytest.raises(DataError, match="no split 'extra'"):
        load_task("esnli", path=str(tmp_path / "hub"), split="extra")


def chain(uid: str, **changes: str) -> dict[str, str]:
    row = {
        "uid": uid, "fact_comp_type": "person_mother-person_birthplace", "e1.value": "Ann", "e2.value": "Bea",
        "e3.value": "Rome", "e1.aliases": "(('Ann',),)", "e2.aliases": "(('Bea', 'B.'),)",
        "e3.aliases": "(('Roma', 'Rome'),)", "r1(e1).prompt": "The mother of Ann is",
        "r2(e2).prompt": "Bea was born in", "r2(r1(e1)).prompt": "The mother of Ann was born in",
        "r2(r1(e1')).prompt": "The mother of Zoe was born in",
    }  # fmt: skip
    return {**row, **changes}


@pytest.mark.parametrize(
    ("hop", "prompt", "answers", "subject"),
    [
        ("composed", "The mother of Ann was born in", ("Rome", "Roma"), "Ann"),
        ("first", "The mother of Ann is", ("Bea", "B."), "Ann"),
        ("second", "Bea was born in", ("Rome", "Roma"), "Bea"),
    ],
)
def test_twohopfact(write: Write, hop: str, prompt: str, answers: tuple[str, ...], subject: str) -> None:
    rows = [chain("u1"), chain("u2", **{"e3.aliases": "((("}), chain("u3", **{"e2.value": " "})]
    task = load_task("twohopfact", path=str(write("TwoHopFact.csv", rows)), options={"hop": hop})
    assert [i.id for i in task.items] == ["u1"]
    item = task.items[0]
    assert item.fields == {"prompt": prompt}
    assert item.answers == answers
    assert item.group == "person_mother-person_birthplace"
    assert item.extra["subject"] == subject
    assert item.extra["prompts"]["r2(r1(e1')).prompt"] == "The mother of Zoe was born in"
    assert task.rejected == (("TwoHopFact.csv:3", "unreadable e3.aliases"), ("TwoHopFact.csv:4", "empty e2.value"))
    assert task.candidates == {"person_mother-person_birthplace": (answers[0],)}


def test_own_table_labels(write: Write) -> None:
    numbers = write("n.csv", [{"t": "a", "y": 0}, {"t": "b", "y": 1}, {"t": "c", "y": 7}])
    fields = {"text": "t", "label": "y"}
    task = load_task("mine", path=str(numbers), fields=fields, labels=["no", "yes"])
    assert [(i.id, i.answers[0]) for i in task.items] == [("row-1", "no"), ("row-2", "yes")]
    assert task.rejected == (("n.csv:4", "unknown label '7'"),)
    with pytest.raises(DataError, match="labels are numbers"):
        load_task("mine", path=str(numbers), fields=fields)
    named = write("w.csv", [{"t": "a", "y": "up"}, {"t": "b", "y": "down"}])
    assert load_task("mine", path=str(named), fields=fields).labels == ("down", "up")


def test_built_in_labels_can_be_renamed(write: Write) -> None:
    path = write("x.csv", [{"premise": "a", "hypothesis": "b", "label": 2}])
    task = load_task("esnli", path=str(path), labels=["yes", "maybe", "no"])
    assert task.labels == ("yes", "maybe", "no")
    assert task.items[0].answers == ("no",)
    assert task.targets == {"yes": "no", "no": "yes", "maybe": "no"}
    with pytest.raises(StudyError, match="3 labels"):
        load_task("esnli", path=str(path), labels=["yes", "no"])


def test_columns_can_be_named(write: Write) -> None:
    path = write("x.csv", [{"s1": "a", "s2": "b", "gold": "neutral", "why": "c", "key": "k"}])
    fields = {"premise": "s1", "hypothesis": "s2", "label": "gold", "explanation": "why", "id": "key"}
    item = load_task("esnli", path=str(path), fields=fields).items[0]
    assert (item.id, item.fields, item.references) == ("k", {"premise": "a", "hypothesis": "b"}, ("c",))
