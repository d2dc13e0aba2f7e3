"""Responses kept by content: what a cache must offer, one in memory, and responses as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol, cast

from compressed_lens.ids import digest
from compressed_lens.lm.protocol import (
    METHODS,
    Attribute,
    Attribution,
    Embed,
    Embedding,
    Generate,
    Generation,
    Inspect,
    Inspection,
    Read,
    Request,
    Response,
    Score,
    Scores,
    Trace,
    Traced,
)

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
    return digest([fingerprint, list(ids), _settings(request)], length=32)


def _settings(request: Request) -> list[Any]:
    match request:
        case Generate():
            drawn = [request.temperature, request.seed] if request.temperature else []
            return ["generate", request.max_new_tokens, list(request.stop), *drawn]
        case Score():
            form = [request.prompt.text is None, bool(request.prompt.prefill)]
            return ["score", form, list(request.continuations)]
        case Trace():
            return ["trace", [request.prompt.text is None, bool(request.prompt.prefill)], request.continuation]
        case Read() | Embed():
            return [METHODS[type(request)], request.text]
        case Attribute():
            return ["attribute", request.target, request.within, request.method, request.steps]
        case Inspect():
            return ["inspect", request.by.runs, asdict(cast(Any, request.by))]


_KINDS: dict[str, type[Any]] = {
    "scores": Scores,
    "traced": Traced,
    "embedding": Embedding,
    "attribution": Attribution,
    "inspection": Inspection,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def pack_response(response: Response) -> Stored:
    """Return a response as a JSON-able dict; `unpack_response` gives back an equal one."""
    fields = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(response).items()}
    return fields if isinstance(response, Generation) else {"kind": _NAMES[type(response)], **fields}


def unpack_response(stored: Mapping[str, Any]) -> Response:
    """Return the response that `pack_response` made `stored` of."""
    if "text" in stored:
        return Generation(**stored)
    fields = {name: _tuple(value) for name, value in stored.items() if name != "kind"}
    made: Response = _KINDS[stored.get("kind", "scores")](**fields)
    return made


def _tuple(value: Any) -> Any:
    return tuple(_tuple(part) for part in value) if isinstance(value, list) else value


def is_storable(response: Response) -> bool:
    """Return whether a response can be written as JSON: a broken model's NaN scores cannot."""
    return all(math.isfinite(number) for field in vars(response).values() for number in _floats(field))


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _floats(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _floats(part)


def is_kept(request: Request) -> bool:
    """Return whether the answer to `request` is worth writing to disk."""
    return not isinstance(request, Trace) or request.keep
