"""What every answer of the server goes through: who may ask, and what a browser may do with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
_POLICY = "default-src 'none'; frame-ancestors 'none'"


class Guard:
    """Refuses requests that name another host, and adds headers that keep the answers where they belong.

    A page on the internet cannot read from 127.0.0.1, unless its own name is made to point there (DNS rebinding).
    Such a request carries that name as its Host; only addresses, `localhost` and the name given with --host are let in.

    Args:
        app: The application.
        names: Host names besides `localhost` that may be asked for.
    """

    def __init__(self, app: App, *, names: Collection[str] = ()) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                more = {"content-security-policy": _POLICY, **_HEADERS}
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in more.items() if name.encode() not in given),
                ]
            await send(message)

        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]
        if len(hosts) == 1 and self._welcome(hosts[0]):
            await self._app(scope, receive, guarded)
            return
        text = b"This server answers only under its own address."
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
        await guarded({"type": "http.response.start", "status": 421, "headers": headers})
        await guarded({"type": "http.response.body", "body": text})

    def _welcome(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True
