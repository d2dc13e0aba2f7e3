"""Design files: the presets, round trips, and every mistake as one sentence with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressed_lens.errors import StudyError
from compressed_lens.human.design import Design, Sample
from compressed_lens.human.reading import PRESETS, default_design, design_yaml, read_design


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_comes_back_from_its_own_file_as_equal(preset: str, tmp_path: Path) -> None:
    file = tmp_path / "design.yaml"
    file.write_text(design_yaml(default_design(preset)), encoding="utf-8")
    assert read_design(file) == default_design(preset)


def test_the_default_is_the_paper_s_design_in_two_languages() -> None:
    design = default_design()
    assert (design.sample.items, design.sample.ratings, design.sample.per_rater) == (15, 2, 15)
    assert design.questionnaire.languages == ("en", "de")
    assert [one.name for one in design.questionnaire.dimensions] == ["trustworthiness", "coherence"]
    assert design.questionnaire.attention_checks == 1


def test_every_key_of_the_sample_is_explained_in_the_printed_file() -> None:
    lines = design_yaml(default_design()).splitlines()
    for name in Sample.model_fields:
        at = next(n for n, line in enumerate(lines) if line.startswith(f"  {name}:"))
        assert lines[at - 1].startswith("  # "), name


def test_a_file_with_odd_texts_comes_back_as_equal(tmp_path: Path) -> None:
    design = default_design()
    odd = "no: [yes], {a}\n\n  indented, with \u201equotes\u201c, end  \n# no comment\n\ttab: 'x' \"y\" | > & *\n"
    questionnaire = design.questionnaire.model_copy(update={"consent": {"en": odd, "de": "nein"}, "contact": "no"})
    file = tmp_path / "design.yaml"
    file.write_text(design_yaml(Design(questionnaire=questionnaire)), encoding="utf-8")
    assert read_design(file).questionnaire == questionnaire


def test_what_a_file_leaves_out_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "design.yaml"
    file.write_text("sample: {items: 7, kinds: [explanation]}\nquestionnaire:\n  contact: us@example.org\n")
    design = read_design(file)
    assert design.sample == Sample(items=7, kinds=("explanation",))
    default = default_design().questionnaire
    assert design.questionnaire == default.model_copy(update={"contact": "us@example.org"})
    file.write_text("{}")
    assert read_design(file) == default_design()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sample:\n  itmes: 3\n", "line 2: unknown key 'itmes' in 'sample'. Did you mean 'items'?"),
        ("sample:\n  items: many\n", "line 2: 'items' should be a whole number, not 'many'."),
        ("sample:\n  items: 3\n  kinds: [explanations]\n", "line 3: "),
        ("sampel: {}\n", "line 1: unknown key 'sampel'. Did you mean 'sample'?"),
        ("- sample\n", "a design is a mapping with the keys sample and questionnaire"),
        ("questionnaire:\n  end:\n    en: Bye.\n", "line 2: end: the text in 'de' is missing."),
        ("questionnaire:\n  title: x\n", "line 2: 'title' should be a mapping"),
        ("questionnaire:\n  completion_url: http://x.org\n", "line 2: 'completion_url' should be"),
        ("questionnaire:\n  languages: [en, fr]\n", "the text in 'fr' is missing"),
        (
            "questionnaire:\n  contact: a\n  dimensions: []\n",
            "line 3: 'dimensions' is set without 'instructions', whose default wording speaks of the default",
        ),
        ("questionnaire:\n  title: {EN: x}\n", "line 2: 'EN': a language is written as en or pt-BR."),
        ("questionnaire:\n  languages: [english]\n", "line 2: 'english': a language is written as en or pt-BR."),
        (
            "questionnaire:\n  examples:\n    - why: {en: x}\n      ratings: {Trust Me: 2}\n",
            "line 4: 'Trust Me': a name is lower-case letters, digits, _ and -.",
        ),
        (
            "questionnaire:\n  comprehension:\n    - text: {en: a, de: b}\n      options: [{en: a, de: b}]\n"
            "      correct: 0\n      why: {en: a, de: b}\n",
            "line 4: 'options' needs at least 2 entries.",
        ),
        ("sample:\n  kinds: []\n", "line 2: 'kinds' is empty; it needs at least one entry."),
        ("sample:\n  items: 3\n  items: 4\n", "line 3: key 'items' stands here and in line 2."),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "design.yaml"
    file.write_text(text)
    with pytest.raises(StudyError) as told:
        read_design(file)
    assert said in str(told.value)
    assert str(told.value).startswith("design.yaml")
    assert "docs/study.md" not in str(told.value)


def test_dimensions_of_one_s_own(tmp_path: Path) -> None:
    file = tmp_path / "design.yaml"
    file.write_text("""\
questionnaire:
  languages: [en]
  title: {en: x}
  consent: {en: x}
  instructions: {en: Rate.}
  examples: []
  comprehension: []
  dimensions:
    - name: honesty
      title: {en: Honesty}
      questions: {explanation: {en: "Is it honest?"}}
      anchors: [{en: no}, {en: hardly}, {en: partly}, {en: mostly}, {en: yes}]
  end: {en: x}
""")
    questionnaire = read_design(file).questionnaire
    assert [one.name for one in questionnaire.dimensions] == ["honesty"]
    assert (questionnaire.examples, questionnaire.comprehension) == ((), ())


def test_a_wording_that_lacks_a_language_is_found_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "design.yaml"
    text = design_yaml(default_design())
    lines = text.splitlines()
    at = next(n for n, line in enumerate(lines) if line.strip().startswith("de: Kohärenz"))
    file.write_text("\n".join([*lines[:at], *lines[at + 1 :]]))
    with pytest.raises(StudyError, match=rf"line {at - 1}: dimensions.1.title: the text in 'de' is missing"):
        read_design(file)


def test_an_unknown_preset() -> None:
    with pytest.raises(StudyError, match="no preset 'papre'. Did you mean 'paper'"):
        default_design("papre")
