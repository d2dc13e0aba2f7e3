"""Forms: what a browser sent, and a proof that the form came from a page of ours, for this session and this address."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qsl

CONTENT_TYPE = "application/x-www-form-urlencoded"
MOST_COMMENT = 4000

_MOST_FIELDS = 200
_NONCE_BYTES = 12
_SKEW = 60.0
"""Seconds by which the clock of another server of the same study may be ahead."""
_FORM = re.compile(
    r"(?P<nonce>[A-Za-z0-9_-]{16})\.(?P<issued>[0-9]{1,15})\.(?P<attempts>[0-9]{1,4})\.(?P<mac>[0-9a-f]{64})"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


class Malformed(Exception):
    """No form that a page of ours could have sent."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form that a page of ours gave to this session.

    Attributes:
        id: Tells it from every other form.
        issued: When the page was made, in seconds since 1970.
        attempts: Attempts at the comprehension check before this one.
    """

    id: str
    issued: float
    attempts: int = 0


def mac(secret: str, *parts: str) -> str:
    """Return a code that only those who know a secret can make (HMAC-SHA256, hexadecimal)."""
    return hmac.new(secret.encode(), "|".join(parts).encode(), sha256).hexdigest()


def new_form(secret: str, purpose: str, *, now: float, attempts: int = 0) -> str:
    """Return the value of a page's hidden field `form`.

    Args:
        secret: Secret of the session.
        purpose: What the form is for: its address.
        now: Seconds since 1970.
        attempts: Attempts at the comprehension check so far.
    """
    nonce, issued = secrets.token_urlsafe(_NONCE_BYTES), str(int(now * 1000))
    return f"{nonce}.{issued}.{attempts}.{mac(secret, 'form', purpose, nonce, issued, str(attempts))}"


def read_form(text: str, secret: str, purpose: str, *, now: float, hours: float) -> Form | None:
    """Return the form of a hidden field; None for one of another session or purpose, an altered or an old one.

    Args:
        text: Value of the field.
        secret: Secret of the session.
        purpose: As for `new_form`.
        now: Seconds since 1970.
        hours: How long a form is good for.
    """
    parts = _FORM.fullmatch(text)
    if parts is None:
        return None
    nonce, issued, attempts = parts["nonce"], parts["issued"], parts["attempts"]
    if not hmac.compare_digest(parts["mac"], mac(secret, "form", purpose, nonce, issued, attempts)):
        return None
    at = int(issued) / 1000
    return Form(id=nonce, issued=at, attempts=int(attempts)) if -_SKEW <= now - at <= hours * 3600 else None


def read_fields(body: bytes) -> Mapping[str, str]:
    """Return the fields of a form.

    Raises:
        Malformed: More than 200 fields, one named twice, or bytes that are not UTF-8.
    """
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS, separator="&"
        )
    except ValueError as error:
        raise Malformed("unreadable") from error
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise Malformed("a field twice")
    return fields


def words(text: str) -> str:
    """Return what someone typed, without control characters, with plain line ends, 4,000 characters at most."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()[:MOST_COMMENT]


def choice(text: str | None, count: int, *, first: int) -> int | None:
    """Return a chosen number from `first` on; None where nothing was chosen.

    Raises:
        Malformed: Not one of the `count` there are.
    """
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,3}", text) or not first <= int(text) < first + count:
        raise Malformed("a choice that is none")
    return int(text)
