"""Malformed data give one clear sentence with the file, the place and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compressed_lens.errors import DataError, StudyError
from compressed_lens.tasks import load_task

HEAD = "premise,hypothesis,label\n"

CASES = {
    "no_such_file": ("absent.csv", None, "no file or folder"),
    "empty_file": ("x.csv", b"", "is empty"),
    "only_blanks": ("x.jsonl", b"\n \n", "is empty"),
    "header_only": ("x.csv", HEAD.encode(), "no row of data"),
    "latin_1": ("x.csv", HEAD.encode() + b"a,b,neutral\ncaf\xe9,b,neutral\n", "line 3: not UTF-8"),
    "missing_column": ("x.csv", b"premise,hypothesis\na,b\n", "no column 'label' for 'label'; its columns: premise"),
    "column_twice": ("x.csv", b"premise,premise,label\na,b,neutral\n", "line 1: the column 'premise' stands twice"),
    "open_quote": ("x.csv", HEAD.encode() + b'"a,b,neutral\n', "line 2: unexpected end of data"),
    "bad_json_line": ("x.jsonl", b'{"premise": "a"}\n{"premise": \n', "line 2: not JSON"),
    "json_line_is_a_list": ("x.jsonl", b"[1, 2]\n", "line 1: a list, not an object"),
    "json_is_an_object": ("x.json", b'{"a": 1}', "not a list of objects"),
    "bad_json": ("x.json", b'[\n{"a": 1},\n]', "line 3: not JSON"),
    "not_parquet": ("x.parquet", b"PAR?", "not a readable Parquet file"),
    "unknown_format": ("x.xlsx", b"PK", "'.xlsx' is not a known data format"),
    "no_usable_row": ("x.csv", HEAD.encode() + b"a,b,perhaps\n", "no usable item; x.csv:2: unknown label 'perhaps'"),
    "empty_folder": ("folder/readme.md", b"x", "holds no data file"),
    "two_tables": ("folder/a.csv", HEAD.encode(), "holds several tables: a.csv, b.csv"),
}


@pytest.mark.parametrize("case", CASES)
def test_malformed_files(tmp_path: Path, case: str) -> None:
    name, content, message = CASES[case]
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    if case == "two_tables":
        (path.parent / "b.csv").write_text(HEAD)
    with pytest.raises(DataError) as caught:
        load_task("esnli", path=str(path if path.parent == tmp_path else path.parent))
    assert message in caught.value.message
    assert caught.value.fix
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def test_a_row_with_too_many_cells_is_rejected_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(HEAD + 'a,"two\nlines",neutral\na,b,c,neutral\n\nc,d,entailment\n')
    task = load_task("esnli", path=str(path))
    assert [i.fields["hypothesis"] for i in task.items] == ["two\nlines", "d"]
    assert task.rejected == (("x.csv:4", "4 cells under 3 columns"),)


def test_byte_order_mark_and_long_cells(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    long = "word " * 60_000
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEAD}{long},b,neutral\n".encode())
    assert load_task("esnli", path=str(path)).items[0].fields["premise"] == long.strip()


def test_a_line_separator_inside_json_is_not_a_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"premise": "a\u2028b\u0085c", "hypothesis": "h", "label": 0}\n', encoding="utf-8")
    assert load_task("esnli", path=str(path)).items[0].fields["premise"] == "a\u2028b\u0085c"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "no list of objects 'samples'"),
        ('{"samples": [1], "prompt_templates": [], "prompt_templates_zs": []}', "no list of objects 'samples'"),
        ('{"samples": [], "prompt_templates": ["x"], "prompt_templates_zs": ["{}"]}', "lacks prompt templates"),
        ('{"samples": [],', "line 1: not JSON"),
    ],
)
def test_malformed_relations(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_task("lre", path=str(path))


def test_bad_pairs_of_a_relation_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "rel.json"
    path.write_text(
        '{"prompt_templates": ["{} is"], "prompt_templates_zs": ["What is {}? It is"], '
        '"properties": {"relation_type": "factual"}, "samples": ['
        '{"subject": "a", "object": "b"}, {"subject": " ", "object": "b"}, {"subject": "c"}, '
        '{"subject": "d", "object": 1924}, {"subject": "{x}", "object": "\\\\ud83d\\\\ude00"}]}'
    )
    task = load_task("lre", path=str(path))
    assert [i.fields["prompt"] for i in task.items] == ["a is", "d is", "{x} is"]
    assert [i.answers for i in task.items] == [("b",), ("1924",), ("\U0001f600",)]
    assert task.rejected == (("rel//b", "empty subject"), ("rel/c/", "empty object"))


def test_what_is_not_local_is_looked_up_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="'someone/data' is neither a local path nor"):
        load_task("esnli", path="someone/data")
    with pytest.raises(DataError, match="'esnli/esnli' is neither"):
        load_task("esnli")
    with pytest.raises(DataError, match="not on the hub"):
        load_task("lre")


def test_a_hub_data_set_in_the_cache_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = tmp_path / "datasets--someone--data"
    folder = home / "snapshots" / commit
    folder.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    (folder / "test.csv").write_text(HEAD + "a,b,neutral\n")
    (folder / "data.py").write_text("raise SystemExit('a script of the hub ran')")
    for place in ("someone/data", f"someone/data@{commit}"):
        assert load_task("esnli", path=place).items[0].answers == ("neutral",)


def test_own_table_without_a_mapping_lists_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("body,mood\na,good\nb,bad\n")
    with pytest.raises(StudyError, match="the columns are: body, mood"):
        load_task("custom", path=str(path))
    with pytest.raises(DataError, match="Did you mean 'mood'"):
        load_task("mine", path=str(path), fields={"text": "body", "label": "mod"})
    with pytest.raises(StudyError, match="edit_field cannot be 'body'. One of: text"):
        load_task("mine", path=str(path), fields={"text": "body", "label": "mood"}, options={"edit_field": "body"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(HEAD)
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read"):
        load_task("esnli", path=str(path))
