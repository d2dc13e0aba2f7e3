"""The addresses of the person who runs the study, behind a token; blind as the raters are."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from threading import Lock

from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from compressed_lens.human.exchange.ratings import csv_of, long_ratings
from compressed_lens.human.store import HumanStore
from compressed_lens.rater_app.entrance import WRONG_A_MINUTE
from compressed_lens.rater_app.forms import Form, new_form, read_fields, read_form
from compressed_lens.rater_app.guard import Address
from compressed_lens.rater_app.limits import Limit
from compressed_lens.rater_app.pages import Frame, Pages
from compressed_lens.rater_app.progress import progress
from compressed_lens.rater_app.raters import Endpoint, to
from compressed_lens.rater_app.refusals import Moved, Refused, preferred

HOURS = 12.0

_LOGIN = "/admin/login"


class Admin:
    """Answers the requests of the admin.

    The cookie is a form of our own making (nonce, time and code), with the token as the secret; it is good for twelve
    hours with every server of the study that has the same token, until the admin leaves.

    Args:
        store: The database.
        pages: Renders.
        address: Where the server is asked.
        token: What opens the page.
        tell: Notes what was refused or done.

    Attributes:
        read: Endpoints of GET, by path.
        write: Endpoints of POST, by path.
    """

    def __init__(
        self, store: HumanStore, pages: Pages, *, address: Address, token: str, tell: Callable[[str, str], None]
    ) -> None:
        self._store = store
        self._pages = pages
        self._address = address
        self._token = token
        self._tell = tell
        self._wrong = Limit(WRONG_A_MINUTE)
        self._over: dict[str, float] = {}
        self._lock = Lock()
        self._cookie = "__Secure-clens_admin" if address.secure else "clens_admin"
        self.read: Mapping[str, Endpoint] = {
            "/admin": self.page,
            _LOGIN: self.ask,
            "/admin/ratings.csv": self.ratings,
            "/admin/link": self.back,
            "/admin/withdraw": self.back,
        }
        self.write: Mapping[str, Endpoint] = {
            _LOGIN: self.login,
            "/admin/logout": self.logout,
            "/admin/link": self.link,
            "/admin/withdraw": self.withdraw,
        }

    def page(self, request: Request) -> Response:
        """Show how far the study is."""
        return self._show(request, self._known(request))

    def ask(self, request: Request) -> Response:
        """Ask for the token."""
        return HTMLResponse(self._pages.admin_login(Frame(language=self._language(request))))

    def back(self, request: Request) -> Response:
        """Lead from where a form was sent to, as the links to other languages do, to the page itself."""
        return to(f"/admin?lang={self._language(request)}")

    def login(self, request: Request) -> Response:
        """Open a session for who knows the token."""
        visitor = self._address.visitor(request.scope)
        if not self._wrong.is_open(visitor):
            raise Refused("too-many", 429, "too many wrong admin tokens")
        given = read_fields(request.state.body).get("token", "").strip()
        # Digests have one length, so that the comparison tells nothing about the token's.
        if not hmac.compare_digest(sha256(given.encode()).digest(), sha256(self._token.encode()).digest()):
            self._wrong.take(visitor)
            self._tell("a wrong admin token", "")
            frame = Frame(language=self._language(request), alert="token-wrong")
            return HTMLResponse(self._pages.admin_login(frame), 403)
        response = to("/admin")
        response.set_cookie(
            self._cookie,
            new_form(self._token, "admin session", now=time.time()),
            max_age=int(HOURS * 3600),
            path="/admin",
            secure=self._address.secure,
            httponly=True,
            samesite="strict",
        )
        return response

    def logout(self, request: Request) -> Response:
        """End the session."""
        session, _ = self._sent(request)
        self._end(session)
        response = to(_LOGIN)
        response.delete_cookie(
            self._cookie, path="/admin", secure=self._address.secure, httponly=True, samesite="strict"
        )
        return response

    def ratings(self, request: Request) -> Response:
        """Send every rating, blind, as the table that `clens human export` writes."""
        self._known(request)
        table = csv_of(long_ratings(self._store.ratings()))
        headers = {"content-disposition": 'attachment; filename="ratings.csv"'}
        return Response(table, media_type="text/csv; charset=utf-8", headers=headers)

    def link(self, request: Request) -> Response:
        """Make a new personal link and show it, once; the rater's old link and sessions end."""
        session, rater = self._sent(request)
        made = self._store.new_links([self._rater(rater)])
        self._tell("a new link was made", rater)
        return self._show(request, session, new_link=(rater, f"{self._base(request)}/r/{made[rater]}"))

    def withdraw(self, request: Request) -> Response:
        """Delete all that a rater gave."""
        session, rater = self._sent(request)
        self._store.withdraw(self._rater(rater))
        return self._show(request, session, alert="rater-withdrawn")

    def _known(self, request: Request) -> Form:
        """Return the admin's session; who has none is asked for the token."""
        given = request.cookies.get(self._cookie, "")
        session = read_form(given, self._token, "admin session", now=time.time(), hours=HOURS)
        if session is None or session.id in self._over:
            if request.method == "POST":
                raise Refused("form-refused", 403, "a form of the admin page without a session")
            raise Moved(_LOGIN)
        return session

    def _sent(self, request: Request) -> tuple[Form, str]:
        """Return the admin's session, and which rater the form that was sent is about."""
        session = self._known(request)
        fields = read_fields(request.state.body)
        form = read_form(fields.get("form", ""), self._token, session.id, now=time.time(), hours=HOURS)
        if form is None:
            raise Refused("form-refused", 403, "a form of the admin page that is not ours")
        if not self._end(form):
            raise Moved("/admin")  # sent twice, as by a reload
        return session, fields.get("rater", "")

    def _end(self, form: Form) -> bool:
        """Let a session or a form mean nothing from now on; False where that was so before."""
        now = time.time()
        with self._lock:
            if form.id in self._over:
                return False
            self._over = {one: at for one, at in self._over.items() if at > now - HOURS * 3600}
            self._over[form.id] = now
        return True

    def _rater(self, rater: str) -> str:
        if rater not in {one.id for one in self._store.raters()}:
            raise Refused("form-refused", 400, "a form of the admin page with no such rater")
        return rater

    def _show(
        self, request: Request, session: Form, *, new_link: tuple[str, str] | None = None, alert: str = ""
    ) -> Response:
        form = new_form(self._token, session.id, now=time.time())
        frame = Frame(language=self._language(request), form=form, alert=alert)
        return HTMLResponse(self._pages.admin(frame, progress(self._store, new_link=new_link)))

    def _base(self, request: Request) -> str:
        return self._address.origin(request.headers["host"])

    def _language(self, request: Request) -> str:
        return preferred(request, self._store.questionnaire.languages)
