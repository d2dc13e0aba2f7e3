"""Ratings that another tool gathered come into the study's database: all that fit, or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from compressed_lens.errors import DataError
from compressed_lens.human.answers import plain
from compressed_lens.human.exchange.base import Gathered, ordered, page_id
from compressed_lens.human.store import Entry, HumanStore

_GONE = ("withdrawn", "declined", "excluded")


@dataclass(frozen=True, kw_only=True)
class Brought:
    """What an import did.

    Attributes:
        new: Ratings that were written, attention checks among them.
        known: Ratings that the database held already, the same.
        incomplete: Where a page lacked a dimension and was left out.
        raters: Raters of the new and known ones.
    """

    new: int
    known: int
    incomplete: tuple[str, ...]
    raters: int


def bring(store: HumanStore, gathered: Iterable[Gathered], *, source: str) -> Brought:
    """Write ratings that were gathered elsewhere; twice the same changes nothing.

    Args:
        store: The study's database.
        gathered: What `Exchange.read` returned. Pages without any point are passed over.
        source: Name of the format, noted among the incidents with the number of new ratings.

    Raises:
        DataError: A page is not in the assignment of its rater, a rater has withdrawn (or declined, or was excluded),
            one page has two answers, or the database holds another one. Nothing was written.
    """
    answered = [one for one in gathered if one.values]
    dimensions = {dimension.name for dimension in store.questionnaire.dimensions}
    blinded = store.blinded()
    positions = {(rater, page_id(rater, page)): page.position for rater, page in ordered(blinded)}
    _check_assigned(answered, positions, set(blinded.pages))
    _check_present(answered, {rater.id: rater.step for rater in store.raters()})
    complete = _once([one for one in answered if set(one.values) == dimensions])
    held = {(row["rater"], row["position"]): row for row in store.ratings().iter_rows(named=True)}
    fresh = []
    other = []
    for one in complete:
        row = held.get((one.rater, positions[one.rater, one.page]))
        if row is None:
            fresh.append(one)
        elif json.loads(row["values"]) != one.values or row["comment"] != plain(one.comment):
            other.append(one)
    if other:
        raise _refusal(other, "differ from what the database holds", "Nothing is overwritten; export and compare them.")
    entries = [
        Entry(
            rater=one.rater,
            position=positions[one.rater, one.page],
            values=one.values,
            comment=one.comment,
            seconds=one.seconds,
            form=_form(source, one),
        )
        for one in fresh
    ]
    saved = store.enter(entries)
    if "conflict" in saved:
        late = [one for one, what in zip(fresh, saved, strict=True) if what == "conflict"]
        raise _refusal(late, "were answered meanwhile", "Import again.")
    if fresh:
        store.note("imported", f"{len(fresh)} ratings from {source}")
    return Brought(
        new=len(fresh),
        known=len(complete) - len(fresh),
        incomplete=tuple(one.place for one in answered if set(one.values) != dimensions),
        raters=len({one.rater for one in complete}),
    )


def _check_assigned(answered: Sequence[Gathered], positions: Mapping[tuple[str, str], int], raters: set[str]) -> None:
    strange = sorted({one.rater for one in answered} - raters)
    if strange:
        raise DataError(
            f"The study has no rater {_few(strange)}.", fix="Raters are called as in assignment.csv: R01, R02, ..."
        )
    foreign = [one for one in answered if (one.rater, one.page) not in positions]
    if foreign:
        raise _refusal(foreign, "are not in the assignment", "Is this the export of another study (--name)?")


def _check_present(answered: Sequence[Gathered], steps: Mapping[str, str]) -> None:
    gone = sorted({one.rater for one in answered if steps[one.rater] in _GONE})
    if gone:
        raise DataError(
            f"{_few(gone)} withdrew from the study, declined, or was excluded.",
            fix="Remove these raters' answers from the file, and in the other tool.",
        )


def _once(complete: Sequence[Gathered]) -> list[Gathered]:
    """Return one answer a page, in order; a page may be there twice with the same answer."""
    found: dict[tuple[str, str], Gathered] = {}
    twice = [
        one
        for one in complete
        if (first := found.setdefault((one.rater, one.page), one)) is not one
        and (first.values, first.comment) != (one.values, one.comment)
    ]
    if twice:
        raise _refusal(twice, "have two different answers", "Keep one of them.")
    return list(found.values())


def _refusal(ones: Sequence[Gathered], what: str, fix: str) -> DataError:
    named = _few([f"{one.rater} {one.page}" for one in ones])
    return DataError(f"{len(ones)} of the ratings {what}: {named}; nothing was imported.", fix=fix)


def _few(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def _form(source: str, one: Gathered) -> str:
    """Return the form id of an imported rating, the same at every import."""
    return hashlib.sha256(json.dumps([source, one.rater, one.page]).encode()).hexdigest()
