"""The plan of a human study, what the server gets of it, and its folder: all or nothing."""

from __future__ import annotations

import csv
import sqlite3
import stat
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from tests.human.paper_run import MODELS, TASK, VARIANTS, build_run

from compressed_lens.errors import LensError, RunError, StudyError
from compressed_lens.human.design import Design, Sample
from compressed_lens.human.plan import Plan, blind, create, plan, write
from compressed_lens.human.reading import default_design, read_design
from compressed_lens.human.store import HumanStore
from compressed_lens.runner.results import load_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_run(tmp_path_factory.mktemp("paper") / "run")


@pytest.fixture(scope="module")
def paper(folder: Path) -> Plan:
    return plan(load_run(folder), default_design())


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return build_run(tmp_path / "run", models=1, items=16)


def small_design(checks: int = 1, **sample: object) -> Design:
    default = default_design().questionnaire.model_copy(update={"attention_checks": checks})
    return Design(sample=Sample.model_validate({"items": 4, "per_rater": 8, **sample}), questionnaire=default)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_paper_s_design_is_720_ratings_by_48_raters(paper: Plan) -> None:
    assert paper.ratings == 720
    assert list(paper.pages) == [f"R{n:02d}" for n in range(1, 49)]
    assert {len(pages) for pages in paper.pages.values()} == {16}
    texts = {text.id: text for text in paper.texts}
    cells = Counter(
        (texts[p.text].model, texts[p.text].variant, texts[p.text].shown.kind)
        for pages in paper.pages.values() for p in pages if p.text
    )  # fmt: skip
    assert len(cells) == 3 * 4 * 2
    assert set(cells.values()) == {15 * 2}


def test_attention_checks_stand_inside_and_apart_and_differ(paper: Plan) -> None:
    places: Counter[int] = Counter()
    asked: Counter[tuple[int, ...]] = Counter()
    for pages in paper.pages.values():
        assert [page.position for page in pages] == list(range(1, 17))
        assert all((page.text is None) == (page.expected is not None) for page in pages)
        (check,) = [page for page in pages if page.expected is not None]
        assert 1 < check.position < 16
        assert check.expected is not None
        assert set(check.expected) == {"trustworthiness", "coherence"}
        assert len(set(check.expected.values())) == 2
        assert set(check.expected.values()) <= {1, 2, 3, 4, 5}
        places[check.position] += 1
        asked[tuple(check.expected.values())] += 1
    assert len(places) > 8, "nobody can learn from another rater where the check is"
    assert len(asked) > 8


@pytest.mark.parametrize("checks", [0, 1, 2, 3])
def test_several_attention_checks_are_never_side_by_side(small: Path, checks: int) -> None:
    for seed in range(5):
        planned = plan(load_run(small), small_design(checks, per_rater=4, same_item=True, seed=seed))
        for pages in planned.pages.values():
            at = [page.position for page in pages if page.text is None]
            assert len(at) == checks
            assert not at or (min(at) > 1 and max(at) < len(pages))
            assert all(b - a > 1 for a, b in pairwise(at))
    with pytest.raises(StudyError, match="4 cannot stand among the 4 texts of a rater"):
        plan(load_run(small), small_design(4, per_rater=4, same_item=True))


def test_as_many_raters_as_it_takes(small: Path) -> None:
    run = load_run(small)
    # 32 texts twice at 16 each would be four raters, but an item has 4 x 2 ratings by different people.
    assert len(plan(run, small_design(per_rater=16)).pages) == 8
    assert len(plan(run, small_design(per_rater=16, same_item=True)).pages) == 4
    assert len(plan(run, small_design(raters=11)).pages) == 11
    with pytest.raises(StudyError, match="Each item needs 8 different raters, and there are 7"):
        plan(run, small_design(raters=7))


def test_two_plans_of_one_seed_are_the_same(folder: Path, paper: Plan) -> None:
    assert plan(load_run(folder), default_design()) == paper


def test_nothing_blinded_names_what_it_hides(paper: Plan) -> None:
    blinded = blind(paper)
    assert set(blinded.texts) == {text.id for text in paper.texts}
    told = repr(blinded)
    items = {text.item for text in paper.texts}
    hidden = [*MODELS, *VARIANTS[1:], "Qwen", "gptq", TASK, *items]
    assert not [name for name in hidden if name.lower() in told.lower()]


def test_the_folder_holds_the_key_and_the_database_does_not(small: Path) -> None:
    design = small_design()
    made = create(small, design)
    assert made == small / "human" / "main"
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()}
    private = dict.fromkeys(["design.yaml", "key.csv", "assignment.csv", "ratings.sqlite"], 0o600)
    assert {name: mode for name, mode in found.items() if name != "left_out.csv"} == private
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert read_design(made / "design.yaml") == design
    key, assignment = rows(made / "key.csv"), rows(made / "assignment.csv")
    assert list(key[0]) == ["text", "cell", "kind", "model", "variant", "task", "analysis", "item"]
    assert list(assignment[0]) == ["rater", "position", "text"]
    assert len(key) == 4 * 4 * 2
    assert Counter(row["text"] for row in assignment if row["text"]) == dict.fromkeys((row["text"] for row in key), 2)
    planned = plan(load_run(small), design)
    with HumanStore.open(f"sqlite:///{made / 'ratings.sqlite'}") as store:
        assert store.questionnaire == design.questionnaire
        assert {rater.id: rater.pages for rater in store.raters()} == {r: len(p) for r, p in planned.pages.items()}
        first = store.page("R01", 1)
        assert first.shown == next(t.shown for t in planned.texts if t.id == planned.pages["R01"][0].text)
    assert {row["variant"] for row in rows(made / "left_out.csv")} == {"gptq-4bit", "awq-4bit"}
    dump = "\n".join(sqlite3.connect(made / "ratings.sqlite").iterdump()).lower()
    hidden = [MODELS[0], *VARIANTS[1:], "qwen", "gptq", TASK, *(row["item"] for row in key)]
    assert not [name for name in hidden if name.lower() in dump]
    assert all(name.lower() in (made / "key.csv").read_text().lower() for name in hidden)


def test_a_study_is_never_overwritten(small: Path) -> None:
    made = create(small, small_design())
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    with pytest.raises(RunError, match="already, and its ratings are never overwritten"):
        create(small, small_design())
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before
    other = create(small, small_design(), name="second")
    assert sorted(path.name for path in other.parent.iterdir()) == ["main", "second"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", ".hidden", "a b", "x" * 101])
def test_a_name_stays_inside_the_run(small: Path, name: str) -> None:
    with pytest.raises(StudyError, match="cannot be the name of a human study"):
        create(small, small_design(), name=name)


def test_a_disk_that_refuses_leaves_nothing_behind(small: Path) -> None:
    (small / "human").write_text("a file stands where the folder should be")
    with pytest.raises(RunError, match="Cannot write .*human"):
        create(small, small_design())
    (small / "human").unlink()
    planned = plan(load_run(small), small_design())
    # An empty folder of somebody else's that appears meanwhile holds nothing; one with ratings stays.
    with pytest.raises(LensError):
        write(planned, small, database="mysql://somewhere/else")
    assert list((small / "human").iterdir()) == []


def test_postgresql_holds_the_study_and_no_file_its_address(small: Path, postgres_url: str) -> None:
    design = small_design()
    made = create(small, design, database=postgres_url)
    assert sorted(path.name for path in made.iterdir()) == ["assignment.csv", "design.yaml", "key.csv", "left_out.csv"]
    assert not [path for path in made.iterdir() if "postgres" in path.read_text().lower()]
    with HumanStore.open(postgres_url) as store:
        assert len(store.raters()) == 8
    # The database holds a study, so a second one is refused, and its folder is gone again.
    with pytest.raises(RunError, match="already"):
        create(small, design, name="second", database=postgres_url)
    assert [path.name for path in made.parent.iterdir()] == ["main"]


def test_the_environment_names_the_database(small: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLENS_HUMAN_DATABASE", postgres_url)
    assert not (create(small, small_design()) / "ratings.sqlite").exists()
