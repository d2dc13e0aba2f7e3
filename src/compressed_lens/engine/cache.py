"""Responses kept by content: what a cache must offer, one in memory, and responses as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from compressed_lens.ids import digest
from compressed_lens.lm.protocol import Generate, Generation, Request, Response, Scores

Stored = dict[str, Any]


class ResponseCache(Protocol):
    """Responses by key. A key names everything a response depends on, so entries never become stale."""

    def get_many(self, keys: Sequence[str]) -> Mapping[str, Stored]:
        """Return the responses that are known, as JSON-able dicts by key."""

    def put_many(self, responses: Mapping[str, Stored]) -> None:
        """Keep responses, all or none of them."""


class MemoryCache:
    """A response cache that lives as long as the process."""

    def __init__(self) -> None:
        self._responses: dict[str, Stored] = {}

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """Return the responses that are known, by key."""
        return {key: self._responses[key] for key in keys if key in self._responses}

    def put_many(self, responses: Mapping[str, Stored]) -> None:
        """Keep responses."""
        self._responses.update(responses)


def request_key(fingerprint: str, ids: Sequence[int], request: Request) -> str:
    """Return the identity of a question: the model's fingerprint, the prompt's ids and the settings.

    The form of the prompt counts for scores, because it decides how a continuation is joined to the same ids.
    """
    settings: list[Any]
    if isinstance(request, Generate):
        settings = ["generate", request.max_new_tokens, list(request.stop)]
    else:
        form = [request.prompt.text is None, bool(request.prompt.prefill)]
        settings = ["score", form, list(request.continuations)]
    return digest([fingerprint, list(ids), settings], length=32)


def pack_response(response: Response) -> Stored:
    """Return a response as a JSON-able dict; `unpack_response` gives back an equal one."""
    if isinstance(response, Generation):
        return {"text": response.text, "tokens": response.tokens, "finished": response.finished}
    return {
        "log_probabilities": list(response.log_probabilities),
        "tokens": list(response.tokens),
        "greedy": list(response.greedy),
    }


def unpack_response(stored: Mapping[str, Any]) -> Response:
    """Return the response that `pack_response` made `stored` of."""
    if "text" in stored:
        return Generation(text=stored["text"], tokens=stored["tokens"], finished=stored["finished"])
    return Scores(
        log_probabilities=tuple(stored["log_probabilities"]),
        tokens=tuple(stored["tokens"]),
        greedy=tuple(stored["greedy"]),
    )


def is_storable(response: Response) -> bool:
    """Return whether a response can be written as JSON: a broken model's NaN scores cannot."""
    return isinstance(response, Generation) or all(map(math.isfinite, response.log_probabilities))
