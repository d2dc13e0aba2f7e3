"""A human study before anyone has rated: the texts, who rates which in what order, and its folder."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from compressed_lens.errors import RunError, StudyError
from compressed_lens.human.assignment import Unit, assign, raters_for
from compressed_lens.human.database import ENVIRONMENT, FILE, sqlite_url
from compressed_lens.human.design import POINTS, Design, Questionnaire, Shown
from compressed_lens.human.folder import ASSIGNMENT, KEY, new_folder
from compressed_lens.human.reading import design_yaml
from compressed_lens.human.store import HumanStore
from compressed_lens.human.texts import LeftOut, Text, draw
from compressed_lens.runner.results import Run, load_run

LEFT_OUT = ("task", "kind", "item", "model", "variant", "reason")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A page of a rater.

    Attributes:
        position: From 1.
        text: The text to rate; None for an attention check.
        expected: Points that an attention check asks for, by dimension; None for a text.
    """

    position: int
    text: str | None
    expected: Mapping[str, int] | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A human study before anyone has rated; `pages` are by rater id."""

    design: Design
    texts: tuple[Text, ...]
    left_out: tuple[LeftOut, ...]
    pages: Mapping[str, tuple[Planned, ...]]

    @property
    def ratings(self) -> int:
        """How many ratings there will be, attention checks not counted."""
        return sum(page.text is not None for pages in self.pages.values() for page in pages)


@dataclass(frozen=True, kw_only=True)
class Blinded:
    """What the server knows of a plan: nothing that names a model, variant, task, analysis or item.

    Attributes:
        questionnaire: All that raters read.
        texts: Id of a text to its cell's code and what is shown.
        pages: By rater id.
    """

    questionnaire: Questionnaire
    texts: Mapping[str, tuple[str, Shown]]
    pages: Mapping[str, tuple[Planned, ...]]


def plan(run: Run, design: Design) -> Plan:
    """Draw the texts of a human study and assign them.

    Without a number of raters in the design there are as many as `per_rater` asks for, and more where an item has more
    ratings than that: nobody sees an item twice unless `same_item` allows it.

    Raises:
        StudyError: The design asks for what the run has not, or cannot be assigned.
    """
    sample = design.sample
    texts, left_out = draw(run, sample)
    units = _units(texts)
    raters = sample.raters or max(
        raters_for(len(units), sample.ratings, sample.per_rater), _fewest(units, sample.ratings, sample.same_item)
    )
    orders = assign(units, raters=raters, ratings=sample.ratings, same_item=sample.same_item, seed=sample.seed)
    digits = max(2, len(str(raters)))
    rng = np.random.default_rng([sample.seed, raters])
    pages = {
        f"R{place + 1:0{digits}d}": _with_checks(order, design.questionnaire, rng) for place, order in enumerate(orders)
    }
    return Plan(design=design, texts=texts, left_out=left_out, pages=pages)


def blind(plan: Plan) -> Blinded:
    """Return what the store gets of a plan."""
    return Blinded(
        questionnaire=plan.design.questionnaire,
        texts={text.id: (text.cell, text.shown) for text in plan.texts},
        pages=plan.pages,
    )


def create(run_folder: Path, design: Design, *, name: str = "main", database: str | None = None) -> Path:
    """Plan a human study of a run and make its folder; see `write`.

    Raises:
        StudyError: As `plan`.
        RunError: As `write`.
    """
    check_new(run_folder, name)
    return write(plan(load_run(run_folder), design), run_folder, name=name, database=database)


def check_new(run_folder: Path, name: str) -> Path:
    """Return the folder that a new human study of a run would have.

    Raises:
        StudyError: That cannot be a name.
        RunError: There is one of this name already.
    """
    if not _NAME.fullmatch(name):
        raise StudyError(
            f"'{name}' cannot be the name of a human study.",
            fix="Use letters, digits, and any of _ . + - after the first character.",
        )
    folder = run_folder / "human" / name
    if folder.exists():
        raise RunError(
            f"There is a human study in {folder} already, and its ratings are never overwritten.",
            fix="Choose another --name, or move that folder away.",
        )
    return folder


def write(plan: Plan, run_folder: Path, *, name: str = "main", database: str | None = None) -> Path:
    """Make the folder of a human study and its database, all or nothing.

    Args:
        plan: The study.
        run_folder: Folder of the run it was drawn from.
        name: Of the study.
        database: URL of a PostgreSQL database, which is written to no file; default: $CLENS_HUMAN_DATABASE, then
            `ratings.sqlite` in the folder.

    Returns:
        The folder, RUN/human/NAME.

    Raises:
        StudyError: That cannot be a name, or the URL is not one.
        RunError: There is a study of this name, the database holds one, or the disk refuses.
    """
    folder = check_new(run_folder, name)
    url = database or os.environ.get(ENVIRONMENT)
    with new_folder(folder) as partial:
        _write_files(plan, partial)
        if not url:
            HumanStore.create(sqlite_url(partial / FILE), blind(plan)).close()
    if url:
        try:
            HumanStore.create(url, blind(plan)).close()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder


def _units(texts: Sequence[Text]) -> list[Unit]:
    several = len({text.task for text in texts}) > 1
    return [
        Unit(
            id=text.id,
            item=f"{text.task}|{text.item}",
            factors=(text.variant, text.shown.kind, text.model, *((text.task,) if several else ())),
        )
        for text in texts
    ]


def _fewest(units: Sequence[Unit], ratings: int, same_item: bool) -> int:
    """Return how many raters it takes at least that nobody sees an item (or a text) twice."""
    if same_item:
        return ratings
    return ratings * max(Counter(unit.item for unit in units).values())


def _with_checks(order: Sequence[str], questionnaire: Questionnaire, rng: np.random.Generator) -> tuple[Planned, ...]:
    """Return a rater's pages: the texts with attention checks among them, never first or last or side by side."""
    checks = questionnaire.attention_checks
    inner = len(order) + checks - 2
    free = inner - (checks - 1)
    if checks and checks > free:
        raise StudyError(
            f"attention_checks: {checks} cannot stand among the {len(order)} texts of a rater, apart from each other "
            "and neither first nor last.",
            fix="Ask for fewer, or give each rater more texts.",
        )
    # Places without neighbours: drawn without gaps, then moved apart by one each.
    places = sorted(rng.choice(free, size=checks, replace=False)) if checks else []
    at = {2 + int(place) + n for n, place in enumerate(places)}
    names = [dimension.name for dimension in questionnaire.dimensions]
    left = iter(order)
    return tuple(
        Planned(position=position, text=None, expected=_expected(names, rng))
        if position in at
        else Planned(position=position, text=next(left), expected=None)
        for position in range(1, len(order) + checks + 1)
    )


def _expected(names: Sequence[str], rng: np.random.Generator) -> dict[str, int]:
    """Draw the points that an attention check asks for; not all equal, as who does not read might choose them."""
    while True:
        points = [int(point) for point in rng.choice(POINTS, size=len(names))]
        if len(names) == 1 or len(set(points)) > 1:
            return dict(zip(names, points, strict=True))


def _write_files(plan: Plan, folder: Path) -> None:
    key = [(t.id, t.cell, t.shown.kind, t.model, t.variant, t.task, t.analysis, t.item) for t in plan.texts]
    pages = [(rater, page.position, page.text or "") for rater, own in plan.pages.items() for page in own]
    _write(folder / "design.yaml", design_yaml(plan.design))
    _write(folder / "key.csv", _csv(KEY, key))
    _write(folder / "assignment.csv", _csv(ASSIGNMENT, pages))
    _write(folder / "left_out.csv", _csv(LEFT_OUT, map(astuple, plan.left_out)), mode=0o644)


def _write(path: Path, text: str, *, mode: int = 0o600) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()
