"""A real OpenAI-compatible server in its own process, and a proxy in front of it that counts what it answers."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

_START_S = 300


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServeProcess:
    """`transformers serve FOLDER` on a port of its own, to be killed and started again there."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(self._folder)]
        settings = ["--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(self.port)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*command, *settings], stdout=log, stderr=log, env=environment)
        ends = time.monotonic() + _START_S
        while time.monotonic() < ends and self._process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
                connection.request("GET", "/health")
                if connection.getresponse().status == http.client.OK:
                    return
            time.sleep(0.2)
        self.kill()
        raise RuntimeError(f"the server did not start: {self._log.read_text(errors='replace')[-800:]}")

    def kill(self) -> None:
        """End the server's process at once, as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class CountingProxy:
    """Passes POST requests on to a port of this machine; a request that gets no answer there gets none here.

    Attributes:
        answered: How often each body was answered with status 200.
        received: Number of requests that came in.
        before: Called with the number of answers given so far, before each request is passed on.
    """

    def __init__(self, upstream: int) -> None:
        self.answered: Counter[bytes] = Counter()
        self.received = 0
        self.before: Callable[[int], None] = lambda _: None
        lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    proxy.received += 1
                    proxy.before(proxy.answered.total())
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
                    connection.request("POST", self.path, body, {"Content-Type": "application/json"})
                    response = connection.getresponse()
                    said = response.read()
                except (OSError, http.client.HTTPException):
                    self.close_connection = True
                    return
                with lock:
                    proxy.answered[body] += response.status == http.client.OK
                with contextlib.suppress(OSError):
                    self.send_response(response.status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(said)))
                    self.end_headers()
                    self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
