"""Every way in which a database can fail is one sentence without secrets, and leaves nothing half done."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.human.small import GOOD, blinded

from compressed_lens.errors import DependencyError, LensError, RunError, StudyError
from compressed_lens.human import database
from compressed_lens.human.database import FILE, database_url, sqlite_url
from compressed_lens.human.plan import Planned
from compressed_lens.human.store import HumanStore


def _sentence(error: LensError) -> str:
    said = str(error)
    assert "\n" not in said and said.endswith((".", ")")) and len(said) < 400
    return said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    HumanStore.create(sqlite_url(tmp_path / FILE), blinded()).close()
    return tmp_path / FILE


def _sql(*statements: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        connection = sqlite3.connect(path)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    return run


def _noise(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[4096:] = os.urandom(len(raw) - 4096)
    path.write_bytes(raw)


def _foreign(path: Path) -> None:
    path.unlink()
    _sql("CREATE TABLE meta(song)", "CREATE TABLE raters(name)")(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Path.unlink, "There are no ratings at"),
        (lambda path: path.write_bytes(b""), "There is no human study in"),
        (lambda path: path.write_text("hello " * 1000), "not a readable database"),
        (_noise, "damaged|not a readable database"),
        (lambda path: path.write_bytes(path.read_bytes()[:9000]), "damaged|not a readable database"),
        (_foreign, "was not written by compressed-lens"),
        (_sql("UPDATE meta SET value = 'x' WHERE key = 'what'"), "was not written by compressed-lens"),
        (_sql("UPDATE meta SET value = '99' WHERE key = 'format'"), "Upgrade compressed-lens"),
        (_sql("UPDATE meta SET value = '{}' WHERE key = 'questionnaire'"), "The questionnaire in"),
        (_sql("DROP TABLE sessions"), "lacks the table 'sessions'"),
    ],
)
def test_a_file_that_is_no_study(path: Path, change: Callable[[Path], object], said: str) -> None:
    change(path)
    with pytest.raises(RunError, match=said) as caught:
        HumanStore.open(sqlite_url(path))
    _sentence(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ratings.sqlite",
        "mysql://u:hush@h/d",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///a?mode=ro",
        "http://x y",
    ],
)
def test_an_address_that_is_none_of_ours(url: str) -> None:
    with pytest.raises(StudyError, match="sqlite:///FILE") as caught:
        HumanStore.open(url)
    assert "hush" not in _sentence(caught.value)


def test_where_the_database_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(database.ENVIRONMENT, raising=False)
    assert database_url(tmp_path) == sqlite_url(tmp_path / FILE)
    monkeypatch.setenv(database.ENVIRONMENT, "postgresql://h/d")
    assert database_url(tmp_path) == "postgresql://h/d"
    assert database_url(tmp_path, "sqlite:////x") == "sqlite:////x"


def test_a_study_is_never_written_over(database_url: str) -> None:
    with HumanStore.create(database_url, blinded()) as store:
        token = store.new_links()["R01"]
        with pytest.raises(RunError, match="already"):
            HumanStore.create(database_url, blinded())
        assert store.rater_of_link(token) is not None


def test_tables_of_something_else_are_left_alone(postgres_url: str) -> None:
    import psycopg

    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE sessions(mine int)")
    with pytest.raises(RunError, match="'sessions' of something else"):
        HumanStore.create(postgres_url, blinded())
    with pytest.raises(RunError, match="not written by"):
        HumanStore.open(postgres_url)


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "songs.sqlite"
    _sql("CREATE TABLE raters(song)", "INSERT INTO raters VALUES ('one')")(path)
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(RunError, match="'raters' of something else"):
        HumanStore.create(sqlite_url(path), blinded())
    with pytest.raises(RunError, match="not written by"):
        HumanStore.open(sqlite_url(path))
    assert path.read_bytes() == before and path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_study_that_cannot_be_made_leaves_nothing(database_url: str) -> None:
    sound = blinded()
    broken = replace(sound, pages={**sound.pages, "R09": (Planned(position=1, text="t999", expected=None),)})
    with pytest.raises(RunError, match="refused"):
        HumanStore.create(database_url, broken)
    with pytest.raises(RunError, match="There is no human study"):
        HumanStore.open(database_url)
    with HumanStore.create(database_url, sound) as store:
        assert len(store.raters()) == len(sound.pages)


def test_of_two_who_make_a_study_one_does(database_url: str) -> None:
    def make(_: int) -> str:
        try:
            HumanStore.create(database_url, blinded()).close()
        except RunError as error:
            return _sentence(error)
        return "made"

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(make, range(4)))
    assert said.count("made") == 1 and all("already" in one for one in said if one != "made")


def test_a_file_that_another_program_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    with HumanStore.open(sqlite_url(path)) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RunError, match="locked by another program"):
            store.note("anything")
        assert len(store.raters()) == 4  # who only reads need not wait
        other.execute("ROLLBACK")
        other.close()
        store.note("anything")
        assert len(store.incidents()) == 1


def test_withdrawing_does_not_wait_for_a_reader(path: Path) -> None:
    with HumanStore.open(sqlite_url(path)) as store:
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM raters").fetchall()
        began = time.monotonic()
        store.withdraw("R01")
        assert time.monotonic() - began < 20
        reader.close()
        assert store.rater("R01").step == "withdrawn"


def test_a_full_disk_loses_nothing_that_was_acknowledged(path: Path) -> None:
    with HumanStore.open(sqlite_url(path)) as store:
        store.move("R01", step="consent", to="rating")
        with store._database._engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 3}")
        saved = 0
        with pytest.raises(RunError, match="is full") as caught:
            for n in range(1000):
                store.save("R01", 1, values=GOOD, comment="x" * 900, seconds=1, form=str(n))
                saved += 1
        _sentence(caught.value)
    with HumanStore.open(sqlite_url(path)) as store:
        assert store.page("R01", 1).revisions == saved - 1 > 0
        assert store.save("R01", 1, values=GOOD, comment="", seconds=1, form="after") == "saved"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / FILE, tmp_path / "none" / FILE, tmp_path):
        with pytest.raises(RunError, match="Cannot write"):
            HumanStore.create(sqlite_url(place), blinded())


def test_a_file_that_may_only_be_read(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        with pytest.raises(RunError, match="Cannot use"), HumanStore.open(sqlite_url(path)) as store:
            store.note("anything")
    finally:
        path.parent.chmod(0o700)


def test_postgresql_that_cannot_be_reached_keeps_the_password(postgres_url: str) -> None:
    absent = postgres_url.replace("postgres@", "postgres:hush-hush@") + "_absent"
    unknown = postgres_url.replace("postgres@", "nobody:hush-hush@")
    closed = "postgres://u:hush-hush@127.0.0.1:9/d?password=hush-hush"
    for url in (absent, unknown, closed):
        with pytest.raises(RunError, match="Cannot reach the PostgreSQL database") as caught:
            HumanStore.open(url)
        assert "hush" not in _sentence(caught.value) and "hush" not in repr(caught.value.__cause__)


def test_postgresql_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DependencyError, match=r"compressed-lens\[postgres\]"):
        HumanStore.open("postgresql://h/d")


def test_a_server_that_came_back(postgres_url: str) -> None:
    import psycopg

    with HumanStore.create(postgres_url, blinded()) as store:
        store.note("before")
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        store.note("after")
        assert [what for _, what, _ in store.incidents()] == ["before", "after"]


def test_a_user_without_rights(postgres_url: str) -> None:
    import psycopg

    HumanStore.create(postgres_url, blinded()).close()
    name = f"reader_{postgres_url[-8:]}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN")
        admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    with HumanStore.open(postgres_url.replace("postgres@", f"{name}@")) as store:
        assert len(store.raters()) == 4
        with pytest.raises(RunError, match="does not let its user") as caught:
            store.note("anything")
        _sentence(caught.value)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"DROP OWNED BY {name}")
        admin.execute(f"DROP ROLE {name}")


def test_several_studies_in_schemas_of_one_database(postgres_url: str) -> None:
    import psycopg

    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE SCHEMA second")
    other = f"{postgres_url}?options=-csearch_path%3Dsecond"
    with HumanStore.create(postgres_url, blinded()) as first, HumanStore.create(other, blinded(raters=7)) as second:
        second.note("here")
        assert (len(first.raters()), len(second.raters())) == (4, 7)
        assert first.incidents() == ()
