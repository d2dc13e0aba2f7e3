"""What every exchange format builds on: pages that another tool shows, and ratings that came from one."""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from compressed_lens.errors import DataError, StudyError
from compressed_lens.human.prose import blocks

if TYPE_CHECKING:
    from compressed_lens.human.design import Dimension, Kind, Questionnaire, Shown, Wording
    from compressed_lens.human.plan import Blinded, Planned

CHECK = "check"
"""Attention checks are called `check-R01-05` (rater, position) outside, as they have no text."""

COMMENT = "comment"
"""What the field for comments is called outside."""

_TAKEN = ("rater", "position", "text", "shown", "dimension", "rating", "seconds", COMMENT)
_POINT = re.compile(r"\s*([1-5])(?:\.0*)?(?:\s.*)?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """One page that a rater answered in another tool.

    Attributes:
        rater: Rater of the assignment ("R01").
        page: Id of a text ("t001"), or of an attention check ("check-R01-05").
        values: Point by dimension; a dimension that was left open is not in it.
        comment: What the rater added.
        seconds: Time spent on the page; 0 where the tool does not tell.
        place: Where it was found, for messages.
    """

    rater: str
    page: str
    values: Mapping[str, int]
    comment: str = ""
    seconds: float = 0.0
    place: str = ""


class Exchange(ABC):
    """A format in which a study leaves for another tool, and its ratings come back.

    Attributes:
        steps: What to do with the exported files, told after an export.
    """

    name: ClassVar[str]
    steps: ClassVar[str]

    @abstractmethod
    def files(self, blinded: Blinded, *, language: str) -> dict[str, str]:
        """Return the files of an export: path in the folder to content. Nothing in them tells model or variant.

        Raises:
            StudyError: As `dimension_names`.
        """

    @abstractmethod
    def read(self, source: Path, questionnaire: Questionnaire) -> tuple[Gathered, ...]:
        """Return what raters answered, from a file (or folder) that the tool wrote.

        Raises:
            DataError: It cannot be read, or is of another form.
        """


def page_id(rater: str, planned: Planned) -> str:
    """Return what a page is called outside: the id of its text, or that of the attention check."""
    return planned.text or check_id(rater, planned.position)


def check_id(rater: str, position: int) -> str:
    """Return what an attention check is called outside."""
    return f"{CHECK}-{rater}-{position:02d}"


def wording(said: Wording, language: str) -> str:
    """Return a wording in `language`; every questionnaire has all its languages."""
    return said[language].strip()


_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "task": "What the system was asked to do",
        "explanation": "Explanation to rate",
        "counterfactual": "Edited text to rate",
        "answer": "The system's answer",
        "target": "The edit should make it",
        "questions": "Please rate",
        "check": "This page checks that you read it. Please choose:",
        "comment": "Comment (optional)",
        "example": "Example",
        "consent": "Do you want to take part?",
        "agree": "I have read this page and agree",
    },
    "de": {
        "task": "Aufgabe des Systems",
        "explanation": "Zu bewertende Erklärung",
        "counterfactual": "Zu bewertender geänderter Text",
        "answer": "Antwort des Systems",
        "target": "Die Änderung soll bewirken",
        "questions": "Bitte bewerten Sie",
        "check": "Diese Seite prüft, ob Sie sie lesen. Bitte wählen Sie:",
        "comment": "Anmerkung (freiwillig)",
        "example": "Beispiel",
        "consent": "Möchten Sie teilnehmen?",
        "agree": "Ich habe diese Seite gelesen und stimme zu",
    },
}


def dimension_names(questionnaire: Questionnaire) -> list[str]:
    """Return the names of the dimensions.

    Raises:
        StudyError: One is called like something else in the files of an export.
    """
    names = [dimension.name for dimension in questionnaire.dimensions]
    for name in names:
        if name in _TAKEN:
            raise StudyError(f"A dimension called '{name}' cannot be exported.", fix="Rename it in the design.")
    return names


def word(name: str, language: str) -> str:
    """Return a heading in `language`, in English where it is not known."""
    return _WORDS.get(language.partition("-")[0], _WORDS["en"])[name]


def parts(shown: Shown, language: str) -> Iterator[tuple[str, str]]:
    """Yield (heading, text) of everything that raters see of one text, in order."""
    if shown.instruction:
        yield word("task", language), shown.instruction
    yield from shown.fields
    yield word("answer" if shown.kind == "explanation" else "target", language), shown.label
    edited = f": {shown.edited}" if shown.edited else ""
    yield f"{word(shown.kind, language)}{edited}", shown.text


def question_of(dimension: Dimension, kind: Kind, language: str) -> str:
    """Return what is asked of a kind of text; a dimension may have no question for it."""
    return wording(dimension.questions[kind], language) if kind in dimension.questions else ""


def check_text(questionnaire: Questionnaire, expected: Mapping[str, int], language: str) -> str:
    """Return what an attention check asks for."""
    asked = [
        f"{wording(dimension.title, language)}: {expected[dimension.name]}" for dimension in questionnaire.dimensions
    ]
    return f"{word('check', language)} {', '.join(asked)}"


def anchors(questionnaire: Questionnaire, language: str) -> dict[str, list[str]]:
    """Return dimension to the five labels of its scale ("1 – would not rely on it")."""
    return {
        dimension.name: [f"{point} – {wording(anchor, language)}" for point, anchor in enumerate(dimension.anchors, 1)]
        for dimension in questionnaire.dimensions
    }


def html_of(said: str) -> str:
    """Return text as HTML paragraphs, escaped; a blank line parts them."""
    blocks = [block.strip() for block in said.split("\n\n")]
    return "\n".join(f"<p>{escape(block)}</p>".replace("\n", "<br>") for block in blocks if block)


def formatted_html(said: str) -> str:
    """Return a longer text of the questionnaire as HTML, with its headings, lists and bold words."""
    pieces = []
    for block in blocks(said):
        lines = [
            "".join(f"<strong>{escape(text)}</strong>" if bold else escape(text) for text, bold in line)
            for line in block.lines
        ]
        if block.kind == "list":
            pieces.append("\n".join(["<ul>", *(f"<li>{line}</li>" for line in lines), "</ul>"]))
        else:
            tag = "h3" if block.kind == "heading" else "p"
            pieces += [f"<{tag}>{line}</{tag}>" for line in lines]
    return "\n".join(pieces) + "\n"


def plain_lines(said: str) -> list[str]:
    """Return a longer text of the questionnaire as lines for tools that take no HTML; entries of a list get a dot."""
    return [
        ("• " if block.kind == "list" else "") + "".join(text for text, _ in line)
        for block in blocks(said)
        for line in block.lines
    ]


def html_parts(shown: Shown, language: str) -> str:
    """Return a text and what it is about as HTML; all that models wrote is escaped."""
    return "\n".join(f"<h4>{escape(heading)}</h4>\n{html_of(text)}" for heading, text in parts(shown, language))


def instructions_html(questionnaire: Questionnaire, language: str) -> str:
    """Return the instructions and worked examples as a piece of HTML."""
    pieces = [formatted_html(wording(questionnaire.instructions, language))]
    titles = {dimension.name: wording(dimension.title, language) for dimension in questionnaire.dimensions}
    for number, example in enumerate(questionnaire.examples, 1):
        rated = ", ".join(f"{titles[name]}: {point}" for name, point in example.ratings.items())
        pieces += [
            f"<h3>{word('example', language)} {number}</h3>",
            html_parts(example.shown, language),
            f"<p><strong>{escape(rated)}</strong></p>",
            formatted_html(wording(example.why, language)),
        ]
    return "\n".join(pieces) + "\n"


def ordered(blinded: Blinded) -> Iterator[tuple[str, Planned]]:
    """Yield every (rater, page), by rater and position."""
    for rater in sorted(blinded.pages):
        for planned in sorted(blinded.pages[rater], key=lambda page: page.position):
            yield rater, planned


def point(said: object, place: str) -> int:
    """Return the point that an answer names: 4 for "4", "4.0" and "4 – Mostly right".

    Raises:
        DataError: None from 1 to 5.
    """
    found = _POINT.fullmatch(str(said))
    if found is None:
        raise DataError(f"{place}: '{said}' is no rating.", fix="Ratings are whole numbers from 1 to 5.")
    return int(found[1])


def duration(said: object, place: str) -> float:
    """Return the seconds that a page took; 0 where nothing is said.

    Raises:
        DataError: No number, or none that time can be.
    """
    try:
        seconds = float(str(said or 0))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise DataError(f"{place}: '{said}' is no number of seconds.", fix="Remove it, or correct it.")
    return seconds


def read_json(file: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: It cannot be read, or is something else.
    """
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise DataError(f"{file}, line {error.lineno}: not JSON ({error.msg}).", fix="Export it again.") from error


def read_text(file: Path) -> str:
    """Return the content of a UTF-8 file, without a byte order mark.

    Raises:
        DataError: It cannot be read, or is in another encoding.
    """
    try:
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text.", fix="Save it as UTF-8.") from error
