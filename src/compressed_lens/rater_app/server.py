"""Running the rater app until Ctrl-C."""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Callable
from types import FrameType

from compressed_lens.errors import StudyError
from compressed_lens.web import host_name, is_local, listen, public_address, run

HOST = "127.0.0.1"
PORT = 8378

_LEAST_TOKEN = 16
_PATIENCE_S = 5


def serve(
    database: str,
    *,
    url: str = "",
    host: str = HOST,
    port: int = PORT,
    insecure: bool = False,
    admin_token: str | None = None,
    tell: Callable[[str, str | None], None],
) -> None:
    """Serve a human study until Ctrl-C or SIGTERM.

    Args:
        database: URL of the study's database.
        url: Public address, where a proxy in front speaks https; "" to be asked under the address listened at.
        host: Address to listen at.
        port: Port; 0 takes any that is free.
        insecure: Whether other machines may come without https.
        admin_token: What opens the admin page; None makes one.
        tell: Called with the address, and the admin token if it was made here, once pages can be asked for.

    Raises:
        StudyError: Not an address, one that others reach without https, or one that cannot be used; a short token.
        RunError: The database cannot be used.
        DependencyError: PostgreSQL without its driver.
    """
    from compressed_lens.human.store import HumanStore
    from compressed_lens.rater_app.app import create_app
    from compressed_lens.rater_app.guard import Address

    public = public_address(url) if url else ""
    asked = host_name(public.partition("://")[2]) if public else host
    if not insecure and not public.startswith("https://") and not (is_local(asked) and is_local(host)):
        raise StudyError(
            f"At {public or host} raters of other machines would come without https, where links and ratings can be "
            "read.",
            fix="Put a proxy with https in front and give its address with --url, or say --insecure.",
        )
    if admin_token is not None and len(admin_token) < _LEAST_TOKEN:
        raise StudyError(f"The admin token has fewer than {_LEAST_TOKEN} characters.", fix="Choose a longer one.")
    token = admin_token or secrets.token_urlsafe(24)
    signal.signal(signal.SIGTERM, _interrupt)
    with HumanStore.open(database) as store:
        _log_to_stderr()
        app = create_app(store, address=Address(url=public, host=host), admin_token=token)
        listening, address = listen(host, port)
        # By the name that `clens human links` writes: cookies belong to a name.
        tell(public or address.replace(HOST, "localhost"), None if admin_token else token)
        run(app, listening, patience=_PATIENCE_S)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Stop as with Ctrl-C."""
    raise KeyboardInterrupt


def _log_to_stderr() -> None:
    """Log refusals and errors, without the values of variables: those hold secrets."""
    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, format="{time:YYYY-MM-DD HH:mm:ss} {level} {message}", backtrace=False, diagnose=False)
