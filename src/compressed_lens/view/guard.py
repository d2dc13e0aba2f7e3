"""What every answer of the server goes through: who may ask, and what a browser may do with it."""

from __future__ import annotations

from collections.abc import Collection

from compressed_lens.web import (
    HEADERS,
    App,
    Message,
    Receive,
    Send,
    answer,
    host_name,
    is_address,
    values,
    with_headers,
)


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
        guarded = with_headers(send, HEADERS)
        hosts = [host_name(host) for host in values(scope, "host")]
        if len(hosts) == 1 and (hosts[0] in self._names or is_address(hosts[0])):
            await self._app(scope, receive, guarded)
            return
        await answer(guarded, 421, "This server answers only under its own address.")
