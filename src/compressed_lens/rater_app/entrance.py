"""Who asks: personal links, links for recruitment platforms, sessions, and forms that are proven to be ours."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from compressed_lens.human.store import HumanStore, Rater, Step
from compressed_lens.rater_app.forms import Form, read_fields, read_form
from compressed_lens.rater_app.guard import Address
from compressed_lens.rater_app.limits import Limit
from compressed_lens.rater_app.refusals import Moved, Refused, preferred
from compressed_lens.rater_app.sessions import Sessions, Visit

WRONG_A_MINUTE = 20
PAGES_A_MINUTE = 120

_TOKEN = re.compile("[a-z2-7]{26}")
_CODE = re.compile("[A-Za-z0-9_-]{1,64}")


class Entrance:
    """Lets raters in, and knows them again.

    Args:
        store: The database.
        address: Where the server is asked.
        tell: Notes what was refused.
    """

    def __init__(self, store: HumanStore, *, address: Address, tell: Callable[[str, str], None]) -> None:
        self._store = store
        self._address = address
        self._tell = tell
        self._languages = store.questionnaire.languages
        self._hours = store.questionnaire.session_hours
        self._sessions = Sessions(store, secure=address.secure)
        self._wrong = Limit(WRONG_A_MINUTE)
        self._often = Limit(PAGES_A_MINUTE)
        self.secret = self._sessions.secret
        self.keep = self._sessions.keep
        self.leave = self._sessions.leave

    def link(self, request: Request, token: str) -> Response:
        """Open a session for the holder of a personal link, and take the token out of the address bar."""
        self._may_try(request)
        rater = self._store.rater_of_link(token) if _TOKEN.fullmatch(token) else None
        if rater is None:
            raise self._not_valid(request)
        return self._enter(request, rater, token)

    def join(self, request: Request, token: str) -> Response:
        """Give who comes from a recruitment platform a place: the same one for the same code."""
        self._may_try(request)
        codes = [value for name, value in request.query_params.multi_items() if name in {"PROLIFIC_PID", "code"}]
        if len(codes) != 1 or not _CODE.fullmatch(codes[0]):
            raise self._not_valid(request, 400, "a code that is missing or malformed")
        try:
            if not _TOKEN.fullmatch(token):
                raise KeyError(token)
            found = self._store.join(token, codes[0])
        except KeyError:
            raise self._not_valid(request) from None
        if found is None:
            raise Refused("full", 403)
        return self._enter(request, *found)

    def visit(self, request: Request) -> Visit:
        """Return whose request it is, in the language that the request may ask for."""
        visit = self._sessions.visit(request)
        if visit is None:
            known = self._sessions.secret(request)
            what = "a form without a session" if request.method == "POST" else ""
            raise Refused("session-ended" if known or what else "link-needed", 403, what)
        if not self._often.take(visit.secret):
            raise Refused("too-many", 429, "too many pages", rater=visit.rater.id, language=visit.rater.language)
        language = request.query_params.get("lang", "")
        if language and request.method != "POST":
            if language in self._languages:
                self._store.set_language(visit.rater.id, language)
            raise Moved(request.url.path)
        return visit

    def at(self, request: Request, *steps: Step) -> Visit:
        """Return whose request it is; who is at another step is led there."""
        visit = self.visit(request)
        if visit.rater.step not in steps:
            raise Moved(self.address_of(visit.rater))
        return visit

    def sent(self, request: Request, purpose: str, *steps: Step) -> tuple[Visit, Mapping[str, str], Form | None]:
        """Return whose form it is, its fields, and the form itself if a page of ours gave it to this session.

        A form with the field `lang` asks for the same page in another language: nothing chosen on it is lost.

        Args:
            request: A POST.
            purpose: What the form must be for.
            steps: Steps at which it means anything; none: any.
        """
        visit = self.visit(request)
        fields = read_fields(request.state.body)
        form = read_form(fields.get("form", ""), visit.secret, purpose, now=time.time(), hours=self._hours)
        if form is None:
            self._tell("a form that is not ours, or too old", visit.rater.id)
        if steps and visit.rater.step not in steps:
            raise Moved(self.address_of(visit.rater))
        language = fields.get("lang", "")
        if language in self._languages:
            self._store.set_language(visit.rater.id, language)
            visit = replace(visit, rater=replace(visit.rater, language=language))
        return visit, fields, form

    def address_of(self, rater: Rater) -> str:
        """Return the address of a rater's step."""
        if rater.step == "rating":
            return f"/rate/{self._store.first_unanswered(rater.id) or rater.pages}"
        return f"/{rater.step}"

    def base(self, request: Request) -> str:
        """Return what our addresses begin with, for who asks."""
        return self._address.origin(request.headers["host"])

    def _visitor(self, request: Request) -> str:
        return self._address.visitor(request.scope)

    def _may_try(self, request: Request) -> None:
        """Hold up who gave too many wrong links, whether this one is right or not."""
        if not self._wrong.is_open(self._visitor(request)):
            raise Refused("too-many", 429, "too many wrong links")

    def _not_valid(self, request: Request, status: int = 404, what: str = "a link that is not valid") -> Refused:
        self._wrong.take(self._visitor(request))
        return Refused("link-unknown", status, what)

    def _enter(self, request: Request, rater: Rater, token: str) -> Response:
        language = preferred(request, self._languages)
        if rater.step == "consent" and language != rater.language:
            self._store.set_language(rater.id, language)
        response = RedirectResponse("/", status_code=303)
        self._sessions.enter(request, response, rater, token)
        return response
