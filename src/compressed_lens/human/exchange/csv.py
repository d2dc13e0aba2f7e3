"""Comma-separated files: forms to fill in a spreadsheet, and ratings, one a row or one a dimension and row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compressed_lens.errors import DataError
from compressed_lens.human.exchange.base import (
    COMMENT,
    Exchange,
    Gathered,
    anchors,
    check_text,
    dimension_names,
    duration,
    formatted_html,
    html_of,
    instructions_html,
    ordered,
    page_id,
    parts,
    point,
    read_text,
    wording,
)
from compressed_lens.human.folder import ASSIGNMENT

if TYPE_CHECKING:
    import polars as pl

    from compressed_lens.human.design import Questionnaire
    from compressed_lens.human.plan import Blinded, Planned

TEXTS = ("text", "kind", "instruction", "item", "label", "edited", "written")
_FORM = (*ASSIGNMENT, "shown")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_DELIMITERS = ",;\t"


class Csv(Exchange):
    """Texts, the assignment and a form a rater; ratings come back long (dimension, rating) or wide (a column each)."""

    name = "csv"
    steps = (
        "send forms/R01.csv to the first rater, with instructions.html, and so on; import the folder of filled forms"
    )

    def files(self, blinded: Blinded, *, language: str) -> dict[str, str]:
        """Return texts.csv, assignment.csv, instructions.html, and forms/RATER.csv in the rater's own order."""
        questionnaire = blinded.questionnaire
        names = dimension_names(questionnaire)
        asked = [*names, *((COMMENT,) if questionnaire.comments else ())]
        forms: dict[str, list[Sequence[object]]] = {}
        for rater, planned in ordered(blinded):
            row = (rater, planned.position, page_id(rater, planned), _shown(blinded, planned, language))
            forms.setdefault(rater, []).append((*row, *("" for _ in asked)))
        return {
            "texts.csv": table(TEXTS, _texts(blinded)),
            "assignment.csv": table(
                ASSIGNMENT, ((rater, page.position, page_id(rater, page)) for rater, page in ordered(blinded))
            ),
            "instructions.html": _instructions(questionnaire, language),
            **{f"forms/{rater}.csv": table((*_FORM, *asked), rows) for rater, rows in forms.items()},
        }

    def read(self, source: Path, questionnaire: Questionnaire) -> tuple[Gathered, ...]:
        """Read a file, or every `*.csv` of a folder; commas, semicolons or tabs, UTF-8."""
        files = sorted(source.glob("*.csv")) if source.is_dir() else [source]
        if not files:
            raise DataError(f"{source} holds no CSV file.", fix="Put the filled forms there.")
        names = [dimension.name for dimension in questionnaire.dimensions]
        return tuple(one for file in files for one in _gathered(file, names))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a CSV file; a cell that a spreadsheet would compute gets an apostrophe in front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_inert(cell) for cell in row] for row in rows)
    return out.getvalue()


def _inert(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _alert(cell: str) -> str:
    """Return a cell without the apostrophe that `table` put in front."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def text_table(blinded: Blinded) -> pl.DataFrame:
    """Return every text that is rated, a row each, with the columns `TEXTS`."""
    import polars as pl

    return pl.DataFrame(list(_texts(blinded)), schema=dict.fromkeys(TEXTS, pl.String), orient="row")


def _texts(blinded: Blinded) -> Iterator[tuple[str, ...]]:
    for text in sorted(blinded.texts):
        shown = blinded.texts[text][1]
        item = "\n".join(f"{name}: {said}" for name, said in shown.fields)
        yield text, shown.kind, shown.instruction, item, shown.label, shown.edited, shown.text


def _shown(blinded: Blinded, planned: Planned, language: str) -> str:
    if planned.text is None:
        return check_text(blinded.questionnaire, planned.expected or {}, language)
    shown = blinded.texts[planned.text][1]
    return "\n\n".join(f"{heading.upper()}\n{said}" for heading, said in parts(shown, language))


def _instructions(questionnaire: Questionnaire, language: str) -> str:
    """Return the consent, the instructions and the scales as a page."""
    labels = anchors(questionnaire, language)
    pieces = [formatted_html(wording(questionnaire.consent, language)), "<hr>"]
    pieces.append(instructions_html(questionnaire, language))
    for dimension in questionnaire.dimensions:
        asked = {wording(question, language) for question in dimension.questions.values()}
        scale = "\n\n".join([*sorted(asked), "\n".join(labels[dimension.name])])
        pieces += [f"<h3>{html_of(wording(dimension.title, language))}</h3>", html_of(scale)]
    return '<!doctype html>\n<meta charset="utf-8">\n' + "\n".join(pieces) + "\n"


def _gathered(file: Path, names: Sequence[str]) -> Iterator[Gathered]:
    head, rows = _read(file)
    long = {"dimension", "rating"} <= set(head)
    lacking = [name for name in ("rater", "text", *(() if long else names)) if name not in head]
    if lacking:
        raise DataError(
            f"{file} lacks the column '{lacking[0]}'.",
            fix=f"Columns: rater, text, and dimension, rating (long) or {', '.join(names)} (wide).",
        )
    return _long(file, rows, names) if long else _wide(file, rows, names)


def _wide(file: Path, rows: Iterable[tuple[int, Mapping[str, str]]], names: Sequence[str]) -> Iterator[Gathered]:
    for line, row in rows:
        place = f"{file}, line {line}"
        values = {name: point(row[name], place) for name in names if row[name]}
        if values:
            yield _one(row, values, place)


def _long(file: Path, rows: Iterable[tuple[int, Mapping[str, str]]], names: Sequence[str]) -> Iterator[Gathered]:
    pages: dict[tuple[str, str], tuple[Mapping[str, str], dict[str, int], str]] = {}
    for line, row in rows:
        place = f"{file}, line {line}"
        name = row["dimension"]
        if not row["rating"]:
            continue
        if name not in names:
            raise DataError(f"{place}: the study has no dimension '{name}'.", fix=f"It has: {', '.join(names)}.")
        _, values, _ = pages.setdefault((row["rater"], row["text"]), (row, {}, place))
        given = point(row["rating"], place)
        if values.setdefault(name, given) != given:
            raise DataError(f"{place}: a second rating of {name} by {row['rater']} of {row['text']}.", fix="Keep one.")
    for row, values, place in pages.values():
        yield _one(row, values, place)


def _one(row: Mapping[str, str], values: Mapping[str, int], place: str) -> Gathered:
    seconds, comment = duration(row.get("seconds"), place), row.get(COMMENT, "")
    return Gathered(rater=row["rater"], page=row["text"], values=values, comment=comment, seconds=seconds, place=place)


def _read(file: Path) -> tuple[list[str], Iterator[tuple[int, Mapping[str, str]]]]:
    """Return the columns of a file, and its rows with their lines; spreadsheets differ in what parts the cells."""
    text = read_text(file)
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=first.count))
    try:
        head = [name.strip().lower() for name in next(reader, [])]
        rows = [(reader.line_num, [_alert(cell.strip()) for cell in cells]) for cells in reader if any(cells)]
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: {error}.", fix="Correct the quoting of that line.") from error
    for line, cells in rows:
        if len(cells) != len(head):
            raise DataError(f"{file}, line {line}: {len(cells)} cells under {len(head)} columns.", fix="Correct it.")
    return head, ((line, dict(zip(head, cells, strict=True))) for line, cells in rows)


CSV = Csv()
