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
    assert task.kind == ("chain" if hop == "composed" else "recall")
    assert ("chain" in item.extra) is (hop == "composed")


def test_twohopfact_chains(write: Write) -> None:
    rows = [
        chain("cut", **{
            "r2(r1(e1)).subject_cut.prompt": "The mother of Ann", "r2(r1(e1')).subject_cut.prompt": "The mother of Zoe",
            "r2(r1'(e1)).prompt": "The rival of Ann was born in",
            "r2(r1'(e1)).subject_cut.prompt": "The rival of Ann",
            "r2(r1(e1.null)).prompt": "The mother of a person was born in", "r2(e2.null).prompt": "She was born in",
        }),
        chain("inside", **{
            "e1.value": "Dune", "r2(e2).prompt": "The home of Bea is in", "e2.value": "Bea",
            "r2(r1(e1)).prompt": "The home of the author of 'Dune' is in",
            "r2(r1(e1')).prompt": "The home of the author of 'It' is in",
        }),
        chain("before", **{"r2(r1(e1)).prompt": "Ann's mother was born in"}),
        chain("twice", **{
            "r2(r1(e1)).prompt": "The city of the city of Ann of the city of Ann is",
            "r2(e2).prompt": "The city of Bea is", "r2(r1(e1)).subject_cut.prompt": "The city of the city of Ann",
        }),
        chain("mute", **{"r1(e1).prompt": ""}),
    ]  # fmt: skip
    columns = {key: "" for row in rows for key in row}
    task = load_task("twohopfact", path=str(write("TwoHopFact.csv", [{**columns, **row} for row in rows])))
    parts = {item.id: item.extra["chain"] for item in task.items}
    assert parts["cut"] == {
        "e1": "Ann", "e2": "Bea", "e3": "Rome", "e2_aliases": ["Bea", "B."], "e3_aliases": ["Rome", "Roma"],
        "first": "The mother of Ann is", "second": "Bea was born in", "mention": "The mother of Ann",
        "entity": {"prompt": "The mother of Zoe was born in", "mention": "The mother of Zoe"},
        "relation": {"prompt": "The rival of Ann was born in", "mention": "The rival of Ann"},
        "without_e1": ["The mother of a person was born in", "She was born in"],
        "first_relation": "", "second_relation": "",
    }  # fmt: skip
    # Where the prompts say no more, the mention starts after what the one-hop prompt has before e2, and ends with e1.
    assert parts["inside"]["mention"] == "the author of 'Dune'"
    assert parts["inside"]["entity"]["mention"] == "the author of 'It'"
    assert parts["inside"]["relation"] is None and parts["inside"]["without_e1"] == []
    # A mention that comes again later would be taken there; the whole cut cannot.
    assert parts["twice"]["mention"] == "The city of the city of Ann"
    assert task.rejected == (
        ("TwoHopFact.csv:4", "the composed prompt does not begin with its subject cut, nor name e1"),
        ("TwoHopFact.csv:6", "empty r1(e1).prompt"),
    )


def counterfact(number: int, **changes: Any) -> dict[str, Any]:
    rewrite = {
        "prompt": "{} was born in", "subject": f"Person {number}", "relation_id": "P19",
        "target_true": {"str": "Rome", "id": "Q1"}, "target_new": {"str": "Oslo", "id": "Q2"},
    }  # fmt: skip
    return {
        "case_id": number,
        "requested_rewrite": {**rewrite, **changes},
        "paraphrase_prompts": [f"It rains. Person {number} comes from", "Noise. The birthplace is "],
        "neighborhood_prompts": ["Zoe was born in", "", "Max was born in"],
    }


@pytest.mark.parametrize(
    ("prompts", "asked", "subject"),
    [
        ("rewrite", {"0": "Person 0 was born in"}, "Person 0"),
        (
            "paraphrase",
            {"0/paraphrase/1": "It rains. Person 0 comes from", "0/paraphrase/2": "Noise. The birthplace is"},
            "Person 0",
        ),
        ("neighborhood", {"0/neighborhood/1": "Zoe was born in", "0/neighborhood/2": "Max was born in"}, None),
    ],
)
def test_counterfact(write: Write, prompts: str, asked: dict[str, str], subject: str | None) -> None:
    rows = [
        counterfact(0),
        counterfact(1, target_new={"str": "rome"}),
        counterfact(2, prompt="Born in"),
        counterfact(3, target_true=None),
        {"case_id": 4},
    ]
    task = load_task("counterfact", path=str(write("counterfact.json", rows)), options={"prompts": prompts})
    assert {i.id: i.fields["prompt"] for i in task.items} == asked
    assert all((i.answers, i.choices, i.group) == (("Rome",), ("Rome", "Oslo"), "P19") for i in task.items)
    assert all(i.extra.get("subject") == subject for i in task.items)
    paraphrases = [i.extra["paraphrases"] for i in task.items]
    assert paraphrases[0] == (
        ["It rains. Person 0 comes from", "Noise. The birthplace is"] if prompts == "rewrite" else []
    )
    assert [reason for _, reason in task.rejected] == [
        "the true and the new object are the same",
        "the prompt has no '{}' for the subject",
        "empty target_true",
        "no requested_rewrite",
    ]
    with pytest.raises(StudyError, match="prompts cannot be 'none'"):
        load_task("counterfact", path=str(write("counterfact.json", rows)), options={"prompts": "none"})


FACTS = [
    {"relation": "P36", "sub_label": "Italy", "obj_label": "Rome", "uuid": "u1"},
    {"relation": "P36", "sub_label": "", "obj_label": "Oslo", "uuid": "u2"},
    {"relation": "P9", "sub_label": "Ann", "obj_label": "Bea", "uuid": "u3"},
]
PATTERNS = {
    "P36": ["[Y] is the capital of [X].", "The capital of [X] is [Y] .", "[X]'s capital,  [Y]", "[X]: [Y]",
            "The city of [Y] in [Y]", "The capital is [Y]."],
    "P9": ["[Y] of [X]."],
}  # fmt: skip


def test_pararel(write: Write, tmp_path: Path) -> None:
    write("ours/facts.jsonl", FACTS)
    wordings = [{"relation": name, "patterns": [{"pattern": p} for p in found]} for name, found in PATTERNS.items()]
    write("ours/patterns.jsonl", wordings)
    task = load_task("pararel", path=str(tmp_path / "ours"))
    assert [i.id for i in task.items] == ["P36/u1"]
    item = task.items[0]
    assert item.fields["prompt"] == "The capital of Italy is"
    assert item.extra["paraphrases"] == ["Italy's capital,", "Italy:"]
    assert (item.answers, item.group) == (("Rome",), "P36")
    assert [reason for _, reason in task.rejected] == ["empty sub_label", "no pattern of P9 ends in its object"]
    every = load_task("pararel", path=str(tmp_path / "ours"), options={"patterns": "all"})
    assert [i.fields["prompt"] for i in every.items] == ["The capital of Italy is", "Italy's capital,", "Italy:"]
    assert every.items[1].extra["paraphrases"] == ["The capital of Italy is", "Italy:"]
    few = load_task("pararel", path=str(tmp_path / "ours"), options={"relations": ["P36"]})
    assert [reason for _, reason in few.rejected] == ["empty sub_label"]
    with pytest.raises(StudyError, match="no relation 'P366'. Did you mean 'P36'"):
        load_task("pararel", path=str(tmp_path / "ours"), options={"relations": ["P366"]})
    with pytest.raises(DataError, match=r"holds no facts\.jsonl"):
        load_task("pararel", path=str(write("else/facts.jsonl", FACTS).parent))

    # The authors keep a file a relation, named after it.
    for name, found in PATTERNS.items():
        rows = [{k: v for k, v in fact.items() if k != "relation"} for fact in FACTS if fact["relation"] == name]
        write(f"theirs/data/trex_lms_vocab/{name}.jsonl", rows)
        write(f"theirs/data/pattern_data/graphs_json/{name}.jsonl", [{"pattern": p, "lemma": "x"} for p in found])
    assert load_task("pararel", path=str(tmp_path / "theirs")).fingerprint == task.fingerprint


def test_triples(write: Write) -> None:
    rows: list[dict[str, Any]] = [
        {"subject": "Italy", "relation": "capital", "object": "Rome", "aliases": "Roma| Urbs", "prompt": ""},
        {"subject": "Italy", "relation": "capital", "object": "Rome", "aliases": "", "prompt": "Italy is ruled from"},
        {"subject": "Italy", "relation": "anthem", "object": "Fratelli", "aliases": "", "prompt": ""},
        {"subject": "", "relation": "capital", "object": "Oslo", "aliases": "", "prompt": ""},
        {
            "subject": "Peru",
            "relation": "capital",
            "object": "Lima",
            "aliases": '["Ciudad de los Reyes"]',
            "prompt": "",
        },
    ]
    templates = {"capital": ["The capital of {} is", "{}'s capital is"]}
    task = load_task("mine", source="triples", path=str(write("f.csv", rows)), options={"templates": templates})
    assert [(i.id, i.fields["prompt"]) for i in task.items] == [
        ("capital/Italy/Rome", "The capital of Italy is"),
        ("capital/Italy/Rome#2", "Italy is ruled from"),
        ("capital/Peru/Lima", "The capital of Peru is"),
    ]
    assert [i.answers for i in task.items] == [("Rome", "Roma", "Urbs"), ("Rome",), ("Lima", "Ciudad de los Reyes")]
    assert task.items[0].extra["paraphrases"] == ["Italy's capital is"]
    assert task.items[1].extra["paraphrases"] == ["The capital of Italy is", "Italy's capital is"]
    assert task.candidates == {"capital": ("Rome", "Lima")}
    assert task.rejected == (
        ("f.csv:4", "no prompt, and no template for the relation 'anthem'"),
        ("f.csv:5", "empty subject"),
    )


def test_triples_may_name_their_columns(write: Write) -> None:
    rows = [{"s": "Italy", "r": "capital", "o": "Rome", "also": ["Roma"], "q": "The capital of Italy is", "key": "k"}]
    fields = {"subject": "s", "relation": "r", "object": "o", "aliases": "also", "prompt": "q", "id": "key"}
    for name in ("t.jsonl", "t.parquet"):
        item = load_task("triples", path=str(write(name, rows)), fields=fields).items[0]
        assert (item.id, item.answers, item.fields["prompt"]) == ("k", ("Rome", "Roma"), "The capital of Italy is")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs a `path`"),
        ({"path": "t.csv"}, "Triples need a column `prompt` or the option `templates`."),
        ({"path": "t.csv", "options": {"templates": {"capital": "The capital is"}}}, "has no '{}'"),
        ({"path": "t.csv", "options": {"templates": "{} is"}}, "templates is not a mapping"),
        ({"path": "t.csv", "labels": ["a"]}, "take no `labels`"),
    ],
)
def test_triples_refuse_what_they_cannot_read(write: Write, settings: dict[str, Any], message: str) -> None:
    table = write("t.csv", [{"subject": "Italy", "relation": "capital", "object": "Rome"}])
    given = {**settings, **({"path": str(table)} if "path" in settings else {})}
    with pytest.raises(StudyError) as caught:
        load_task("triples", **given)
    assert message in str(caught.value)


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
