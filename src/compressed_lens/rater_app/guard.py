"""What every request and answer goes through: whose address, how much, from where, what a browser may do with it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool

from compressed_lens.rater_app.forms import CONTENT_TYPE
from compressed_lens.web import (
    HEADERS,
    App,
    Message,
    Receive,
    Send,
    answer,
    host_name,
    is_address,
    is_local,
    origin_of,
    values,
)
from compressed_lens.web import with_headers as _with_headers

MOST_BYTES = 64 * 1024

_MOST_ADDRESS = 2048
_DRAINED = 1024 * 1024
_BODY_S = 20.0
_YEAR_S = 31_536_000
_NETWORK_BITS = 64
_ALWAYS = "/health"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the server is asked.

    Attributes:
        url: Public address, such as https://study.example.org; "" where there is none but the one it listens at.
        host: The address it listens at.
    """

    url: str = ""
    host: str = "127.0.0.1"

    @property
    def secure(self) -> bool:
        """Whether raters come through https."""
        return self.url.startswith("https://")

    def welcomes(self, host: str) -> bool:
        """Return whether a request with this Host is for us."""
        if self.url:
            return origin_of(f"{urlsplit(self.url).scheme}://{host}") == self.url
        if not origin_of(f"http://{host}"):
            return False
        name = host_name(host)
        if is_local(self.host):
            return is_local(name)
        return name == "localhost" or is_address(name) or name == self.host.lower()

    def origin(self, host: str) -> str:
        """Return the Origin of our own pages, for a request with this Host."""
        return self.url or origin_of(f"http://{host}")

    def visitor(self, scope: Message) -> str:
        """Return a key for the network that a request comes from: an IPv4 address, or the first half of an IPv6 one.

        With a public address we are behind a proxy; what it says last in X-Forwarded-For is the address it saw.
        """
        peer = str((scope.get("client") or ("",))[0])
        forwarded = values(scope, "x-forwarded-for")
        if self.url and forwarded and is_address(peer) and ip_address(peer).is_private:
            last = forwarded[-1].rpartition(",")[2].strip()
            peer = last if is_address(last) else peer
        if not is_address(peer):
            return peer
        address = ip_address(peer)
        if isinstance(address, IPv6Address):
            return str(address.ipv4_mapped or IPv6Network((int(address), _NETWORK_BITS), strict=False))
        return peer


class Guard:
    """Lets in what may be answered, and adds headers that keep the answers where they belong.

    Refused are: another Host than ours (a page on the internet whose name is made to point here), more than 64 KiB, and
    every POST that is not a form or was not sent by a page of ours (Sec-Fetch-Site, Origin). The body of a POST is
    read here and is in `request.state.body`, so that everything behind can be plain functions in threads.

    Args:
        app: The application.
        address: Where the server is asked.
        policy: Content-Security-Policy of the pages.
        refuse: Makes the page that says so: given the request, a message and the status.
        tell: Notes a refusal.
    """

    def __init__(
        self,
        app: App,
        *,
        address: Address,
        policy: str,
        refuse: Callable[[Message, str, int], str],
        tell: Callable[[str, str], None],
    ) -> None:
        self._app = app
        self._address = address
        self._headers = {**HEADERS, "content-security-policy": policy, "referrer-policy": "same-origin"}
        if address.secure:
            self._headers["strict-transport-security"] = f"max-age={_YEAR_S}"
        self._refuse = refuse
        self._tell = tell

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = _with_headers(send, self._headers)
        hosts = values(scope, "host")
        if scope["path"] != _ALWAYS and not (len(hosts) == 1 and self._address.welcomes(hosts[0])):
            await run_in_threadpool(self._tell, "another host was asked for", "")
            await answer(guarded, 421, "This server answers only under its own address.")
            return
        try:
            body = await self._let_in(scope, receive, hosts)
        except _Refused as refused:
            await run_in_threadpool(self._tell, refused.what, "")
            page = await run_in_threadpool(self._refuse, scope, refused.key, refused.status)
            await answer(guarded, refused.status, page, kind="text/html; charset=utf-8")
            return
        except _Gone:
            return
        scope.setdefault("state", {})["body"] = body
        try:
            await self._app(scope, receive, guarded)
        except Exception as error:
            # The application has answered. The traceback is logged without the message, which may hold what was sent.
            _log(error)

    async def _let_in(self, scope: Message, receive: Receive, hosts: list[str]) -> bytes:
        """Return the body of a request that may be answered."""
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > _MOST_ADDRESS:
            raise _Refused("not-found", 414, "an address that is too long")
        if scope["method"] != "POST":
            return b""
        sites = values(scope, "sec-fetch-site")
        origins = values(scope, "origin")
        ours = origins == [self._address.origin(hosts[0])] if hosts and origins != ["null"] and origins else None
        if ours is False or set(sites) - {"same-origin", "none"} or (ours is None and sites != ["same-origin"]):
            raise _Refused("form-refused", 403, "a form from another site")
        kinds = [kind.partition(";")[0].strip().lower() for kind in values(scope, "content-type")]
        if kinds != [CONTENT_TYPE]:
            raise _Refused("form-refused", 415, "a body that is no form")
        try:
            async with asyncio.timeout(_BODY_S):
                body = await _read(receive)
        except TimeoutError:
            raise _Refused("trouble", 408, "a form that did not arrive") from None
        if body is None:
            raise _Refused("too-large", 413, "a body that is too large")
        return body


def _log(error: Exception) -> None:
    from loguru import logger

    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("{}\n{}", type(error).__name__, where.rstrip())


class _Refused(Exception):
    def __init__(self, key: str, status: int, what: str) -> None:
        super().__init__(what)
        self.key, self.status, self.what = key, status, what


class _Gone(Exception):
    """The browser went away."""


async def _read(receive: Receive) -> bytes | None:
    """Return the body; None for one that is too large.

    Some of what is too much is taken in all the same: an answer to a browser that is still sending would be lost.
    """
    parts, size = [], 0
    while size <= _DRAINED:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        part = message.get("body", b"")
        size += len(part)
        if size <= MOST_BYTES:
            parts.append(part)
        if not message.get("more_body", False):
            break
    return b"".join(parts) if size <= MOST_BYTES else None
