"""Running the server until Ctrl-C."""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

from compressed_lens.errors import StudyError

HOST = "127.0.0.1"
PORT = 8377


def serve(
    folder: Path, *, host: str = HOST, port: int = PORT, open_browser: bool = False, tell: Callable[[str], None]
) -> None:
    """Serve a run until Ctrl-C, without writing anything.

    Args:
        folder: Folder of the run; it may still be going.
        host: Address to listen at.
        port: Port; 0 takes any that is free.
        open_browser: Whether to open the page in the default browser.
        tell: Called with the address of the page, once it can be asked for.

    Raises:
        RunError: No run there, or a damaged or foreign file.
        StudyError: The address or port cannot be used.
    """
    import uvicorn

    from compressed_lens.view.app import create_app

    app = create_app(folder, names=[host])
    listening = _listen(host, port)
    bound = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else "localhost" if host in {"", "0.0.0.0", "::"} else host  # noqa: S104 (only compared)
    address = f"http://{shown}:{bound}/"
    tell(address)
    if open_browser:
        # A browser on the terminal would hold up the server it wants to read from.
        Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=1
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass  # that is how it is stopped
    finally:
        listening.close()


def is_local(host: str) -> bool:
    """Return whether only programs of this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StudyError(
            f"Cannot listen at {host}, port {port}: {reason}.", fix="Choose another --port (0 takes any that is free)."
        ) from error
