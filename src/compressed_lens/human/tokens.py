"""Links and sessions: secrets that are handed out once, and the digests of them that are kept."""

from __future__ import annotations

import base64
import hashlib
import secrets

_LINK_BYTES = 16
_SESSION_BYTES = 32


def new_link_token() -> str:
    """Return 128 random bits in base32: 26 lower-case letters and digits that survive being read aloud."""
    return base64.b32encode(secrets.token_bytes(_LINK_BYTES)).decode().rstrip("=").lower()


def new_session_secret() -> str:
    """Return 256 random bits for a cookie."""
    return secrets.token_urlsafe(_SESSION_BYTES)


def digest(secret: str) -> str:
    """Return the SHA-256 of a secret in hexadecimal; the secret has 128 bits or more, so it needs no salt."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
