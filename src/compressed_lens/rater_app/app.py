"""The web app of a human study: the guard, the addresses of raters and of the admin, and what is said on a refusal."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from compressed_lens.errors import LensError
from compressed_lens.human.store import HumanStore
from compressed_lens.rater_app.admin import Admin
from compressed_lens.rater_app.entrance import Entrance
from compressed_lens.rater_app.forms import Malformed
from compressed_lens.rater_app.guard import Address, Guard
from compressed_lens.rater_app.limits import Incidents
from compressed_lens.rater_app.pages import Frame, Pages
from compressed_lens.rater_app.raters import Raters
from compressed_lens.rater_app.refusals import Moved, Refused, preferred
from compressed_lens.web import App, Message

_WAIT_S = 60


def create_app(store: HumanStore, *, address: Address, admin_token: str) -> App:
    """Return the application that serves a human study.

    Args:
        store: The study's open database.
        address: Where it is asked.
        admin_token: What opens the admin page.
    """
    pages = Pages(store.questionnaire)
    incidents = Incidents(store.note)
    app = FastAPI(
        title="clens human",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        # Traces hold addresses, and so personal links.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )

    def message(request: Request, key: str, status: int, language: str = "") -> str:
        frame = Frame(language=language or preferred(request, store.questionnaire.languages))
        return pages.message(frame, key, status=status)

    @app.exception_handler(Moved)
    def moved(request: Request, moved: Moved) -> Response:
        return RedirectResponse(moved.to, status_code=303)

    @app.exception_handler(Refused)
    def refused(request: Request, refused: Refused) -> Response:
        if refused.what:
            incidents.tell(refused.what, refused.rater)
        headers = {"retry-after": str(_WAIT_S)} if refused.key == "too-many" else None
        return HTMLResponse(message(request, refused.key, refused.status, refused.language), refused.status, headers)

    @app.exception_handler(Malformed)
    def malformed(request: Request, error: Malformed) -> Response:
        incidents.tell(f"a malformed form: {error}")
        return HTMLResponse(message(request, "form-refused", 400), 400)

    @app.exception_handler(HTTPException)
    def unknown(request: Request, error: HTTPException) -> Response:
        incidents.tell("an unknown address" if error.status_code == 404 else "a method that an address does not know")  # noqa: PLR2004
        return HTMLResponse(message(request, "not-found", error.status_code), error.status_code, error.headers)

    @app.exception_handler(LensError)
    def troubled(request: Request, error: LensError) -> Response:
        from loguru import logger

        logger.error("{}", error)
        return HTMLResponse(message(request, "trouble", 503), 503)

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> Response:
        return HTMLResponse(message(request, "trouble", 500), 500)

    def health() -> Response:
        return PlainTextResponse("ok")

    def robots() -> Response:
        return PlainTextResponse("User-agent: *\nDisallow: /\n")

    def icon() -> Response:
        return Response(status_code=204)

    read = {"/health": health, "/robots.txt": robots, "/favicon.ico": icon}
    raters = Raters(store, pages, Entrance(store, address=address, tell=incidents.tell))
    admin = Admin(store, pages, address=address, token=admin_token, tell=incidents.tell)
    for path, endpoint in {**read, **raters.read, **admin.read}.items():
        app.add_api_route(path, endpoint, methods=["GET", "HEAD"])
    for path, endpoint in {**raters.write, **admin.write}.items():
        app.add_api_route(path, endpoint, methods=["POST"])

    def refuse(scope: Message, key: str, status: int) -> str:
        return message(Request(scope), key, status)

    return Guard(app, address=address, policy=pages.policy, refuse=refuse, tell=incidents.tell)
