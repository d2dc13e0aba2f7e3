"""Requests to an OpenAI-compatible server that survive its restarts: time-outs, retries, and errors of one sentence."""

from __future__ import annotations

import email.utils
import ipaddress
import json
import math
import os
import random
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from compressed_lens.errors import ModelError

_PATH = "/chat/completions"
_FIRST_WAIT, _LONGEST_WAIT, _DOUBLINGS = 0.5, 30.0, 10
_WAIT_CODES = frozenset({408, 409, 425, 429})
_SERVER_ERROR = 500
_OK = 200
_REDIRECTS = range(300, 400)
_REFUSED = (401, 403)
_QUOTED = 200


class ChatClient:
    """Connections to one chat endpoint.

    Nothing is sent but to `url`; redirects are not followed, and `.netrc` is not read. The key is read once from the
    environment and stands in no message and no representation.

    Args:
        url: Base address; "/v1" is added where there is no path.
        who: The model in a sentence, such as "The judge 'x'".
        api_key_env: Environment variable that holds the key; None sends none.
        timeout: Seconds to wait for an answer before the request counts as lost.
        patience: Seconds to go on trying after a request's first failure.
        connections: Most connections at a time.

    Raises:
        ModelError: The address is not plain http or https, holds a secret, or the key is missing.
    """

    def __init__(
        self, url: str, *, who: str, api_key_env: str | None, timeout: float, patience: float, connections: int
    ) -> None:
        self._who = who
        self.url = self._address(url)
        self._key = self._read_key(api_key_env)
        self._timeout = timeout
        self._patience = patience
        self._random = random.Random()
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=timeout,
            limits=httpx.Limits(max_connections=connections),
            follow_redirects=False,
            trust_env=not _is_loopback(self.url),  # a proxy of the environment is not for this machine
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, body: Mapping[str, Any], stop: threading.Event) -> dict[str, Any]:
        """Send one request until it is answered, refused, or out of patience; safe in several threads at once.

        Args:
            body: What to send, as JSON.
            stop: Once set, nothing is tried again.

        Returns:
            The server's answer, with at least one choice.

        Raises:
            ModelError: Refused, or out of patience.
        """
        first_failure, tries = None, 0
        while True:
            wait = 0.0
            try:
                response = self._client.post(self.url + _PATH, json=body)
            except httpx.TimeoutException:
                trouble = f"gave no answer within {self._timeout:g} s"
            except httpx.RequestError as error:
                trouble = f"could not be reached ({self._clean(str(error)) or type(error).__name__})"
            else:
                answer = self._read(response)
                if answer is not None:
                    return answer
                trouble = f"answered with status {response.status_code}{self._said(response)}"
                wait = _retry_after(response.headers.get("retry-after"))
            now = time.monotonic()
            first_failure = now if first_failure is None else first_failure
            left = first_failure + self._patience - now
            tries += 1
            if left <= 0 or wait > left or stop.is_set():
                raise ModelError(
                    f"{self._who} at {self.url} {trouble}; tried {tries} times in {now - first_failure:.0f} s.",
                    fix="Start or check the server and go on with `clens resume`; answers that came are kept.",
                )
            backoff = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(tries - 1, _DOUBLINGS))
            stop.wait(max(wait, min(backoff * self._random.uniform(0.5, 1.0), left)))

    def _read(self, response: httpx.Response) -> dict[str, Any] | None:
        """Return the answer in a response; None for one that is worth another try.

        Raises:
            ModelError: Trying again would not help.
        """
        status = response.status_code
        if status in _WAIT_CODES or status >= _SERVER_ERROR:
            return None
        if status in _REFUSED:
            raise ModelError(
                f"{self._who} at {self.url} refused the key (status {status}).",
                fix="Put a valid key into the environment variable that `api_key_env` names.",
            )
        if status in _REDIRECTS:
            raise ModelError(
                f"{self._who} at {self.url} sends requests elsewhere (status {status}), which are not followed.",
                fix="Give the final address as `url`.",
            )
        if status != _OK:
            raise ModelError(
                f"{self._who} at {self.url} refused the request with status {status}{self._said(response)}.",
                fix="Check `url` (its path mostly ends in /v1) and `model`.",
            )
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if isinstance(answer, dict) and answer.get("error"):
            return None
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
            raise ModelError(
                f"{self._who} at {self.url} does not answer as an OpenAI-compatible chat endpoint does.",
                fix="Check `url`; its path mostly ends in /v1.",
            )
        return dict(answer)

    def _said(self, response: httpx.Response) -> str:
        """Return what a server said about an error, shortened; never the key, should it be repeated there."""
        try:
            told = response.json()
            told = told.get("error") or told.get("detail") or told.get("message") or ""
            told = told.get("message", "") if isinstance(told, dict) else told
        except (ValueError, AttributeError):
            told = response.text
        said = self._clean(told if isinstance(told, str) else json.dumps(told))
        return f": {said}" if said else ""

    def _clean(self, text: str) -> str:
        hidden = text.replace(self._key, "[key]") if self._key else text
        plain = " ".join("".join(c if c.isprintable() else " " for c in hidden).split())
        return plain[:_QUOTED].rstrip(" .")

    def _address(self, url: str) -> str:
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018 (reading it checks it)
        except ValueError:
            parts = urlsplit("")
        if "@" in url or parts.query or parts.fragment:
            raise ModelError(
                f"The url of {self._who[0].lower()}{self._who[1:]} holds a user name, a query or a fragment.",
                fix="Give only the base address, and name the variable with the key as `api_key_env`.",
            )
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ModelError(
                f"{self._who} has the url '{url}', which is not an http or https address.",
                fix="Give a base address such as http://localhost:8000/v1.",
            )
        path = parts.path.rstrip("/").removesuffix(_PATH) or "/v1"
        return f"{parts.scheme}://{parts.netloc}{path}"

    def _read_key(self, variable: str | None) -> str:
        if variable is None:
            return ""
        key = os.environ.get(variable, "").strip()
        if not key:
            raise ModelError(
                f"{self._who} needs a key, and the environment variable {variable} is not set.",
                fix=f"Set {variable}, or leave api_key_env out for a server without keys.",
            )
        if not (key.isascii() and key.isprintable()):
            raise ModelError(f"The key in {variable} holds characters that cannot be sent.", fix="Set it again.")
        return key


def _retry_after(header: str | None) -> float:
    """Return the seconds a server asks to wait, given as a number or a date; 0 where it does not."""
    if not header:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return 0.0
    return seconds if 0 < seconds < math.inf else 0.0


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
