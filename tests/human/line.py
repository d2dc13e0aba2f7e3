"""One person's connection to a server, as bad as a test wants it: a small HTTP proxy that a browser is told to use."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

Fault = Literal["lose request", "lose answer", "slow answer"]
SLOW = 0.7
"""Seconds by which a slow answer is late: time for a second click."""


class Line:
    """Passes requests on to one of several servers (each connection to one of them, at random).

    A fault hits the next POST alone: its request never arrives, its answer is lost although the server did what was
    asked, or its answer is late. Where a connection ends without an answer, a browser by itself sends the POST once
    more through a new one, which is what `times` = 2 loses as well.

    Attributes:
        connections: How many went to each server.
    """

    def __init__(self, ports: Sequence[int], *, seed: int = 0) -> None:
        self.connections: Counter[int] = Counter()
        self._faults: list[Fault] = []
        self._ports = list(ports)
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Return the address to name as a proxy."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    def arm(self, fault: Fault, times: int = 1) -> None:
        """Let a fault happen to the next POSTs."""
        self._faults = [fault] * times

    def disarm(self) -> None:
        """Let no fault happen from now on."""
        self._faults = []

    async def _serve(self, browser: asyncio.StreamReader, to_browser: asyncio.StreamWriter) -> None:
        connection = _Connection()
        with suppress(OSError):
            port = self._random.choice(self._ports)
            self.connections[port] += 1
            server, to_server = await asyncio.open_connection("127.0.0.1", port)
            answers = asyncio.create_task(self._answers(server, to_browser, connection))
            with suppress(OSError):
                await self._requests(browser, to_server, connection)
            if connection.fault != "lose request":
                # The server may go on writing its answer; nobody is there to read it.
                to_server.write_eof()
            answers.cancel()
            to_server.close()
        to_browser.close()

    async def _requests(
        self, browser: asyncio.StreamReader, to_server: asyncio.StreamWriter, connection: _Connection
    ) -> None:
        while data := await browser.read(65536):
            verb, _, rest = data.partition(b" ")
            if verb == b"CONNECT" or (rest.startswith(b"http://") and not rest.startswith(b"http://localhost:")):
                return  # a browser's own business, on a machine without a network
            if rest.startswith(b"http://"):
                connection.fault = None
                if verb == b"POST":
                    connection.fault = self._faults.pop() if self._faults else None
                rest = rest[len(b"http://") :]
                data = verb + b" " + rest[rest.index(b"/") :]
            if connection.fault == "lose request":
                return
            to_server.write(data)
            await to_server.drain()

    async def _answers(
        self, server: asyncio.StreamReader, to_browser: asyncio.StreamWriter, connection: _Connection
    ) -> None:
        with suppress(OSError):
            while data := await server.read(65536):
                if connection.fault == "lose answer":
                    break
                if connection.fault == "slow answer":
                    await asyncio.sleep(SLOW)
                to_browser.write(data)
                await to_browser.drain()
        to_browser.close()


class _Connection:
    """What both directions of a connection know."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
