"""What the servers of this package share: listening, running until Ctrl-C, and headers that keep answers at home."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from compressed_lens.errors import StudyError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every answer, unless the application says otherwise."""


def values(scope: Message, name: str) -> list[str]:
    """Return every value of a header of a request."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name.encode()]


def with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """Return `send`, made to add the headers that an answer lacks."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            more = [(name.encode(), value.encode()) for name, value in headers.items() if name.encode() not in given]
            message["headers"] = [*message["headers"], *more]
        await send(message)

    return guarded


async def answer(send: Send, status: int, text: str, *, kind: str = "text/plain; charset=utf-8") -> None:
    """Answer a request without asking the application."""
    body = text.encode()
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def host_name(host: str) -> str:
    """Return the name within a Host header, in lower case; "" for a malformed one."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_address(name: str) -> bool:
    """Return whether a host name is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def origin_of(url: str) -> str:
    """Return scheme, name and port of an address, without a port that the scheme implies; "" where there is more."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if parts.path or parts.query or parts.fragment or parts.username is not None or not parts.hostname:
        return ""
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    implied = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{name}" if port in {None, implied} else f"{parts.scheme}://{name}:{port}"


def public_address(url: str) -> str:
    """Return the address at which others find a server, in one form.

    Raises:
        StudyError: Not an address, or one with a path.
    """
    found = origin_of(url.rstrip("/"))
    if not found.startswith(("http://", "https://")):
        raise StudyError(
            f"'{url}' is not the address of a server.", fix="Give it as https://study.example.org, without a path."
        )
    return found


def is_local(host: str) -> bool:
    """Return whether only programs of this machine can reach an address."""
    return ip_address(host).is_loopback if is_address(host) else host == "localhost"


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """Listen at an address.

    Args:
        host: Address to listen at.
        port: Port; 0 takes any that is free.

    Returns:
        The listening socket, and the address to ask it under: `http://localhost:8377`.

    Raises:
        StudyError: The address or port cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
        # Head and body are two packets. asyncio would see to it only for sockets that name their protocol, and without
        # it the second waits for a delayed acknowledgement: 40 ms a page.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StudyError(
            f"Cannot listen at {host}, port {port}: {reason}.", fix="Choose another --port (0 takes any that is free)."
        ) from error
    every = {"", "0.0.0.0", "::"}  # noqa: S104 (only compared)
    shown = "localhost" if host in every else f"[{host}]" if ":" in host else host
    return listening, f"http://{shown}:{listening.getsockname()[1]}"


def run(app: App, listening: socket.socket, *, patience: int = 1) -> None:
    """Answer requests until Ctrl-C, and close the socket.

    Args:
        app: The application.
        listening: Socket of `listen`.
        patience: Seconds that requests under way have to end.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=patience,
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass  # that is how it is stopped
    finally:
        listening.close()
