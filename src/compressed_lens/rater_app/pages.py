"""The pages of the rater app: everything that raters and the admin see, in every language, without any script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from compressed_lens.human.design import POINTS, Dimension, Questionnaire, Shown, Wording
from compressed_lens.human.prose import blocks
from compressed_lens.rater_app.changes import changes
from compressed_lens.rater_app.forms import MOST_COMMENT
from compressed_lens.rater_app.languages import Locale, locale
from compressed_lens.report.rendering import environment

if TYPE_CHECKING:
    from compressed_lens.human.store import Page
    from compressed_lens.rater_app.progress import Progress

TEMPLATES = Path(__file__).parent / "templates"
_TRY_AGAIN = {"too-many", "form-refused", "trouble"}
_PLAIN = {
    "links": False,
    "over": False,
    "admin": False,
    "answers": False,
    "problems": None,
    "position": None,
    "status": None,
}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a page needs beside its content.

    Attributes:
        language: One of the questionnaire's; any other counts as its first.
        form: Hidden field of the page's form; a page to be read only has none.
        link: The rater's personal link, for the page Pause.
        answered: Pages answered so far.
        pages: Pages of the rater; 0 shows no progress.
        alert: Key of a message (locale, `alerts`) shown at the top.
    """

    language: str
    form: str = ""
    link: str = ""
    answered: int = 0
    pages: int = 0
    alert: str = ""


class Pages:
    """Renders the pages of one questionnaire; safe to share between threads.

    Args:
        questionnaire: What raters read.

    Attributes:
        policy: Content-Security-Policy of every page: its one style sheet and forms to ourselves, nothing else.

    Raises:
        StudyError: The questionnaire has a language that the interface has not.
    """

    def __init__(self, questionnaire: Questionnaire) -> None:
        self._questionnaire = questionnaire
        self._locales = {language: locale(language) for language in questionnaire.languages}
        style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self.policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; "
            "frame-ancestors 'none'"
        )
        self._environment = environment(TEMPLATES)
        self._environment.globals.update(
            q=questionnaire,
            names={language: one("name") for language, one in self._locales.items()},
            style=Markup(style),  # noqa: S704 (our own file)
            points=POINTS,
            blocks=blocks,
            changes=changes,
            original=_original,
            time=_time,
            longest_comment=MOST_COMMENT,
        )

    def consent(self, frame: Frame) -> str:
        """Return the page that asks for consent: POST /consent with answer=agree or decline."""
        return self._page("consent", frame, "consent.title")

    def instructions(self, frame: Frame) -> str:
        """Return the instructions with the worked examples: POST /instructions, or only to read without a form."""
        return self._page("instructions", frame, "instructions.title", links=True)

    def comprehension(self, frame: Frame, *, chosen: Mapping[int, int], wrong: Collection[int], left: int) -> str:
        """Return the questions about the instructions: POST /comprehension with q0, q1, ... each an option from 0.

        Args:
            frame: The frame.
            chosen: Options chosen before, by question.
            wrong: Questions answered wrongly or not at all; each says why.
            left: Attempts that are left.
        """
        questions = {f"q{n}-0": self._questionnaire.comprehension[n].text for n in sorted(wrong)}
        fields = {field: self._words(frame, text) for field, text in questions.items()}
        return self._page(
            "comprehension",
            frame,
            "comprehension.title",
            links=True,
            answers=True,
            problems=self._problems(frame, "comprehension.summary", fields),
            chosen=chosen,
            wrong=wrong,
            left=left,
        )

    def rate(
        self,
        frame: Frame,
        page: Page,
        *,
        chosen: Mapping[str, int],
        comment: str,
        missing: Collection[str],
        conflict: bool,
    ) -> str:
        """Return a page with a text, or an attention check: POST /rate/{position} with r-NAME for each dimension.

        Args:
            frame: The frame.
            page: The page, with what is saved.
            chosen: Points to show as chosen, by dimension.
            comment: Comment to show.
            missing: Dimensions that were sent without a point.
            conflict: Whether the page asks which of two ratings counts: the saved one or `chosen`.
        """
        title = "conflict.title" if conflict else f"rate.{page.shown.kind if page.shown else 'check'}"
        fields = {
            f"r-{one.name}-{POINTS[0]}": self._locale(frame)("rate.missing", title=self._words(frame, one.title))
            for one in self._questionnaire.dimensions
            if one.name in missing
        }
        return self._page(
            "conflict" if conflict else "rate",
            frame,
            title,
            links=True,
            answers=True,
            problems=self._problems(frame, "rate.summary", fields),
            page=page,
            position=page.position,
            chosen=chosen,
            comment=comment,
            missing=missing,
        )

    def pause(self, frame: Frame) -> str:
        """Return the page that tells how to come back, with the personal link."""
        hours = self._questionnaire.session_hours
        return self._page("pause", frame, "pause.title", links=True, hours=int(hours) if hours == int(hours) else hours)

    def comments(self, frame: Frame, *, comment: str = "") -> str:
        """Return the last page before the end: POST /comments with comment, which may be there already."""
        return self._page("comments", frame, "comments.title", links=True, answers=True, comment=comment)

    def done(self, frame: Frame) -> str:
        """Return the end, with the completion code and link where the study has them."""
        return self._page("done", frame, "done.title", over=True)

    def declined(self, frame: Frame) -> str:
        """Return the page for who did not agree."""
        return self._page("notice", frame, "declined.title", text="declined.about", again=False)

    def excluded(self, frame: Frame) -> str:
        """Return the page for who failed the comprehension check."""
        return self._page("notice", frame, "excluded.title", text="excluded.about", again=False, over=True)

    def withdraw(self, frame: Frame) -> str:
        """Return the page that asks whether all is to be deleted: POST /withdraw with answer=yes."""
        return self._page("withdraw", frame, "withdraw.title", links=True)

    def withdrawn(self, frame: Frame) -> str:
        """Return the page after a withdrawal."""
        return self._page("notice", frame, "withdrawn.title", text="withdrawn.about", again=False)

    def message(self, frame: Frame, key: str, *, status: int) -> str:
        """Return a page that says what is in the way (`messages` of the locale), with its HTTP status.

        Raises:
            KeyError: There is no such message.
        """
        again = key in _TRY_AGAIN
        return self._page(
            "notice", frame, f"messages.{key}.title", text=f"messages.{key}.text", status=status, again=again
        )

    def admin_login(self, frame: Frame) -> str:
        """Return the page that asks for the admin token: POST /admin/login with token."""
        return self._page("admin_login", frame, "admin.login", admin=True)

    def admin(self, frame: Frame, progress: Progress) -> str:
        """Return the admin page: POST /admin/withdraw, /admin/link with rater, /admin/logout; GET ratings.csv."""
        titles = {one.name: one.title for one in self._questionnaire.dimensions}
        return self._page("admin", frame, "admin.title", admin=True, progress=progress, titles=titles)

    def _page(self, template: str, frame: Frame, title: str, **context: Any) -> str:
        """Render a template; pages that do not say so have no links of a rater, no `answers` to lose, no problems."""
        t = self._locale(frame)

        def w(wording: Wording) -> str:
            return self._words(frame, wording)

        def anchor(dimension: Dimension, point: int) -> str:
            return w(dimension.anchors[point - POINTS[0]])

        return self._environment.get_template(f"{template}.html.j2").render(
            {**_PLAIN, **context}, frame=frame, language=self._language(frame), t=t, w=w, anchor=anchor, title=t(title)
        )

    def _language(self, frame: Frame) -> str:
        return frame.language if frame.language in self._locales else self._questionnaire.languages[0]

    def _locale(self, frame: Frame) -> Locale:
        return self._locales[self._language(frame)]

    def _words(self, frame: Frame, wording: Wording) -> str:
        return wording[self._language(frame)]

    def _problems(self, frame: Frame, key: str, fields: Mapping[str, str]) -> _Problems | None:
        """Return what is said above a form that was not complete or not right; None where all is well."""
        if not fields:
            return None
        return _Problems(heading=self._locale(frame)(key, count=len(fields)), fields=fields)


@dataclass(frozen=True, kw_only=True)
class _Problems:
    """What is wrong with a form: a heading, and a line for each field by the id of its first choice."""

    heading: str
    fields: Mapping[str, str]


def _original(shown: Shown) -> str:
    """Return the text of the field that was edited, "" if the item has none of that name."""
    return dict(shown.fields).get(shown.edited, "")


def _time(seconds: float) -> str:
    """Write a moment in UTC, to the minute."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M")
