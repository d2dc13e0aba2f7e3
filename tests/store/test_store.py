"""The store: what was written is there after any death of the writer, and every broken folder is one sentence."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compressed_lens.analyses.base import Record
from compressed_lens.errors import RunError
from compressed_lens.store import Store
from compressed_lens.store.database import FILE
from compressed_lens.store.frames import with_values
from compressed_lens.study.schema import Study

STUDY = Study.model_validate(
    {"name": "s", "models": ["org/m"], "variants": ["rtn-4bit"], "tasks": ["esnli"], "analyses": ["accuracy"]}
)
PLACE = ("m", "full", "esnli", "accuracy")
OTHER = ("m", "rtn-4bit", "esnli", "accuracy")


def put_cell(store: Store, cell: str, place: tuple[str, str, str, str] = PLACE) -> None:
    store.put_cell(
        cell,
        place,
        fingerprint="f",
        task_fingerprint="t",
        method="accuracy",
        settings={"mode": "score"},
        seed=0,
        items=2,
        metrics=[],
    )


def fill(store: Store) -> None:
    store.put_task("esnli", fingerprint="t", kind="classification", info={}, items=[("b", {}), ("a", {})])
    store.put_grid([(*PLACE, 2), (*OTHER, 2)])
    put_cell(store, "c1")


def test_frames_follow_the_study_and_the_order_of_items(tmp_path: Path) -> None:
    with Store.create(tmp_path, STUDY) as store:
        fill(store)
        store.write_record("c1", "a", 0, Record(values={"correct": True}), group="g")
        store.write_record("c1", "b", 0, Record(values={}, failed="no label"))
        store.put_variant("m", "full", position=0, status="passed")
        store.put_variant("m", "rtn-4bit", position=1, status="unavailable", reason="no library")
    with Store.open(tmp_path) as store:
        records, cells = store.records_frame(), store.cells()
    assert records["item"].to_list() == ["b", "a"]
    assert records["failed"].to_list() == ["no label", None]
    assert records["group"].to_list() == ["", "g"]
    assert cells.select("variant", "status", "items", "done", "failed_items").rows() == [
        ("full", "done", 2, 2, 1),
        ("rtn-4bit", "unavailable", 2, 0, 0),
    ]


def test_values_become_columns_of_their_own_type(tmp_path: Path) -> None:
    with Store.create(tmp_path, STUDY) as store:
        fill(store)
        store.write_record("c1", "b", 0, Record(values={"n": 2, "ok": True, "text": "x", "mixed": [1]}))
        store.write_record("c1", "a", 0, Record(values={"n": 0.5, "text": None}))
        frame = with_values(store.records_frame(), ["n", "ok", "text", "mixed", "absent"])
    assert [str(frame[c].dtype) for c in ("n", "ok", "text", "mixed", "absent")] == [
        "Float64",
        "Boolean",
        "String",
        "String",
        "String",
    ]
    assert frame.select("n", "ok", "text", "mixed").rows() == [(2.0, True, "x", "[1]"), (0.5, None, None, None)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, float("nan")], {"a": float("-inf")}])
def test_a_value_that_is_no_number_fails_its_record(value: Any, tmp_path: Path) -> None:
    with Store.create(tmp_path, STUDY) as store:
        fill(store)
        store.write_record("c1", "a", 0, Record(values={"x": value, "y": 1}))
        row = store.records_frame().row(0, named=True)
    assert row["failed"] == "value 'x' is not a finite number"
    assert json.loads(row["values"]) == {"x": None, "y": 1}


@pytest.mark.parametrize(
    "text", ["\ud800 half a pair", "nul \0 inside", "<script>", "emoji \U0001f9ff", "tab\tnew\nline"]
)
def test_any_text_a_model_can_write_is_kept(text: str, tmp_path: Path) -> None:
    with Store.create(tmp_path, STUDY) as store:
        fill(store)
        store.write_record("c1", text, 0, Record(values={"answer": text}, failed=text))
        found = with_values(store.records_frame(), ["answer"]).row(0, named=True)
        assert store.done("c1") == {(found["item"], 0)}
    if "\ud800" not in text:
        assert found["answer"] == found["item"] == found["failed"] == text


def test_an_outcome_is_written_once(tmp_path: Path) -> None:
    with Store.create(tmp_path, STUDY) as store:
        fill(store)
        store.write_record("c1", "a", 0, Record(values={"x": 1}))
        with pytest.raises(RunError, match="holds that already"):
            store.write_record("c1", "a", 0, Record(values={"x": 2}))
        assert json.loads(store.records_frame()["values"][0]) == {"x": 1}


def test_a_changed_study_hides_old_cells_until_it_leads_to_them_again(tmp_path: Path) -> None:
    with Store.create(tmp_path, STUDY) as store:
        fill(store)
        store.write_record("c1", "a", 0, Record(values={}))
    with Store.create(tmp_path, STUDY.model_copy(update={"seed": 1})) as store:
        fill(store)
        put_cell(store, "c2")
        assert store.records_frame().height == 0
    with Store.create(tmp_path, STUDY) as store:
        assert store.records_frame().height == 0
        store.put_grid([(*PLACE, 2)])
        put_cell(store, "c1")
        assert store.records_frame().height == 1
        assert store.done("c1") == {("a", 0)}


def test_the_same_study_again_changes_nothing(tmp_path: Path) -> None:
    with Store.create(tmp_path, STUDY) as store:
        fill(store)
        store.write_record("c1", "a", 0, Record(values={}))
        before = store.cells()
    with Store.create(tmp_path, STUDY) as store:
        assert store.cells().equals(before)


def test_two_places_that_lead_to_one_cell_share_its_records(tmp_path: Path) -> None:
    with Store.create(tmp_path, STUDY) as store:
        fill(store)
        put_cell(store, "c1", OTHER)
        store.write_record("c1", "a", 0, Record(values={}))
        assert store.records_frame()["variant"].to_list() == ["full", "rtn-4bit"]


def test_responses_come_back_as_they_were(tmp_path: Path) -> None:
    answers = {f"k{n}": {"text": f"\ud800{n}", "x": [0.1, -2.5e-17]} for n in range(1200)}
    with Store.create(tmp_path, STUDY) as store:
        store.responses.put_many(answers)
        store.responses.put_many({"k0": {"text": "other"}})
        assert store.responses.get_many([*answers, "unknown"]) == answers


def test_work_of_all_sessions_adds_up(tmp_path: Path) -> None:
    for seconds in (1.5, 2.0):
        with Store.create(tmp_path, STUDY) as store:
            session = store.begin_session({"python": "3"})
            store.put_variant("m", "full", position=0, status="passed", build="b")
            store.put_work(session, "b", {"seconds": 1.0})
            store.put_work(session, "b", {"seconds": seconds})
            assert len(store.environments()) == session
            speed = json.loads(store.variants_frame()["speed"][0])
    assert speed == {"seconds": 3.5}


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_store import STUDY, Record, Store, fill
store = Store.create(Path(sys.argv[1]), STUDY)
fill(store)
for n in range(10**6):
    store.write_record("c1", str(n), 0, Record(values={{"n": n}}))
    print(n, flush=True)
"""


def test_kill_9_loses_nothing_that_was_written(tmp_path: Path) -> None:
    code = WRITER.format(tests=str(Path(__file__).parent))
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        last = 0
        while last < 200:
            last = int(writer.stdout.readline())
        with pytest.raises(RunError, match=f"in use by process {writer.pid} on "):
            Store.create(tmp_path, STUDY)
        with Store.open(tmp_path) as reader:
            assert reader.records_frame().height >= last
        os.kill(writer.pid, signal.SIGKILL)
        said = [int(line) for line in writer.stdout.read().splitlines() if line]
    last = max([last, *said])
    with Store.open(tmp_path) as reader:
        kept = {int(item) for item in reader.records_frame()["item"]}
    assert set(range(last + 1)) <= kept
    with Store.create(tmp_path, STUDY) as store:
        assert {int(item) for item, _ in store.done("c1")} == kept


def test_a_full_disk_is_one_sentence_and_no_damage(tmp_path: Path) -> None:
    with Store.create(tmp_path, STUDY) as store:
        fill(store)
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        written = 0
        with pytest.raises(RunError, match="is full"):
            for n in range(1000):
                store.write_record("c1", str(n), 0, Record(values={"text": "x" * 500}))
                written += 1
    with Store.create(tmp_path, STUDY) as store:
        assert len(store.done("c1")) == written > 0
        store.write_record("c1", "after", 0, Record(values={}))


def _damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[4096:] = os.urandom(len(raw) - 4096)
    path.write_bytes(raw)


def _drop(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE records")


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")


def _foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs(title)")


def _text(path: Path) -> None:
    path.write_text("not a database, but long enough to have a header of one hundred bytes " * 3, encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_drop, "lacks the table 'records'"),
        (_newer, "version 99"),
        (_foreign, "was not written by compressed-lens"),
        (_text, "not a readable run database"),
        (Path.unlink, "There is no run in"),
    ],
)
def test_a_broken_run_folder_is_one_sentence(spoil: Any, says: str, tmp_path: Path) -> None:
    Store.create(tmp_path, STUDY).close()
    spoil(tmp_path / FILE)
    for write in (False, True):
        with pytest.raises(RunError, match=says) as caught:
            Store.open(tmp_path, write=write)
        assert caught.value.fix
        assert caught.value.exit_code == 5


def test_a_study_of_another_version_is_one_sentence(tmp_path: Path) -> None:
    with Store.create(tmp_path, STUDY) as store:
        store._connection.execute("""UPDATE meta SET value = '{"nom": "s"}' WHERE key = 'study'""")
        with pytest.raises(RunError, match="cannot read"):
            _ = store.study


def test_damaged_pages_are_found_before_anything_is_written(tmp_path: Path) -> None:
    with Store.create(tmp_path, STUDY) as store:
        fill(store)
        for n in range(300):
            store.write_record("c1", str(n), 0, Record(values={"text": "x" * 100}))
    _damage(tmp_path / FILE)
    with pytest.raises(RunError, match=r"run\.sqlite"):
        Store.create(tmp_path, STUDY)


def test_a_process_killed_while_it_made_the_tables_leaves_a_folder_that_works(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    with pytest.raises(RunError, match="not written by compressed-lens"):
        Store.open(tmp_path)
    with Store.create(tmp_path, STUDY) as store:
        fill(store)


@pytest.mark.parametrize("place", ["file/below", "/proc/nowhere"])
def test_a_folder_that_cannot_be_written_is_refused_at_once(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="Cannot write to the run folder"):
        Store.create(tmp_path / place, STUDY)


def test_a_run_in_a_read_only_folder_can_be_read(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    with Store.create(tmp_path, STUDY) as store:
        fill(store)
    tmp_path.chmod(0o555)
    try:
        with Store.open(tmp_path) as reader:
            assert reader.cells().height == 2
        with pytest.raises(RunError, match="Cannot"):
            Store.create(tmp_path, STUDY)
    finally:
        tmp_path.chmod(0o755)


def test_a_run_from_before_there_were_pictures_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    with Store.create(tmp_path, STUDY) as store:
        fill(store)
        store.write_record("c1", "a", 0, Record(values={"correct": True}))
        store._connection.execute("ALTER TABLE cells DROP COLUMN pictures")
        store._connection.execute("PRAGMA user_version = 1")
    with Store.open(tmp_path) as reader:
        assert reader.cells()["pictures"].to_list() == ["[]", None]
        assert reader.records_frame().height == 1
    with Store.open(tmp_path, write=True) as store:
        assert store.cells()["pictures"].to_list() == ["[]", None]
        picture = {"kind": "curve", "name": "recall by layer", "value": "curve"}
        store.put_cell(
            "c1", PLACE, fingerprint="f", task_fingerprint="t", method="accuracy", settings={}, seed=0, items=3,
            metrics=[], pictures=[picture],
        )  # fmt: skip
        assert [json.loads(text or "null") for text in store.cells()["pictures"]] == [[picture], None]
