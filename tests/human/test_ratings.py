"""Ratings joined with the key: every figure against the files and the store themselves."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path

import polars as pl
import pytest
from tests.human.paper_run import build_run

from compressed_lens.errors import RunError
from compressed_lens.human.database import database_url
from compressed_lens.human.plan import create
from compressed_lens.human.ratings import CHECKS, LONG, read_ratings
from compressed_lens.human.reading import default_design
from compressed_lens.human.store import HumanStore


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_run(tmp_path_factory.mktemp("paper") / "run", models=1, variants=("full", "gptq-4bit"), items=16)


def design_of(seed: int = 1):  # type: ignore[no-untyped-def]
    design = default_design("pilot")
    return design.model_copy(update={"sample": design.sample.model_copy(update={"seed": seed})})


@pytest.fixture
def study(small_run: Path, tmp_path: Path) -> Path:
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    return create(run, design_of())


def answer(folder: Path, *, stop: int | None = None, seed: int = 0) -> dict[tuple[str, int], dict[str, int]]:
    """Let every rater answer (the last one only the first `stop` pages); odd raters fail their attention checks."""
    draw, given = random.Random(seed), {}
    with HumanStore.open(database_url(folder)) as store:
        raters = store.raters()
        for n, rater in enumerate(raters):
            store.move(rater.id, step="consent", to="rating")
            for position in range(1, (stop if stop and rater is raters[-1] else rater.pages) + 1):
                page = store.page(rater.id, position)
                values = {d.name: draw.randint(1, 5) for d in store.questionnaire.dimensions}
                if page.expected is not None:
                    values = dict(page.expected) if n % 2 == 0 else {name: 6 - v for name, v in page.expected.items()}
                given[rater.id, position] = values
                saved = store.save(rater.id, position, values=values, comment="", seconds=position, form=f"f{position}")
                assert saved == "saved"
        store.set_language(raters[0].id, "de")
    return given


def test_every_rating_once_with_what_it_is_of(study: Path) -> None:
    given = answer(study, stop=2)
    found = read_ratings(study)
    assert found.long.schema == LONG and found.checks.schema == CHECKS
    key = {row["text"]: row for row in csv.DictReader((study / "key.csv").open())}
    places = {
        (row["rater"], int(row["position"])): row["text"] for row in csv.DictReader((study / "assignment.csv").open())
    }
    expected = {
        (rater, position, text, *(key[text][c] for c in ("kind", "model", "variant", "task", "analysis", "item")), d, v)
        for (rater, position), text in places.items()
        if text and (rater, position) in given
        for d, v in given[rater, position].items()
    }
    columns = [
        "rater",
        "position",
        "text",
        "kind",
        "model",
        "variant",
        "task",
        "analysis",
        "item",
        "dimension",
        "rating",
    ]
    rows = found.long.select(columns).rows()
    assert set(rows) == expected and len(rows) == len(expected) > 0
    assert found.long["seconds"].to_list() == [float(p) for p in found.long["position"]]
    german = found.long.filter(pl.col("language") == "de")["rater"].unique().to_list()
    assert german == [min(rater for rater, _ in given)]
    raters = sorted({rater for rater, _ in given})
    checks = {rater: sum(1 for (r, p), t in places.items() if r == rater and not t) for rater in raters}
    assert found.checks.rows() == [
        (rater, checks[rater], checks[rater] * (n % 2), True)
        if rater != raters[-1]
        else (rater, *found.checks.row(-1)[1:3], False)
        for n, rater in enumerate(raters)
    ]
    assert found.design == design_of()


def test_before_the_first_rating(study: Path) -> None:
    found = read_ratings(study)
    assert found.long.is_empty() and found.long.schema == LONG
    assert found.checks.is_empty() and found.checks.schema == CHECKS


def test_another_studys_ratings_are_refused(study: Path) -> None:
    other = create(study.parents[1], design_of(seed=2), name="other")
    answer(other)
    assert json.dumps(read_ratings(other).long["text"].to_list())  # sound by itself
    with pytest.raises(RunError, match="another human study"):
        read_ratings(study, database_url(other))


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("key.csv", lambda text: text.replace("t001", "t999"), "t001"),
        ("key.csv", lambda text: text.replace("variant", "colour"), "key.csv is damaged: its columns"),
        ("key.csv", lambda _: "", "damaged"),
        ("key.csv", None, "key.csv"),
        ("assignment.csv", None, "assignment.csv"),
        ("assignment.csv", lambda text: text.replace("R01", "R77"), "another human study"),
        ("ratings.sqlite", None, "no ratings"),
        ("ratings.sqlite", lambda _: "not a database at all" * 100, "not a readable database"),
    ],
)
def test_what_is_missing_or_damaged_is_one_sentence(study: Path, file: str, change, said: str) -> None:  # type: ignore[no-untyped-def]
    answer(study)
    path = study / file
    if change is None:
        path.unlink()
    else:
        path.write_text(change(path.read_text(errors="replace")))
    with pytest.raises(RunError, match=said) as caught:
        read_ratings(study)
    assert "\n" not in str(caught.value)
