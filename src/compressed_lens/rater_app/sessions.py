"""Sessions of raters: two cookies, of which the server knows digests at most."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from compressed_lens.human.store import HumanStore, Rater
from compressed_lens.rater_app.forms import mac

_MOST_SECRET = 100


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A request of a rater.

    Attributes:
        rater: Who.
        secret: Secret of the session.
        token: Token of the personal link that opened the session; "" where the browser dropped it.
    """

    rater: Rater
    secret: str
    token: str


class Sessions:
    """Opens, recognises and ends sessions.

    A session's secret is always made here: one that a browser brings along is used if it is known, else ignored. The
    second cookie keeps the token of the personal link, for the page that shows it, with a code of the session, so that
    nobody can slip in another one.

    Args:
        store: Keeps the digests.
        secure: Whether raters come through https; then the cookies are bound to it and to this very host.
    """

    def __init__(self, store: HumanStore, *, secure: bool) -> None:
        self._store = store
        self._secure = secure
        prefix = "__Host-" if secure else ""
        self._session, self._link = f"{prefix}clens_rater", f"{prefix}clens_link"

    def secret(self, request: Request) -> str:
        """Return the secret a browser brings along, whatever it is worth; "" without one."""
        secret = request.cookies.get(self._session, "")
        return secret if len(secret) <= _MOST_SECRET else ""

    def visit(self, request: Request) -> Visit | None:
        """Return whose session a request is of; None where there is none, or no longer."""
        secret = self.secret(request)
        rater = self._store.rater_of_session(secret) if secret else None
        if rater is None:
            return None
        token, _, code = request.cookies.get(self._link, "").partition(".")
        ours = hmac.compare_digest(code.encode(), mac(secret, "link", token).encode())
        return Visit(rater=rater, secret=secret, token=token if ours else "")

    def enter(self, request: Request, response: Response, rater: Rater, token: str) -> None:
        """Open a session for the holder of a personal link; one of the same rater goes on."""
        known = self.visit(request)
        secret = known.secret if known and known.rater.id == rater.id else self._store.open_session(rater.id)
        self.keep(response, Visit(rater=rater, secret=secret, token=token))

    def keep(self, response: Response, visit: Visit) -> None:
        """Give the cookies, which end with the session: each page puts off both."""
        cookies = {self._session: visit.secret}
        if visit.token:
            cookies[self._link] = f"{visit.token}.{mac(visit.secret, 'link', visit.token)}"
        for name, value in cookies.items():
            response.set_cookie(
                name,
                value,
                max_age=int(self._store.questionnaire.session_hours * 3600),
                path="/",
                secure=self._secure,
                httponly=True,
                samesite="lax",
            )

    def leave(self, response: Response) -> None:
        """Take the cookies away."""
        for name in (self._session, self._link):
            response.delete_cookie(name, path="/", secure=self._secure, httponly=True, samesite="lax")
