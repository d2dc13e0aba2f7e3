"""`clens human serve` in a process of its own, to be killed and started again on the same port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx
from tests.judging.serving import free_port

T = TypeVar("T")

START_S = 60
ADMIN_TOKEN = "admin-token-of-the-tests-0123456789"  # noqa: S105 (of a server on loopback that ends with its test)


def clens(*arguments: str | Path, database: str | None = None, timeout: float = 120) -> str:
    """Run the command line in a process of its own and return what it printed; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "compressed_lens", *map(str, arguments)],
        env=_environment(database), capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"clens {' '.join(map(str, arguments))}:\n{done.stdout}{done.stderr}"
    return done.stdout


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own, since the browser of the session keeps a loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


class ServerProcess:
    """A server of one human study.

    Attributes:
        port: Where it listens, the same after every start.
        kills: How often it was killed.
    """

    def __init__(self, run: Path, log: Path, *, name: str = "main", database: str | None = None) -> None:
        self.port = free_port()
        self.kills = 0
        command = [sys.executable, "-m", "compressed_lens", "human", "serve", str(run), "--name", name]
        self._command = [*command, "--port", str(self.port)]
        self._environment = _environment(database)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Return the address raters know, without a slash at the end."""
        return f"http://localhost:{self.port}"

    @property
    def log(self) -> str:
        """Return everything the server wrote so far."""
        return self._log.read_text(errors="replace")

    @property
    def process(self) -> int:
        """Return the server's process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment)
        ends = time.monotonic() + START_S
        while time.monotonic() < ends and self._process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"{self.address}/health", timeout=2, verify=False).raise_for_status()  # noqa: S501 (it is http)
                return
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"the server did not start:\n{self.log[-2000:]}")

    def kill(self) -> None:
        """End the server at once, as a crash would: kill -9."""
        self._end(signal.SIGKILL)
        self.kills += 1

    def stop(self) -> int:
        """End the server as a person would, and return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, by: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(by)
        return process.wait(timeout=30)


@contextlib.contextmanager
def serving(run: Path, log: Path, *, name: str = "main", database: str | None = None) -> Iterator[ServerProcess]:
    """Serve a study until the end of the block."""
    server = ServerProcess(run, log, name=name, database=database)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _environment(database: str | None) -> Mapping[str, str]:
    given = {"CLENS_HUMAN_DATABASE": database} if database else {}
    inherited = {name: value for name, value in os.environ.items() if name != "CLENS_HUMAN_DATABASE"}
    threads = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "CLENS_HUMAN_ADMIN_TOKEN": ADMIN_TOKEN}
    return {**inherited, **threads, **given}
