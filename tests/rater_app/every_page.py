"""Every page of the rater app in every state that looks different, as (name, HTML)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from compressed_lens.human.design import KINDS, Questionnaire, Shown
from compressed_lens.human.reading import default_design
from compressed_lens.human.rows import Page, Rater
from compressed_lens.rater_app.pages import Frame, Pages
from compressed_lens.rater_app.progress import Agreement, CellProgress, Progress, RaterProgress
from compressed_lens.statistics.interval import Interval

GOOD = {"trustworthiness": 4, "coherence": 5}
OTHER = {"trustworthiness": 2, "coherence": 5}
LINK = "http://localhost:8378/r/abcdefghijklmnopqrstuvwxyz"
MESSAGES = (
    "link-unknown", "link-needed", "session-ended", "too-many", "not-found", "full", "form-refused", "too-large",
    "trouble",
)  # fmt: skip


@cache
def questionnaire() -> Questionnaire:
    """The default one, with everything a study may add."""
    more = {
        "contact": "study@example.org",
        "completion_code": "C1A2B3C4",
        "completion_url": "https://app.example.org/done?cc=C1A2B3C4&x=1",
    }
    return default_design().questionnaire.model_copy(update=more)


def page(
    shown: Shown | None,
    *,
    position: int = 5,
    values: Mapping[str, int] | None = None,
    expected: Mapping[str, int] | None = None,
    comment: str = "",
) -> Page:
    return Page(
        position=position, shown=shown, expected=expected, values=values or {}, comment=comment, revisions=0
    )  # fmt: skip


def every_page(pages: Pages, language: str, texts: tuple[Shown, ...]) -> Iterator[tuple[str, str]]:
    """Render everything; each text gives a rating page."""
    start = Frame(language=language, form="form")
    frame = Frame(language=language, form="form", link=LINK, answered=4, pages=16)
    alert = Frame(language=language, form="form", answered=4, pages=16, alert="form-old")
    last = Frame(language=language, form="form", answered=16, pages=16)

    def rate(asked: Page, **more: object) -> str:
        given = {"chosen": {}, "comment": "", "missing": (), "conflict": False, **more}
        return pages.rate(frame, asked, **given)  # type: ignore[arg-type]

    yield "consent", pages.consent(start)
    yield "instructions", pages.instructions(start)
    yield "instructions-again", pages.instructions(Frame(language=language, answered=4, pages=16))
    yield "comprehension", pages.comprehension(start, chosen={}, wrong=(), left=2)
    yield "comprehension-wrong", pages.comprehension(start, chosen={0: 0, 1: 2}, wrong=(0, 2), left=1)
    for n, shown in enumerate(texts):
        yield f"rate-{n}-{shown.kind}", rate(page(shown))
        yield f"conflict-{n}", rate(page(shown, values=GOOD), chosen=OTHER, comment="two\nlines", conflict=True)
    yield "rate-first", rate(page(texts[0], position=1))
    yield "rate-again", rate(page(texts[0], values=GOOD, comment="so"), chosen=GOOD, comment="so")
    yield "rate-missing", rate(page(texts[0]), chosen={"trustworthiness": 4}, missing=("coherence",))
    yield "rate-check", rate(page(None, expected={"trustworthiness": 4, "coherence": 2}))
    yield "rate-old", pages.rate(alert, page(texts[0]), chosen=GOOD, comment="", missing=(), conflict=False)
    yield "pause", pages.pause(frame)
    yield "pause-without-link", pages.pause(Frame(language=language))
    yield "comments", pages.comments(last)
    yield "done", pages.done(Frame(language=language))
    yield "declined", pages.declined(start)
    yield "excluded", pages.excluded(start)
    yield "withdraw", pages.withdraw(frame)
    yield "withdrawn", pages.withdrawn(start)
    for key in MESSAGES:
        yield f"message-{key}", pages.message(start, key, status=403)
    yield "admin-login", pages.admin_login(Frame(language=language, form="form", alert="token-wrong"))
    yield "admin-empty", pages.admin(start, Progress(raters=(), cells=(), agreement=(), incidents=()))
    yield "admin", pages.admin(start, progress())


def progress() -> Progress:
    """A study in its middle; texts that a stranger may have a hand in are hostile."""
    raters = tuple(
        RaterProgress(
            rater=Rater(
                id=f"R{n:02}",
                step=("consent", "comprehension", "rating", "comments", "done", "excluded")[n % 6],
                language="en",
                attempts=1,
                answered=n,
                pages=16,
                code="<b>5f</b>",
                comment="",
                opened=None if n == 6 else 1.0,
                consented=None,
                finished=None,
            ),
            checks=n % 2,
            failed=int(n == 3),
            seconds=None if n == 6 else 31.4,
        )
        for n in range(1, 7)
    )
    alpha = Interval(
        estimate=-0.0125, low=-0.2, high=0.7, n=90, dropped=0, units=30, confidence=0.95, method="studentized"
    )  # fmt: skip
    return Progress(
        raters=raters,
        cells=tuple(CellProgress(cell=f"C{n:02}", kind=KINDS[n % 2], ratings=n, wanted=30) for n in range(1, 5)),
        agreement=tuple(
            Agreement(kind=kind, dimension=name, texts=9, alpha=alpha if kind == "explanation" else None)
            for kind in KINDS
            for name in GOOD
        ),
        incidents=((1.79e9, "form-refused", "/rate/<script>\u202e"), (1.78e9, "link-unknown", "")),
        new_link=("R02", LINK),
    )
