"""Studies that leave for other tools, and what those tools really wrote (data/NOTE.md)."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from tests.human.exchange.study import ASKED, DATA, FORMULA, HOSTILE, study

from compressed_lens.errors import DataError, StudyError
from compressed_lens.human.exchange import EXCHANGES, Gathered
from compressed_lens.human.exchange.base import formatted_html, page_id, plain_lines, point

ORDERS = {
    "R01": ["t002", "check-R01-02", "t001", "t003"],
    "R02": ["t003", "t004", "check-R02-03", "t002"],
    "R03": ["t004", "t001"],
}
FORMATS = ("csv", "potato", "label-studio")


def files(form: str, language: str = "en") -> dict[str, str]:
    return EXCHANGES.get(form).files(study(), language=language)


def read(form: str, source: Path) -> list[tuple[str, str, dict[str, int], str]]:
    found = EXCHANGES.get(form).read(source, study().questionnaire)
    return [(one.rater, one.page, dict(one.values), one.comment) for one in found]


def both(trustworthiness: int, coherence: int) -> dict[str, int]:
    return {"trustworthiness": trustworthiness, "coherence": coherence}


def test_every_format_is_registered_and_an_unknown_one_is_told_what_there_is() -> None:
    assert tuple(EXCHANGES.names()) == FORMATS
    assert all(EXCHANGES.get(form).name == form for form in FORMATS)
    with pytest.raises(StudyError, match="Did you mean 'potato'"):
        EXCHANGES.get("potatoes")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("language", ["en", "de"])
def test_an_export_holds_every_text_and_no_cell(form: str, language: str) -> None:
    told = "\n".join(files(form, language).values())
    for text in ("Who swims in a lake is in the water.", "She sits in silence.", ASKED, "check-R02-03"):
        assert text in told
    assert not any(cell in told for cell in ("C01", "C02"))
    title = study().questionnaire.dimensions[0].title
    assert title[language] in told
    assert title["de" if language == "en" else "en"] not in told


@pytest.mark.parametrize("form", FORMATS)
def test_a_dimension_called_like_a_column_is_refused(form: str) -> None:
    blinded = study()
    first, second = blinded.questionnaire.dimensions
    asked = blinded.questionnaire.model_copy(
        update={"dimensions": (first, second.model_copy(update={"name": "comment"}))}
    )
    with pytest.raises(StudyError, match="called 'comment' cannot be exported. Rename it"):
        EXCHANGES.get(form).files(replace(blinded, questionnaire=asked), language="en")


@pytest.mark.parametrize("form", FORMATS)
def test_a_dimension_may_have_no_question_for_a_kind(form: str) -> None:
    first, second = study().questionnaire.dimensions
    bare = second.model_copy(update={"questions": {"explanation": second.questions["explanation"]}})
    asked = study().questionnaire.model_copy(update={"dimensions": (first, bare)})
    made = EXCHANGES.get(form).files(replace(study(), questionnaire=asked), language="en")
    told = "".join(made.values())
    assert first.questions["counterfactual"]["en"] in told and second.questions["counterfactual"]["en"] not in told


@pytest.mark.parametrize("form", FORMATS)
def test_a_study_without_comments_asks_for_none(form: str) -> None:
    asked = study().questionnaire.model_copy(update={"comments": False})
    made = EXCHANGES.get(form).files(replace(study(), questionnaire=asked), language="en")
    scales = "".join(text for name, text in made.items() if "phases" not in name and not name.endswith(".html"))
    assert "omment" not in scales


def test_potato_gets_each_raters_own_order() -> None:
    config = yaml.safe_load(files("potato")["config.yaml"])
    groups = config["batch_assignment"]["groups"]
    assert config["assignment_strategy"] == "batch"
    assert {group["name"]: group["instances"] for group in groups} == ORDERS
    assert all(group["annotators"] == [group["name"]] for group in groups)
    assert (config["num_annotators_per_item"], config["max_annotations_per_user"]) == (2, 4)
    items = [json.loads(line) for line in files("potato")["data/items.jsonl"].splitlines()]
    assert sorted(item["id"] for item in items) == sorted({page for order in ORDERS.values() for page in order})
    assert {phase["file"] for name, phase in config["phases"].items() if name != "order"} < set(files("potato"))


def test_potato_gets_model_text_escaped_as_its_items_are_html() -> None:
    items = {
        json.loads(line)["id"]: json.loads(line)["shown"] for line in files("potato")["data/items.jsonl"].splitlines()
    }
    assert "<script" not in items["t003"] and "<img" not in items["t003"] and "<b>" not in items["t003"]
    assert "&lt;script&gt;" in items["t003"] and "line one<br>line two" in items["t003"]


def test_potato_scales_have_all_anchors() -> None:
    schemes = {
        scheme["name"]: scheme for scheme in yaml.safe_load(files("potato")["config.yaml"])["annotation_schemes"]
    }
    assert list(schemes) == ["trustworthiness", "coherence", "comment"]
    anchors = study().questionnaire.dimensions[0].anchors
    assert schemes["trustworthiness"]["labels"] == [f"{n} – {anchor['en']}" for n, anchor in enumerate(anchors, 1)]
    assert schemes["trustworthiness"]["label_requirement"] == {"required": True}


def test_longer_texts_keep_their_headings_and_lists() -> None:
    assert formatted_html("# A <b>\n\nOne **two**\nthree.\n\n- x\n- y") == (
        "<h3>A &lt;b&gt;</h3>\n<p>One <strong>two</strong> three.</p>\n<ul>\n<li>x</li>\n<li>y</li>\n</ul>\n"
    )
    assert plain_lines("# A <b>\n\nOne **two**\nthree.\n\n- x\n- y") == ["A <b>", "One two three.", "• x", "• y"]
    about = json.loads(files("potato")["phases/consent.json"])[0]
    assert "What you will do" in about["labels"] and not any("#" in line or "**" in line for line in about["labels"])


def test_label_studio_gets_a_file_a_rater_in_order() -> None:
    made = files("label-studio")
    for rater, order in ORDERS.items():
        tasks = [task["data"] for task in json.loads(made[f"tasks/{rater}.json"])]
        assert [task["page"] for task in tasks] == order
        assert [task["position"] for task in tasks] == list(range(1, len(order) + 1))
        assert {task["rater"] for task in tasks} == {rater}
    assert HOSTILE in json.loads(made["tasks/R01.json"])[3]["data"]["shown"]


def test_label_studio_configuration_uses_only_what_tasks_have() -> None:
    made = files("label-studio")
    root = ElementTree.fromstring(made["labeling.xml"])  # noqa: S314 (our own)
    scales = {one.get("name"): [choice.get("alias") for choice in one] for one in root.iter("Choices")}
    assert scales == dict.fromkeys(("trustworthiness", "coherence"), ["1", "2", "3", "4", "5"])
    used = {text.get("value", "").removeprefix("$") for text in root.iter("Text")}
    assert used <= set(json.loads(made["tasks/R01.json"])[0]["data"])
    assert all(name.isalnum() for name in used)  # "$ask-x" would be the variable "ask" and "-x"


def test_potato_output_is_read() -> None:
    assert read("potato", DATA / "potato") == [
        ("R01", "t002", both(4, 5), 'fine, "really"; ü'),
        ("R01", "check-R01-02", both(4, 2), ""),
        ("R01", "t001", both(5, 3), ""),
        ("R01", "t003", both(1, 1), ""),
        ("R02", "t003", both(2, 1), ""),
        ("R02", "t004", both(3, 3), "hm"),
        ("R02", "check-R02-03", both(1, 5), ""),
        ("R03", "t004", both(4, 2), ""),
        ("R03", "t001", {"coherence": 1}, ""),
    ]
    times = [one.seconds for one in EXCHANGES.get("potato").read(DATA / "potato", study().questionnaire)]
    assert times[0] == pytest.approx(2.562)


def test_label_studio_output_is_read() -> None:
    assert read("label-studio", DATA / "label-studio") == [
        ("R01", "t002", both(4, 5), 'fine, "really"; ü'),
        ("R01", "check-R01-02", both(4, 2), ""),
        ("R01", "t001", both(5, 3), ""),
        ("R01", "t003", both(1, 1), ""),
        ("R02", "t003", both(2, 1), ""),
        ("R02", "check-R02-03", both(1, 5), ""),
        ("R02", "t002", both(3, 3), "hm"),
    ]
    first = EXCHANGES.get("label-studio").read(DATA / "label-studio" / "R01.json", study().questionnaire)[0]
    assert first.seconds == pytest.approx(8.234)


def fill(text: str, answers: dict[str, tuple[int, int, str]], delimiter: str = ",") -> bytes:
    """Fill a form as a spreadsheet would, which also adds a byte order mark."""
    head, *rows = csv.reader(io.StringIO(text))
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([*row[:4], *answers.get(row[2], ("", "", ""))])
    return out.getvalue().encode("utf-8-sig")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_filled_forms_are_read(tmp_path: Path, delimiter: str) -> None:
    made = files("csv")
    (tmp_path / "R01.csv").write_bytes(fill(made["forms/R01.csv"], {"t002": (4, 5, "a, b; c\td")}, delimiter))
    (tmp_path / "R02.csv").write_bytes(fill(made["forms/R02.csv"], {"check-R02-03": (1, 5, "")}, delimiter))
    assert read("csv", tmp_path) == [
        ("R01", "t002", both(4, 5), "a, b; c\td"),
        ("R02", "check-R02-03", both(1, 5), ""),
    ]


def test_forms_are_in_the_raters_order_and_no_cell_is_a_formula() -> None:
    made = files("csv")
    for rater, order in ORDERS.items():
        assert [row["text"] for row in csv.DictReader(io.StringIO(made[f"forms/{rater}.csv"]))] == order
    rows = {row["text"]: row for row in csv.DictReader(io.StringIO(made["texts.csv"]))}
    assert rows["t004"]["written"] == f"'{FORMULA}"
    assert rows["t003"]["written"] == HOSTILE
    assert rows["t001"]["item"] == "Premise: A man swims in a lake.\nHypothesis: A man is in the water."
    tables = [csv.reader(io.StringIO(text)) for name, text in made.items() if name.endswith(".csv")]
    assert not any(cell.startswith(("=", "+", "-", "@")) for table in tables for row in table for cell in row)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_long_and_wide_files_say_the_same(tmp_path: Path) -> None:
    long = "text,rater,dimension,rating\nt1,R01,coherence,3\nt1,R01,trustworthiness,4.0\nt2,R01,coherence,\n"
    wide = "Text,Rater,Trustworthiness,Coherence\nt1,R01,4,3\nt2,R01,,\n"
    assert read("csv", write(tmp_path / "a.csv", long)) == read("csv", write(tmp_path / "b.csv", wide))
    assert read("csv", tmp_path / "a.csv") == [("R01", "t1", both(4, 3), "")]


@pytest.mark.parametrize(
    ("form", "name", "text", "said"),
    [
        ("csv", "a.csv", "rater,dimension,rating\n", "lacks the column 'text'"),
        ("csv", "a.csv", "rater,text,trustworthiness\n", "lacks the column 'coherence'"),
        ("csv", "a.csv", "", "lacks the column 'rater'"),
        (
            "csv",
            "a.csv",
            "rater,text,dimension,rating\nR01,t1,beauty,3\n",
            "line 2: the study has no dimension 'beauty'",
        ),
        ("csv", "a.csv", "rater,text,dimension,rating\nR01,t1,coherence,6\n", "line 2: '6' is no rating"),
        ("csv", "a.csv", "rater,text,dimension,rating\nR01,t1,coherence,3.5\n", "'3.5' is no rating"),
        ("csv", "a.csv", "rater,text,dimension,rating\nR01,t1,coherence\n", "line 2: 3 cells under 4 columns"),
        ("csv", "a.csv", "rater,text,dimension,rating\nR,t,coherence,3\nR,t,coherence,4\n", "a second rating"),
        ("csv", "a.csv", "rater,text,trustworthiness,coherence,seconds\nR,t,3,4,long\n", "no number of seconds"),
        (
            "csv",
            "a.csv",
            "rater,text,trustworthiness,coherence,seconds\nR,t,3,4,nan\n",
            "'nan' is no number",
        ),
        ("csv", "a.csv", "rater,text,trustworthiness,coherence,seconds\nR,t,3,4,-1\n", "'-1' is no number"),
        (
            "potato",
            "user_state.json",
            '{"user_id": "R01", "instance_id_to_label_to_value": {"t1": [[{"schema": "coherence"}, "4"]]}, '
            '"instance_id_to_behavioral_data": {"t1": {"total_time_ms": "long"}}}',
            "'long' is no number of seconds",
        ),
        ("potato", "user_state.json", "[]", "is no user_state.json of Potato"),
        ("potato", "user_state.json", '{"user_id": 1, "x": ', "line 1: not JSON"),
        (
            "potato",
            "user_state.json",
            '{"user_id": "R01", "instance_id_to_label_to_value": {"t1": {"coherence": {"4": true}}}}',
            "another form than Potato 2.12",
        ),
        (
            "potato",
            "user_state.json",
            '{"user_id": "R01", "instance_id_to_label_to_value": {"t1": '
            '[[{"schema": "coherence"}, "4 - x"], [{"schema": "coherence"}, "5 - y"]]}}',
            "two ratings of coherence",
        ),
        ("label-studio", "a.json", '[{"rater": "R01", "page": "t1", "coherence": "4"}]', "not JSON-MIN"),
        ("label-studio", "a.json", '[{"data": {}, "annotations": ["x"]}]', "is no JSON export"),
        (
            "label-studio",
            "a.json",
            '[{"data": {"rater": "R01", "page": "t1"}, "annotations": [{"result": [], "lead_time": Infinity}]}]',
            "'inf' is no number of seconds",
        ),
        ("label-studio", "a.json", '[{"data": {"rater": "R01"}, "annotations": []}]', "no rater or page"),
        (
            "label-studio",
            "a.json",
            '[{"data": {"rater": "R01", "page": "t1"}, "annotations": [{"result": [{"from_name": "coherence", '
            '"type": "rating", "value": {"rating": 4}}]}]}]',
            "another form than the exported labeling.xml",
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, form: str, name: str, text: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read(form, write(tmp_path / name, text))
    assert said in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_folder_and_a_missing_file_are_one_sentence(tmp_path: Path, form: str) -> None:
    with pytest.raises(DataError, match="holds no"):
        read(form, tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read(form, tmp_path / "none.csv")


@pytest.mark.parametrize(("said", "meant"), [("4", 4), (5, 5), (" 1 ", 1), ("3.0", 3), ("2 – A little: hard", 2)])
def test_points_are_read_from_labels(said: object, meant: int) -> None:
    assert point(said, "here") == meant


@pytest.mark.parametrize("said", ["0", "6", "45", "4.5", "", "good", "-1", "4x", None])
def test_other_words_are_no_points(said: object) -> None:
    with pytest.raises(DataError, match="here: "):
        point(said, "here")


def test_every_page_has_its_own_name() -> None:
    blinded = study()
    names = {(rater, page_id(rater, page)) for rater, pages in blinded.pages.items() for page in pages}
    assert len(names) == sum(map(len, blinded.pages.values()))
    assert Gathered(rater="R01", page="t001", values={}).comment == ""
