"""Running the server until Ctrl-C."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from compressed_lens.web import listen, run

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
    from compressed_lens.view.app import create_app

    app = create_app(folder, names=[host])
    listening, address = listen(host, port)
    tell(f"{address}/")
    if open_browser:
        # A browser on the terminal would hold up the server it wants to read from.
        Thread(target=webbrowser.open, args=(f"{address}/",), daemon=True).start()
    run(app, listening)
