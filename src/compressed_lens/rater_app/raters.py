"""The addresses of raters: from consent through the ratings to the end, in whatever order they are asked for."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from compressed_lens.human.design import POINTS
from compressed_lens.human.rows import ANSWERING
from compressed_lens.human.store import HumanStore, Page, Step
from compressed_lens.rater_app.entrance import Entrance
from compressed_lens.rater_app.forms import choice, new_form, words
from compressed_lens.rater_app.pages import Frame, Pages
from compressed_lens.rater_app.refusals import Moved, Refused, preferred
from compressed_lens.rater_app.sessions import Visit

Endpoint = Callable[..., Response]

_POSITION = re.compile("[1-9][0-9]{0,3}")
_REMEMBERED = 1000


class Raters:
    """Answers the requests of raters.

    What is asked for decides nothing: a rater sees the page of the own step or an earlier one that is still open. A
    POST moves from its own step only, so any of them may come twice or late.

    Args:
        store: The database.
        pages: Renders.
        door: Knows who asks.

    Attributes:
        read: Endpoints of GET, by path.
        write: Endpoints of POST, by path.
    """

    def __init__(self, store: HumanStore, pages: Pages, door: Entrance) -> None:
        self._store = store
        self._pages = pages
        self._door = door
        self._questions = store.questionnaire
        self._withdrew: deque[str] = deque(maxlen=_REMEMBERED)
        self.read: Mapping[str, Endpoint] = {
            "/": self.home,
            "/r/{token}": door.link,
            "/join/{token}": door.join,
            "/consent": self.consent,
            "/instructions": self.instructions,
            "/comprehension": self.comprehension,
            "/rate/{position}": self.rate,
            "/pause": self.pause,
            "/comments": self.comments,
            "/done": self.done,
            "/declined": self.declined,
            "/excluded": self.excluded,
            "/withdraw": self.withdraw,
            "/withdrawn": self.withdrawn,
        }
        self.write: Mapping[str, Endpoint] = {
            "/consent": self.consented,
            "/instructions": self.instructed,
            "/comprehension": self.understood,
            "/rate/{position}": self.rated,
            "/comments": self.finished,
            "/withdraw": self.withdraws,
        }

    def home(self, request: Request) -> Response:
        """Lead a rater to the page that comes next."""
        return to(self._door.address_of(self._door.visit(request).rater))

    # The way through

    def consent(self, request: Request) -> Response:
        """Ask for consent."""
        return self._page(self._door.at(request, "consent"), self._pages.consent, "/consent")

    def consented(self, request: Request) -> Response:
        """Note the answer to the consent page."""
        visit, fields, form = self._door.sent(request, "/consent", "consent")
        answer = fields.get("answer")
        if form is None or answer not in {"agree", "decline"}:
            return self._page(visit, self._pages.consent, "/consent", again=form is None, status=422)
        self._store.move(visit.rater.id, step="consent", to="instructions" if answer == "agree" else "declined")
        return self._onward(visit)

    def instructions(self, request: Request) -> Response:
        """Show the instructions, later on without the form."""
        visit = self._door.at(request, "instructions", "comprehension", *ANSWERING)
        purpose = "/instructions" if visit.rater.step == "instructions" else ""
        return self._page(visit, self._pages.instructions, purpose)

    def instructed(self, request: Request) -> Response:
        """Move on from the instructions."""
        visit, _, form = self._door.sent(request, "/instructions", "instructions")
        if form is None:
            return self._page(visit, self._pages.instructions, "/instructions", again=True)
        following: Step = "comprehension" if self._questions.comprehension else "rating"
        self._store.move(visit.rater.id, step="instructions", to=following)
        return self._onward(visit)

    def comprehension(self, request: Request) -> Response:
        """Ask the questions about the instructions."""
        return self._quiz(self._door.at(request, "comprehension"), {}, ())

    def understood(self, request: Request) -> Response:
        """Judge the answers to the questions about the instructions; each form is one attempt."""
        visit, fields, form = self._door.sent(request, "/comprehension", "comprehension")
        questions = self._questions.comprehension
        given = [choice(fields.get(f"q{n}"), len(one.options), first=0) for n, one in enumerate(questions)]
        chosen = {n: option for n, option in enumerate(given) if option is not None}
        if form is None or "lang" in fields:
            return self._quiz(visit, chosen, (), again=form is None)
        lacking = [n for n, option in enumerate(given) if option is None]
        if lacking:
            return self._quiz(visit, chosen, lacking, status=422)
        wrong = [n for n, one in enumerate(questions) if chosen[n] != one.correct]
        if self._store.attempt(visit.rater.id, passed=not wrong, attempts=form.attempts) != "comprehension":
            return self._onward(visit)
        return self._quiz(replace(visit, rater=self._store.rater(visit.rater.id)), chosen, wrong, status=422)

    def rate(self, request: Request, position: str) -> Response:
        """Show a page, or the first unanswered one to who asks for a later one."""
        visit = self._door.at(request, *ANSWERING)
        page = self._asked(visit, position)
        return self._rating(visit, page, page.values, page.comment)

    def rated(self, request: Request, position: str) -> Response:
        """Save the answer to a page."""
        visit, fields, form = self._door.sent(request, f"/rate/{position}", *ANSWERING)
        page = self._asked(visit, position)
        names = [dimension.name for dimension in self._questions.dimensions]
        given = {name: choice(fields.get(f"r-{name}"), len(POINTS), first=POINTS[0]) for name in names}
        chosen = {name: point for name, point in given.items() if point is not None}
        comment = words(fields.get("comment", "")) if self._questions.comments else ""
        if form is None:
            return self._rating(visit, page, chosen, comment, again=True)
        if "lang" in fields:
            return self._rating(visit, page, chosen, comment, since=form.issued)
        missing = [name for name in names if name not in chosen]
        if missing:
            return self._rating(visit, page, chosen, comment, missing=missing, since=form.issued, status=422)
        seconds = max(0.0, time.time() - form.issued)
        saved = self._store.save(
            visit.rater.id, page.position, values=chosen, comment=comment, seconds=seconds, form=form.id
        )
        if saved == "conflict":
            if self._store.rater(visit.rater.id).step not in ANSWERING:
                return self._onward(visit)
            page = self._store.page(visit.rater.id, page.position)
            return self._rating(visit, page, chosen, comment, conflict=True, status=409)
        return to(f"/rate/{page.position + 1}") if page.position < visit.rater.pages else self._onward(visit)

    def pause(self, request: Request) -> Response:
        """Show how to come back."""
        visit = self._door.visit(request)
        link = f"{self._door.base(request)}/r/{visit.token}" if visit.token else ""
        return self._page(visit, self._pages.pause, link=link)

    def comments(self, request: Request) -> Response:
        """Ask for comments at the end."""
        return self._page(self._door.at(request, "comments"), self._pages.comments, "/comments")

    def finished(self, request: Request) -> Response:
        """End the study for a rater who has answered every page."""
        visit, fields, form = self._door.sent(request, "/comments", "comments")
        comment = words(fields.get("comment", ""))
        if form is None or "lang" in fields:
            render = partial(self._pages.comments, comment=comment)
            return self._page(visit, render, "/comments", again=form is None)
        self._store.finish(visit.rater.id, comment=comment, form=form.id)
        return self._onward(visit)

    # Ends

    def done(self, request: Request) -> Response:
        """Show the end."""
        return self._page(self._door.at(request, "done"), self._pages.done)

    def declined(self, request: Request) -> Response:
        """Take leave of who did not agree."""
        return self._page(self._door.at(request, "declined"), self._pages.declined)

    def excluded(self, request: Request) -> Response:
        """Take leave of who failed the comprehension check."""
        return self._page(self._door.at(request, "excluded"), self._pages.excluded)

    def withdraw(self, request: Request) -> Response:
        """Ask whether to delete all that a rater gave."""
        return self._page(self._door.visit(request), self._pages.withdraw, "/withdraw")

    def withdraws(self, request: Request) -> Response:
        """Delete all that a rater gave."""
        if self._door.secret(request) in self._withdrew:
            return self._gone(preferred(request, self._questions.languages))
        visit, fields, form = self._door.sent(request, "/withdraw")
        if form is None or fields.get("answer") != "yes":
            return self._page(visit, self._pages.withdraw, "/withdraw", again=form is None, status=422)
        self._store.withdraw(visit.rater.id)
        self._withdrew.append(visit.secret)
        return self._gone(visit.rater.language)

    def withdrawn(self, request: Request) -> Response:
        """Take leave of who withdrew; there is no session any more."""
        return HTMLResponse(self._pages.withdrawn(Frame(language=preferred(request, self._questions.languages))))

    # What they get

    def _page(
        self,
        visit: Visit,
        render: Callable[[Frame], str],
        purpose: str = "",
        *,
        link: str = "",
        since: float | None = None,
        again: bool = False,
        status: int = 200,
    ) -> Response:
        """Return a page, and put off the end of the cookies.

        Args:
            visit: Whose.
            render: Renders it.
            purpose: What its form is for; "" for a page without one.
            link: Personal link to show.
            since: When the rater first saw the page, in seconds since 1970; None: now. Its form tells the time it took.
            again: Whether the form that was sent is not ours or too old: the page says so, and has a new one.
            status: Status of the answer where it is not `again`.
        """
        rater = visit.rater
        now = time.time() if since is None else since
        form = new_form(visit.secret, purpose, now=now, attempts=rater.attempts) if purpose else ""
        alert = "form-old" if again else ""
        counts = (rater.answered, rater.pages) if rater.step in ANSWERING else (0, 0)
        frame = Frame(language=rater.language, form=form, link=link, answered=counts[0], pages=counts[1], alert=alert)
        response = HTMLResponse(render(frame), 403 if again else status)
        self._door.keep(response, visit)
        return response

    def _rating(
        self,
        visit: Visit,
        page: Page,
        chosen: Mapping[str, int],
        comment: str,
        *,
        missing: Collection[str] = (),
        conflict: bool = False,
        since: float | None = None,
        again: bool = False,
        status: int = 200,
    ) -> Response:
        def render(frame: Frame) -> str:
            return self._pages.rate(frame, page, chosen=chosen, comment=comment, missing=missing, conflict=conflict)

        return self._page(visit, render, f"/rate/{page.position}", since=since, again=again, status=status)

    def _quiz(
        self, visit: Visit, chosen: Mapping[int, int], wrong: Collection[int], *, again: bool = False, status: int = 200
    ) -> Response:
        left = self._questions.comprehension_attempts - visit.rater.attempts

        def render(frame: Frame) -> str:
            return self._pages.comprehension(frame, chosen=chosen, wrong=wrong, left=left)

        return self._page(visit, render, "/comprehension", again=again, status=status)

    def _asked(self, visit: Visit, position: str) -> Page:
        if not _POSITION.fullmatch(position):
            raise Refused("not-found", 404, "an unknown address", language=visit.rater.language)
        try:
            return self._store.page(visit.rater.id, int(position))
        except KeyError:
            raise Moved(self._door.address_of(visit.rater)) from None

    def _onward(self, visit: Visit) -> Response:
        """Lead a rater to the step that is now the own one."""
        return to(self._door.address_of(self._store.rater(visit.rater.id)))

    def _gone(self, language: str) -> Response:
        response = to(f"/withdrawn?lang={language}")
        self._door.leave(response)
        return response


def to(address: str) -> Response:
    """Return the answer that leads to another address of ours."""
    return RedirectResponse(address, status_code=303)
