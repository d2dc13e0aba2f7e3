"""Counts and contents of the real data sets, where they are on this machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from compressed_lens.tasks import Task, load_task

RELATIONS = {
    "landmark_on_continent": 947, "person_mother": 994, "person_father": 991, "person_plays_position_in_sport": 952,
    "person_native_language": 919, "landmark_in_country": 836, "person_occupation": 821, "company_hq": 674,
    "product_by_company": 522, "person_plays_instrument": 513, "star_constellation": 362,
    "person_plays_pro_sport": 318, "company_ceo": 298, "superhero_person": 100, "superhero_archnemesis": 96,
    "person_university": 91, "pokemon_evolutions": 44, "country_currency": 30, "food_from_country": 30,
    "city_in_country": 27, "country_capital_city": 24, "country_language": 24, "country_largest_city": 24,
    "person_band_lead_singer": 21, "presidents_birth_year": 19, "presidents_election_year": 19,
}  # fmt: skip


@pytest.fixture(scope="module")
def lre(shared: Path) -> Task:
    return load_task("lre", path=str(shared / "data" / "lre"))


def test_lre_has_the_published_counts(lre: Task) -> None:
    assert len(lre.items) == 9_696
    assert len({item.id for item in lre.items}) == 9_696
    assert Counter(item.group for item in lre.items) == RELATIONS
    assert lre.kind == "recall"
    assert not lre.rejected
    assert all(item.answers[0] and item.answers[0] == item.answers[0].strip() for item in lre.items)
    assert all(set(item.answers) <= set(lre.candidates[item.group]) for item in lre.items)


def test_lre_defects_are_decoded_and_noted(lre: Task) -> None:
    by_id = {item.id: item for item in lre.items}
    assert by_id["country_capital_city/Brazil/Brasília"].answers == ("Brasília",)
    assert by_id["country_capital_city/Colombia/Bogotá"].fields == {"prompt": "The capital city of Colombia is"}
    assert "2 pairs held doubly escaped text" in lre.notes
    assert "3 pairs held surrounding blanks" in lre.notes
    assert "21 pairs repeat" in lre.notes
    assert not any("\\u" in text for i in lre.items for text in (*i.answers, *i.fields.values()))


def test_lre_options(shared: Path) -> None:
    path = str(shared / "data" / "lre")
    everything = load_task("lre", path=path, options={"domain": "all"})
    assert len(everything.items) == 11_089
    assert len({item.group for item in everything.items}) == 47
    asked = load_task("lre", path=path, options={"relations": ["person_mother"], "style": "question", "template": 1})
    assert asked.items[0].fields["prompt"] == "Who is Drake's mother? Their mother is named"
    assert len(asked.items) == 994
    last = load_task("lre", path=path, options={"relations": ["person_mother", "country_language"], "template": 2})
    prompts = {item.group: item.fields["prompt"] for item in reversed(last.items)}
    assert prompts == {
        "country_language": "In United States, the primary language is",
        "person_mother": "Drake's mother is named",
    }
    assert "use their last: person_mother." in last.notes


def test_lre_accept_any_takes_every_object_of_the_subject(shared: Path) -> None:
    path = str(shared / "data" / "lre")
    own = load_task("lre", path=path, options={"relations": ["superhero_person"]})
    several = load_task("lre", path=path, options={"relations": ["superhero_person"], "accept": "any"})
    assert [i.id for i in own.items] == [i.id for i in several.items]
    assert all(len(i.answers) == 1 for i in own.items)
    assert sum(len(i.answers) > 1 for i in several.items) >= 10
    assert all(a.answers[0] == b.answers[0] for a, b in zip(own.items, several.items, strict=True))
    assert own.fingerprint != several.fingerprint


def test_a_limit_keeps_every_relation(shared: Path) -> None:
    path = str(shared / "data" / "lre")
    few = load_task("lre", path=path, limit=26)
    assert Counter(item.group for item in few.items) == dict.fromkeys(RELATIONS, 1)
    more = load_task("lre", path=path, limit=970)
    assert {i.id for i in few.items} <= {i.id for i in more.items}
    for name, count in Counter(item.group for item in more.items).items():
        assert abs(count - RELATIONS[name] / 10) <= 1
    assert more.candidates == load_task("lre", path=path).candidates


def test_pararel(shared: Path) -> None:
    path = str(shared / "data" / "pararel")
    task = load_task("pararel", path=path)
    assert len(task.items) == 261 and not task.rejected
    assert "214 patterns" in task.notes
    first = task.items[3]
    assert first.fields["prompt"] == "Amos Tversky works in the field of"
    assert first.answers == ("psychology",)
    every = load_task("pararel", path=path, options={"patterns": "all"})
    assert len(every.items) == sum(1 + len(item.extra["paraphrases"]) for item in task.items) == 1_352
    assert all("[" not in text for i in every.items for text in (i.fields["prompt"], *i.extra["paraphrases"]))


def test_esnli(shared: Path) -> None:
    task = load_task("esnli", path=str(shared / "data" / "esnli_test"))
    assert len(task.items) == 300
    assert not task.rejected
    first = task.items[0]
    assert first.id == "1"
    assert list(first.fields) == ["premise", "hypothesis"]
    assert first.fields["hypothesis"] == "The church is filled with song."
    assert first.answers == ("entailment",)
    assert len(first.references) == 3
    assert {a for i in task.items for a in i.answers} == set(task.labels)
    assert task.targets == {"entailment": "contradiction", "contradiction": "entailment", "neutral": "contradiction"}
    assert task.edit_field == "hypothesis"


def test_ecqa(shared: Path) -> None:
    task = load_task("ecqa", path=str(shared / "data" / "ecqa_val"))
    assert len(task.items) == 300
    assert all(item.answers[0] in item.choices for item in task.items)
    assert Counter(len(item.choices) for item in task.items) == {5: 298, 4: 2}
    assert "2 questions list an option twice" in task.notes
    assert task.labels_of(task.items[0]) == (
        "horror",
        "anxiety and fear",
        "rejection",
        "increased workload",
        "being employed",
    )
    assert task.items[0].references[0].startswith("Anxiety is the feeling of fear")


def test_own_table_on_real_files(shared: Path) -> None:
    task = load_task(
        "edits",
        path=str(shared / "data" / "cad_sentiment_test"),
        fields={"review": "Text", "label": "Sentiment"},
        labels={"Positive": "good", "Negative": "bad"},
    )
    assert len(task.items) == 240
    assert Counter(i.answers[0] for i in task.items) == {"good": 120, "bad": 120}
    assert task.targets == {"good": "bad", "bad": "good"}
    assert task.edit_field == "review"
